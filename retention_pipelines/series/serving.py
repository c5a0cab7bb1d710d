"""The serving copy: the current windows of the series in Postgres, for the API and for BI tools.

What belongs here: which windows are current, what of them changed since the last load, and how it gets into Postgres
whole: one transaction per load. What does not: the series itself (`aggregate.py`), when a load runs (`defs/`).
"""

import io
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

import psycopg
import pyarrow as pa
from pyarrow import csv

from retention_pipelines.catalog import dataset
from retention_pipelines.errors import LakeError
from retention_pipelines.period import TimeWindow
from retention_pipelines.postgres.address import Deadlines
from retention_pipelines.postgres.engine import connect
from retention_pipelines.postgres.server import Server
from retention_pipelines.warehouse import Lake, LakeFile
from retention_pipelines.warehouse.duck import bind, set_variables, statement

# Newest windows with data, per dataset: a month by day, a year by week, three years by month and season, each with the
# same window of the year before. Charts and comparisons with last year need no more.
CURRENT: Mapping[TimeWindow, int] = MappingProxyType(
    {TimeWindow.DAILY: 31, TimeWindow.WEEKLY: 53, TimeWindow.MONTHLY: 37, TimeWindow.SEASONAL: 13}
)
_NAME = "aggregated_time_series"
_PACKAGE = "retention_pipelines.series"
_WINDOW = ("source_type", "dataset_id", "time_window", "window_start")
_ROWS_AT_ONCE = 50_000
# A load is not a call of a user's: it may take its time, but not for ever.
_LOADING = Deadlines(statement=900.0, lock=300.0, idle_in_transaction=900.0)

Partition = tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class ServingLoad:
    """What a load did; the copy now says what the lake said at `lake_version`."""

    how: Literal["unchanged", "changed", "everything"]
    lake_version: int
    rows_read: int
    rows_written: int
    rows_removed: int
    rows_held: int


def load_serving_copy(lake: Lake, server: Server, *, full: bool = False) -> ServingLoad:
    """Bring the table `aggregated_time_series` of Postgres to the newest state of the lake's dataset.

    Current are the newest windows with data, per source type, dataset and length of the window (`CURRENT`). Only those
    in a partition of the lake that changed since the last load, and those that became current, are read again; all of
    them when nothing was loaded, another lake is there, the last version's log is gone, or `full` asks for it. Readers
    see the old copy or the new one; rows that stay the same are not written.
    """
    with connect(server, role="service", deadlines=_LOADING) as con, con.transaction():
        con.execute("select pg_advisory_xact_lock(hashtext('serving_loads'), hashtext(%s))", (_NAME,))
        return _Load(lake=lake, con=con).run(full=full)


