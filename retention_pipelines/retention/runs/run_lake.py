"""What a run does to a lake table, action by action, and at the end of its grace.

What belongs here: the order of the steps of each action. What does not: the commits themselves (`act_lake.py`), guards,
states and the audit around them (`run.py`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from retention_pipelines.cache.secret import load_secret
from retention_pipelines.catalog import DATASETS
from retention_pipelines.errors import LakeError, PlanError, RunRefused
from retention_pipelines.retention.actions import act_lake, lake_pack
from retention_pipelines.retention.actions.act_postgres import Act
from retention_pipelines.retention.plans.evidence import is_unchanged
from retention_pipelines.retention.plans.plan_store import PlanRecord
from retention_pipelines.retention.plans.planning import Planner
from retention_pipelines.retention.plans.select_lake import Rules, table_of
from retention_pipelines.retention.policies.decide import Protection, in_order
from retention_pipelines.retention.policies.governed import Governed, governed
from retention_pipelines.retention.protection.models import keep_lake_versions
from retention_pipelines.retention.recovery.regret import place_all_tombstones
from retention_pipelines.retention.runs.lock import RunLock
from retention_pipelines.warehouse.purge import forget_generations
from retention_pipelines.warehouse.removed import note_removal
from retention_pipelines.warehouse.table import Table

if TYPE_CHECKING:
    from retention_pipelines.retention.plans.plan import Plan
    from retention_pipelines.retention.runs.run import Runner

ACTIONS = {"lake": ("delete", "archive", "compress", "downsample", "migrate")}
# What readers of an older state may still be at; after that, files nobody can go back to are deleted at the sweep.
_READERS = timedelta(days=1)
# A tombstone costs some microseconds; of so many rows at once nobody misses single ones.
MOST_TOLD = 1_000_000
_NOT_TOLD = "{rows:,} rows are too many to leave tombstones: that they are asked for again will not be known"
_CLOCKS_APART = timedelta(minutes=2)
# Reads are counted in batches, some time after they happened.
_COUNTED_LATE = timedelta(minutes=1)
# The log tells of files for 30 days; a longer grace needs a longer log, and some days to be late in.
_LOG_DAYS, _LATE_DAYS = 30, 14


def act_on(runner: "Runner", act: Act, lock: RunLock, who: str) -> dict[str, Any]:
    """Carry out a plan's action on its table; returns what was done, for the plan's record and the audit."""
    plan, dataset, lake = act.plan, act.dataset, runner.planner.lake
    table, grace = table_of(lake, dataset), runner.grace(plan, act.policies)
    days = grace // 86_400 + _LATE_DAYS
    if days > _LOG_DAYS:
        table.keep_log(days)
    done = _compress(runner, act) if plan.action == "compress" else _remove(runner, act, who)
    runner.step("committed")
    _keep_files(runner, table, act, grace)
    lake.publish()
    runner.step("shown")
    return done


@dataclass(frozen=True, kw_only=True)
class _Inputs:
    """What rows of a plan are decided by, as it is now."""

    planner: Planner
    act: Act

    def rules(self, protections: tuple[Protection, ...] | None = None) -> Rules:
        plan, dataset = self.act.plan, self.act.dataset
        if protections is None:
            protections = in_order(self.planner.protections(dataset, plan.as_of))
        return Rules(
            dataset=dataset,
            policies=self.act.policies,
            protections=protections,
            as_of=plan.as_of,
            action=plan.action,
            only=plan.only,
        )

    def reads(self) -> pa.Table | None:
        return self.planner.reads(self.act.dataset) if self.act.dataset.read_key else None

    def newer_reads(self, known: pa.Table) -> pa.Table:
        last = pc.max(known["last_accessed_at"]).as_py() or self.act.plan.as_of
        return self.planner.reads(self.act.dataset, since=min(last, self.act.plan.as_of) - _COUNTED_LATE)

    def are_as_planned(self, rules: Rules) -> bool:
        return is_unchanged(self.planner.engine, self.act.plan, self.act.dataset, rules.protections)


def _compress(runner: "Runner", act: Act) -> dict[str, Any]:
    inputs = _Inputs(planner=runner.planner, act=act)
    rules = inputs.rules(act.protections)
    done = lake_pack.pack_rows(runner.planner.lake, act.plan, act.dataset, rules, inputs.reads())
    return {
        "removed": 0,
        "kept": 0,
        "missing": 0,
        "archived": 0,
        "rewritten": done.rows,
        "version": done.version,
        "logical_bytes": 0,
        "file_bytes": done.before - done.after,
        "bytes_before": done.before,
        "bytes_after": done.after,
        "said": done.said,
    }


def _remove(runner: "Runner", act: Act, who: str) -> dict[str, Any]:
    plan, dataset, lake = act.plan, act.dataset, runner.planner.lake
    inputs = _Inputs(planner=runner.planner, act=act)
    reads, rules = inputs.reads(), inputs.rules(act.protections)
    copy, archived = _copy_target(runner, dataset, plan), 0
    if copy is not None:
        archived = act_lake.copy_rows(lake, copy, plan, rules, reads, unchanged=act.unchanged)
        with runner.store.change(
            plan.sha256,
            actor=who,
            action="retention.archived",
            dataset=plan.dataset,
            details={"rows": archived, "to": "archive" if plan.action == "archive" else "other root"},
            state="archived",
        ):
            pass
        runner.step("archived")
    # What is computed from a raw table must know which of its months lack rows, also when the log has forgotten.
    gone_from = [one.partition for one in plan.partitions if one.fate in ("drop", "rewrite")]
    if not dataset.archived:
        note_removal(lake, dataset.table, transaction=act_lake.transaction(plan.sha256), partitions=gone_from)
    copied = None if copy is None else archived
    done = act_lake.remove_rows(lake, plan, rules, reads, unchanged=act.unchanged, copied=copied, inputs=inputs)
    if copy is not None and archived != done.rows:
        raise PlanError(
            f"{archived:,} rows were copied and {done.rows:,} removed.",
            hint=f"`retention restore --plan {plan.sha256[:12]}` takes it back. Please report this.",
        )
    said = [_because(done.unproven)] if done.unproven else []
    said += [_NOT_TOLD.format(rows=done.rows)] if not _leave_tombstones(runner, act, done.rows) else []
    return {
        "removed": done.rows,
        "kept": plan.removed_rows - done.rows,
        "missing": 0,
        "archived": archived,
        "version": done.version,
        "logical_bytes": done.logical_bytes,
        "file_bytes": done.file_bytes,
        **({"said": "; ".join(said)} if said else {}),
        **({"unproven": dict(done.unproven)} if done.unproven else {}),
    }


def _leave_tombstones(runner: "Runner", act: Act, rows: int) -> bool:
    """Leave a tombstone for each key that rows went of, so that asking for it again is known; False: too many."""
    plan, dataset, settings = act.plan, act.dataset, runner.settings
    if dataset.read_key is None or dataset.archived or not rows:
        return True
    if rows > MOST_TOLD:
        return False
    only = next((one for one in act.policies.policies if one.policy_id == plan.only), None)
    keys = act_lake.gone_keys(table_of(runner.planner.lake, dataset), plan, dataset, only)
    with runner.planner.engine.begin() as con:
        # Whoever reads the lake reads it for a tenant, though its rows belong to none.
        place_all_tombstones(con, load_secret(settings), dataset.name, plan.sha256, settings.tenant, keys)
    runner.step("told")
    return True


def _copy_target(runner: "Runner", dataset: Governed, plan: "Plan") -> Table | None:
    try:
        return act_lake.copy_target(runner.planner.lake, dataset, plan.action)
    except LakeError as error:
        raise RunRefused(error.message, hint=error.hint, plan_sha256=plan.sha256) from None


def _because(unproven: Mapping[str, int]) -> str:
    return "rows stay: " + "; ".join(f"{rows:,} because {reason}" for reason, rows in unproven.items())


def _keep_files(runner: "Runner", table: Table, act: Act, grace: int) -> None:
    """Let no vacuum take what the plan can be taken back with, while its grace lasts; some days over for being late."""
    entry = act_lake.commit_of(table, act.plan.sha256)
    if entry is not None and grace:
        until = datetime.now(UTC) + timedelta(seconds=grace, days=_LATE_DAYS)
        versions = {act.dataset.name: (entry.version - 1, entry.version)}
        runner.planner.lake.keep(act.plan.sha256, versions, until=until)


def let_go(runner: "Runner", record: PlanRecord) -> int | None:
    """Delete what only this plan could be taken back with; None: file bytes are those measured when it was published.

    Where the plan was published within the last day, readers may still be at its files: a later vacuum takes them. But
    where its grace was cut short for want of space they go now, with what shows them to readers of an older state.
    """
    lake, dataset = runner.planner.lake, governed(record.dataset)
    table = table_of(lake, dataset)
    lake.release(record.sha256)
    entry = act_lake.commit_of(table, record.sha256)
    urgent = is_urgent(record)
    if entry is not None and (urgent or datetime.now(UTC) - entry.committed_at > _READERS):
        table.remove_unneeded(entry.removed, keep_versions=lake.needed_versions(dataset.name))
    if urgent and "://" not in lake.root:
        forget_generations(lake.root, [lake.table(name) for name in DATASETS])
    keep_lake_versions(runner.planner.engine, lake)
    lake.vacuum(dataset.name)
    lake.free_past(older_than=_READERS)
    return None


def is_urgent(record: PlanRecord) -> bool:
    """Whether a plan's grace was cut short, because of a full disk or by a person."""
    haste = record.counts.get("haste") or {}
    return bool(record.measured.get("urgent") or haste.get("grace_seconds") is not None) or (
        record.grace_until is not None and record.grace_until > datetime.now(UTC) + _CLOCKS_APART
    )
