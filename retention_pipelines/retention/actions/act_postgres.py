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
from dataclasses import dataclass, field
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
    false,
    func,
    literal,
    literal_column,
    null,
    select,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, insert
from sqlalchemy.exc import OperationalError

from retention_pipelines.errors import PlanError
from retention_pipelines.postgres.tables import BURIED_PARTITIONS, GRAVES, PLAN_ROWS, PLAN_STEPS
from retention_pipelines.retention.actions.due_postgres import Act, Chunk, Pieces, chunk, relation_of, tuple_id
from retention_pipelines.retention.plans.plan import Plan

# A batch has as many rows as are decided about and go in this time: whoever writes one of them waits for half of it,
# because rows are nobody's until all of the batch is decided about, and whoever commits waits until what the batch has
# written is on the disk. Batches three times as long save a tenth of the time of all.
_BATCH_SECONDS = 0.015
_FIRST, _FEWEST, _MOST = 1_000, 500, 40_000
_NOTED = 10_000
_LOCK_TIMEOUT_MS = 100
# What a batch waits for somebody's row before it steps around it: meanwhile others wait for its own.
_ROW_TIMEOUT_MS = 20
_LOCK_TRIES = 100
_NUMBERS = str.maketrans("", "", "{}[)")
_PASSES = 4
_PATIENCE = text("select set_config('lock_timeout', :wait, :local), set_config('synchronous_commit', :commit, :local)")
# Pieces are read by their place and everything else by its name, whatever the planner believes of a table nobody
# analyzed: reading all of one for each piece would take longer the larger it is, squared.
_BY_PLACE = text(
    "select set_config('plan_cache_mode', 'force_custom_plan', false), set_config('work_mem', '32MB', false),"
    " set_config(name, 'off', false)"
    " from unnest(array['enable_seqscan', 'enable_bitmapscan', 'enable_hashjoin', 'enable_mergejoin']) as name"
)
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

    def __init__(self, engine: Engine, plan: Plan) -> None:
        turns, self.step = np.zeros(plan.rows.num_rows + 1, dtype=np.int64), 0
        query = select(PLAN_STEPS.c.step, cast(PLAN_STEPS.c.positions, Text)).where(
            PLAN_STEPS.c.plan_sha256 == plan.sha256
        )
        with engine.connect() as con:
            for step, positions in con.execute(query):
                self.step = max(self.step, step + 1)
                # As in `{[3,5),[8,9)}`: thousands of objects would take longer than removing the rows.
                ranges = np.fromstring(positions.translate(_NUMBERS), dtype=np.int64, sep=",").reshape(-1, 2)
                if len(ranges) and ranges.max() >= len(turns):
                    raise PlanError(
                        f"The steps of plan {plan.sha256[:12]} name rows it does not have: somebody changed them.",
                        hint="Nothing more was removed. Find out who did, then make a new plan.",
                    )
                np.add.at(turns, ranges[:, 0], 1)
                np.add.at(turns, ranges[:, 1], -1)
        self.pending = np.cumsum(turns[:-1]) == 0
        # The rows of a plan are sorted by partition.
        names = plan.rows["partition"].combine_chunks().dictionary_encode().indices.to_numpy(zero_copy_only=False)
        self._starts = [0, *(np.flatnonzero(np.diff(names)) + 1).tolist(), len(names)]

    def chunks(self) -> Iterator[np.ndarray]:
        """Places of pending rows to decide about together: those of one partition."""
        for start, end in itertools.pairwise(self._starts):
            places = start + np.flatnonzero(self.pending[start:end])
            if len(places):
                yield places


class Pace:
    """How many rows a batch takes: as many as go in a moment."""

    def __init__(self) -> None:
        self.rows = _FIRST
        self._is_whole = True

    def pieces(self, given: Chunk) -> Iterator[tuple[int, int]]:
        """Pieces of a chunk with about that many planned rows each."""
        first = 0
        while first < given.extent:
            last = first + max(1, round(self.rows * given.extent / len(given.places)))
            self._is_whole = last <= given.extent
            yield first, last
            first = last

    def took(self, seconds: float) -> None:
        """Choose the size of the next batch by how long the last one took."""
        # The rest of a partition is soon done: that does not say that more would be.
        factor = min(2.0 if self._is_whole else 1.0, max(0.25, _BATCH_SECONDS / max(seconds, 1e-6)))
        # On a busy machine a batch takes longer without doing more: ever smaller ones would only be ever more.
        self.rows = max(_FEWEST, min(_MOST, round(self.rows * factor)))


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
    # A batch that nobody is told of is one statement, and holds its rows for as long as the server works on it.
    alone = engine if removed is not None else engine.execution_options(isolation_level="AUTOCOMMIT")
    pace = Pace()
    progress = Progress(engine, act.plan)
    with alone.connect() as con:
        # A crash of the server may undo the last batches, rows and record together; what is said to be done at the
        # end of the run is on the disk, and they are before it.
        con.execute(_PATIENCE, {"wait": f"{_ROW_TIMEOUT_MS}ms", "commit": "off", "local": False})
        con.execute(_BY_PLACE)
        con.commit()
        removal = _Removal(act=act, bury=bury, removed=removed)
        for number in range(_PASSES):
            held = False
            for places in progress.chunks():
                given = chunk(con, act, places)
                read = given.relation is not None
                for first, last in pace.pieces(given):
                    values = {**given.piece(first, last), "step": progress.step}
                    held |= removal.carry_out(con, pace, values, read=read)
                    progress.step += 1
                    step("deleting")
            progress = Progress(engine, act.plan)
            if not held:
                break
            time.sleep(0.05 * number)  # what somebody holds may be free soon
    _note_rest(engine, act, np.flatnonzero(progress.pending))


