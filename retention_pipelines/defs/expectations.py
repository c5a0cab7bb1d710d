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
# Where deliveries put the rows they accept.
WRITTEN = ("occurrences", "observations")


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What an expectation found: how many rows fail, a sentence, and a few of the rows as a Markdown table.

    `in_doubt` says that what would tell whether something is wrong is no longer there: worth a warning, not a stop.
    """

    failing: int
    sentence: str
    examples: str = ""
    in_doubt: bool = False


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
    """The ledger adds up per file; per file content the tables hold its rows, less what later commits took out.

    Rows in an archive are still there. A row too many is always wrong. Rows too few are right as far as commits that
    are no deliveries took out as many; taking back a delivery takes its line of the ledger as well.
    """
    for name in (*WRITTEN, "quarantine"):
        bind(lake.con, f"archived_{name}", lake.archive_table(name).scan())
    rows = run(lake, "conservation", datasets=(*WRITTEN, "quarantine", "ingested_files"))
    wrong = list(rows)
    said, in_doubt = [], False
    for what, names in (("rows written", WRITTEN), ("rows in quarantine", ("quarantine",))):
        fewer = [row for row in rows if row[0] == what and row[3] < row[2]]
        missing = sum(row[2] - row[3] for row in fewer)
        if not missing:
            continue
        found = [taken_out(lake, name) for name in names]
        if missing <= sum(taken.rows for taken in found):
            wrong = [row for row in wrong if row not in fewer]
            said.append(f" Later commits took out {missing} of the {what}.")
        elif not all(taken.complete for taken in found):
            in_doubt = True
            said.append(f" Of the {what}, {missing} are gone; the log of that time is no longer kept.")
    return Finding(
        failing=len(wrong),
        sentence=("Every row read is accounted for." if not wrong else f"{len(wrong)} counts do not add up.")
        + "".join(said),
        examples=_table(["what", "subject", "ledger", "found"], wrong[:SHOWN]) if wrong else "",
        in_doubt=in_doubt and all(row[0].startswith("rows ") and row[3] < row[2] for row in wrong),
    )


@dataclass(frozen=True, kw_only=True)
class TakenOut:
    """Rows that commits took out of a dataset; `complete` when its log is kept from the first commit on."""

    rows: int
    complete: bool


def taken_out(lake: Lake, name: str) -> TakenOut:
    """What commits removed for good: not merges, not moves to the archive, not the taking back of a delivery."""
    table = lake.table(name)
    entries = table.history()
    deliveries = {entry.receipt for entry in entries if entry.transaction}
    rows = 0
    for entry in entries:
        moved = (entry.op or "").startswith(("archive:", "unarchive:"))
        if not entry.removed or entry.op == "compact" or moved or entry.undoes in deliveries:
            continue
        before = sum(file.rows for file in table.files(version=entry.version - 1) if file.path in entry.removed)
        after = sum(file.rows for file in table.files(version=entry.version) if file.path in entry.added)
        rows += max(before - after, 0)
    return TakenOut(rows=rows, complete=table.version() < 0 or (bool(entries) and entries[-1].version == 0))
