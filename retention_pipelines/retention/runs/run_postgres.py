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
from retention_pipelines.retention.actions import act_partitions, act_postgres, act_training, rollup
from retention_pipelines.retention.actions.act_postgres import Act, Removed
from retention_pipelines.retention.actions.cold import Cold, open_cold
from retention_pipelines.retention.plans.plan_store import PlanRecord
from retention_pipelines.retention.policies.governed import Governed, governed
from retention_pipelines.retention.recovery import graveyard
from retention_pipelines.retention.recovery.regret import Tombstone, place_tombstones
from retention_pipelines.retention.runs.lock import RunLock
from retention_pipelines.settings import Settings

if TYPE_CHECKING:
    from retention_pipelines.retention.runs.run import Runner

ACTIONS = {
    "postgres": ("delete", "downsample", "archive", "migrate"),
    "files": ("delete", "archive", "compress", "migrate"),
}
COPIED = ("archive", "migrate")
_AFTER_VACUUM = "Single rows free nothing before vacuum, and then only inside their table; whole days free their files."


def act_on(runner: "Runner", act: Act, lock: RunLock, who: str) -> dict[str, Any]:
    """Carry out a plan's action on its table or sets; returns what was done, for the plan's record and the audit."""
    engine, plan = runner.planner.engine, act.plan

    def step(name: str) -> None:
        runner.step(name)
        lock.check()

    if plan.action == "compress":
        return _compress(runner, act, step)
    # There may be no other root: that is found out before anything goes.
    cold = _cold(runner, act.dataset, plan.action, plan.sha256) if plan.action in COPIED else None
    samples = act.dataset.table == rollup.RAW
    act_partitions.bury_partitions(engine, act, step, proof=rollup.prove_partition if samples else None)
    if samples:
        _require_rollups(engine, act)
        step("rolled up")
    # What goes into rollups or to the archive lies in the graveyard first, whatever the grace.
    files = act.dataset.store == "files"
    bury = samples or files or cold is not None or bool(runner.grace(plan, act.policies))
    told = partial(rollup.note_removed, plan_sha256=plan.sha256) if samples else _tombstones(runner.settings, act)
    act_postgres.delete_rows(engine, act, step, bury=bury, removed=told)
    if files:
        act_training.bury_files(engine, runner.settings, plan.sha256, step)
    done = act_postgres.measured(engine, plan)
    damaged = _copy(runner, cold, step, who, rows=done.rows) if cold is not None else 0
    return {
        "removed": done.rows,
        "kept": done.kept,
        "missing": done.missing,
        "archived": done.rows if cold is not None else 0,
        "partitions": done.partitions,
        "logical_bytes": done.logical_bytes,
        # A DELETE frees nothing until vacuum, and then only inside the relation.
        "file_bytes": None if files else done.relation_bytes,
        "said": _said(done, files=files, damaged=damaged),
    }


def _said(done: act_postgres.PostgresRemoval, *, files: bool, damaged: int) -> str | None:
    if damaged:
        return (
            f"{damaged:,} of the training sets were damaged: nobody could use them, and only their rows are archived."
        )
    return None if files or done.rows == 0 or done.relation_bytes == done.logical_bytes else _AFTER_VACUUM


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


def _cold(runner: "Runner", dataset: Governed, action: str, plan_sha256: str) -> Cold:
    return open_cold(runner.planner.engine, runner.planner.lake, runner.settings, dataset, action, plan_sha256)


def _copy(runner: "Runner", cold: Cold, step: Callable[[str], None], who: str, *, rows: int) -> int:
    """Copy what lies in the graveyard to the archive, and say how many sets are damaged.

    The graveyard stays as it is until the grace is over.
    """
    damaged = act_training.copy_files(cold, runner.settings, step) if cold.dataset.store == "files" else 0
    cold.copy_rows(step)
    cold.require(rows)
    with runner.store.change(
        cold.plan_sha256,
        actor=who,
        action="retention.archived",
        dataset=cold.dataset.name,
        details={"rows": rows, "root": "migrated" if cold.root.endswith("_migrated") else "archived"},
        state="archived",
    ):
        pass
    step("archived")
    return damaged


def _compress(runner: "Runner", act: Act, step: Callable[[str], None]) -> dict[str, Any]:
    done = act_training.compress_files(runner.planner.engine, runner.settings, act, step)
    return {
        "removed": 0,
        "kept": done.damaged + done.busy,
        "missing": 0,
        "archived": 0,
        "rewritten": done.sets,
        "logical_bytes": 0,
        "file_bytes": done.before - done.after,
        "bytes_before": done.before,
        "bytes_after": done.after,
        "said": f"{done.sets:,} training sets take {done.after:,} bytes instead of {done.before:,};"
        f" {done.plain:,} stay plain, because they would not become smaller."
        + (f" {done.damaged:,} are damaged and stay as they are." if done.damaged else "")
        + (f" {done.busy:,} are for the next run: somebody was writing." if done.busy else ""),
    }


def restore(runner: "Runner", record: PlanRecord, dataset: Governed, names: tuple[str, ...] | None) -> int:
    """Bring rows of a plan in its grace back, with `names` only these; returns how many."""
    engine = runner.planner.engine
    if record.action == "compress":
        plan = runner.store.load(record.sha256)
        chosen = [one for one in plan.rows["row_id"].to_pylist() if names is None or _is_named(one, names)]
        return act_training.expand_files(engine, runner.settings, chosen)
    ids = None if names is None else graveyard.ids_of(engine, record.sha256, dataset, names)
    if dataset.store == "files":
        # Files before rows: a row that tells of a set is never without it.
        act_training.dig_up_files(engine, runner.settings, record.sha256, ids)
    rows = graveyard.bring_back_rows(engine, record.sha256, dataset.table, ids=ids, step=runner.step)
    rows += graveyard.bring_back_partitions(
        engine, record.sha256, dataset.table, identity=dataset.identity, names=names, columns=dataset.names
    )
    if record.action in COPIED and names is None:
        _cold(runner, dataset, record.action, record.sha256).forget()
    return rows


def restore_cold(runner: "Runner", record: PlanRecord, dataset: Governed, names: tuple[str, ...] | None) -> int:
    """Bring archived rows of a plan back after its grace, with `names` only these; the files stay for a part of it."""
    cold = _cold(runner, dataset, record.action, record.sha256)
    if dataset.store == "files":
        sets = {file.row_id for file in cold.files() if file.row_id is not None}
        wanted = {one for one in sets if names is None or _is_named(one, names)}
        act_training.unpack_files(cold, runner.settings, wanted)
    back = cold.bring_back(names, runner.step)
    if names is None:
        cold.forget()
    return len(back)


def _is_named(row_id: str, names: tuple[str, ...]) -> bool:
    return row_id in names or bool({str(one) for one in act_training.name_of(row_id)} & set(names))


def let_go(runner: "Runner", record: PlanRecord) -> int | None:
    """Empty the graveyard of a plan; returns the bytes of training files that were freed, None without any."""
    if record.action == "compress":
        return None
    # Of a plan that has nothing there any more, because an erasure took it, nothing needs to be in the archive either.
    if record.action in COPIED and not graveyard.is_empty(runner.planner.engine, record.sha256):
        _cold(runner, governed(record.dataset), record.action, record.sha256).require(record.measured["archived"])
    graveyard.let_go(runner.planner.engine, record.sha256, runner.step)
    if governed(record.dataset).store == "files":
        return act_training.forget_files(runner.planner.engine, runner.settings, record.sha256)
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
                    position=row.position,
                )
                for row in rows
                if row.policy_id not in own_expiry
            ],
        )

    return place
