"""From a staging table to rows with a verdict: accepted or quarantined with a reason.

What belongs here: completing what a reader left out, dates, positions, longitudes; the same for every format. What does
not: duplicates, which need the lake (`ingest.py`), and what a format's columns mean.
"""

from datetime import datetime

import duckdb

from retention_pipelines.catalog import dataset
from retention_pipelines.errors import ConservationError
from retention_pipelines.sources.dates import load_macros as load_date_macros
from retention_pipelines.sources.dates import parse_dates
from retention_pipelines.sources.staging import MEASUREMENT, Staged
from retention_pipelines.warehouse.duck import set_variables, statement

_SQL = "retention_pipelines.sources"
#: Columns the framework fills; a reader's are not looked at.
CONSTANTS = ("dataset_id", "source_file", "source_sha256", "ingested_at")
_MADE_HERE = {"event_start", "event_end", "date_precision", "source_timezone", "flags", "month"}
#: Columns of observations that come out of `measurements`.
MEASURED = (
    "variable", "standard_name", "value", "value_kind", "raw_value", "qc_flag", "raw_qc_flag", "qc_scale", "qc_good"
)  # fmt: skip


def load_macros(con: duckdb.DuckDBPyConnection) -> None:
    """Make the macros of this package known on a connection."""
    load_date_macros(con)
    con.execute(statement(_SQL, "macros"))


def check(con: duckdb.DuckDBPyConnection, staged: Staged, *, now: datetime) -> None:
    """Fill the temp table `checked_rows` from a staging table; raises ConservationError where rows went missing."""
    available = dict(zip(con.table(staged.relation).columns, con.table(staged.relation).types, strict=True))
    _complete(con, staged, {name: str(kind) for name, kind in available.items()})
    parse_dates(con, "staged_rows", "date_text")
    set_variables(con, now=now, dataset_id=staged.dataset_id)
    con.execute(statement(_SQL, "check"))
    found = con.table("checked_rows").count("*").fetchall()[0][0]
    if found != staged.read:
        raise ConservationError(f"{staged.dataset_id}: {staged.read} rows were read and {found} came to be checked.")


def _complete(con: duckdb.DuckDBPyConnection, staged: Staged, available: dict[str, str]) -> None:
    """The view `staged_rows`: every column of the target, null or constant where the reader left it out."""

    def column(name: str, kind: str) -> duckdb.Expression:
        if name in available:
            found = duckdb.ColumnExpression(name)
            return found if available[name] == kind else found.cast(kind)
        return duckdb.ConstantExpression(None).cast(kind)

    def text(name: str) -> duckdb.Expression:
        return column(name, "VARCHAR")

    def number(name: str) -> duckdb.Expression:
        return (
            duckdb.FunctionExpression("as_number", text(name))
            if available.get(name) == "VARCHAR"
            else column(name, "DOUBLE")
        )

    constant = duckdb.ConstantExpression
    given = {"event_start", "event_end", "date_precision"} <= set(available)
    fields: dict[str, duckdb.Expression] = {}
    for name, kind in dataset(staged.dataset).types.items():
        if (
            name not in CONSTANTS
            and name not in _MADE_HERE
            and not (staged.dataset == "observations" and name in MEASURED)
        ):
            fields[name] = column(name, kind)
    fields["decimal_latitude"] = number("decimal_latitude")
    fields["decimal_longitude"] = number("decimal_longitude")
    fields["latitude_text"] = text("decimal_latitude")
    fields["longitude_text"] = text("decimal_longitude")
    for name, value in (
        ("source_type", staged.source_type),
        ("licence", staged.licence),
        ("rights_holder", staged.rights_holder),
        ("bibliographic_citation", staged.citation),
    ):
        default = constant(value).cast("VARCHAR")
        fields[name] = duckdb.CoalesceOperator(text(name), default) if name in available else default
    if staged.dataset == "occurrences":
        fields["occurrence_status"] = duckdb.CoalesceOperator(text("occurrence_status"), constant("present"))
        fields["is_subtotal"] = duckdb.CoalesceOperator(column("is_subtotal", "BOOLEAN"), constant(False))
    else:
        fields["measurements"] = column("measurements", f"{MEASUREMENT}[]")
    if staged.raw is None:
        fields["raw_record"] = text("raw_record")
    fields["counted"] = column("individual_count", "DOUBLE")
    fields["given_reason"] = text("reason")
    fields["given_detail"] = text("detail")
    instant = "TIMESTAMP WITH TIME ZONE"
    nothing = constant(None)
    fields["given_start"] = column("event_start", instant) if given else nothing.cast(instant)
    fields["given_end"] = column("event_end", instant) if given else nothing.cast(instant)
    fields["given_precision"] = text("date_precision") if given else nothing.cast("VARCHAR")
    fields["given_timezone"] = text("source_timezone")
    fields["date_text"] = (
        nothing.cast("VARCHAR") if given else text("iso_date" if "iso_date" in available else "event_date")
    )
    flags = column("flags", "VARCHAR[]")
    constants = constant(list(staged.flags)).cast("VARCHAR[]")
    fields["given_flags"] = duckdb.FunctionExpression("list_concat", constants, flags) if staged.flags else flags
    relation = con.table(staged.relation).select(*(expression.alias(name) for name, expression in fields.items()))
    relation.create_view("staged_rows", replace=True)
