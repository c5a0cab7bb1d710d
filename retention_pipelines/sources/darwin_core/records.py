"""Parts of a Darwin Core data set to staging tables.

What belongs here: joining occurrences, events and facts, in the statements beside this file. What does not: finding
and loading parts (`archive.py`, `flat.py`, `parts.py`). Every row of every part is staged once: occurrences as
occurrences, events and facts as rows without values, but what measures the ocean at an event is an observation.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import duckdb
import pyarrow as pa

from retention_pipelines.errors import ConservationError
from retention_pipelines.sources.cf import Reading, read_as
from retention_pipelines.sources.darwin_core.parts import Part
from retention_pipelines.sources.darwin_core.terms import TERMS
from retention_pipelines.sources.staging import RawFile, Staged, forget, fresh_name, record_hash
from retention_pipelines.warehouse.duck import bind, quote_name, set_variables, statement

_PACKAGE = "retention_pipelines.sources.darwin_core"
_NO_TERMS = pa.schema([("source_row", pa.int64()), *((name, pa.string()) for name in ("part_key", *TERMS, "extra"))])


@dataclass(frozen=True, kw_only=True)
class DataSet:
    """Parts that belong together, and what holds for all their records."""

    dataset_id: str
    parts: tuple[Part, ...]
    licence: str | None = None
    citation: str | None = None

    def of_kind(self, kind: str) -> Part | None:
        """The part of a kind."""
        return next((part for part in self.parts if part.kind == kind), None)


def stage(con: duckdb.DuckDBPyConnection, data: DataSet, wanted: Sequence[str] | None = None) -> Iterator[Staged]:
    """Staging tables of the parts (of the kinds in `wanted`; all by default). The parts' own tables are used up."""
    scratch = [name for part in data.parts for name in (part.table.relation, part.table.unreadable)]
    handed_over: set[str] = set()
    try:
        for staged in _stage(con, data, set(wanted or ("event", "occurrence", "measurement")), scratch):
            handed_over |= {name for name in (staged.relation, staged.raw) if name}
            yield staged
    finally:
        for part in data.parts:
            con.execute("drop view if exists " + quote_name(part.terms))
        forget(con, *(name for name in scratch if name not in handed_over))


def _stage(con: duckdb.DuckDBPyConnection, data: DataSet, kinds: set[str], scratch: list[str]) -> Iterator[Staged]:
    con.execute(statement(_PACKAGE, "macros"))
    con.execute(statement("retention_pipelines.sources", "licences"))
    event, occurrence, fact = (data.of_kind(kind) for kind in ("event", "occurrence", "measurement"))
    set_variables(con, core_is_event=event is not None)
    set_variables(con, licence=data.licence, citation=data.citation)
    for name, part in (("dwc_event", event), ("dwc_occurrence", occurrence), ("dwc_fact", fact)):
        if part is None:
            nothing = fresh_name("darwin_core")
            con.from_arrow(_NO_TERMS.empty_table()).create(nothing)
            scratch.append(nothing)
        bind(con, name, quote_name(nothing if part is None else part.terms))

    def make(name: str, shown_as: str) -> str:
        table = fresh_name("darwin_core")
        con.sql(statement(_PACKAGE, name)).create(table)
        bind(con, shown_as, quote_name(table))
        scratch.append(table)
        return table

    make("events", "dwc_event_found")
    make("occurrence_keys", "dwc_occurrence_key")
    # An event file that shares no event with the occurrences beside it belongs to other ones: nothing is known of its
    # events, so none of them is an empty one.
    shared = con.sql("select 1 from dwc_occurrence_key join dwc_event_found using (event_key) limit 1").fetchall()
    set_variables(con, has_occurrences=bool(shared))
    scratch.append(_name_quantities(con))
    make("facts", "dwc_facts")
    # Read once as a rule: held, its forty columns would be written for nothing.
    con.execute("create or replace temp view dwc_occurrence_rows as " + statement(_PACKAGE, "occurrences"))
    source_type = "survey" if event is not None or _has_events(con) else "other"
    if occurrence is not None and "occurrence" in kinds:
        staged = _finish(con, data, occurrence, "dwc_occurrence_rows", "occurrences", source_type)
        _require_all(con, occurrence, staged.relation)
        yield staged
    if event is not None and "event" in kinds:
        make("event_rows", "dwc_event_rows")
        empty = make("empty_events", "dwc_empty_events")
        counted = make("counted_events", "dwc_counted_events")
        _require_all(con, event, empty, counted)
        if con.table(empty).count("*").fetchall()[0][0]:
            yield _finish(con, data, event, empty, "occurrences", source_type)
        if con.table(counted).count("*").fetchall()[0][0]:
            yield _finish(con, data, event, counted, "observations", source_type)
    if fact is not None and "measurement" in kinds:
        facts = make("fact_rows", "dwc_fact_rows")
        _require_all(con, fact, facts)
        yield _finish(con, data, fact, facts, "observations", source_type)


