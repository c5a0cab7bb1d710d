"""Taking single rows of a plan out of a Postgres table, in short batches, so that nobody waits for a run.

Every row is decided again as it goes, with the protections and reads of now, and lies in the graveyard until its grace
is over. What is done is written down batch by batch, in the batch's own transaction; a second run does the rest. What
does not belong here: whole partitions (`act_partitions.py`), guards, states, the audit (`run.py`), bringing back
(`graveyard.py`), the files of training sets.
"""

import itertools
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import psycopg
from sqlalchemy import (
    CTE,
    BigInteger,
    ColumnElement,
    Connection,
    Engine,
    Float,
    Row,
    Select,
    Text,
    bindparam,
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
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, OID, insert
from sqlalchemy.exc import OperationalError

from retention_pipelines.errors import PlanError
from retention_pipelines.postgres.tables import BURIED_PARTITIONS, GRAVEYARD, PLAN_ROWS, PLAN_STEPS
from retention_pipelines.retention.actions.due_postgres import (
    Act,
    Due,
    Tid,
    Xid,
    relation_of,
    still_expired,
    tuple_id,
    version_of,
    within,
)
from retention_pipelines.retention.plans.plan import Plan

# A batch has as many rows as go in this time: whoever writes one of them waits no longer than that.
_BATCH_SECONDS = 0.04
_FEWEST, _FEWEST_BURIED, _MOST = 2_500, 500, 10_000
_LOCK_TIMEOUT_MS = 100
# What a batch waits for somebody's row before it steps around it: meanwhile others wait for its own.
_ROW_TIMEOUT_MS = 20
_LOCK_TRIES = 100
_PASSES = 4
_PATIENCE = text("select set_config('lock_timeout', :wait, :local), set_config('synchronous_commit', :commit, :local)")
_BY_PLACE = text(
    "select set_config(name, 'off', false)"
    " from unnest(array['enable_seqscan', 'enable_bitmapscan', 'enable_indexscan', 'enable_indexonlyscan']) as name"
)
_TIDS: ColumnElement[Any] = bindparam("tids", type_=ARRAY(Text))
T = TypeVar("T")
Step = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Removed:
    """A row that went, as far as a tombstone needs to know it; `position` is its place in the plan."""

    position: int
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
        kept: rows of the plan that stay: something protects them now, or they were read or written since, or their
            partition is not the planned one any more.
        missing: rows of the plan that somebody else removed.
        relation_bytes: bytes of the partitions that went whole.
    """

    rows: int
    kept: int
    missing: int
    partitions: int
    logical_bytes: int
    relation_bytes: int


class Progress:
    """Which rows of a plan are still there, by the batches on record."""

    def __init__(self, engine: Engine, plan: Plan, *, bury: bool = True) -> None:
        self.pending = np.ones(plan.rows.num_rows, dtype=bool)
        self.step, self.held = 0, False
        # On a busy machine a batch takes longer without doing more: ever smaller ones would only be ever more.
        self._fewest = _FEWEST_BURIED if bury else _FEWEST
        self.size = 2 * self._fewest
        query = select(PLAN_STEPS.c.step, PLAN_STEPS.c.positions).where(PLAN_STEPS.c.plan_sha256 == plan.sha256)
        with engine.connect() as con:
            for step, positions in con.execute(query):
                self.step = max(self.step, step + 1)
                for one in positions:
                    if one.upper > len(self.pending):
                        raise PlanError(
                            f"The steps of plan {plan.sha256[:12]} name rows it does not have: somebody changed them.",
                            hint="Nothing more was removed. Find out who did, then make a new plan.",
                        )
                    self.pending[one.lower : one.upper] = False
        # The rows of a plan are sorted by partition.
        names = plan.rows["partition"].combine_chunks().dictionary_encode().indices.to_numpy(zero_copy_only=False)
        self._starts = [0, *(np.flatnonzero(np.diff(names)) + 1).tolist(), len(names)]

    def chunks(self) -> Iterator[np.ndarray]:
        """Places of pending rows to decide about together: those of one partition."""
        for start, end in itertools.pairwise(self._starts):
            places = start + np.flatnonzero(self.pending[start:end])
            if len(places):
                yield places

    def batches(self, due: Due) -> Iterator[Due]:
        """As many of these rows at a time as go in a moment."""
        first = 0
        while first < len(due):
            last = first + self.size
            yield due.part(first, last)
            first = last

    def done(self, positions: Sequence[int]) -> None:
        """Note a batch."""
        self.pending[np.asarray(positions, dtype=np.int64)] = False
        self.step += 1

    def held_for(self, seconds: float) -> None:
        """Choose the size of the next batch by how long the last one held its rows."""
        factor = min(2.0, max(0.25, _BATCH_SECONDS / seconds))
        self.size = max(self._fewest, min(_MOST, round(self.size * factor)))


def delete_rows(
    engine: Engine,
    act: Act,
    step: Step,
    *,
    bury: bool,
    removed: Callable[[Connection, Sequence[Removed]], None] | None,
) -> None:
    """Remove the plan's rows that still may go, batch by batch; each batch is whole or not at all.

    `removed` is told of the rows of a batch, inside its transaction.
    """
    progress = Progress(engine, act.plan, bury=bury)
    # A batch that nobody is told of is one statement, and holds its rows for as long as the server works on it.
    alone = engine if removed is not None else engine.execution_options(isolation_level="AUTOCOMMIT")
    with engine.connect() as reader, alone.connect() as writer:
        # A crash of the server may undo the last batches, rows and record together; what is said to be done at the
        # end of the run is on the disk, and they are before it.
        writer.execute(_PATIENCE, {"wait": f"{_ROW_TIMEOUT_MS}ms", "commit": "off", "local": False})
        # It knows where its rows lie: the planner, who sees a day, would read all of that day for each batch.
        writer.execute(_BY_PLACE)
        writer.commit()
        removal = _Removal(engine=engine, act=act, bury=bury, removed=removed)
        for number in range(_PASSES):
            progress.held = False
            for places in progress.chunks():
                for due in still_expired(reader, act, places):
                    for batch in progress.batches(due):
                        progress.done(removal.carry_out(writer, progress, batch))
                        step("deleting")
            if not progress.held:
                break
            time.sleep(0.05 * number)  # what somebody holds may be free soon
    _note_rest(engine, act, np.flatnonzero(progress.pending))


@dataclass(frozen=True, kw_only=True)
class _Removal:
    """Removes rows that were decided about, in the versions that were."""

    engine: Engine
    act: Act
    bury: bool
    removed: Callable[[Connection, Sequence[Removed]], None] | None

    def carry_out(self, con: Connection, progress: Progress, batch: Due) -> Sequence[int]:
        """Remove a batch; returns the places of the rows that went. Those that somebody holds stay."""
        try:
            with con.begin():
                started = time.perf_counter()
                places = self._remove(con, progress.step, batch)
            progress.held_for(time.perf_counter() - started)
            return places
        except OperationalError as error:
            if not isinstance(error.orig, psycopg.errors.LockNotAvailable | psycopg.errors.DeadlockDetected):
                raise
        # Locking rows before they go writes each of them twice, so that is for batches in which somebody holds one.
        progress.held = True

        def around(con: Connection) -> Sequence[int]:
            rows = self.act.table
            unheld = self._where(select(cast(tuple_id(rows), Text)).select_from(rows), batch)
            free = set(con.scalars(unheld.with_for_update(skip_locked=True), _values(batch)))
            return self._remove(con, progress.step, batch.chosen([tid in free for tid in batch.tids.tolist()]))

        with self.engine.connect() as other:
            return without_waiting(other, around)

    def _where(self, statement: Any, batch: Due) -> Any:
        """Only rows of the batch, in the very versions that were decided about."""
        rows = self.act.table
        return statement.where(
            *within(self.act, batch.partition),
            relation_of(rows) == cast(batch.relation, OID),
            tuple_id(rows) == func.any(cast(_TIDS, ARRAY(Tid()))),
            version_of(rows) == func.any(cast(bindparam("versions", type_=ARRAY(Text)), ARRAY(Xid()))),
        )

    def _remove(self, con: Connection, number: int, batch: Due) -> Sequence[int]:
        if not len(batch):
            return []
        values = {**_values(batch), "positions": batch.positions.tolist(), "step": number}
        found = con.execute(self._statement(batch), values).all()
        if self.removed is None:
            return [] if found[0].positions is None else list(found[0].positions)
        if found:
            self.removed(con, list(_removed(self.act, found)))
        return [row.position for row in found]

    def _statement(self, batch: Due) -> Select[Any]:
        """One statement that removes rows, buries them, and notes which went."""
        rows, plan = self.act.table, self.act.plan
        gone = self._where(delete(rows), batch).returning(*self._told()).cte("removed")
        given = func.unnest(_TIDS, bindparam("positions", type_=ARRAY(BigInteger))).table_valued(
            column("tid", Text), column("position", BigInteger)
        )
        given = given.render_derived(name="given")
        placed = select(given.c.position, *gone.c).join_from(gone, given, gone.c.tid == given.c.tid).cte("placed")
        place = placed.c.position
        noted = insert(PLAN_STEPS).from_select(
            ["plan_sha256", "step", "positions", "n_rows", "size_bytes"],
            select(
                literal(plan.sha256),
                bindparam("step", type_=BigInteger),
                func.range_agg(func.int8range(place, place + 1)),
                func.count(),
                func.sum(placed.c.size_bytes),
            )
            .select_from(placed)
            .having(func.count() > 0),
        )
        told = select(func.array_agg(place).label("positions")) if self.removed is None else select(*placed.c)
        told = told.add_cte(noted.cte("noted"))
        return told.add_cte(self._buried(placed)) if self.bury else told

    def _told(self) -> Iterator[ColumnElement[Any]]:
        """What a deleted row leaves: which it was, what a tombstone needs, and with `bury` all of it."""
        rows, known = self.act.table, self.act.table.c
        yield cast(tuple_id(rows), Text).label("tid")
        whole_row = func.pg_column_size(literal_column(f"{rows.name}.*"))
        yield (known.size_bytes if "size_bytes" in known else whole_row).label("size_bytes")
        if self.bury or self.removed is not None:
            yield (known.tenant if "tenant" in known else cast(null(), Text)).label("tenant")
        if self.removed is not None:
            age = (
                extract("epoch", literal(self.act.plan.as_of) - known.computed_at) if "computed_at" in known else null()
            )
            yield cast(age, Float).label("age_seconds")
            yield (known.compute_seconds if "compute_seconds" in known else cast(null(), Float)).label(
                "compute_seconds"
            )
        if self.bury:
            names = (known[name] for name in self.act.dataset.identity)
            yield cast(func.json_build_array(*names), Text).label("row_id")
            yield func.to_jsonb(literal_column(rows.name)).label("row")

    def _buried(self, placed: CTE) -> CTE:
        copied = select(
            literal(self.act.plan.sha256),
            placed.c.position,
            placed.c.tenant,
            literal(self.act.table.name),
            placed.c.row_id,
            placed.c.row,
        )
        columns = ["plan_sha256", "position", "tenant", "relation", "row_id", "row"]
        return insert(GRAVEYARD).from_select(columns, copied).cte("buried")


def _values(batch: Due) -> dict[str, Any]:
    return {"tids": batch.tids.tolist(), "versions": sorted(set(batch.versions.tolist()))}


def _removed(act: Act, rows: Sequence[Row[Any]]) -> Iterator[Removed]:
    chosen = act.plan.rows.take([row.position for row in rows]).to_pydict()
    for place, row in enumerate(rows):
        yield Removed(
            position=row.position,
            tenant=row.tenant,
            row_id=chosen["row_id"][place],
            policy_id=chosen["policy_id"][place],
            policy_version=chosen["policy_version"][place],
            age_seconds=row.age_seconds,
            compute_seconds=row.compute_seconds,
            size_bytes=row.size_bytes,
        )


def _note_rest(engine: Engine, act: Act, places: np.ndarray) -> None:
    """Write down the rows that stay, and those that somebody else had removed."""
    names = act.dataset.identity
    given = func.unnest(
        bindparam("positions", type_=ARRAY(BigInteger)),
        *(bindparam(f"key_{name}", type_=ARRAY(Text)) for name in names),
    ).table_valued(column("position", BigInteger), *(column(f"key_{name}", Text) for name in names))
    given = given.render_derived(name="given")
    rows = act.table
    live = select(given.c.position).where(
        exists().where(*(rows.c[name] == cast(given.c[f"key_{name}"], rows.c[name].type) for name in names))
    )
    with engine.begin() as con:
        for start in range(0, len(places), _MOST):
            chosen = places[start : start + _MOST]
            keys = [json.loads(row_id) for row_id in act.plan.rows["row_id"].take(chosen).to_pylist()]
            values = {f"key_{name}": [str(key[place]) for key in keys] for place, name in enumerate(names)}
            there = set(con.scalars(live, values | {"positions": chosen.tolist()}))
            noted = insert(PLAN_ROWS)
            noted = noted.on_conflict_do_update(
                index_elements=["plan_sha256", "position"], set_={"outcome": noted.excluded.outcome}
            )
            con.execute(noted, [_left(act, int(place), int(place) in there) for place in chosen])


def _left(act: Act, place: int, there: bool) -> dict[str, Any]:
    (row,) = act.plan.rows.slice(place, 1).to_pylist()
    policy, version = row["policy_id"], row["policy_version"]
    why = "brought forward or expired" if act.plan.haste and act.plan.haste.forward_share else "expired"
    return {
        "plan_sha256": act.plan.sha256,
        "position": place,
        "target_kind": "row",
        "target": row["row_id"],
        "verdict": "expire",
        "reason": f"{why} under {policy} v{version}" if policy else "erased by order",
        "policy_id": policy,
        "policy_version": version,
        "anchored_at": row["anchored_at"],
        "outcome": "kept" if there else "missing",
    }


def measured(engine: Engine, plan: Plan) -> PostgresRemoval:
    """What a plan took out so far."""
    steps = select(
        func.coalesce(func.sum(PLAN_STEPS.c.n_rows), 0), func.coalesce(func.sum(PLAN_STEPS.c.size_bytes), 0)
    ).where(PLAN_STEPS.c.plan_sha256 == plan.sha256)
    lost = select(func.count()).where(PLAN_ROWS.c.plan_sha256 == plan.sha256, PLAN_ROWS.c.outcome == "missing")
    buried = select(BURIED_PARTITIONS.c.partition, BURIED_PARTITIONS.c.n_rows, BURIED_PARTITIONS.c.size_bytes).where(
        BURIED_PARTITIONS.c.plan_sha256 == plan.sha256
    )
    with engine.connect() as con:
        gone, size = con.execute(steps).one()
        missing = con.scalar(lost) or 0
        partitions = con.execute(buried).all()
    relation = sum(one.size_bytes for one in partitions)
    names = {one.partition for one in partitions}
    stayed = sum(
        one.rows for one in plan.partitions if one.fate == "drop" and one.partition.rpartition(".")[2] not in names
    )
    return PostgresRemoval(
        rows=int(gone) + sum(one.n_rows for one in partitions),
        kept=plan.rows.num_rows - int(gone) - missing + stayed,
        missing=missing,
        partitions=len(partitions),
        logical_bytes=int(size) + relation,
        relation_bytes=relation,
    )


def without_waiting(con: Connection, work: Callable[[Connection], T], *, safe: bool = True) -> T:
    """Do work in a transaction that waits for no lock longer than people notice; again when it would have to.

    Unless `safe`, a crash of the server may undo it, whole, until the next transaction that is.
    """
    for number in range(_LOCK_TRIES):
        try:
            with con.begin():
                con.execute(
                    _PATIENCE, {"wait": f"{_LOCK_TIMEOUT_MS}ms", "commit": "on" if safe else "off", "local": True}
                )
                return work(con)
        except OperationalError as error:
            if not isinstance(error.orig, psycopg.errors.LockNotAvailable | psycopg.errors.DeadlockDetected):
                raise
            time.sleep(min(0.05 * (number + 1), 1.0))
    raise PlanError(
        "Somebody holds the table for a long time; the rest of the plan waits.", hint="Run it again: it goes on there."
    )


__all__ = [
    "Act",
    "PostgresRemoval",
    "Progress",
    "Removed",
    "Step",
    "delete_rows",
    "measured",
    "still_expired",
    "without_waiting",
]
