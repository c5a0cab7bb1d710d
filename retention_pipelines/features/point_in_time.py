"""Which stored row of the feature store answers which entity row: the picks of a training frame.

What belongs here: reading rows that may answer, the plain picks (`asof.py`), the full rule for the rest (`pick.sql`
and `gather.sql`). What does not: the entities and the frame that is given back (`store.py`).
"""

from collections.abc import Collection, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from duckdb import ColumnExpression, ConstantExpression

from retention_pipelines.features.asof import Line, Mask, newest_at
from retention_pipelines.features.names import FeatureName
from retention_pipelines.features.studies import PACKAGE
from retention_pipelines.warehouse import LakeFile, Table
from retention_pipelines.warehouse.duck import bind, set_variables, statement

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_KEPT = ("event_time", "known_at", "computed_at", "source_data_id", "version")
# Rows of up to so many keys are held in memory to decide between them.
_FEW_KEYS = 200


@dataclass(frozen=True, kw_only=True)
class Asked:
    """The entity rows that have a key, in order of key and instant: their numbers, numbered keys and instants.

    `keys` are the keys by number; `earliest` and `latest` span the time that matters.
    """

    row: npt.NDArray[np.int64]
    key: npt.NDArray[np.int64]
    instant: npt.NDArray[np.int64]
    keys: pa.ChunkedArray
    earliest: datetime | None
    latest: datetime | None


@dataclass(frozen=True, kw_only=True)
class Read:
    """The features asked of one type, the files that hold it, and the column of the key."""

    files: Sequence[LakeFile]
    names: Sequence[FeatureName]
    on: str


@dataclass(frozen=True, kw_only=True)
class _Plain:
    """The picks that leave no doubt, which asks do, and the months of those asks' answers (None: any)."""

    found: pa.Table
    contested: Mask
    months: frozenset[str] | None


