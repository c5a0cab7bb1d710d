"""Taking a plan's rows out of a lake table: one commit that has the plan's hash as its id, so that it lands once.

Every row is decided again before it goes: by the plan's policies, at its instant, but with the protections and reads of
now. So less may go than was planned, never more. What does not belong here: guards, states, the audit (`run.py`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Protocol

import pyarrow as pa
from deltalake import DeltaTable
from deltalake.transaction import AddAction
from duckdb import ColumnExpression

from retention_pipelines.errors import CommitConflict, PlanError
from retention_pipelines.retention.actions.lake_gone import Gone, find_gone, groups_of, placed, sum_of
from retention_pipelines.retention.plans.lake_rows import counted_reads, is_counted
from retention_pipelines.retention.plans.plan import Plan
from retention_pipelines.retention.plans.select_lake import (
    Rules,
    folder,
    row_id,
    table_of,
)
from retention_pipelines.retention.policies.governed import Governed
from retention_pipelines.retention.policies.policy import Policy
from retention_pipelines.retention.recovery.regret import Removed
from retention_pipelines.warehouse import Lake, LakeFile
from retention_pipelines.warehouse.commit import TRIES, pause
from retention_pipelines.warehouse.duck import bind, quote_name, set_variables, statement
from retention_pipelines.warehouse.files import scan_text
from retention_pipelines.warehouse.listing import keep_age
from retention_pipelines.warehouse.log import LogEntry
from retention_pipelines.warehouse.removed import note_removal
from retention_pipelines.warehouse.table import Table

_PACKAGE = "retention_pipelines.retention.actions"


@dataclass(frozen=True, kw_only=True)
class LakeRemoval:
    """What the commit of a plan did; every figure is read from the log, so it is the same after a crash.

    Attributes:
        version: of the commit; None where nothing was left to remove.
        logical_bytes: the removed rows' share of their files' bytes.
        file_bytes: bytes of the replaced files less those of the new ones; free on disk only after vacuum.
        unproven: why rows stay that are not in their rollup, with how many; only of this try.
    """

    version: int | None
    rows: int
    logical_bytes: int
    file_bytes: int
    unproven: Mapping[str, int] = field(default_factory=dict)


class Inputs(Protocol):
    """What rows are decided by, as it is now: asked again where another writer committed first."""

    def rules(self) -> Rules:
        """The rules, with the protections of now."""

    def reads(self) -> pa.Table | None:
        """The counted reads of now."""

    def newer_reads(self, known: pa.Table) -> pa.Table:
        """Those keys' counted reads of now that may have been read since."""

    def are_as_planned(self, rules: Rules) -> bool:
        """Whether nothing changed since the plan was made."""


def transaction(plan_sha256: str) -> str:
    """The id under which a plan's commit lands."""
    return f"retention:{plan_sha256}"


def copy_target(lake: Lake, dataset: Governed, action: str) -> Table | None:
    """Where an action puts rows before they go: the dataset's archive, or its table on the other root."""
    if action == "archive":
        return lake.archive_table(dataset.table)
    return lake.cold_table(dataset.table) if action == "migrate" else None


def copy_rows(lake: Lake, archive: Table, plan: Plan, rules: Rules, reads: pa.Table | None, *, unchanged: bool) -> int:
    """Copy the rows that go to the archive or the other root and check the copy; returns how many.

    A copy that an earlier, crashed try left is taken back first: what goes may have become less since.
    """
    table, op = table_of(lake, rules.dataset), f"archive:{plan.sha256}"
    if archive.version() >= 0 and archive.has_done(op):
        entry = entry_of(archive, op)
        if table.version() >= 0 and table.has_done(transaction(plan.sha256)):
            return _added_rows(archive, entry)
        archive.undo(entry.version)
    files = table.files()
    with counted_reads(lake.con, reads):
        gone = find_gone(lake, table, files, plan, rules, unchanged=unchanged)
        if not gone.files:
            return 0
        gone.show(table)
        commit = archive.append(statement(_PACKAGE, "lake_going"), op=f"archive {plan.sha256[:12]}", transaction=op)
        copied = [file for file in archive.files(version=commit.version) if file.path in entry_of(archive, op).added]
        before = sum_of(lake.con, f"({statement(_PACKAGE, 'lake_going')})")
        after = sum_of(lake.con, archive.scan_files(copied))
    if before != after:
        raise PlanError(f"{archive.root} does not hold what was copied; nothing was removed.", hint="Run it again.")
    return commit.rows_added


