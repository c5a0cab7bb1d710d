"""Taking a plan's rows out of a Postgres table: whole day partitions first, then single rows in small batches.

Every row is decided again as it goes, with the protections and reads of now, and lies in the graveyard until its grace
is over. Batches are short and step around rows that somebody holds, so nobody waits for a run. What does not belong
here: guards, states, the audit (`run.py`), bringing back (`graveyard.py`), the files of training sets.
"""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, TypeVar

import psycopg
from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    DateTime,
    Engine,
    Float,
    Integer,
    Row,
    Select,
    Table,
    Text,
    and_,
    bindparam,
    case,
    cast,
    column,
    delete,
    exists,
    extract,
    func,
    literal,
    literal_column,
    null,
    select,
    table,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, insert
from sqlalchemy.exc import OperationalError

from retention_pipelines.errors import PlanError
from retention_pipelines.postgres.partitions import DAY_COLUMNS
from retention_pipelines.postgres.tables import BURIED_PARTITIONS, GRAVEYARD, METADATA, PLAN_ROWS
from retention_pipelines.retention.decide import Protection
from retention_pipelines.retention.governed import Governed
from retention_pipelines.retention.plan import Plan
from retention_pipelines.retention.plan_store import driver
from retention_pipelines.retention.policy import PolicySet
from retention_pipelines.retention.select_postgres import decided

BATCH_ROWS = 1_000
_COPY_ROWS = 20_000
_LOCK_TIMEOUT = "100ms"
_LOCK_TRIES = 100
_PASSES = 3
_SCHEMA = "retention_partitions."
_DAYS = table(
    "days", column("parent"), column("partition"), column("first_day"), column("end_day"), schema="retention_partitions"
)
_COPY = (
    b"copy plan_rows (plan_sha256, position, target_kind, target, verdict, reason, policy_id, policy_version,"
    b" anchored_at) from stdin"
)
_BURY = text("select * from public.retention_bury_day_partition(:parent, :name, :plan, :most, null, null)")
T = TypeVar("T")
Step = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Removed:
    """A row that went, as far as a tombstone needs to know it."""

    tenant: str | None
    row_id: str
    policy_id: str | None
    policy_version: int | None
    age_seconds: float | None
    compute_seconds: float | None
    size_bytes: int


@dataclass(frozen=True, kw_only=True)
class PostgresRemoval:
    """What a plan took out of a table, read from its own records, so it is the same after a crash.

    Attributes:
        rows: that went, those of whole partitions included.
        kept: rows of the plan that stay: something protects them now, or they were read or written since.
        missing: rows of the plan that somebody else removed.
        relation_bytes: bytes of the partitions that went whole.
    """

    rows: int
    kept: int
    missing: int
    partitions: int
    logical_bytes: int
    relation_bytes: int


@dataclass(frozen=True, kw_only=True)
class Act:
    """Everything a removal decides with: the plan, its frozen policies, and what protects rows now.

    `unchanged`: nothing changed since the plan that its rows are decided by.
    """

    plan: Plan
    dataset: Governed
    policies: PolicySet
    protections: tuple[Protection, ...]
    unchanged: bool = False

    @property
    def table(self) -> Table:
        """The table that rows go from."""
        return METADATA.tables[self.dataset.table]

    def decided(self) -> Select[Any]:
        """The decision on every row, now, at the plan's instant."""
        plan = self.plan
        return decided(self.dataset, self.policies, self.protections, plan.as_of, plan.action, plan.only)


def mark_rows(engine: Engine, plan: Plan, step: Step) -> None:
    """Write the plan's rows to `plan_rows`, in batches; a second time checks what is there and adds the rest."""
    query = select(PLAN_ROWS.c.target).where(PLAN_ROWS.c.plan_sha256 == plan.sha256).order_by(PLAN_ROWS.c.position)
    with engine.connect() as con:
        marked = con.scalars(query).all()
    ids = plan.rows["row_id"].to_pylist()
    if list(marked) != ids[: len(marked)]:
        raise PlanError(
            f"The marked rows of plan {plan.sha256[:12]} are not those it names: somebody changed them.",
            hint="Nothing more was removed. Find out who did, then make a new plan.",
        )
    for start in range(len(marked), len(ids), _COPY_ROWS):
        rows = plan.rows.slice(start, _COPY_ROWS).to_pylist()
        with engine.begin() as con, driver(con).cursor() as cursor, cursor.copy(_COPY) as copy:
            for position, row in enumerate(rows, start):
                policy, version = row["policy_id"], row["policy_version"]
                reason = f"expired under {policy} v{version}" if policy else "erased by order"
                copy.write_row(
                    (
                        plan.sha256,
                        position,
                        "row",
                        row["row_id"],
                        "expire",
                        reason,
                        policy,
                        version,
                        row["anchored_at"],
                    )
                )
        step("marking")


