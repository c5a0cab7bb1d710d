"""Taking single rows of a plan out of a Postgres table, in short batches, so that nobody waits for a run.

Every row is decided again as it goes, with the protections and reads of now, and lies in the graveyard until its grace
is over. What is done is written down batch by batch, in the batch's own transaction; a second run does the rest. What
does not belong here: whole partitions (`act_partitions.py`), guards, states, the audit (`run.py`), bringing back
(`graveyard.py`), the files of training sets.
"""

import itertools
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, TypeVar

import numpy as np
import psycopg
from psycopg.types.multirange import Multirange
from psycopg.types.range import Range
from sqlalchemy import (
    CTE,
    BigInteger,
    ColumnElement,
    Connection,
    DateTime,
    Engine,
    Float,
    Row,
    Select,
    Table,
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
from sqlalchemy.types import UserDefinedType

from retention_pipelines.errors import PlanError
from retention_pipelines.postgres.partitions import DAY_COLUMNS
from retention_pipelines.postgres.tables import BURIED_PARTITIONS, GRAVEYARD, METADATA, PLAN_ROWS, PLAN_STEPS
from retention_pipelines.retention.decide import Protection
from retention_pipelines.retention.governed import Governed
from retention_pipelines.retention.plan import Plan
from retention_pipelines.retention.policy import PolicySet
from retention_pipelines.retention.select_postgres import decided

# A batch has as many rows as go in this time: whoever writes one of them waits no longer than that.
_BATCH_SECONDS = 0.05
_FEWEST, _MOST = 500, 10_000
_LOCK_TIMEOUT_MS = 100
# What a batch waits for somebody's row before it steps around it: meanwhile others wait for its own.
_ROW_TIMEOUT_MS = 20
_LOCK_TRIES = 100
_PASSES = 4
# Rows that are decided about in one query; it locks nothing.
_DECIDED = 50_000
T = TypeVar("T")
Step = Callable[[str], None]


class _Tid(UserDefinedType[str]):
    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:
        return "tid"


class _Xid(UserDefinedType[str]):
    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:
        return "xid"


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


@dataclass(frozen=True, kw_only=True, slots=True)
class Due:
    """A row of the plan that may go now: its place in the plan, and where the version lies that was decided about."""

    position: int
    tid: str
    version: str
    relation: int
    partition: str


class Progress:
    """Which rows of a plan are still there, by the batches on record."""

    def __init__(self, engine: Engine, plan: Plan) -> None:
        self.pending = np.ones(plan.rows.num_rows, dtype=bool)
        self.step, self.size, self.held = 0, 2_000, False
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
        """Places of pending rows to decide about together, each time of one partition."""
        for start, end in itertools.pairwise(self._starts):
            places = start + np.flatnonzero(self.pending[start:end])
            for first in range(0, len(places), _DECIDED):
                yield places[first : first + _DECIDED]

    def batches(self, found: Sequence[Due]) -> Iterator[Sequence[Due]]:
        """As many of these rows at a time as go in a moment."""
        first = 0
        while first < len(found):
            last = first + self.size
            yield found[first:last]
            first = last

    def done(self, positions: Sequence[int]) -> None:
        """Note a batch."""
        self.pending[positions] = False
        self.step += 1

    def held_for(self, seconds: float) -> None:
        """Choose the size of the next batch by how long the last one held its rows."""
        factor = min(2.0, max(0.25, _BATCH_SECONDS / seconds))
        self.size = max(_FEWEST, min(_MOST, round(self.size * factor)))


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
    progress = Progress(engine, act.plan)
    removal = _Removal(act=act, bury=bury, removed=removed)
    with engine.connect() as con:
        for number in range(_PASSES):
            progress.held = False
            for places in progress.chunks():
                for batch in progress.batches(still_expired(con, act, places)):
                    progress.done(removal.carry_out(con, progress, batch))
                    step("deleting")
            if not progress.held:
                break
            time.sleep(0.05 * number)  # what somebody holds may be free soon
    _note_rest(engine, act, np.flatnonzero(progress.pending))


def still_expired(con: Connection, act: Act, places: np.ndarray) -> Sequence[Due]:
    """Decide about rows of the plan again: place, and the version of each that may go."""
    rows, names = act.table, act.dataset.identity
    chosen = act.plan.rows.take(places)
    keys = [json.loads(row_id) for row_id in chosen["row_id"].to_pylist()]
    values: dict[str, Any] = {"positions": places.tolist(), "anchors": chosen["anchored_at"].to_pylist()}
    for place, name in enumerate(names):
        values[f"key_{name}"] = [str(key[place]) for key in keys]
    # Rows are named in arrays: only of those does the planner know how many there are.
    given = func.unnest(
        bindparam("positions", type_=ARRAY(BigInteger)),
        bindparam("anchors", type_=ARRAY(DateTime(timezone=True))),
        *(bindparam(f"key_{name}", type_=ARRAY(Text)) for name in names),
    ).table_valued(
        column("position", BigInteger),
        column("anchored_at", DateTime(timezone=True)),
        *(column(f"key_{name}", Text) for name in names),
    )
    given = given.render_derived(name="given")
    same = (rows.c[name] == cast(given.c[f"key_{name}"], rows.c[name].type) for name in names)
    within = _within(act, chosen["partition"][0].as_py())
    at: ColumnElement[str] = cast(_tuple_id(rows), Text).label("tid")
    relation: ColumnElement[int] = cast(_relation(rows), BigInteger).label("relation")
    where = select(given.c.position, given.c.anchored_at, at, relation).where(*same, *within)
    with con.begin():
        # Where the rows are, and what is decided about those and no others, are of one instant.
        con.execute(text("set transaction isolation level repeatable read"))
        found = {(row.relation, row.tid): row for row in con.execute(where, values)}
        decided_now: list[Row[Any]] = []
        for one in {number for number, _ in found}:
            tids = [tid for number, tid in found if number == one]
            decision = act.decided().where(
                *within, _relation(rows) == cast(one, OID), _tuple_id(rows) == func.any(cast(tids, ARRAY(_Tid)))
            )
            columns = decision.selected_columns
            version: ColumnElement[str] = cast(_version(rows), Text).label("version")
            wanted: list[ColumnElement[Any]] = [at, version, relation, columns["partition"], columns["anchored_at"]]
            decided_now += con.execute(
                decision.where(columns["expired"]).with_only_columns(*wanted, maintain_column_froms=True)
            ).all()
    planned = ((found[row.relation, row.tid], row) for row in decided_now)
    return [
        Due(position=plan.position, tid=row.tid, version=row.version, relation=row.relation, partition=row.partition)
        for plan, row in planned
        if plan.anchored_at == row.anchored_at
    ]


@dataclass(frozen=True, kw_only=True)
class _Removal:
    """Removes rows that were decided about, in the versions that were."""

    act: Act
    bury: bool
    removed: Callable[[Connection, Sequence[Removed]], None] | None

    def carry_out(self, con: Connection, progress: Progress, batch: Sequence[Due]) -> list[int]:
        """Remove a batch; returns the places of the rows that went. Those that somebody holds stay."""
        try:
            with con.begin():
                # A crash of the server may undo the last batches, rows and record together; what is said to be done
                # at the end of the run is on the disk, and they are before it.
                _wait_at_most(con, _ROW_TIMEOUT_MS, safe=False)
                started = time.perf_counter()
                places = self._remove(con, progress.step, batch)
            progress.held_for(time.perf_counter() - started)
            return places
        except OperationalError as error:
            if not isinstance(error.orig, psycopg.errors.LockNotAvailable | psycopg.errors.DeadlockDetected):
                raise
        # Locking rows before they go writes each of them twice, so that is for batches in which somebody holds one.
        progress.held = True

        def around(con: Connection) -> list[int]:
            rows = self.act.table
            unheld = self._where(select(cast(_tuple_id(rows), Text)).select_from(rows), batch)
            free = set(con.scalars(unheld.with_for_update(skip_locked=True)))
            return self._remove(con, progress.step, [row for row in batch if row.tid in free])

        return without_waiting(con, around)

    def _where(self, statement: Any, batch: Sequence[Due]) -> Any:
        """Only rows of the batch, in the very versions that were decided about."""
        rows = self.act.table
        return statement.where(
            *_within(self.act, batch[0].partition),
            # Every partition has rows in the same places.
            _relation(rows) == cast(batch[0].relation, OID),
            _tuple_id(rows) == func.any(cast([row.tid for row in batch], ARRAY(_Tid))),
            _version(rows) == func.any(cast(sorted({row.version for row in batch}), ARRAY(_Xid))),
        )

    def _remove(self, con: Connection, number: int, batch: Sequence[Due]) -> list[int]:
        if not batch:
            return []
        rows, plan = self.act.table, self.act.plan
        positions = {row.tid: row.position for row in batch}
        gone = self._where(delete(rows), batch).returning(*self._told())
        found = con.execute(self._buried(gone.cte("removed"), batch) if self.bury else gone).all()
        if not found:
            return []
        places = sorted(positions[row.tid] for row in found)
        con.execute(
            insert(PLAN_STEPS).values(
                plan_sha256=plan.sha256,
                step=number,
                positions=_ranges(places),
                n_rows=len(places),
                size_bytes=sum(row.size_bytes for row in found),
            )
        )
        if self.removed is not None:
            self.removed(con, list(_removed(self.act, positions, found)))
        return places

    def _told(self) -> Iterator[ColumnElement[Any]]:
        """What a deleted row leaves: which it was, what a tombstone needs, and with `bury` all of it."""
        rows, known = self.act.table, self.act.table.c
        yield cast(_tuple_id(rows), Text).label("tid")
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

    def _buried(self, removed: CTE, batch: Sequence[Due]) -> Select[Any]:
        given = func.unnest(
            cast([row.tid for row in batch], ARRAY(Text)), cast([row.position for row in batch], ARRAY(BigInteger))
        ).table_valued(column("tid", Text), column("position", BigInteger))
        given = given.render_derived(name="given")
        copied = select(
            literal(self.act.plan.sha256),
            given.c.position,
            removed.c.tenant,
            literal(self.act.table.name),
            removed.c.row_id,
            removed.c.row,
        ).join_from(removed, given, removed.c.tid == given.c.tid)
        buried = (
            insert(GRAVEYARD)
            .from_select(["plan_sha256", "position", "tenant", "relation", "row_id", "row"], copied)
            .returning(GRAVEYARD.c.position)
            .cte("buried")
        )
        told = [removed.c[name] for name in ("tid", "size_bytes", "tenant")]
        if self.removed is not None:
            told += [removed.c.age_seconds, removed.c.compute_seconds]
        return select(*told).add_cte(buried)


def _ranges(places: Sequence[int]) -> Multirange[int]:
    ranges: list[Range[int]] = []
    start = last = places[0]
    for place in places[1:]:
        if place != last + 1:
            ranges.append(Range(start, last + 1))
            start = place
        last = place
    return Multirange([*ranges, Range(start, last + 1)])


def _removed(act: Act, positions: Mapping[str, int], rows: Sequence[Row[Any]]) -> Iterator[Removed]:
    chosen = act.plan.rows.take([positions[row.tid] for row in rows]).to_pydict()
    for place, row in enumerate(rows):
        yield Removed(
            position=positions[row.tid],
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
    return {
        "plan_sha256": act.plan.sha256,
        "position": place,
        "target_kind": "row",
        "target": row["row_id"],
        "verdict": "expire",
        "reason": f"expired under {policy} v{version}" if policy else "erased by order",
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


def _within(act: Act, partition: str) -> list[ColumnElement[bool]]:
    """The day of a partition, so that only that one is looked into; nothing is known of the default one."""
    column_name, last = DAY_COLUMNS.get(act.dataset.table), partition.rpartition("_")[2]
    if column_name is None or not last.isdecimal():
        return []
    return [act.table.c[column_name] == date.fromisoformat(last)]


def _tuple_id(rows: Table) -> ColumnElement[Any]:
    return literal_column(f"{rows.name}.ctid")


def _relation(rows: Table) -> ColumnElement[Any]:
    return literal_column(f"{rows.name}.tableoid")


def _version(rows: Table) -> ColumnElement[Any]:
    return literal_column(f"{rows.name}.xmin")


def _wait_at_most(con: Connection, milliseconds: int, *, safe: bool = True) -> None:
    con.execute(
        text("select set_config('lock_timeout', :wait, true), set_config('synchronous_commit', :commit, true)"),
        {"wait": f"{milliseconds}ms", "commit": "on" if safe else "off"},
    )


def without_waiting(con: Connection, work: Callable[[Connection], T]) -> T:
    """Do work in a transaction that waits for no lock longer than people notice; again when it would have to."""
    for number in range(_LOCK_TRIES):
        try:
            with con.begin():
                _wait_at_most(con, _LOCK_TIMEOUT_MS)
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