def remove_rows(
    lake: Lake,
    plan: Plan,
    rules: Rules,
    reads: pa.Table | None,
    *,
    unchanged: bool,
    copied: int | None = None,
    inputs: Inputs | None = None,
) -> LakeRemoval:
    """Commit the table without the plan's rows, once; `unchanged` says that nothing changed that rows are decided by.

    Partitions that go whole then go by a commit of metadata, without a look at their rows. Of rows that were copied
    before, as many as `copied` must go: raises CommitConflict, with nothing removed, when other ones would by now.

    Where others committed first but left the files alone that rows go from, and `inputs` say that none of these rows
    would be decided otherwise, the same files are committed again; else all is decided anew. Without `inputs` rules and
    reads are taken as they are given.
    """
    table, op = table_of(lake, rules.dataset), transaction(plan.sha256)
    for attempt in range(TRIES):
        if attempt and inputs is not None:
            rules, reads = inputs.rules(), inputs.reads()
            unchanged = unchanged and inputs.are_as_planned(rules)
        delta = table.delta()
        if table.has_done(op, delta):
            return measured(table, op)
        files = table.files(version=delta.version())
        with counted_reads(lake.con, reads):
            gone = find_gone(lake, table, files, plan, rules, unchanged=unchanged)
            if copied is not None and gone.rows != copied:
                raise CommitConflict(
                    f"{copied:,} rows were copied, and {gone.rows:,} would go by now: somebody changed them meanwhile.",
                    hint=f"Nothing was removed. `retention run {plan.sha256[:12]}` copies them anew.",
                )
            if gone.rows > plan.removed_rows:
                raise PlanError(
                    f"{gone.rows:,} rows match where the plan names {plan.removed_rows:,}: some are there twice now.",
                    hint="Nothing was removed. Make a new plan.",
                )
            adds = [add for group in groups_of(table, gone.touched) for add in _write_kept(table, group)]
        if not gone.files:
            return LakeRemoval(version=None, rows=0, logical_bytes=0, file_bytes=0, unproven=gone.unproven)
        if not rules.dataset.archived:
            by = table.dataset.partition_by
            note_removal(lake, table.name, transaction=op, partitions={folder(file, by) for file in gone.files})
        try:
            commit = table.commit(
                delta,
                adds,
                gone.files,
                op=f"{plan.action} {plan.sha256[:12]}",
                transactions=[op],
                still=partial(_would_be_the_same, table, op, gone, adds, rules, reads, inputs),
            )
        except CommitConflict:
            pause(attempt, 0.05)
            continue
        if commit.rows_removed - commit.rows_added != gone.rows:
            raise PlanError(
                f"{gone.rows} rows were to go and {commit.rows_removed - commit.rows_added} went.",
                hint=f"`retention restore --plan {plan.sha256[:12]}` takes it back. Please report this.",
            )
        return replace(measured(table, op), unproven=gone.unproven)
    raise CommitConflict(f"{table.name}: gave up after {TRIES} tries.", hint="Run it again with fewer writers.")


def _would_be_the_same(
    table: Table,
    op: str,
    gone: Gone,
    adds: Sequence[AddAction],
    rules: Rules,
    reads: pa.Table | None,
    inputs: Inputs | None,
    newer: DeltaTable,
) -> bool:
    """Whether deciding again over a newer state, which has the files that rows go from, would let the same rows go."""
    if table.has_done(op, newer) or rules.action == "downsample":  # which is proven by all rows of a cell and day
        return False
    if not rules.erasing and gone.empties_newest(table, adds, newer):
        return False
    if inputs is None:
        return True
    if inputs.rules() != rules:
        return False
    if reads is None or not is_counted(rules.dataset, rules.named()):
        return True
    con = table.con
    con.register("_retention_reads", reads)
    con.register("_retention_newer_reads", inputs.newer_reads(reads))
    try:
        con.execute(statement(_PACKAGE, "lake_read_since"))
        read = con.execute("select count(*) from _retention_read_since").fetchall()[0][0]
        if not read or gone.unseen:
            return not read
        keys = {"read_key": str(rules.dataset.read_key)}
        scanned = scan_text(table.dataset, table.root, gone.files, named=True, numbered=True, columns=keys)
        bind(con, "_retention_read_scan", scanned)
        return not con.execute(statement(_PACKAGE, "lake_read_gone")).fetchall()[0][0]
    finally:
        con.unregister("_retention_reads")
        con.unregister("_retention_newer_reads")