def bury_partitions(engine: Engine, act: Act, step: Step) -> None:
    """Take out the day partitions that go whole; one with more rows than planned, or a protected one now, stays."""
    plan = act.plan
    with engine.connect() as con:
        mine = BURIED_PARTITIONS.c.plan_sha256 == plan.sha256
        done = set(con.scalars(select(BURIED_PARTITIONS.c.partition).where(mine)))
        days = {
            row.partition: (row.first_day, row.end_day)
            for row in con.execute(select(_DAYS).where(_DAYS.c.parent == act.dataset.table))
        }
    for one in plan.partitions:
        name = one.partition.removeprefix(_SCHEMA)
        if one.fate != "drop" or name in done or name not in days:
            continue
        _without_waiting(engine, _burial(act, name, days[name], one.rows))
        step("burying")


def _burial(act: Act, name: str, days: tuple[date, date], planned: int) -> Callable[[Connection], None]:
    day = act.table.c[DAY_COLUMNS[act.dataset.table]]

    def bury(con: Connection) -> None:
        most = planned
        if not act.unchanged:
            rows = act.decided().where(day >= days[0], day < days[1]).subquery()
            most, going = con.execute(select(func.count(), func.count().filter(rows.c.expired))).one()
            if most != going or most > planned:
                return
        values = {"parent": act.dataset.table, "name": name, "plan": act.plan.sha256, "most": most}
        buried = con.execute(_BURY, values).one_or_none()
        if buried is not None:
            con.execute(
                insert(BURIED_PARTITIONS).values(
                    plan_sha256=act.plan.sha256,
                    partition=name,
                    relation=act.dataset.table,
                    buried_as=buried.buried_as,
                    n_rows=buried.n_rows,
                    size_bytes=buried.size_bytes,
                )
            )

    return bury


def delete_rows(
    engine: Engine, act: Act, step: Step, *, bury: bool, removed: Callable[[Connection, Sequence[Removed]], None]
) -> None:
    """Remove the marked rows that still may go, batch by batch; each batch is whole or not at all.

    `removed` is told of the rows of a batch, inside its transaction.
    """
    statement, last = _batch(act, bury=bury), act.plan.rows.num_rows
    for number in range(_PASSES):
        for start in range(0, last, BATCH_ROWS):

            def batch(con: Connection, start: int = start) -> None:
                marked = con.execute(_marked(act, start)).all()
                if marked:
                    rows = con.execute(statement, _named(act, marked)).all()
                    removed(con, [Removed(**row._mapping) for row in rows])

            _without_waiting(engine, batch)
            step("deleting")
        with engine.connect() as con:
            if not con.scalar(select(func.count()).where(_mine(act), PLAN_ROWS.c.outcome.is_(None))):
                break
        time.sleep(0.05 * number)  # what somebody holds may be free soon
    with engine.begin() as con:
        live = exists().where(*(act.table.c[name] == key for name, key in _keys(act).items()))
        con.execute(
            update(PLAN_ROWS)
            .where(_mine(act), PLAN_ROWS.c.outcome.is_(None))
            .values(outcome=case((live, "kept"), else_="missing"))
        )


def measured(engine: Engine, plan: Plan) -> PostgresRemoval:
    """What a plan took out so far."""
    outcome = PLAN_ROWS.c.outcome
    rows = select(
        func.count().filter(outcome.in_(("removed", "restored"))),
        func.count().filter(outcome == "kept"),
        func.count().filter(outcome == "missing"),
        func.coalesce(func.sum(PLAN_ROWS.c.size_bytes), 0),
    ).where(PLAN_ROWS.c.plan_sha256 == plan.sha256)
    buried = select(
        func.count(),
        func.coalesce(func.sum(BURIED_PARTITIONS.c.n_rows), 0),
        func.coalesce(func.sum(BURIED_PARTITIONS.c.size_bytes), 0),
    ).where(BURIED_PARTITIONS.c.plan_sha256 == plan.sha256)
    with engine.connect() as con:
        gone, kept, missing, size = con.execute(rows).one()
        partitions, whole, relation = con.execute(buried).one()
    return PostgresRemoval(
        rows=gone + int(whole),
        kept=kept,
        missing=missing,
        partitions=partitions,
        logical_bytes=int(size) + int(relation),
        relation_bytes=int(relation),
    )


def _mine(act: Act) -> ColumnElement[bool]:
    return PLAN_ROWS.c.plan_sha256 == act.plan.sha256


def _keys(act: Act) -> dict[str, ColumnElement[Any]]:
    """The columns that name a row, out of the name a plan gives it."""
    named = cast(PLAN_ROWS.c.target, JSONB)
    return {name: cast(named[place].astext, act.table.c[name].type) for place, name in enumerate(act.dataset.identity)}


def _marked(act: Act, start: int) -> Select[Any]:
    """The marked rows of a batch that nothing was done about yet."""
    return select(
        PLAN_ROWS.c.position,
        PLAN_ROWS.c.target,
        PLAN_ROWS.c.anchored_at,
        PLAN_ROWS.c.policy_id,
        PLAN_ROWS.c.policy_version,
    ).where(
        _mine(act),
        PLAN_ROWS.c.position >= start,
        PLAN_ROWS.c.position < start + BATCH_ROWS,
        PLAN_ROWS.c.outcome.is_(None),
    )


