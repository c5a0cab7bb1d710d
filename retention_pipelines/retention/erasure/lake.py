"""Taking a subject out of the lake: raw rows, features, series, archives, and everything the lake remembers of them.

What belongs here: the rows and files of lake tables, in steps that may each be repeated. What does not: the order of
steps and the certificate (`eraser.py`), Postgres (`postgres.py`). What was computed from erased rows together
with others is computed again without them; what cannot be computed again, such as earlier versions and archived
windows, goes.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any

import duckdb
import pyarrow as pa

from retention_pipelines.catalog import DATASETS
from retention_pipelines.features.affected import affected_months
from retention_pipelines.features.compute import compute_features
from retention_pipelines.retention.erasure.subject import MENTIONS, RAW, Subject
from retention_pipelines.series.aggregate import update_series
from retention_pipelines.series.diversity import update_biodiversity
from retention_pipelines.series.seasonality import update_seasonal_patterns
from retention_pipelines.series.trend import update_trends
from retention_pipelines.series.upwelling import update_upwelling
from retention_pipelines.warehouse import Lake
from retention_pipelines.warehouse.duck import bind, quote_name, set_variables, statement
from retention_pipelines.warehouse.purge import forget_generations, purge_table
from retention_pipelines.warehouse.removed import removed_months
from retention_pipelines.warehouse.table import Table

_PACKAGE = "retention_pipelines.retention.erasure"
_SERIES = ("aggregated_time_series", "biodiversity_statistics", "seasonal_patterns", "trends", "upwelling_frequency")


@dataclass(frozen=True, kw_only=True)
class Traces:
    """Where a subject was, in words that do not name it: months, contents of files, and what to compute again."""

    months: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    affected: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    datasets: tuple[str, ...] = ()

    def joined(self, other: "Traces") -> "Traces":
        """Both: what an attempt that crashed found stays known."""
        return Traces(
            months={
                name: tuple(sorted({*self.months.get(name, ()), *other.months.get(name, ())}))
                for name in {*self.months, *other.months}
            },
            affected=tuple(sorted({*self.affected, *other.affected})),
            files=tuple(sorted({*self.files, *other.files})),
            datasets=tuple(sorted({*self.datasets, *other.datasets})),
        )


@dataclass(frozen=True, kw_only=True)
class LakeErasure:
    """A subject in a lake. Call `prepare` first, and again whenever rows may have come."""

    lake: Lake
    subject: Subject

    # -- looking --------------------------------------------------------------------------------------------------

    def prepare(self, held: Sequence[str], *, series_held: bool = False) -> None:
        """Make the conditions known; `held` are studies that a legal hold keeps, `series_held` says that of series."""
        self.subject.bind_to(self.lake)
        set_variables(self.lake.con, erased_series_held=series_held)
        self._fill("erased_held", held)
        self._fill("erased_study", self._studies())

    def _fill(self, name: str, studies: Sequence[str]) -> None:
        con = self.lake.con
        con.register("erasure_names", pa.table({"source_data_id": pa.array(studies, pa.string())}))
        con.execute(_FILL_HELD if name == "erased_held" else _FILL_STUDY)
        con.unregister("erasure_names")

    def _studies(self) -> list[str]:
        """Studies with a row that goes: their features are of it."""
        found: set[str] = set()
        for name, table, condition in self._touched(removable=True):
            if name in RAW:
                rows = self._rows(table).filter(condition).select("dataset_id", "event_id").distinct().fetchall()
                found |= {f"{dataset}/{event}" for dataset, event in rows}
        return sorted(found)

    def counts(self, *, removable: bool = False) -> dict[str, int]:
        """Rows about the subject by table; `removable` leaves out what a hold keeps."""
        found: dict[str, int] = {}
        for name, table, condition in self._touched(removable=removable):
            place = name if self._is_live(table) else f"{'archived' if self._is_archive(table) else 'cold'} {name}"
            found[place] = self._count(table, condition)
        return found

    def mentioning(self) -> dict[str, int]:
        """Rows that are not about the subject and lose its name in free texts, by table."""
        found: dict[str, int] = {}
        for name, columns in MENTIONS.items() if self.subject.can_be_mentioned else ():
            mine = self.subject.condition(name) or "false"
            where = " or ".join(f"is_mention({quote_name(column)})" for column in columns)
            for table in self._places(name):
                if table.version() >= 0:
                    found[name] = found.get(name, 0) + self._count(
                        table, f"({where}) and not coalesce(({mine}), false)"
                    )
        return found

    def traces(self) -> Traces:
        """Where the rows that go are, before they do."""
        months: dict[str, tuple[str, ...]] = {}
        files: set[str] = set()
        datasets: set[str] = set()
        for name, table, condition in self._touched(removable=True):
            rows = self._rows(table).filter(condition)
            if name in RAW and self._is_live(table):
                months[name] = tuple(sorted(row[0] for row in rows.select("month").distinct().fetchall()))
            if name == "observations" and self.subject.kind != "dataset":
                datasets |= {row[0] for row in rows.select("dataset_id").distinct().fetchall()}
            if name in (*RAW, "quarantine"):
                files |= {row[0] for row in rows.select("source_sha256").distinct().fetchall()}
        touched = sorted({month for of in months.values() for month in of})
        return Traces(
            months=months,
            affected=affected_months(self.lake, touched) if touched else (),
            files=tuple(sorted(files)),
            datasets=tuple(sorted(datasets)),
        )

    def _touched(self, *, removable: bool) -> list[tuple[str, Table, str]]:
        """Tables and archives that may hold such rows, with the condition."""
        found = []
        for name in DATASETS:
            condition = self.subject.removable(name) if removable else self.subject.condition(name)
            if condition is None:
                continue
            found += [(name, table, condition) for table in self._places(name) if table.version() >= 0]
        return found

    def _places(self, name: str) -> list[Table]:
        """The tables that may hold rows of a dataset: its own, its archive, and the one on the other root."""
        lake = self.lake
        cold = [] if lake.settings.cold_root is None else [lake.cold_table(name)]
        return [lake.table(name), lake.archive_table(name), *cold]

    def _is_live(self, table: Table) -> bool:
        return table.root == self.lake.table(table.dataset.name).root

    def _is_archive(self, table: Table) -> bool:
        return table.root == self.lake.archive_table(table.dataset.name).root

    def _rows(self, table: Table) -> duckdb.DuckDBPyRelation:
        return self.lake.con.sql(f"from {table.scan()}")

    def _count(self, table: Table, condition: str) -> int:
        return int(self._rows(table).filter(condition).count("*").fetchall()[0][0])

    # -- removing -------------------------------------------------------------------------------------------------

    def remove_rows(self, order: int, *, prepare: Callable[[], None], remember: Callable[[Traces], Traces]) -> Traces:
        """Remove every row about the subject, all live tables at once, and correct the ledger.

        An ingest that goes on is waited for, then everything is looked at again: `prepare` and `remember` are called
        when no other one can begin. Returns what `remember` does.
        """
        op = f"erasure {order}"
        with self.lake.transaction(f"erase:{order}") as transaction:
            prepare()
            traces = remember(self.traces())
            self._note_written()
            for _, table, condition in self._touched(removable=True):
                if not self._is_live(table):
                    table.delete(condition, op=op)
            # Features first, raw rows last: they say which features go.
            for name, table, condition in reversed(self._touched(removable=True)):
                if self._is_live(table) and name not in RAW:
                    table.delete(condition, op=transaction)
            for name, table, condition in self._touched(removable=True):
                if self._is_live(table) and name in RAW:
                    table.delete(condition, op=transaction)
            self._correct_ledger(transaction)
        return traces

    def _note_written(self) -> None:
        """Temp table `erased_written`: rows that go, by the file they came from."""
        con = self.lake.con
        con.execute(
            "create or replace temp table erased_written"
            " (sha256 varchar, n_values bigint, n_rows bigint, n_quarantined bigint)"
        )
        for name, table, condition in self._touched(removable=True):
            if name not in (*RAW, "quarantine"):
                continue
            self._rows(table).filter(condition).select("source_sha256", "source_file", "source_row").create_view(
                "erased_rows_of_table", replace=True
            )
            con.execute(_NOTE_QUARANTINED if name == "quarantine" else _NOTE_WRITTEN)
        con.execute(statement(_PACKAGE, "erased_written"))

    def _correct_ledger(self, op: str) -> None:
        con, table = self.lake.con, self.lake.table("ingested_files")
        if table.version() < 0 or not con.execute("select count(*) from erased_written").fetchall()[0][0]:
            return

        def corrected(rows: str) -> str:
            bind(con, "erased_ledger_rows", rows)
            return statement(_PACKAGE, "erased_ledger")

        table.rewrite(corrected, op=op)
        if self.subject.kind == "dataset":
            table.delete(_EMPTY_LINE, op=op)

    # -- what was made from it ------------------------------------------------------------------------------------

    def recompute(self, traces: Traces, *, at: datetime, instants: Sequence[datetime], series: bool) -> None:
        """Compute again, without the subject, what was computed from it with others; earlier versions of that go.

        `series` is False where a legal hold keeps rows of the series.
        """
        lake = self.lake
        observed, occurred = traces.months.get("observations", ()), traces.months.get("occurrences", ())
        if traces.affected and lake.table("feature_store").version() >= 0:
            compute_features(lake, months=traces.affected, now=at)
            self._remove_superseded(traces, instants)
        if observed:
            self._remove_other_features(traces.affected)
        if observed and series:
            self._update("aggregated_time_series", "observations", traces, partial(update_series, lake))
            for name, work in (
                ("seasonal_patterns", update_seasonal_patterns),
                ("trends", update_trends),
                ("upwelling_frequency", update_upwelling),
            ):
                if lake.table(name).version() >= 0:
                    work(lake)
        if occurred:
            self._update("biodiversity_statistics", "occurrences", traces, partial(update_biodiversity, lake))
        self._remove_other_windows(traces, series=series)

    def _update(self, name: str, source: str, traces: Traces, work: Callable[..., Any]) -> None:
        """Compute windows again where all their raw rows are there; the others, which hold the subject, go."""
        table = self.lake.table(name)
        if table.version() < 0:
            return
        lacking = removed_months(self.lake, source)
        whole = [month for month in traces.months[source] if month not in lacking]
        if whole:
            work(months=whole)
        if lacking:
            self._note_months(traces.months[source], lacking)
            table.delete(f"{_OVERLAPS} and {_OVERLAPS_LACKING}", op="erasure: cannot be computed again")

    def _note_months(self, months: Sequence[str], lacking: Iterable[str]) -> None:
        con = self.lake.con
        rows = [(month, False) for month in months] + [(month, True) for month in lacking]
        con.register(
            "erasure_months",
            pa.table(
                {
                    "month": pa.array([month for month, _ in rows], pa.string()),
                    "is_lacking": pa.array([is_lacking for _, is_lacking in rows], pa.bool_()),
                }
            ),
        )
        con.execute(statement(_PACKAGE, "erased_overlapped"))
        con.unregister("erasure_months")

    def _remove_superseded(self, traces: Traces, instants: Sequence[datetime]) -> None:
        """Earlier versions of features that came out otherwise without the subject: they were made with it."""
        con, table = self.lake.con, self.lake.table("feature_store")
        con.register("erasure_instants", pa.table({"at": pa.array(list(instants), pa.timestamp("us", tz="UTC"))}))
        con.register("erasure_months", pa.table({"month": pa.array(list(traces.affected), pa.string())}))
        months = set(traces.affected)
        bind(con, "erased_feature_rows", table.scan(keep=lambda file: file.partition["month"] in months))
        con.execute(statement(_PACKAGE, "erased_superseding"))
        table.delete(_SUPERSEDED, keep=lambda file: file.partition["month"] in months, op="erasure: recomputed")
        con.unregister("erasure_instants")
        con.unregister("erasure_months")

    def _remove_other_features(self, months: Sequence[str]) -> None:
        """Archived features of the environment in affected months: they rest on observations that went."""
        for table in self._places("feature_store"):
            if not self._is_live(table) and table.version() >= 0 and months:
                table.delete(
                    _OTHER_FEATURES,
                    keep=lambda file: file.partition["month"] in set(months),
                    op="erasure: cannot be computed again",
                )

    def _remove_other_windows(self, traces: Traces, *, series: bool) -> None:
        """Archived windows that overlap the subject's months: they cannot be computed again, nor told apart."""
        for name, source in (("aggregated_time_series", "observations"), ("biodiversity_statistics", "occurrences")):
            months = traces.months.get(source, ())
            if not months or (name == "aggregated_time_series" and not series):
                continue
            self._note_months(months, ())
            for table in self._places(name):
                if not self._is_live(table) and table.version() >= 0:
                    table.delete(_OVERLAPS, op="erasure: cannot be computed again")

    def drop_folded(self) -> int:
        """Let go of all answers that caches folded into the lake: they name what they rest on only as digests."""
        rows = 0
        for table in self._places("cached_features"):
            if table.version() >= 0:
                rows += table.drop_partitions(lambda _: True, op="erasure").rows_removed
        return rows

    def redact_mentions(self) -> int:
        """Replace the subject's name in free texts of rows that are not about it; returns the rows changed."""
        if not self.subject.can_be_mentioned or self._holds_any():
            return 0
        changed = 0
        for name, columns in MENTIONS.items():
            where = " or ".join(f"is_mention({quote_name(column)})" for column in columns)
            for table in self._places(name):
                if table.version() < 0 or not (rows := self._count(table, where)):
                    continue
                paths = {file.path for file in table.matching_files(where, table.files())}
                table.rewrite(
                    partial(self._without_mentions, columns),
                    keep=lambda file, paths=paths: file.path in paths,  # type: ignore[misc]
                    op="erasure: mentions",
                )
                changed += rows
        return changed

    def _without_mentions(self, columns: Sequence[str], rows: str) -> str:
        con = self.lake.con
        bind(con, "erased_mentioning", rows)
        con.table("erased_mentioning").select(
            duckdb.StarExpression(exclude=list(columns)),
            *(duckdb.SQLExpression(f"without_mention({quote_name(one)})").alias(one) for one in columns),
        ).create_view("erased_unnamed", replace=True)
        return "from erased_unnamed"

    def _holds_any(self) -> bool:
        return bool(self.lake.con.execute("select count(*) from erased_held").fetchall()[0][0])

    # -- the past -------------------------------------------------------------------------------------------------

    def forget_past(self) -> int:
        """Publish, then delete every earlier version of every table, and what the logs say of them; files deleted."""
        self.lake.publish()
        forget_generations(self.lake.root, [self.lake.table(name) for name in DATASETS])
        deleted = 0
        for name in DATASETS:
            for table in self._places(name):
                is_cold = not self._is_live(table) and not self._is_archive(table)
                settings = self.lake.settings
                options = settings.cold_storage_options if is_cold else settings.storage_options
                deleted += len(purge_table(table, options, self.subject.mentioned_in))
        return deleted


