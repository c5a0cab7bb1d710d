"""What a run does to a Postgres table or to training sets, action by action, and at the end of its grace.

What belongs here: the order of the steps of each action. What does not: the statements (`act_postgres.py`), the files
(`act_training.py`), guards, states and the audit around them (`run.py`).
"""

from collections.abc import Callable, Sequence
from datetime import date, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Engine

from retention_pipelines.cache.secret import load_secret
from retention_pipelines.errors import PlanError
from retention_pipelines.retention import act_partitions, act_postgres, act_training, graveyard, rollup
from retention_pipelines.retention.act_postgres import Act, Removed
from retention_pipelines.retention.governed import governed
from retention_pipelines.retention.plan_store import PlanRecord
from retention_pipelines.retention.regret import Tombstone, place_tombstones
from retention_pipelines.retention.run_lock import RunLock
from retention_pipelines.settings import Settings

if TYPE_CHECKING:
    from retention_pipelines.retention.run import Runner

ACTIONS = {"postgres": ("delete", "downsample"), "files": ("delete",)}


def act_on(runner: "Runner", act: Act, lock: RunLock, who: str) -> dict[str, Any]:
    """Carry out a plan's action on its table or sets; returns what was done, for the plan's record and the audit."""
    engine, plan = runner.planner.engine, act.plan

    def step(name: str) -> None:
        runner.step(name)
        lock.check()

    samples = act.dataset.table == rollup.RAW
    act_partitions.bury_partitions(engine, act, step, proof=rollup.prove_partition if samples else None)
    if samples:
        _require_rollups(engine, act)
        step("rolled up")
    # What goes into rollups or to the archive lies in the graveyard first, whatever the grace.
    bury = samples or act.dataset.store == "files" or bool(runner.grace(plan, act.policies))
    told = partial(rollup.note_removed, plan_sha256=plan.sha256) if samples else _tombstones(runner.settings, act)
    act_postgres.delete_rows(engine, act, step, bury=bury, removed=told)
    if act.dataset.store == "files":
        act_training.bury_files(engine, runner.settings, plan.sha256, step)
    done = act_postgres.measured(engine, plan)
    files = act.dataset.store == "files"
    return {
        "removed": done.rows,
        "kept": done.kept,
        "missing": done.missing,
        "archived": 0,
        "partitions": done.partitions,
        "logical_bytes": done.logical_bytes,
        # A DELETE frees nothing until vacuum, and then only inside the relation.
        "file_bytes": None if files else done.relation_bytes,
    }


def _require_rollups(engine: Engine, act: Act) -> None:
    """Roll up the days of single samples that go, before they do. Raises PlanError where a rollup is not proven."""
    day = act.dataset.identity.index("recorded_on")
    days = {date.fromisoformat(act_training.name_of(one)[day]) for one in act.plan.rows["row_id"].to_pylist()}
    for one in sorted(days):
        with engine.begin() as con:
            if not rollup.prove_days(con, one, one + timedelta(days=1)):
                raise PlanError(
                    f"The rollups of {one} do not stand for its samples.",
                    hint="None of that day and later were removed.",
                )


def let_go(runner: "Runner", record: PlanRecord) -> int | None:
    """Empty the graveyard of a plan; returns the bytes of training files that were freed, None without any."""
    graveyard.let_go(runner.planner.engine, record.sha256, runner.step)
    if governed(record.dataset).store == "files":
        return act_training.forget_files(runner.settings, record.sha256)
    return None


def _tombstones(settings: Settings, act: Act) -> Callable[[Connection, Sequence[Removed]], None] | None:
    own_expiry = {policy.policy_id for policy in act.policies.policies if policy.anchor == "expires_at"}
    if act.dataset.read_key is None or act.plan.only in own_expiry:
        return None  # an entry past its own end is served to nobody: who asks for it again regrets nothing
    key, secret = act.dataset.identity.index(act.dataset.read_key), load_secret(settings)

    def place(con: Connection, rows: Sequence[Removed]) -> None:
        place_tombstones(
            con,
            secret,
            act.dataset.name,
            act.plan.sha256,
            [
                Tombstone(
                    tenant=row.tenant,
                    key=str(act_training.name_of(row.row_id)[key]),
                    policy_id=row.policy_id,
                    policy_version=row.policy_version,
                    age_seconds=row.age_seconds,
                    compute_seconds=row.compute_seconds,
                    size_bytes=row.size_bytes,
                )
                for row in rows
                if row.policy_id not in own_expiry
            ],
        )

    return place