def _require_all(con: duckdb.DuckDBPyConnection, part: Part, *tables: str) -> None:
    """Raise where the joins lost or multiplied rows of a part: `read` is what the file holds, not what came out."""
    found = sum(con.table(name).count("*").fetchall()[0][0] for name in tables)
    if found != part.table.rows:
        raise ConservationError(
            f"{part.table.rows} rows of the {part.kind} file were read and {found} came out of the joins.",
            hint="This is a bug: report it with the files.",
        )


def _has_events(con: duckdb.DuckDBPyConnection) -> bool:
    return bool(con.sql("select 1 from dwc_occurrence where eventID is not null limit 1").fetchall())


def _name_quantities(con: duckdb.DuckDBPyConnection) -> str:
    """A table of the names and units of facts about events that are quantities of the ocean."""
    pairs = con.sql("select distinct measurementType, measurementUnit from dwc_fact").fetchall()
    found = [
        (name, unit, reading)
        for name, unit in pairs
        if name and isinstance(reading := read_as(name, unit=unit), Reading)
    ]
    table = pa.table(
        {
            "name": pa.array([name for name, _, _ in found], pa.string()),
            "unit": pa.array([unit for _, unit, _ in found], pa.string()),
            "variable": pa.array([reading.variable for *_, reading in found], pa.string()),
            "standard_name": pa.array([reading.standard_name for *_, reading in found], pa.string()),
            "at_surface": pa.array([reading.at_surface for *_, reading in found], pa.bool_()),
            "scale": pa.array([reading.conversion.scale for *_, reading in found], pa.float64()),
            "offset": pa.array([reading.conversion.offset for *_, reading in found], pa.float64()),
        }
    )
    name = fresh_name("darwin_core_quantities")
    con.from_arrow(table).create(name)
    bind(con, "dwc_quantity_name", quote_name(name))
    return name


def _finish(
    con: duckdb.DuckDBPyConnection,
    data: DataSet,
    part: Part,
    rows: str,
    dataset: Literal["occurrences", "observations"],
    source_type: str,
) -> Staged:
    """Add the hash of the raw row and what made rows unreadable."""
    hashes = con.table(part.table.relation).select(
        duckdb.ColumnExpression("source_row"), record_hash(data.dataset_id, part.table.columns)
    )
    hashes.create_view("dwc_hashes", replace=True)
    bind(con, "dwc_rows", quote_name(rows))
    bind(con, "dwc_unreadable", quote_name(part.table.unreadable))
    relation = fresh_name("darwin_core_staged")
    con.sql(statement(_PACKAGE, "finish")).create(relation)
    lookups: tuple[RawFile, ...] = tuple(
        other.file for other in data.parts if other is not part and other.file is not None and part.file is not None
    )
    return Staged(
        relation=relation,
        raw=part.table.relation,
        dataset=dataset,
        dataset_id=data.dataset_id,
        source_type=source_type,
        read=con.table(relation).count("*").fetchall()[0][0],
        member=part.member,
        licence=data.licence,
        citation=data.citation,
        lookups=lookups,
        flags=part.flags,
    )
