"""Taking day partitions out of a Postgres table whole, and putting back those that are not what was planned.

A partition is detached first, which takes as long for many rows as for few, and compared with the plan after that,
where nobody waits for it. What does not belong here: single rows (`act_postgres.py`), bringing back later
(`graveyard.py`), dropping for good (`run_postgres.py`).
"""

from collections.abc import Callable
from datetime import date
from functools import partial
from typing import Any

from sqlalchemy import (
    Connection,
    Engine,
    Row,
    cast,
    column,
    delete,
    func,
    insert,
    literal,
    literal_column,
    select,
    table,
    text,
    update,
)
from sqlalchemy.types import UserDefinedType

from retention_pipelines.postgres.partitions import DAY_COLUMNS
from retention_pipelines.postgres.tables import BURIED_PARTITIONS
from retention_pipelines.retention.actions.act_postgres import Step, without_waiting
from retention_pipelines.retention.actions.due_postgres import Act, Xid
from retention_pipelines.retention.plans.plan import PartitionPlan
from retention_pipelines.retention.plans.select_postgres import SCHEMA, tell
from retention_pipelines.retention.recovery.graveyard import put_back

GRAVES = "retention_graveyard"
_DAYS = table("days", column("parent"), column("partition"), column("first_day"), column("end_day"), schema=SCHEMA)
_BURY = text("select * from public.retention_bury_day_partition(:parent, :name, :plan)")
_COMPARABLE = text(
    "select coalesce(to_regclass(:name)::oid::text = :oid and"
    " pg_snapshot_xmax(pg_current_snapshot())::text::bigint - cast(:before as bigint) between 0 and 1000000000, false)"
)
# Says in the transaction that accepts a detached partition, by its name in the graveyard, whether it may go.
Proof = Callable[[Connection, str], bool]


class _Xid8(UserDefinedType[str]):
    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:
        return "xid8"


def bury_partitions(engine: Engine, act: Act, step: Step, *, proof: Proof | None = None) -> None:
    """Take out the day partitions that go whole; one that holds other rows than planned, or a protected one, stays."""
    planned = {one.partition.rpartition(".")[2]: one for one in act.plan.partitions if one.fate == "drop"}
    if not planned:
        return
    with engine.connect() as con:
        with con.begin():
            days = {
                row.partition: (row.first_day, row.end_day)
                for row in con.execute(select(_DAYS).where(_DAYS.c.parent == act.dataset.table))
            }
            done = _buried(con, act)
        for name in planned:
            if name in days and name not in done:
                without_waiting(con, partial(_detach, act, name, days[name]), safe=False)
                step("burying")
        with con.begin():
            graves = _buried(con, act)
        # Those of a run that a crash ended before it compared them, too.
        for name, grave in graves.items():
            if name in planned and not grave.n_rows:
                with con.begin():
                    _accept(con, act, planned[name], grave, proof)
                step("comparing")


def _buried(con: Connection, act: Act) -> dict[str, Row]:
    mine = BURIED_PARTITIONS.c.plan_sha256 == act.plan.sha256
    return {row.partition: row for row in con.execute(select(BURIED_PARTITIONS).where(mine))}


def _detach(act: Act, name: str, days: tuple[date, date], con: Connection) -> None:
    if not act.unchanged:
        day = act.table.c[DAY_COLUMNS[act.dataset.table]]
        rows = act.decided().where(day >= days[0], day < days[1]).subquery()
        there, going = con.execute(select(func.count(), func.count().filter(rows.c.expired))).one()
        if there != going:
            return
    grave = con.execute(_BURY, {"parent": act.dataset.table, "name": name, "plan": act.plan.sha256}).one_or_none()
    if grave is not None:
        con.execute(
            insert(BURIED_PARTITIONS).values(
                plan_sha256=act.plan.sha256,
                partition=name,
                relation=act.dataset.table,
                buried_as=grave.buried_as,
                n_rows=0,  # until it was compared
                size_bytes=grave.size_bytes,
            )
        )


def _accept(con: Connection, act: Act, planned: PartitionPlan, grave: Row, proof: Proof | None) -> None:
    """Compare a detached partition with what was planned; one that differs is put back."""
    mine = (BURIED_PARTITIONS.c.plan_sha256 == act.plan.sha256, BURIED_PARTITIONS.c.partition == grave.partition)
    rows, same = planned.rows, _is_untouched(con, planned, grave.buried_as)
    if not same:
        rows, told = tell(con, act.dataset, GRAVES, grave.buried_as)
        same = rows <= planned.rows if planned.told is None else (rows, told) == (planned.rows, planned.told)
    if same and (proof is None or proof(con, grave.buried_as)):
        con.execute(update(BURIED_PARTITIONS).where(*mine).values(n_rows=rows))
        return
    put_back(con, act.dataset, grave.buried_as)
    con.execute(delete(BURIED_PARTITIONS).where(*mine))


def _is_untouched(con: Connection, planned: PartitionPlan, buried: str) -> bool:
    """Whether it holds as many rows as planned, all in versions that were there then: so no others, and none anew.

    That costs a fraction of the digest, which decides where this cannot be said: of rows that a transaction wrote that
    was running when the plan was made, or in a copy of the database.
    """
    if planned.seen is None:
        return False
    oid, _, before = planned.seen.partition("/")
    # An age is counted in 32 bits.
    if not con.scalar(_COMPARABLE, {"name": f"{GRAVES}.{buried}", "oid": oid, "before": before}):
        return False
    old = func.age(literal_column("xmin")) > func.age(cast(cast(literal(before), _Xid8()), Xid()))
    rows = con.execute(select(func.count(), func.count().filter(old)).select_from(table(buried, schema=GRAVES))).one()
    return tuple(rows) == (planned.rows, planned.rows)
