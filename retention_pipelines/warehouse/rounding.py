"""Rounding numbers within a tolerance, so that they pack better; types stay as they are.

A number becomes the nearest multiple of a power of two: the last bits of its mantissa are 0, which compresses. No value
moves by more than the tolerance, and rounding again changes nothing. What is unknown, infinite or would leave the
column's bounds stays. What does not belong here: which rows and columns may be rounded (retention says).
"""

import math
from collections.abc import Mapping, Sequence

import duckdb

from retention_pipelines.catalog import Dataset
from retention_pipelines.errors import LakeError
from retention_pipelines.warehouse.duck import quote_name

Tolerance = Sequence[tuple[str, float]]
# From here on a double has no bits below the step left.
_EXACT = 2.0**52
# Rows that lie in this table, by file and place, are rounded.
PLACES = "_rounding_places"
_THERE = f"(filename, file_row_number) in (select (filename, file_row_number) from {PLACES})"


def rounded(dataset: Dataset, rows: str, tolerance: Tolerance, *, placed: bool = False) -> str:
    """FROM-clause text of rows with these columns rounded; where they are `placed` only those in `PLACES`.

    Placed rows have the columns `filename` and `file_row_number`, which are left out.
    """
    left_out = "exclude (filename, file_row_number)" if placed else ""
    replaced = ", ".join(
        f"{_rounded(dataset, name, most, placed=placed)} as {quote_name(name)}" for name, most in tolerance
    )
    return f"(select * {left_out} {f'replace ({replaced})' if replaced else ''} from {rows})"


def largest_changes(
    con: duckdb.DuckDBPyConnection, dataset: Dataset, rows: str, tolerance: Tolerance
) -> Mapping[str, float]:
    """By how much the values of placed rows move at most, by column, measured over all of them.

    Raises LakeError where that were more than the tolerance.
    """
    found = con.execute(
        "select "
        + ", ".join(
            f"max(abs({_rounded(dataset, name, most, placed=True)} - {quote_name(name)}))"
            f" filter (where isfinite({quote_name(name)}))"
            for name, most in tolerance
        )
        + f" from {rows}"
    ).fetchall()[0]
    moved = {name: value or 0.0 for (name, _), value in zip(tolerance, found, strict=True)}
    for name, most in tolerance:
        if not moved[name] <= most:
            raise LakeError(f"Rounding would move {name} by {moved[name]!r}.", hint="Please report this.")
    return moved


def _rounded(dataset: Dataset, name: str, most: float, *, placed: bool) -> str:
    column = next(one for one in dataset.columns if one.name == name)
    step = 2.0 ** math.floor(math.log2(2 * most))
    value = quote_name(name)
    near = f"(round({value} / {step!r}::double) * {step!r}::double)"
    fits = [f"isfinite({value})", f"abs({value}) < {_EXACT * step!r}::double"]
    fits += [f"{near} >= {float(column.minimum)!r}::double"] if column.minimum is not None else []
    fits += [f"{near} <= {float(column.maximum)!r}::double"] if column.maximum is not None else []
    fits += [_THERE] if placed else []
    return f"case when {' and '.join(fits)} then {near} else {value} end"
