"""Which rows of a lake table go: decided again, held against what the plan names, with the newest partition spared.

What belongs here: files that go whole, and the places of single rows, in temporary tables of one connection. What does
not: committing (`act_lake.py`), what rules say of a row (`select_lake.py`), proofs of rollups (`lake_rollup.py`).
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import duckdb
import pyarrow as pa
from deltalake import DeltaTable
from deltalake.transaction import AddAction
from duckdb import ColumnExpression

from retention_pipelines.errors import OutsideRestoreWindow, PlanError
from retention_pipelines.retention.actions.lake_rollup import keep_unproven
from retention_pipelines.retention.plans.plan import Plan
from retention_pipelines.retention.plans.select_lake import (
    Rules,
    decided,
    folder,
    newest_places,
    partition_name,
    row_id,
)
from retention_pipelines.warehouse import Lake, LakeFile
from retention_pipelines.warehouse.duck import bind, statement
from retention_pipelines.warehouse.files import scan_text
from retention_pipelines.warehouse.table import Table

_PACKAGE = "retention_pipelines.retention.actions"
_PLACED = ("filename", "file_row_number")
# A query has a fixed cost of a fifth of a second over a wide table; sorting this much takes some hundred megabytes.
_GROUP_BYTES = 32_000_000
# Rows that pack well are as large in memory as others: a million of 80 columns took two gigabytes.
_GROUP_ROWS = 200_000


@dataclass(frozen=True, kw_only=True)
class Gone:
    """Rows that go: `whole` files, and places in `_retention_gone` of the others, `touched`; `unproven` ones stay.

    `unseen` says that files go whole without a look at their rows.
    """

    rows: int
    whole: tuple[LakeFile, ...]
    touched: tuple[LakeFile, ...]
    unseen: bool
    unproven: Mapping[str, int] = field(default_factory=dict)

    @property
    def files(self) -> list[LakeFile]:
        """Every file that is replaced or removed."""
        return [*self.whole, *self.touched]

    def empties_newest(self, table: Table, adds: Sequence[AddAction], newer: DeltaTable) -> bool:
        """Whether nothing would be left of what is the newest partition by now."""
        going = {f"{table.root}/{file.path}": file.rows for file in self.touched}
        files = table.live(newer)
        emptied = {
            _place(table, file) for file in files if file.path in _all_of_newest(table, files, self.whole, going)
        }
        by = table.dataset.partition_by
        return bool(emptied - {tuple(str(add.partition_values[name]) for name in by) for add in adds})

    def show(self, table: Table) -> None:
        """Let `lake_going.sql` see them."""
        bind(table.con, "_retention_touched", placed(table, self.touched))
        bind(table.con, "_retention_whole", table.scan_files(self.whole))


def groups_of(table: Table, files: Sequence[LakeFile]) -> list[list[LakeFile]]:
    """Files in groups of whole partitions: one query each, and no more than memory holds easily."""
    partitions: dict[str, list[LakeFile]] = {}
    for file in files:
        partitions.setdefault(folder(file, table.dataset.partition_by), []).append(file)
    groups: list[list[LakeFile]] = []
    full = 1.0
    for listed in partitions.values():
        if full >= 1:
            groups.append([])
            full = 0.0
        groups[-1] += listed
        full += sum(max(file.bytes / _GROUP_BYTES, file.rows / _GROUP_ROWS) for file in listed)
    return groups


def placed(table: Table, files: Sequence[LakeFile]) -> str:
    """FROM-clause text of files with where each row lies."""
    return scan_text(table.dataset, table.root, files, named=True, numbered=True)


def sum_of(con: duckdb.DuckDBPyConnection, rows: str) -> tuple[int, int, int]:
    """How many rows there are and two sums over all of their values: what must be equal of a copy."""
    bind(con, "_retention_summed", rows)
    count, first, second = con.execute(statement(_PACKAGE, "lake_sum")).fetchall()[0]
    return count, first, second


def find_gone(
    lake: Lake,
    table: Table,
    files: Sequence[LakeFile],
    plan: Plan,
    rules: Rules,
    *,
    unchanged: bool,
) -> Gone:
    """The rows of a plan that go now, of these live files; `unchanged` lets whole partitions go without a look."""
    con, by = lake.con, table.dataset.partition_by
    fates = {one.partition: one.fate for one in plan.partitions}
    then = planned_files(table, plan)
    known = {file.path for file in then}
    dropped: list[LakeFile] = []
    others: list[LakeFile] = []
    for file in files:
        match fates.get(folder(file, by)):
            case "drop":
                (dropped if file.path in known else others).append(file)
            case "rewrite":
                others.append(file)
    # What came to a partition that was to go whole since, a merged file for example, may hold rows of the plan.
    mixed = {folder(file, by) for file in others if fates[folder(file, by)] == "drop"}
    whole, looked_at = (dropped, others) if unchanged and plan.action != "downsample" else ([], [*dropped, *others])
    if not looked_at:
        con.execute("create or replace temp table _retention_gone (filename varchar, file_row_number bigint)")
        spared = frozenset[str]() if rules.erasing else _all_of_newest(table, files, whole, {})
        whole = [file for file in whole if file.path not in spared]
        return Gone(rows=sum(file.rows for file in whole), whole=tuple(whole), touched=(), unseen=bool(whole))
    find_expired(con, table, looked_at, rules)
    _planned_rows(con, table, plan, rules, [file for file in then if folder(file, by) in mixed])
    names = [] if whole else [f"{table.root}/{file.path}" for file in dropped]
    con.register("_retention_dropped", pa.table({"filename": pa.array(names, pa.string())}))
    con.execute(statement(_PACKAGE, "lake_gone"))
    # Names of rows take more memory than writing the others: they must be gone before that.
    con.execute("drop table _retention_expired")
    con.execute("drop table _retention_planned")
    unproven: Mapping[str, int] = {}
    if plan.action == "downsample":
        places = {folder(file, by) for file in looked_at}
        unproven = keep_unproven(lake, table, rules.dataset, [file for file in files if folder(file, by) in places])
    counts = dict(con.execute("select filename, count(*) from _retention_gone group by filename").fetchall())
    by_name = {f"{table.root}/{file.path}": file for file in looked_at}
    spared = frozenset[str]() if rules.erasing else _all_of_newest(table, files, whole, counts)
    whole = [file for file in whole if file.path not in spared]
    counts = {name: count for name, count in counts.items() if by_name[name].path not in spared}
    emptied = [file for name, file in by_name.items() if counts.get(name) == file.rows]
    touched = [file for name, file in by_name.items() if 0 < counts.get(name, 0) < file.rows]
    return Gone(
        rows=sum(file.rows for file in whole) + sum(counts.values()),
        whole=(*whole, *emptied),
        touched=tuple(touched),
        unseen=bool(whole),
        unproven=unproven,
    )


def _all_of_newest(
    table: Table, files: Sequence[LakeFile], whole: Collection[LakeFile], counts: Mapping[str, int]
) -> frozenset[str]:
    """Files of newest partitions of which nothing would be left: they stay, whatever has become the newest by now."""
    if not table.dataset.partition_by:
        return frozenset()
    there: Counter[tuple[str, ...]] = Counter()
    going: Counter[tuple[str, ...]] = Counter()
    gone = {file.path for file in whole}
    for file in files:
        place = _place(table, file)
        there[place] += file.rows
        going[place] += file.rows if file.path in gone else counts.get(f"{table.root}/{file.path}", 0)
    emptied = {place for place in newest_places(there) if going[place] == there[place]}
    return frozenset(file.path for file in files if _place(table, file) in emptied)


def _place(table: Table, file: LakeFile) -> tuple[str, ...]:
    return tuple(file.partition[name] for name in table.dataset.partition_by)


def find_expired(con: duckdb.DuckDBPyConnection, table: Table, files: Sequence[LakeFile], rules: Rules) -> None:
    """Temp table `_retention_expired`: what the rules let go now, and where it lies."""
    by = table.dataset.partition_by
    found = (
        decided(con, table, files, rules, [*rules.dataset.identity, *_PLACED])
        .filter(ColumnExpression("decided_expired"))
        .select(
            partition_name(by).alias("partition"),
            row_id(rules.dataset.identity).alias("row_id"),
            ColumnExpression("decided_anchored_at").alias("anchored_at"),
            *map(ColumnExpression, _PLACED),
        )
    )
    found.create_view("_retention_expired_now", replace=True)
    con.execute("create or replace temp table _retention_expired as select * from _retention_expired_now")


def _planned_rows(
    con: duckdb.DuckDBPyConnection, table: Table, plan: Plan, rules: Rules, files: Sequence[LakeFile]
) -> None:
    """Temp table `_retention_planned`: the rows the plan names, and those of files whose partitions go whole."""
    by = table.dataset.partition_by
    con.register("_retention_plan_rows", plan.rows.select(["partition", "row_id", "anchored_at"]))
    con.execute("create or replace temp table _retention_planned as select * from _retention_plan_rows")
    con.unregister("_retention_plan_rows")
    if not files:
        return
    try:
        table.require_present(files, plan.store_version or 0)
    except OutsideRestoreWindow:
        return  # their names cannot be known any more: what is not named stays
    # The plan holds no names of rows that go whole: they are those of the version it was made over.
    rows = (
        decided(con, table, files, rules, list(rules.dataset.identity))
        .filter(ColumnExpression("decided_expired"))
        .select(
            partition_name(by).alias("partition"),
            row_id(rules.dataset.identity).alias("row_id"),
            ColumnExpression("decided_anchored_at").alias("anchored_at"),
        )
    )
    rows.create_view("_retention_planned_then", replace=True)
    con.execute("insert into _retention_planned select * from _retention_planned_then")


def planned_files(table: Table, plan: Plan) -> list[LakeFile]:
    """Files of the version the plan was made over."""
    try:
        return table.files(version=plan.store_version)
    except OutsideRestoreWindow:
        raise PlanError(
            f"The state that plan {plan.sha256[:12]} was made over is not known any more.", hint="Make a new plan."
        ) from None