class Picker:
    """Picks rows of the feature store.

    Reads the temp tables `_ask` and `_key` and the variable `as_of` of the table's connection.
    """

    def __init__(self, table: Table) -> None:
        self._table = table

    def pick(self, reads: Sequence[Read], asked: Asked) -> list[pa.Table]:
        """For each read the number of the entity row (`ask`), `event_time` and values of the picked rows."""
        line = self._line([file for read in reads for file in read.files])
        set_variables(self._table.con, line_first=line.first, line_span=line.span, earliest=asked.earliest)
        if not line.holds(len(asked.keys)):
            return [self._decide(read, asked, np.ones(len(asked.row), dtype=bool)) for read in reads]
        plain: list[_Plain] = []
        # While one type's rows are sorted, the next one's are read; no more than two are in memory.
        with ThreadPoolExecutor(max_workers=1) as sorter:
            sorting: Future[_Plain] | None = None
            for read in reads:
                self._bind_rows(read, asked)
                candidates = self._table.con.sql(statement(PACKAGE, "candidates")).to_arrow_table()
                if sorting is not None:
                    plain.append(sorting.result())
                sorting = sorter.submit(_plain_picks, candidates, asked, line)
                del candidates
            plain += [sorting.result()] if sorting is not None else []
        return [
            pa.concat_tables(
                [some.found, self._decide(read, asked, some.contested, some.months).cast(some.found.schema)]
            )
            if some.contested.any()
            else some.found
            for read, some in zip(reads, plain, strict=True)
        ]

    def _line(self, files: Sequence[LakeFile]) -> Line:
        bounds: list[tuple[Any, Any]] = [
            (file.minimum.get("event_time"), file.maximum.get("event_time")) for file in files
        ]
        known = [bound for bound in bounds if None not in bound]
        ends = [(time - _EPOCH) // timedelta(microseconds=1) for bound in known for time in bound]
        if len(known) < len(files):
            # Instants outside the years 1 to 9999 have no statistics.
            rest = [file for file, bound in zip(files, bounds, strict=True) if None in bound]
            times = "epoch_us(min(event_time)) as first, epoch_us(max(event_time)) as last"
            row = self._table.con.sql(f"from {self._table.scan_files(rest)}").aggregate(times).fetchall()[0]
            ends += [end for end in row if end is not None]
        return Line.of_times(min(ends), max(ends)) if ends else Line.of_times(0, 0)

    def _bind_rows(self, read: Read, asked: Asked, months: Collection[str] | None = None) -> None:
        """View `_row`: the rows of a feature type that may answer, with the names `key` and `value <i>`.

        `months` are those of the answers, where they are known.
        """
        con = self._table.con
        # Months in order: rows that are nearly sorted are sorted much faster.
        files = sorted(read.files, key=lambda file: file.partition["month"])
        from_month = asked.earliest.isoformat()[:7] if asked.earliest is not None else ""
        to_month = asked.latest.isoformat()[:7] if asked.latest is not None else "9999-12"
        in_time = [file for file in files if from_month <= file.partition["month"] <= to_month]
        in_time = [file for file in in_time if months is None or file.partition["month"] in months]
        columns = {name: name for name in ("feature_id", *_KEPT)}
        columns |= {"key": read.on} | {f"value {i}": name.column for i, name in enumerate(read.names)}
        bind(con, "_stored", self._table.scan_files(in_time, columns=columns))
        # A study that was moved has a second version.
        if all(file.maximum.get("version") == 1 for file in files):
            con.execute(statement(PACKAGE, "rows"))
        else:
            bind(con, "_stored_type", self._table.scan_files(files))
            con.execute(statement(PACKAGE, "moved_rows"))
            con.execute(statement(PACKAGE, "rows_not_moved"))

    def _decide(self, read: Read, asked: Asked, contested: Mask, months: Collection[str] | None = None) -> pa.Table:
        """The picks of the contested asks by the full rule; `months` are those of the answers, where they are known."""
        con = self._table.con
        self._bind_rows(read, asked, months)
        rows = con.table("_row")
        codes = np.unique(asked.key[contested])
        if 0 < len(codes) <= _FEW_KEYS:
            few = asked.keys.take(pa.array(codes)).to_pylist()
            con.register(
                "_doubtful", rows.filter(ColumnExpression("key").isin(*map(ConstantExpression, few))).to_arrow_table()
            )
        else:
            rows.create_view("_doubtful", replace=True)
        con.register("_contested_rows", pa.table({"ask": asked.row[contested]}))
        try:
            con.execute(statement(PACKAGE, "pick"))
            return con.sql(statement(PACKAGE, "gather")).to_arrow_table()
        finally:
            con.unregister("_contested_rows")
            con.execute("drop view if exists _doubtful")


def _plain_picks(candidates: pa.Table, asked: Asked, line: Line) -> _Plain:
    late = candidates["late"]
    event_time = candidates["event_time"].cast(pa.int64()).to_numpy()
    picks = newest_at(
        place=candidates["place"].to_numpy(),
        event_time=event_time,
        late=np.flatnonzero(late.to_numpy()) if pc.any(late).as_py() else np.zeros(0, dtype=np.int64),
        line=line,
        ask_key=asked.key,
        instant=asked.instant,
    )
    plain = (picks.row >= 0) & ~picks.contested
    found = candidates.drop_columns(["place", "late"]).take(pa.array(picks.row[plain]))
    return _Plain(
        found=found.add_column(0, "ask", pa.array(asked.row[plain])),
        contested=picks.contested,
        months=_months(event_time[picks.row[picks.tied]]) if (picks.tied == picks.contested).all() else None,
    )


def _months(times: npt.NDArray[np.int64]) -> frozenset[str] | None:
    """The months of instants; None, any, where one is outside the years 1 to 9999."""
    found = np.unique(times.astype("datetime64[us]").astype("datetime64[M]"))
    inside = (found >= np.datetime64("0001-01")) & (found <= np.datetime64("9999-12"))
    return frozenset(map(str, found)) if inside.all() else None