_NOTE_WRITTEN = """
insert into erased_written
select source_sha256, count(*), count(distinct (source_file, source_row)), 0 from erased_rows_of_table group by all
"""
_NOTE_QUARANTINED = """
insert into erased_written select source_sha256, 0, 0, count(*) from erased_rows_of_table group by all
"""
_SUPERSEDED = (
    "exists (select 1 from erased_superseding s"
    " where s.study = source_data_id and s.kind = feature_type and computed_at < s.renewed_at)"
    " and source_data_id not in (select h.source_data_id from erased_held h)"
)
_OVERLAPS = (
    "exists (select 1 from erased_overlapped o where not o.is_lacking"
    " and window_start < o.last_instant and window_end > o.first_instant)"
)
_OVERLAPS_LACKING = (
    "exists (select 1 from erased_overlapped o where o.is_lacking"
    " and window_start < o.last_instant and window_end > o.first_instant)"
)
_OTHER_FEATURES = (
    "feature_type = 'environmental' and source_data_id not in (select h.source_data_id from erased_held h)"
)
_FILL_HELD = "create or replace temp table erased_held as from erasure_names"
_FILL_STUDY = "create or replace temp table erased_study as from erasure_names"
_EMPTY_LINE = "dataset_id = getvariable('erased_value') and \"values\" = 0 and quarantined = 0"
