"""Taking a run back while its grace lasts: the whole plan, or single rows by their names.

What belongs here: bringing rows back into their store, once, whatever crashes in between. What does not: removing them
(`run.py`), the end of grace (`run.py` sweeps). An archive is no part of this: archived rows stay archived until the
plan is restored, which takes the copy out of the archive again.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import reduce

from duckdb import ColumnExpression, ConstantExpression, StarExpression
from sqlalchemy import select, update

from retention_pipelines.errors import OutsideRestoreWindow, PlanError
from retention_pipelines.postgres.tables import COLD_FILES, PLAN_ROWS
from retention_pipelines.retention.actions import act_lake
from retention_pipelines.retention.actions.lake_pack import take_packing_back
from retention_pipelines.retention.plans.plan_store import PlanRecord, now
from retention_pipelines.retention.plans.select_lake import row_id, table_of
from retention_pipelines.retention.policies.governed import Governed, governed
from retention_pipelines.retention.runs import run_postgres
from retention_pipelines.retention.runs.lock import run_lock, who_am_i
from retention_pipelines.retention.runs.run import Runner
from retention_pipelines.warehouse.duck import bind, statement
from retention_pipelines.warehouse.log import LogEntry
from retention_pipelines.warehouse.removed import forget_removal
from retention_pipelines.warehouse.table import Table

_PACKAGE = "retention_pipelines.retention.recovery"


@dataclass(frozen=True, kw_only=True)
class Restored:
    """What came back of a plan."""

    plan_sha256: str
    dataset: str
    rows: int


def restore_plan(runner: Runner, sha256: str, *, actor: str | None = None) -> Restored:
    """Take a whole plan back; what was written since stays. Raises PlanError when its grace is over."""
    return _restore(runner, runner.store.record(sha256), None, actor or who_am_i())


def restore_rows(
    runner: Runner, dataset: str, names: Collection[str], *, actor: str | None = None
) -> tuple[Restored, ...]:
    """Bring single rows back, by the names that people and plans use, from the newest plans that removed them."""
    found = []
    for record in (*_in_grace(runner, dataset), *_archived(runner, dataset)):
        one = _restore(runner, record, tuple(names), actor or who_am_i())
        if one.rows:
            found.append(one)
    return tuple(found)


def restore_dataset(runner: Runner, dataset: str, *, actor: str | None = None) -> tuple[Restored, ...]:
    """Take back every plan of a dataset whose grace lasts, the newest first."""
    return tuple(_restore(runner, record, None, actor or who_am_i()) for record in _in_grace(runner, dataset))


def _in_grace(runner: Runner, dataset: str) -> Sequence[PlanRecord]:
    instant = now(runner.planner.engine)
    return [
        record
        for record in reversed(runner.store.open(governed(dataset).name))
        if record.state == "published" and record.grace_until is not None and record.grace_until > instant
    ]


def _archived(runner: Runner, dataset: str) -> Sequence[PlanRecord]:
    """Plans after their grace whose rows lie in the archive, the newest first."""
    found = governed(dataset)
    if found.store == "lake":
        return ()
    with runner.planner.engine.connect() as con:
        plans = con.scalars(select(COLD_FILES.c.plan_sha256).where(COLD_FILES.c.dataset == found.name).distinct()).all()
    records = sorted((runner.store.record(one) for one in plans), key=lambda one: one.as_of, reverse=True)
    return [record for record in records if _is_archived(record, found)]


def _restore(runner: Runner, record: PlanRecord, names: tuple[str, ...] | None, who: str) -> Restored:
    runner.settings.require_full("Restoring")
    dataset = governed(record.dataset)
    short = record.sha256[:12]
    with run_lock(runner.server, record.dataset, record.sha256):
        record = runner.store.record(record.sha256)
        if record.state == "restored":
            return Restored(plan_sha256=record.sha256, dataset=dataset.name, rows=0)
        if _is_archived(record, dataset):
            return _from_archive(runner, record, dataset, names, who)
        if record.state not in ("marked", "archived", "published"):
            raise PlanError(
                f"Plan {short} cannot be taken back: it is {record.state}.",
                hint="What was swept is gone; archived rows are in the archive (`retention lake archive`).",
            )
        if record.grace_until is not None and record.grace_until <= now(runner.planner.engine):
            raise PlanError(
                f"The grace of plan {short} ended at {record.grace_until:%Y-%m-%d %H:%M} UTC.",
                hint="Lake rows may still be had with `retention lake undo` for 7 days after they went.",
            )
        if dataset.store == "lake":
            rows = _lake(runner, record, dataset, names)
        else:
            rows = run_postgres.restore(runner, record, dataset, names)
        if names is None or rows:
            with runner.store.change(
                record.sha256,
                actor=who,
                action="retention.restored",
                dataset=dataset.name,
                details={"rows": rows, "whole": names is None},
                **({"state": "restored", "finished_at": now(runner.planner.engine)} if names is None else {}),
            ) as con:
                if names is None:
                    con.execute(
                        update(PLAN_ROWS)
                        .where(PLAN_ROWS.c.plan_sha256 == record.sha256, PLAN_ROWS.c.outcome == "removed")
                        .values(outcome="restored")
                    )
        if names is None and dataset.store == "lake":
            runner.planner.lake.release(record.sha256)
        runner.step("restored")
    return Restored(plan_sha256=record.sha256, dataset=dataset.name, rows=rows)


def _is_archived(record: PlanRecord, dataset: Governed) -> bool:
    """Whether rows of a plan are to be had from files after its grace."""
    return record.state == "done" and dataset.store != "lake" and record.action in run_postgres.COPIED


def _from_archive(
    runner: Runner, record: PlanRecord, dataset: Governed, names: tuple[str, ...] | None, who: str
) -> Restored:
    rows = run_postgres.restore_cold(runner, record, dataset, names)
    if names is None or rows:
        with runner.store.change(
            record.sha256,
            actor=who,
            action="retention.restored",
            dataset=dataset.name,
            details={"rows": rows, "whole": names is None, "from": "archive"},
            **({"state": "restored"} if names is None else {}),
        ):
            pass
    runner.step("restored")
    return Restored(plan_sha256=record.sha256, dataset=dataset.name, rows=rows)


# -- the lake ----------------------------------------------------------------------------------------------------------


def _lake(runner: Runner, record: PlanRecord, dataset: Governed, names: tuple[str, ...] | None) -> int:
    lake = runner.planner.lake
    table = table_of(lake, dataset)
    if record.action == "compress":
        if names is None:
            take_packing_back(table, record.sha256)
            lake.publish()
        return 0  # no row was ever gone
    entry = act_lake.commit_of(table, record.sha256)
    if entry is None:
        if names is not None:
            return 0
        # A crashed run may have got as far as the archive, a crashed restore as far as the table.
        act_lake.take_copy_back(lake, dataset, record.sha256, record.action)
        lake.publish()
        return act_lake.undone_rows(table, record.sha256)
    if names is None:
        if table.version() == entry.version:
            rows = act_lake.measured(table, act_lake.transaction(record.sha256)).rows
            table.undo(entry.version)
        else:
            # Rows may be there again, brought back singly or computed anew: only what is missing comes back.
            _append_gone(table, entry, record, dataset, None)
            rows = act_lake.added_rows(table, _op(record, None), after=entry.version)
            if not dataset.archived:
                forget_removal(lake, dataset.table, transaction=act_lake.transaction(record.sha256))
        act_lake.take_copy_back(lake, dataset, record.sha256, record.action)
    else:
        rows = _append_gone(table, entry, record, dataset, names)
    lake.publish()
    return rows


def _append_gone(
    table: Table, entry: LogEntry, record: PlanRecord, dataset: Governed, names: tuple[str, ...] | None
) -> int:
    """Append rows that a commit took out and that are not there now; with `names` only those."""
    con = table.con
    before = [file for file in table.files(version=entry.version - 1) if file.path in set(entry.removed)]
    after = [file for file in table.files(version=entry.version) if file.path in set(entry.added)]
    try:
        table.require_present(before, entry.version - 1)
        table.require_present(after, entry.version)
    except OutsideRestoreWindow as error:
        raise PlanError(f"Plan {record.sha256[:12]} cannot be taken back: {error.message}") from error
    places = {tuple(file.partition.values()) for file in before}
    live = [file for file in table.files() if tuple(file.partition.values()) in places]
    for view, files in (("before", before), ("after", after), ("live", live)):
        bind(con, f"_restore_{view}_all", table.scan_files(files))
        every = con.table(f"_restore_{view}_all")
        every.select(StarExpression(), row_id(dataset.identity).alias("restored_id")).create_view(
            f"_restore_{view}", replace=True
        )
    gone = con.sql(statement(_PACKAGE, "restore_gone"))
    if names is not None:
        listed = [ConstantExpression(name) for name in names]
        conditions = [
            ColumnExpression(column).cast("VARCHAR").isin(*listed) for column in ("restored_id", *dataset.names)
        ]
        gone = gone.filter(reduce(lambda one, other: one | other, conditions))
    gone.create_view("_restore_gone", replace=True)
    # The same rows asked for again are there by then, so a second time adds nothing.
    return table.append(_CHOSEN, op=_op(record, names)).rows_added


def _op(record: PlanRecord, names: tuple[str, ...] | None) -> str:
    return f"restore {'' if names is None else 'rows of '}{record.sha256[:12]}"


_CHOSEN = "select * exclude (restored_id) from _restore_gone"