def _named(act: Act, marked: Sequence[Row[Any]]) -> dict[str, list[Any]]:
    """The values of a batch's statement."""
    keys = [json.loads(row.target) for row in marked]
    return {
        "positions": [row.position for row in marked],
        "targets": [row.target for row in marked],
        "anchors": [row.anchored_at for row in marked],
        "policies": [row.policy_id for row in marked],
        "versions": [row.policy_version for row in marked],
    } | {f"key_{name}": [str(key[place]) for key in keys] for place, name in enumerate(act.dataset.identity)}


def _batch(act: Act, *, bury: bool) -> Select[Any]:
    """Decide, lock, delete, bury and note one batch of marked rows, in one statement."""
    rows, names = act.table, act.dataset.identity
    # Rows are named in arrays: only of those does the planner know how many there are, and so that an index is best.
    given = func.unnest(
        bindparam("positions", type_=ARRAY(BigInteger)),
        bindparam("targets", type_=ARRAY(Text)),
        bindparam("anchors", type_=ARRAY(DateTime(timezone=True))),
        bindparam("policies", type_=ARRAY(Text)),
        bindparam("versions", type_=ARRAY(Integer)),
        *(bindparam(f"key_{name}", type_=ARRAY(Text)) for name in names),
    ).table_valued(
        column("position", BigInteger),
        column("target", Text),
        column("anchored_at", DateTime(timezone=True)),
        column("policy_id", Text),
        column("policy_version", Integer),
        *(column(f"key_{name}", Text) for name in names),
    )
    given = given.render_derived(name="given")
    batch = select(
        *(given.c[name] for name in ("position", "target", "anchored_at", "policy_id", "policy_version")),
        *(cast(given.c[f"key_{name}"], rows.c[name].type).label(f"key_{name}") for name in names),
    ).cte("batch")
    decision = act.decided().join(batch, and_(*(rows.c[name] == batch.c[f"key_{name}"] for name in names)))
    columns = decision.selected_columns
    doomed = (
        decision.where(columns["expired"], columns["anchored_at"].is_not_distinct_from(batch.c.anchored_at))
        .with_only_columns(*batch.c, maintain_column_froms=True)
        .with_for_update(of=rows, skip_locked=True)
        .cte("doomed")
    )
    known = rows.c
    removed = (
        delete(rows)
        .where(*(known[name] == doomed.c[f"key_{name}"] for name in names))
        .returning(
            doomed.c.position,
            doomed.c.target,
            doomed.c.policy_id,
            doomed.c.policy_version,
            (known.tenant if "tenant" in known else cast(null(), Text)).label("tenant"),
            (
                extract("epoch", literal(act.plan.as_of) - known.computed_at)
                if "computed_at" in known
                else cast(null(), Float)
            ).label("age_seconds"),
            (known.compute_seconds if "compute_seconds" in known else cast(null(), Float)).label("compute_seconds"),
            (
                known.size_bytes if "size_bytes" in known else func.pg_column_size(literal_column(f"{rows.name}.*"))
            ).label("size_bytes"),
            func.to_jsonb(literal_column(rows.name)).label("row"),
        )
        .cte("removed")
    )
    noted = (
        update(PLAN_ROWS)
        .where(_mine(act), PLAN_ROWS.c.position == removed.c.position)
        .values(outcome="removed", size_bytes=removed.c.size_bytes)
        .returning(PLAN_ROWS.c.position)
        .cte("noted")
    )
    found = select(
        removed.c.tenant,
        removed.c.target.label("row_id"),
        removed.c.policy_id,
        removed.c.policy_version,
        cast(removed.c.age_seconds, Float).label("age_seconds"),
        removed.c.compute_seconds,
        removed.c.size_bytes,
    ).add_cte(noted)
    if not bury:
        return found
    copied = select(
        literal(act.plan.sha256),
        removed.c.position,
        removed.c.tenant,
        literal(rows.name),
        removed.c.target,
        removed.c.row,
    )
    buried = (
        insert(GRAVEYARD)
        .from_select(["plan_sha256", "position", "tenant", "relation", "row_id", "row"], copied)
        .returning(GRAVEYARD.c.position)
        .cte("buried")
    )
    return found.add_cte(buried)


def _without_waiting(engine: Engine, work: Callable[[Connection], T]) -> T:
    """Do work in a transaction that waits for no lock longer than people notice; again when it would have to."""
    for number in range(_LOCK_TRIES):
        try:
            with engine.begin() as con:
                con.execute(text("select set_config('lock_timeout', :value, true)"), {"value": _LOCK_TIMEOUT})
                return work(con)
        except OperationalError as error:
            if not isinstance(error.orig, psycopg.errors.LockNotAvailable | psycopg.errors.DeadlockDetected):
                raise
            time.sleep(min(0.05 * (number + 1), 1.0))
    raise PlanError(
        "Somebody holds the table for a long time; the rest of the plan waits.", hint="Run it again: it goes on there."
    )


__all__ = ["Act", "PostgresRemoval", "Removed", "Step", "bury_partitions", "delete_rows", "mark_rows", "measured"]