@dataclass(frozen=True, kw_only=True)
class _Removal:
    """Decides about pieces of a chunk, and removes the rows that go, in the versions that were decided about."""

    act: Act
    bury: bool
    removed: Callable[[Connection, Sequence[Removed]], None] | None
    _statements: dict[tuple[bool, bool], Select[Any]] = field(default_factory=dict)

    def carry_out(self, con: Connection, pace: Pace, values: dict[str, Any], *, read: bool) -> bool:
        """Remove what goes of a piece; returns whether somebody held rows of it, which then stay."""
        try:
            with con.begin():
                started = time.perf_counter()
                self._remove(con, self._statement(read), values)
            pace.took(time.perf_counter() - started)
            return False
        except OperationalError as error:
            if not isinstance(error.orig, psycopg.errors.LockNotAvailable | psycopg.errors.DeadlockDetected):
                raise
        # Locking rows before they go writes each of them twice, so that is for pieces in which somebody holds one.
        without_waiting(con, lambda con: self._remove(con, self._statement(read, around=True), values), safe=False)
        return True

    def _remove(self, con: Connection, statement: Select[Any], values: dict[str, Any]) -> None:
        found = con.execute(statement, values).all()
        if self.removed is not None and found:
            self.removed(con, list(_removed(self.act, found)))

    def _statement(self, read: bool, *, around: bool = False) -> Select[Any]:
        if (read, around) not in self._statements:
            pieces = Pieces(act=self.act, read=read)
            due = pieces.due().cte("due").prefix_with("materialized")
            if around:
                free = select(due).where(*self._theirs(pieces, due))
                due = free.with_for_update(of=self.act.table, skip_locked=True).cte("free").prefix_with("materialized")
            self._statements[read, around] = self._removing(pieces, due)
        return self._statements[read, around]

    def _theirs(self, pieces: Pieces, due: CTE) -> list[ColumnElement[bool]]:
        """The versions that were decided about: one statement sees no others."""
        rows = self.act.table
        named = pieces.within() if pieces.read else pieces.same(due.c.row_id)
        return [tuple_id(rows) == due.c.tid, relation_of(rows) == due.c.relation, *named]

    def _removing(self, pieces: Pieces, due: CTE) -> Select[Any]:
        """One statement that removes rows, buries them, and notes which went."""
        plan = self.act.plan
        gone = (
            delete(self.act.table)
            .where(*self._theirs(pieces, due))
            .returning(due.c.position, *self._told())
            .cte("removed")
        )
        place = gone.c.position
        noted = insert(PLAN_STEPS).from_select(
            ["plan_sha256", "step", "positions", "n_rows", "size_bytes"],
            select(
                literal(plan.sha256),
                bindparam("step", type_=BigInteger),
                func.range_agg(func.int8range(place, place + 1)),
                func.count(),
                func.sum(gone.c.told_bytes),
            )
            .select_from(gone)
            .having(func.count() > 0),
        )
        told = select(literal(1)).where(false())
        if self.removed is not None:
            told = select(*(one for one in gone.c if one.key not in self.act.table.c))
        told = told.add_cte(noted.cte("noted"))
        return told.add_cte(self._buried(gone)) if self.bury else told

    def _told(self) -> Iterator[ColumnElement[Any]]:
        """What a deleted row leaves: its size, what a tombstone needs, and with `bury` all of it."""
        rows, known = self.act.table, self.act.table.c
        whole_row = func.pg_column_size(literal_column(f"{rows.name}.*"))
        yield (known.size_bytes if "size_bytes" in known else whole_row).label("told_bytes")
        if self.removed is not None:
            age = (
                extract("epoch", literal(self.act.plan.as_of) - known.computed_at) if "computed_at" in known else null()
            )
            yield (known.tenant if "tenant" in known else cast(null(), Text)).label("told_tenant")
            yield cast(age, Float).label("told_age")
            yield (known.compute_seconds if "compute_seconds" in known else cast(null(), Float)).label("told_seconds")
        if self.bury:
            yield from known

    def _buried(self, gone: CTE) -> CTE:
        grave, names = GRAVES[self.act.table.name], self.act.table.c.keys()
        copied = select(literal(self.act.plan.sha256), gone.c.position, *(gone.c[name] for name in names))
        return insert(grave).from_select(["plan_sha256", "position", *names], copied).cte("buried")


def _removed(act: Act, rows: Sequence[Row[Any]]) -> Iterator[Removed]:
    chosen = act.plan.rows.take([row.position for row in rows]).to_pydict()
    for place, row in enumerate(rows):
        yield Removed(
            position=row.position,
            tenant=row.told_tenant,
            row_id=chosen["row_id"][place],
            policy_id=chosen["policy_id"][place],
            policy_version=chosen["policy_version"][place],
            age_seconds=row.told_age,
            compute_seconds=row.told_seconds,
            size_bytes=row.told_bytes,
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
        for start in range(0, len(places), _NOTED):
            chosen = places[start : start + _NOTED]
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
    "without_waiting",
]