class _Load:
    """One load: one version of the lake, one transaction in Postgres."""

    def __init__(self, *, lake: Lake, con: psycopg.Connection[Any]) -> None:
        self._duck = lake.con
        self._con = con
        self._table = lake.table(_NAME)
        self._version = self._table.version()
        self._files = self._table.files(version=self._version)
        self._identity = str(self._table.delta().metadata().id) if self._version >= 0 else "none"

    def run(self, *, full: bool) -> ServingLoad:
        touched = None if full else self._touched()
        if touched is not None and not touched:
            self._remember()
            return self._done("unchanged")
        self._con.execute(statement(_PACKAGE, "serving_stage").encode())
        self._find_windows(touched)
        rows_read = self._stage_rows()
        removed = self._con.execute(statement(_PACKAGE, "serving_remove").encode()).rowcount
        written = self._con.execute(statement(_PACKAGE, "serving_merge").encode()).rowcount
        self._remember()
        how: Literal["changed", "everything"] = "everything" if touched is None else "changed"
        return self._done(how, rows_read=rows_read, rows_written=written, rows_removed=removed)

    def _touched(self) -> set[Partition] | None:
        """Partitions whose files changed since the last load; None where that is not known."""
        row = self._con.execute(
            "select lake_table, lake_version from serving_loads where dataset = %s", (_NAME,)
        ).fetchone()
        if row is None or row[0] != self._identity or row[1] > self._version:
            return None
        try:
            earlier = {file.path: file for file in self._table.files(version=row[1])}
        except LakeError:
            return None  # the log of that version is not kept any more
        now = {file.path: file for file in self._files}
        changed = earlier.keys() ^ now.keys()
        return {_partition(now.get(path) or earlier[path]) for path in changed}

    def _find_windows(self, touched: Collection[Partition] | None) -> None:
        """Temp tables of the current windows: `_window` in Postgres and, of those to read, `fresh_window` in DuckDB."""
        columns = {name: name for name in (*_WINDOW, "year")}
        bind(self._duck, "served_window", self._table.scan_files(self._files, columns=columns))
        counts = {"time_window": [window.value for window in CURRENT], "kept": list(CURRENT.values())}
        held = self._con.execute(statement(_PACKAGE, "serving_held").encode()).fetchall()
        values = zip(*held, strict=True) if held else ((),) * len(_WINDOW)
        types = (pa.string(), pa.string(), pa.string(), pa.timestamp("us", "UTC"))
        given = {
            "kept_count": pa.table(counts),
            "held_window": pa.table(
                {name: pa.array(list(column), kind) for name, kind, column in zip(_WINDOW, types, values, strict=True)}
            ),
            "touched_partition": pa.table(
                {
                    name: pa.array([key[place] for key in touched or ()], pa.string())
                    for place, name in enumerate(self._table.dataset.partition_by)
                }
            ),
        }
        set_variables(self._duck, everything=touched is None)
        for name, rows in given.items():
            self._duck.register(name, rows)
        try:
            self._duck.execute(statement(_PACKAGE, "serving_windows"))
        finally:
            for name in given:
                self._duck.unregister(name)
        windows = self._duck.table("current_window").select(*_WINDOW, "fresh").to_arrow_table()
        with self._con.cursor().copy("copy _window from stdin (format csv)") as copy:
            copy.write(_as_csv(windows))

    def _stage_rows(self) -> int:
        """Copy the rows of the windows to read into `_fresh`."""
        years = {row[0] for row in self._duck.execute("select distinct year from fresh_window").fetchall()}
        files = [file for file in self._files if file.partition["year"] in years]
        columns = [name for name in dataset(_NAME).column_names if name != "year"]
        bind(self._duck, "served_row", self._table.scan_files(files, columns={name: name for name in columns}))
        rows = 0
        reader = self._duck.sql(statement(_PACKAGE, "serving_rows")).select(*columns).to_arrow_reader(_ROWS_AT_ONCE)
        names = ", ".join(columns)
        with self._con.cursor().copy(f"copy _fresh ({names}) from stdin (format csv)".encode()) as copy:
            for batch in reader:
                copy.write(_as_csv(pa.Table.from_batches([batch])))
                rows += batch.num_rows
        return rows

    def _remember(self) -> None:
        self._con.execute(
            statement(_PACKAGE, "serving_remember").encode(), (_NAME, self._identity, max(self._version, 0))
        )

    def _done(self, how: Literal["unchanged", "changed", "everything"], **figures: int) -> ServingLoad:
        row = self._con.execute("select count(*) from aggregated_time_series").fetchone()
        nothing = {"rows_read": 0, "rows_written": 0, "rows_removed": 0}
        return ServingLoad(
            how=how, lake_version=self._version, rows_held=int(row[0]) if row else 0, **(nothing | figures)
        )


def _partition(file: LakeFile) -> Partition:
    return tuple(file.partition.values())


def _as_csv(rows: pa.Table) -> bytes:
    """Rows as Postgres reads them: texts in quotes, an empty field for null, numbers with every digit."""
    target = io.BytesIO()
    csv.write_csv(rows, target, csv.WriteOptions(include_header=False))
    return target.getvalue()
