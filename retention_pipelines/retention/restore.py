"""Taking a run back while its grace lasts: the whole plan, or single rows by their names.

What belongs here: bringing rows back into their store, once, whatever crashes in between. What does not: removing them
(`run.py`), the end of grace (`run.py` sweeps). An archive is no part of this: archived rows stay archived until the
plan is restored, which takes the copy out of the archive again.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import reduce

from duckdb import ColumnExpression, ConstantExpression, StarExpression
from sqlalchemy import or_, select, update

from retention_pipelines.errors import OutsideRestoreWindow, PlanError
from retention_pipelines.postgres.tables import GRAVEYARD, PLAN_ROWS
from retention_pipelines.retention import act_lake, act_training
from retention_pipelines.retention.governed import Governed, governed
from retention_pipelines.retention.graveyard import bring_back_partitions, bring_back_rows
from retention_pipelines.retention.lake_pack import take_packing_back
from retention_pipelines.retention.plan_store import PlanRecord, now
from retention_pipelines.retention.run import Runner
from retention_pipelines.retention.run_lock import run_lock, who_am_i
from retention_pipelines.retention.select_lake import row_id, table_of
from retention_pipelines.warehouse.duck import bind, statement
from retention_pipelines.warehouse.log import LogEntry
from retention_pipelines.warehouse.table import Table

_PACKAGE = "retention_pipelines.retention"


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
    for record in _in_grace(runner, dataset):
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


def _restore(runner: Runner, record: PlanRecord, names: tuple[str, ...] | None, who: str) -> Restored:
    runner.settings.require_full("Restoring")
    dataset = governed(record.dataset)
    short = record.sha256[:12]
    with run_lock(runner.server, record.dataset, record.sha256):
        record = runner.store.record(record.sha256)
        if record.state == "restored":
            return Restored(plan_sha256=record.sha256, dataset=dataset.name, rows=0)
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
            rows = _postgres(runner, record, dataset, names)
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
        if names is None:  # a crashed run may have got as far as the archive
            act_lake.take_copy_back(lake, dataset, record.sha256, record.action)
        return 0
    if names is None:
        if table.version() == entry.version:
            rows = act_lake.measured(table, act_lake.transaction(record.sha256)).rows
            table.undo(entry.version)
        else:
            # Rows may be there again, brought back singly or computed anew: only what is missing comes back.
            rows = _append_gone(table, entry, record, dataset, None)
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
    return table.append(_CHOSEN, op=f"restore {record.sha256[:12]}").rows_added


_CHOSEN = "select * exclude (restored_id) from _restore_gone"


# -- Postgres ----------------------------------------------------------------------------------------------------------


def _postgres(runner: Runner, record: PlanRecord, dataset: Governed, names: tuple[str, ...] | None) -> int:
    engine = runner.planner.engine
    ids = None if names is None else _ids(runner, record, dataset, names)
    if dataset.store == "files":
        # Files before rows: a row that tells of a set is never without it.
        act_training.dig_up_files(engine, runner.settings, record.sha256, ids)
    rows = bring_back_rows(engine, record.sha256, dataset.table, ids=ids, step=runner.step)
    return rows + bring_back_partitions(
        engine, record.sha256, dataset.table, identity=dataset.identity, names=names, columns=dataset.names
    )


def _ids(runner: Runner, record: PlanRecord, dataset: Governed, names: tuple[str, ...]) -> list[str]:
    """Rows of a plan in the graveyard that have one of these names: a plan's own, or the value of a naming column."""
    wanted = [GRAVEYARD.c.row_id.in_(names)]
    wanted += [GRAVEYARD.c.row[column].astext.in_(names) for column in dataset.names]
    query = select(GRAVEYARD.c.row_id).where(GRAVEYARD.c.plan_sha256 == record.sha256, or_(*wanted))
    with runner.planner.engine.connect() as con:
        return list(con.scalars(query))