def measured(table: Table, op: str) -> LakeRemoval:
    """What the commit of that id did, by the log."""
    entry = entry_of(table, op)
    before = {file.path: file for file in table.files(version=entry.version - 1)}
    after = {file.path: file for file in table.files(version=entry.version)}
    gone = [before[path] for path in entry.removed]
    new = [after[path] for path in entry.added]
    kept: dict[tuple[str, ...], int] = {}
    for file in new:
        place = tuple(file.partition.values())
        kept[place] = kept.get(place, 0) + file.rows
    logical = 0.0
    groups: dict[tuple[str, ...], list[LakeFile]] = {}
    for file in gone:
        groups.setdefault(tuple(file.partition.values()), []).append(file)
    for place, files in groups.items():
        rows, size = sum(file.rows for file in files), sum(file.bytes for file in files)
        logical += size * (rows - kept.get(place, 0)) / rows if rows else 0
    return LakeRemoval(
        version=entry.version,
        rows=sum(file.rows for file in gone) - sum(file.rows for file in new),
        logical_bytes=round(logical),
        file_bytes=sum(file.bytes for file in gone) - sum(file.bytes for file in new),
    )


def gone_keys(table: Table, plan: Plan, dataset: Governed, only: Policy | None) -> list[Removed]:
    """Of the rows a plan's commit took out, by the log: read key, policy with its version, and age in seconds.

    `only` is the plan's one policy; without one only rows that the plan names have a policy.
    """
    entry, con = commit_of(table, plan.sha256), table.con
    if entry is None or dataset.read_key is None:
        return []
    for name, version, paths in (("before", entry.version - 1, entry.removed), ("after", entry.version, entry.added)):
        files = [file for file in table.files(version=version) if file.path in set(paths)]
        rows = con.sql(f"from {table.scan_files(files)}").select(
            row_id(dataset.identity).alias("row_id"),
            ColumnExpression(dataset.read_key).cast("VARCHAR").alias("read_key"),
            ColumnExpression(dataset.sources.get("computed_at", "computed_at")).alias("computed_at"),
        )
        rows.create_view(f"_retention_keys_{name}", replace=True)
    set_variables(con, as_of=plan.as_of, policy=only and only.policy_id, version=only and only.version)
    con.register("_retention_plan_rows", plan.rows.select(["row_id", "policy_id", "policy_version"]))
    try:
        return con.execute(statement(_PACKAGE, "lake_gone_keys")).fetchall()
    finally:
        con.unregister("_retention_plan_rows")


def commit_of(table: Table, plan_sha256: str) -> LogEntry | None:
    """The commit that took a plan's rows out, if it stands."""
    op = transaction(plan_sha256)
    return entry_of(table, op) if table.version() >= 0 and table.has_done(op) else None


def take_copy_back(lake: Lake, dataset: Governed, plan_sha256: str, action: str) -> None:
    """Take a plan's copy out of the archive or the other root again, when its rows are back."""
    copy, op = copy_target(lake, dataset, action), f"archive:{plan_sha256}"
    if copy is None or copy.version() < 0 or not copy.has_done(op):
        return
    entry = entry_of(copy, op)
    try:
        copy.undo(entry.version)
    except CommitConflict:
        # Packing or another policy wrote those files anew since: the same rows, by their keys.
        added = copy.scan_files(file for file in copy.files(version=entry.version) if file.path in set(entry.added))
        bind(lake.con, "_retention_copied", added)
        identity = ", ".join(map(quote_name, copy.dataset.key))
        paths = {file.path for file in copy.files_with("_retention_copied", identity, copy.files())}
        copy.rewrite(
            lambda rows: f"from {rows} anti join _retention_copied using ({identity})",
            keep=lambda file: file.path in paths,
            op=f"undo:{entry.version}",
        )


def _write_kept(table: Table, files: Sequence[LakeFile]) -> list[AddAction]:
    """New files with the rows of a partition's touched files that stay."""
    bind(table.con, "_retention_touched", placed(table, files))
    adds = table.write_files(statement(_PACKAGE, "lake_kept"), frees=True)
    keep_age(adds, files)
    return adds


# -- the log ----------------------------------------------------------------------------------------------------------


def entry_of(table: Table, op: str) -> LogEntry:
    """The newest commit that holds an id."""
    for entry in table.history():
        if op in entry.ids and entry.undoes is None:
            return entry
    raise PlanError(f"{table.name}: the log does not reach back to {op[:24]}.", hint="Entries are kept for 30 days.")


def undone_rows(table: Table, plan_sha256: str) -> int:
    """How many rows came back when a plan's commit was taken back; 0 where it never landed."""
    op = transaction(plan_sha256)
    if table.version() < 0 or not table.delta().transaction_version(op):
        return 0
    return measured(table, op).rows


def added_rows(table: Table, op: str, *, after: int) -> int:
    """How many rows commits of that name added after a version, those of a try that crashed then included."""
    return sum(_added_rows(table, entry) for entry in table.log.after(after) if entry.op == op)


def _added_rows(table: Table, entry: LogEntry) -> int:
    return sum(file.rows for file in table.files(version=entry.version) if file.path in entry.added)
