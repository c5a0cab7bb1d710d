"""What a run does to a lake table, action by action, and at the end of its grace.

What belongs here: the order of the steps of each action. What does not: the commits themselves (`act_lake.py`), guards,
states and the audit around them (`run.py`).
"""

from typing import TYPE_CHECKING, Any

from retention_pipelines.errors import PlanError
from retention_pipelines.retention import act_lake
from retention_pipelines.retention.act_postgres import Act
from retention_pipelines.retention.governed import governed
from retention_pipelines.retention.plan_store import PlanRecord
from retention_pipelines.retention.run_lock import RunLock
from retention_pipelines.retention.select_lake import Rules

if TYPE_CHECKING:
    from retention_pipelines.retention.run import Runner

ACTIONS = {"lake": ("delete", "archive")}


def act_on(runner: "Runner", act: Act, lock: RunLock, who: str) -> dict[str, Any]:
    """Carry out a plan's action on its table; returns what was done, for the plan's record and the audit."""
    plan, dataset, lake = act.plan, act.dataset, runner.planner.lake
    reads = runner.planner.reads(dataset) if dataset.read_key else None
    rules = Rules(
        dataset=dataset,
        policies=act.policies,
        protections=act.protections,
        as_of=plan.as_of,
        action=plan.action,
        only=plan.only,
    )
    archived = 0
    if plan.action == "archive":
        archived = act_lake.archive_rows(lake, plan, rules, reads, unchanged=act.unchanged)
        with runner.store.change(
            plan.sha256,
            actor=who,
            action="retention.archived",
            dataset=plan.dataset,
            details={"rows": archived},
            state="archived",
        ):
            pass
        runner.step("archived")
    done = act_lake.remove_rows(lake, plan, rules, reads, unchanged=act.unchanged)
    if plan.action == "archive" and archived != done.rows:
        raise PlanError(
            f"{archived:,} rows were archived and {done.rows:,} removed.",
            hint=f"`retention restore --plan {plan.sha256[:12]}` takes it back. Please report this.",
        )
    runner.step("committed")
    lake.publish()
    runner.step("shown")
    return {
        "removed": done.rows,
        "kept": plan.removed_rows - done.rows,
        "missing": 0,
        "archived": archived,
        "version": done.version,
        "logical_bytes": done.logical_bytes,
        "file_bytes": done.file_bytes,
    }


def let_go(runner: "Runner", record: PlanRecord) -> int | None:
    """What the end of grace frees; None: file bytes are those that were measured when it was published."""
    # Vacuum keeps what the last 7 days need, so the files of this plan may go with a later one.
    runner.planner.lake.vacuum(governed(record.dataset).table)
    return None
