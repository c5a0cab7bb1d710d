"""What the catalog promises about rows, and the rows that break it.

Each function looks at one dataset, in some event months or in all, and returns a `Finding`. Bounds become DuckDB
expressions, not SQL text. What does not belong here: what happens after a finding (`checks.py`).
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce

import duckdb
from deltalake.schema import Schema
from duckdb import ColumnExpression, ConstantExpression, Expression

from retention_pipelines.catalog import Column, Dataset
from retention_pipelines.defs.statements import run
from retention_pipelines.warehouse import Lake, LakeFile
from retention_pipelines.warehouse.duck import bind, quote_name

Months = tuple[str, ...] | None
SHOWN = 5


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What an expectation found: how many rows fail, a sentence, and a few of the rows as a Markdown table."""

    failing: int
    sentence: str
    examples: str = ""


def _in_months(months: Months) -> Callable[[LakeFile], bool]:
    """Files that may hold rows of the months, by the partition the catalog stores them in."""
    if months is None:
        return lambda _: True
    # A DJF window of January starts in December, an ISO week may start in the year before.
    years = {str(int(month[:4]) + step) for month in months for step in (-1, 0, 1)}

    def keep(file: LakeFile) -> bool:
        if "month" in file.partition:
            return file.partition["month"] in months
        return "year" not in file.partition or file.partition["year"] in years

    return keep


def _rows(lake: Lake, described: Dataset, months: Months) -> duckdb.DuckDBPyRelation:
    bind(lake.con, "checked", lake.table(described.name).scan(keep=_in_months(months)))
    return lake.con.view("checked")


def _table(names: list[str], rows: list[tuple[object, ...]]) -> str:
    def cell(value: object) -> str:
        return str(value).replace("|", "\\|").replace("\n", " ")[:120]

    lines = [f"| {' | '.join(names)} |", f"|{'---|' * len(names)}"]
    return "\n".join([*lines, *(f"| {' | '.join(cell(value) for value in row)} |" for row in rows)])


def _shown(relation: duckdb.DuckDBPyRelation, failing: int) -> str:
    return _table(relation.columns, relation.limit(SHOWN).fetchall()) if failing else ""


def _count(relation: duckdb.DuckDBPyRelation) -> int:
    return int(relation.aggregate("count(*)").fetchall()[0][0])


def schema_as_declared(lake: Lake, described: Dataset, _: Months) -> Finding:
    """Columns and types of the stored table are those of the catalog, in its order."""
    table = lake.table(described.name)
    empty = lake.con.sql(f"from {table.scan_files([])}").to_arrow_table()
    declared = [(field.name, str(field.type)) for field in Schema.from_arrow(empty.schema).fields]
    stored = [(field.name, str(field.type)) for field in table.delta().schema().fields]
    wrong = sorted(set(stored) ^ set(declared))
    rows = [(name, dict(declared).get(name), dict(stored).get(name)) for name in dict(wrong)]
    return Finding(
        failing=len(rows),
        sentence=f"{len(declared)} columns as declared." if not rows else f"{len(rows)} columns differ.",
        examples=_table(["column", "declared", "stored"], list(rows)) if rows else "",
    )


def key_unique(lake: Lake, described: Dataset, months: Months) -> Finding:
    """No two rows share the key."""
    keys = ", ".join(quote_name(name) for name in described.key)
    twice = _rows(lake, described, months).aggregate(f"{keys}, count(*) as n_rows", keys).filter("n_rows > 1")
    failing = _count(twice)
    return Finding(
        failing=failing,
        sentence=f"{failing} keys ({', '.join(described.key)}) are held by more than one row.",
        examples=_shown(twice, failing),
    )


def _failing(lake: Lake, described: Dataset, months: Months, broken: dict[str, Expression], promise: str) -> Finding:
    """Rows for which any of the expressions, by column, is true."""
    if not broken:
        return Finding(failing=0, sentence=f"The catalog promises no {promise}.")
    rows = _rows(lake, described, months)
    failures = rows.filter(reduce(lambda left, right: left | right, broken.values()))
    failing = _count(failures)
    if failing == 0:
        return Finding(failing=0, sentence=f"{len(broken)} columns with {promise} looked at.")
    by_column = {name: _count(rows.filter(expression)) for name, expression in broken.items()}
    wrong = [name for name, n in by_column.items() if n]
    shown = [name for name in dict.fromkeys((*described.key, *wrong)) if name in rows.columns]
    return Finding(
        failing=failing,
        sentence=f"{failing} rows break it: {', '.join(f'{name} ({by_column[name]})' for name in wrong)}.",
        examples=_shown(failures.select(*(ColumnExpression(name) for name in shown)), failing),
    )


def required_not_null(lake: Lake, described: Dataset, months: Months) -> Finding:
    """Required columns hold no null."""
    broken = {column.name: ColumnExpression(column.name).isnull() for column in described.columns if column.required}
    return _failing(lake, described, months, broken, "required columns")


def _out_of_range(column: Column) -> Expression | None:
    # A NaN is larger than every number in DuckDB, so a maximum catches it; without one it is asked for by name.
    value = ColumnExpression(column.name)
    found: list[Expression] = []
    if column.minimum is not None:
        found.append(value < ConstantExpression(column.minimum))
    if column.maximum is not None:
        found.append(value > ConstantExpression(column.maximum))
    if column.allowed is not None:
        found.append(value.isnotin(*(ConstantExpression(allowed) for allowed in column.allowed)))
    return reduce(lambda left, right: left | right, found) if found else None


def values_in_range(lake: Lake, described: Dataset, months: Months) -> Finding:
    """Values lie within `minimum` and `maximum` and are among `allowed`; a null breaks neither."""
    broken = {
        column.name: expression for column in described.columns if (expression := _out_of_range(column)) is not None
    }
    return _failing(lake, described, months, broken, "bounds or allowed values")


def conserved(lake: Lake) -> Finding:
    """The ledger adds up per file, and its totals per dataset are the rows the tables hold."""
    rows = run(lake, "conservation", datasets=("occurrences", "observations", "quarantine", "ingested_files"))
    names = ["what", "subject", "ledger", "found"]
    return Finding(
        failing=len(rows),
        sentence="Every row read is accounted for." if not rows else f"{len(rows)} counts do not add up.",
        examples=_table(names, rows[:SHOWN]) if rows else "",
    )
