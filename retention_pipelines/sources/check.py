"""From a staging table to rows with a verdict: accepted or quarantined with a reason.

What belongs here: completing what a reader left out, dates, positions, longitudes; the same for every format. What does
not: duplicates, which need the lake (`ingest.py`), and what a format's columns mean.
"""

from datetime import datetime
from typing import Any

import duckdb
from duckdb.sqltypes import DuckDBPyType

from retention_pipelines.catalog import dataset
from retention_pipelines.catalog.raw import PRECISIONS
from retention_pipelines.errors import ConservationError
from retention_pipelines.sources.dates import load_macros as load_date_macros
from retention_pipelines.sources.dates import parse_dates
from retention_pipelines.sources.staging import MEASUREMENT, Staged, closed_vocabulary
from retention_pipelines.warehouse.duck import quote_name, set_variables, statement

_SQL = "retention_pipelines.sources"
#: Columns the framework fills; a reader's are not looked at.
_CONSTANTS = {"dataset_id", "source_file", "source_sha256", "ingested_at"}
_MADE_HERE = {"event_start", "event_end", "date_precision", "source_timezone", "flags", "month"}
_PRECISION = closed_vocabulary(PRECISIONS)


def load_macros(con: duckdb.DuckDBPyConnection) -> None:
    """Make the macros of this package known on a connection."""
    load_date_macros(con)
    con.execute(statement(_SQL, "macros"))


def check(con: duckdb.DuckDBPyConnection, staged: Staged, *, now: datetime) -> None:
    """Fill the table `checked_rows` from a staging table; raises ConservationError where rows went missing.

    It holds what differs from row to row; `tidy_rows` adds what does not.
    """
    _complete(con, staged)
    parse_dates(con, "staged_rows")
    set_variables(con, now=now, dataset_id=staged.dataset_id)
    con.execute(statement(_SQL, "check"))
    found = con.table("checked_rows").count("*").fetchall()[0][0]
    if found != staged.read:
        raise ConservationError(f"{staged.dataset_id}: {staged.read} rows were read and {found} came to be checked.")


def tidy_rows(con: duckdb.DuckDBPyConnection, staged: Staged, *, source_file: str, sha256: str, now: datetime) -> None:
    """Make the view `tidy_rows`: `checked_rows` with what is the same in every row of a part.

    Texts that are the same in every row are ENUMs of one word, which cost next to nothing to write. Columns without
    any value are left out.
    """
    checked = con.table("checked_rows")
    filled = checked.aggregate([_count(name) for name in checked.columns]).fetchall()[0]
    empty = [name for name, n in zip(checked.columns, filled, strict=True) if n == 0 and name in _optional(staged)]
    constants: dict[str, str | None] = {
        "dataset_id": staged.dataset_id,
        "source_file": source_file,
        "source_sha256": sha256,
    }
    constants |= {name: value for name, value in _of_all(staged).items() if name not in checked.columns}
    added = [
        duckdb.ConstantExpression(value).cast(closed_vocabulary([value])).alias(name)
        for name, value in constants.items()
        if value is not None
    ]
    instant = duckdb.ConstantExpression(now).cast("TIMESTAMP WITH TIME ZONE").alias("ingested_at")
    checked.select(duckdb.StarExpression(exclude=empty), *added, instant).create_view("tidy_rows", replace=True)


def _count(name: str) -> duckdb.Expression:
    return duckdb.FunctionExpression("count", duckdb.ColumnExpression(name))


def _optional(staged: Staged) -> set[str]:
    return {column.name for column in dataset(staged.dataset).columns if not column.required}


def _of_all(staged: Staged) -> dict[str, str | None]:
    """Columns that a reader gives where rows differ, and states once where they do not."""
    return {
        "source_type": staged.source_type,
        "licence": staged.licence,
        "rights_holder": staged.rights_holder,
        "bibliographic_citation": staged.citation,
    }


def _complete(con: duckdb.DuckDBPyConnection, staged: Staged) -> None:
    """The view `staged_rows`: the columns of the target that the reader gives, and all that the check looks at."""
    relation = con.table(staged.relation)
    available: dict[str, DuckDBPyType] = dict(zip(relation.columns, relation.types, strict=True))

    def column(name: str, kind: str) -> duckdb.Expression:
        found = duckdb.ColumnExpression(name) if name in available else duckdb.ConstantExpression(None)
        return found if name in available and str(available[name]) == kind else found.cast(kind)

    def text(name: str) -> duckdb.Expression:
        return column(name, "VARCHAR")

    def number(name: str) -> duckdb.Expression:
        as_written = str(available.get(name)) == "VARCHAR"
        return duckdb.FunctionExpression("as_number", text(name)) if as_written else column(name, "DOUBLE")

    constant = duckdb.ConstantExpression
    given = {"event_start", "event_end", "date_precision"} <= set(available)
    fields = {
        name: column(name, kind)
        for name, kind in dataset(staged.dataset).types.items()
        if name in available and name not in _CONSTANTS | _MADE_HERE
    }
    for name, value in _of_all(staged).items():
        if name in fields and value is not None:
            fields[name] = duckdb.CoalesceOperator(fields[name], constant(value))
    fields |= {name: text(name) for name in ("event_id", "event_date")}
    fields["decimal_latitude"] = number("decimal_latitude")
    fields["decimal_longitude"] = number("decimal_longitude")
    fields["latitude_text"] = text("decimal_latitude")
    fields["longitude_text"] = text("decimal_longitude")
    if staged.dataset == "occurrences":
        fields["occurrence_status"] = duckdb.CoalesceOperator(text("occurrence_status"), constant("present"))
        fields["is_subtotal"] = duckdb.CoalesceOperator(column("is_subtotal", "BOOLEAN"), constant(False))
    else:
        fields["measurements"] = column("measurements", _measurements(available["measurements"]))
    fields["counted"] = column("individual_count", "DOUBLE")
    fields["given_reason"] = text("reason")
    fields["given_detail"] = text("detail")
    instant = "TIMESTAMP WITH TIME ZONE"
    nothing = constant(None)
    fields["given_start"] = column("event_start", instant) if given else nothing.cast(instant)
    fields["given_end"] = column("event_end", instant) if given else nothing.cast(instant)
    fields["given_precision"] = column("date_precision", _PRECISION) if given else nothing.cast(_PRECISION)
    fields["given_timezone"] = text("source_timezone")
    fields["date_text"] = (
        nothing.cast("VARCHAR") if given else text("iso_date" if "iso_date" in available else "event_date")
    )
    flags = column("flags", "VARCHAR[]")
    constants = constant(list(staged.flags)).cast("VARCHAR[]")
    fields["given_flags"] = duckdb.FunctionExpression("list_concat", constants, flags) if staged.flags else flags
    completed = relation.select(*(expression.alias(name) for name, expression in fields.items()))
    completed.create_view("staged_rows", replace=True)


def _measurements(found: DuckDBPyType) -> str:
    """Type of the column `measurements`: what the contract says, with the ENUMs of the reader."""
    element: Any = dict(found.children)["child"]
    own = {name: str(kind) for name, kind in element.children if kind.id == "enum"}
    members = (f"{quote_name(name)} {own.get(name, kind)}" for name, kind in MEASUREMENT.items())
    return f"STRUCT({', '.join(members)})[]"
