"""Checks of rows against the catalog, before and after they are written.

Before: every required column is there, no column is unknown, types fit without losing anything. After, from the file
statistics DuckDB returns with each file, so at no cost: required columns without nulls, values within their bounds.
"""

from collections.abc import Mapping

from retention_pipelines.catalog import Column, Dataset
from retention_pipelines.errors import SchemaError
from retention_pipelines.warehouse.duck import quote_name

_WHOLE = {f"{sign}{size}" for sign in ("", "U") for size in ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT")}
# DuckDB types that may become a lake type. Casts that would lose something (a fraction, a time zone) are not here.
_FITS: dict[str, set[str]] = {
    "VARCHAR": {"VARCHAR", "UUID", "JSON"},
    "VARCHAR[]": {"VARCHAR[]", '"NULL"[]'},
    "DOUBLE": {"DOUBLE", "FLOAT"} | _WHOLE,
    "INTEGER": _WHOLE,
    "BIGINT": _WHOLE,
    "BOOLEAN": {"BOOLEAN"},
    "TIMESTAMP WITH TIME ZONE": {"TIMESTAMP WITH TIME ZONE"},
    "DATE": {"DATE"},
    "FLOAT[]": {"FLOAT[]", "DOUBLE[]", '"NULL"[]'},
}
# A column without any value is written at a third of the cost as an ENUM; the file's type is text all the same.
_NOTHING = {"VARCHAR": "ENUM('')"}


def _fits(found: str, declared: str) -> bool:
    if found in _FITS[declared] or found == '"NULL"':
        return True
    if declared == "DOUBLE":
        return found.startswith("DECIMAL")
    if declared == "VARCHAR":
        return found.startswith("ENUM")
    # A fixed array becomes a list: Delta has no fixed arrays (hazard H8).
    return declared == "FLOAT[]" and (found.startswith(("FLOAT[", "DOUBLE[", "DECIMAL")) and found.endswith("]"))


def select_list(dataset: Dataset, found: Mapping[str, str]) -> dict[str, str]:
    """The catalog's columns as items of a SELECT list over a query with the columns `found` (name to DuckDB type).

    An ENUM stays one: Parquet files hold it as text, and it is packed at a fraction of the cost. Optional columns that
    are missing become null. Raises SchemaError that names the column at fault.
    """
    unknown = [name for name in found if name not in dataset.types]
    if unknown:
        raise SchemaError(
            f"{dataset.name} has no column {unknown[0]!r}.",
            hint=f"Leave it out, or add it to the catalog. Columns: {', '.join(dataset.column_names)}.",
        )
    parts: dict[str, str] = {}
    for column in dataset.columns:
        name = quote_name(column.name)
        if column.name not in found:
            if column.required:
                raise SchemaError(
                    f"Rows for {dataset.name} lack the required column {column.name!r}.", hint=column.description
                )
            parts[column.name] = f"null::{_NOTHING.get(column.type, column.type)} as {name}"
        elif not _fits(kind := found[column.name], column.type.value):
            raise SchemaError(
                f"Column {column.name!r} of {dataset.name} is {kind}, the catalog declares {column.type}.",
                hint=_advice(column, kind),
            )
        elif kind.startswith("ENUM"):
            parts[column.name] = name
        else:
            parts[column.name] = f"{name}::{column.type} as {name}"
    return parts


def _advice(column: Column, found: str) -> str:
    if column.type == "TIMESTAMP WITH TIME ZONE" and found.startswith("TIMESTAMP"):
        return "An instant needs a time zone: write `at time zone 'UTC'` where the source is in UTC."
    return f"Cast it where that loses nothing: {column.name}::{column.type}."


def check_statistics(dataset: Dataset, statistics: Mapping[str, Mapping[str, str]]) -> None:
    """Check one written file by what `COPY … RETURN_STATS` reports per column; raises SchemaError."""
    for column in dataset.columns:
        measured = statistics.get(quote_name(column.name))
        if measured is None:
            continue
        if column.required and int(measured.get("null_count", "0")) > 0:
            raise SchemaError(
                f"Column {column.name!r} of {dataset.name} is required but null in {measured['null_count']} rows.",
                hint=column.description,
            )
        if column.minimum is None and column.maximum is None:
            continue
        if measured.get("has_nan") == "true":
            raise SchemaError(f"Column {column.name!r} of {dataset.name} holds NaN.", hint="Use null for no value.")
        if "min" not in measured:
            continue
        low, high = float(measured["min"]), float(measured["max"])
        if column.minimum is not None and low < column.minimum:
            raise SchemaError(f"Column {column.name!r} of {dataset.name} holds {low}, below {column.minimum}.")
        if column.maximum is not None and high > column.maximum:
            raise SchemaError(f"Column {column.name!r} of {dataset.name} holds {high}, above {column.maximum}.")
