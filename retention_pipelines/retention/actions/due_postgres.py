"""Deciding again about a plan's rows in Postgres: which still may go now, and where the version decided about lies.

A table is read once, in its own order, as the plan was made; only a few rows of many are looked up by their keys. What
does not belong here: taking them out (`act_postgres.py`), the rules (`compiled.py`).
"""

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Select,
    Table,
    Text,
    bindparam,
    cast,
    column,
    extract,
    false,
    func,
    literal,
    literal_column,
    or_,
    select,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, OID
from sqlalchemy.types import UserDefinedType

from retention_pipelines.postgres.partitions import DAY_COLUMNS
from retention_pipelines.postgres.tables import METADATA
from retention_pipelines.retention.filter.postgres import expression
from retention_pipelines.retention.plans.plan import Plan
from retention_pipelines.retention.plans.select_postgres import decided, with_reads
from retention_pipelines.retention.policies.decide import Protection
from retention_pipelines.retention.policies.governed import Governed
from retention_pipelines.retention.policies.policy import PolicySet

# Rows that are decided about in one query; it locks nothing.
_DECIDED = 100_000
# Below this share of a partition's rows they are looked up one by one.
_FEW = 0.01


class Tid(UserDefinedType[str]):
    """Where a version of a row lies."""

    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:
        """What Postgres calls it."""
        return "tid"


class Xid(UserDefinedType[str]):
    """The transaction that wrote a version."""

    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:
        """What Postgres calls it."""
        return "xid"


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
    """Rows of one partition that may go now, in the order they lie in.

    Attributes:
        positions: their places in the plan.
        tids: where the versions lie that were decided about; numpy arrays of text.
        versions: the transactions that wrote those.
    """

    partition: str
    relation: int
    positions: np.ndarray
    tids: np.ndarray
    versions: np.ndarray

    def __len__(self) -> int:
        return len(self.positions)

    def part(self, first: int, last: int) -> "Due":
        """Some of them, in a row."""
        return self.chosen(np.s_[first:last])

    def chosen(self, which: Any) -> "Due":
        """Some of them, by a numpy index."""
        return Due(
            partition=self.partition,
            relation=self.relation,
            positions=self.positions[which],
            tids=self.tids[which],
            versions=self.versions[which],
        )


def still_expired(con: Connection, act: Act, places: np.ndarray) -> Iterator[Due]:
    """Decide again about rows of one partition of the plan."""
    partition = act.plan.rows["partition"][places[0]].as_py()
    there = next((one.rows for one in act.plan.partitions if one.partition == partition), 0)
    of_one = not DAY_COLUMNS.get(act.dataset.table) or bool(within(act, partition))
    if len(places) < _FEW * there or not of_one:
        for first in range(0, len(places), _DECIDED // 10):
            yield from _looked_up(con, act, places[first : first + _DECIDED // 10])
    else:
        yield from _read_through(con, act, partition, places, rows=there)


def _read_through(con: Connection, act: Act, partition: str, places: np.ndarray, *, rows: int) -> Iterator[Due]:
    size = text(
        "select to_regclass(:one)::oid, pg_relation_size(to_regclass(:one)) / current_setting('block_size')::bigint"
    )
    relation, blocks = con.execute(size, {"one": partition}).one()
    con.commit()
    if relation is None:
        return  # somebody took it away
    at_a_time = max(1, math.floor(blocks * min(1.0, _DECIDED / max(rows, 1))))
    planned = act.plan.rows.take(places)
    names, anchors = planned["row_id"].combine_chunks(), _micros(planned["anchored_at"])
    tid = tuple_id(act.table)
    for first in range(0, blocks, at_a_time):
        between = (tid >= cast(literal(f"({first},0)"), Tid()), tid < cast(literal(f"({first + at_a_time},0)"), Tid()))
        found = con.execute(_of_expired(act, partition, relation, *between)).one()
        con.commit()
        if found.tids is None:
            continue
        at = pc.index_in(pa.array(found.row_ids, pa.string()), value_set=names).fill_null(-1).to_numpy()
        # Row -1 is any: what is not in the plan is left out whatever its anchor.
        due = _due(partition, relation, places[at], found).chosen((at >= 0) & (anchors[at] == _anchors(found)))
        if len(due):
            yield due


def _looked_up(con: Connection, act: Act, places: np.ndarray) -> list[Due]:
    rows, names = act.table, act.dataset.identity
    chosen = act.plan.rows.take(places)
    keys = [json.loads(row_id) for row_id in chosen["row_id"].to_pylist()]
    values: dict[str, Any] = {"positions": places.tolist()}
    for place, name in enumerate(names):
        values[f"key_{name}"] = [str(key[place]) for key in keys]
    # Rows are named in arrays: only of those does the planner know how many there are.
    given = func.unnest(
        bindparam("positions", type_=ARRAY(BigInteger)),
        *(bindparam(f"key_{name}", type_=ARRAY(Text)) for name in names),
    ).table_valued(column("position", BigInteger), *(column(f"key_{name}", Text) for name in names))
    given = given.render_derived(name="given")
    same = (rows.c[name] == cast(given.c[f"key_{name}"], rows.c[name].type) for name in names)
    partition = chosen["partition"][0].as_py()
    at: ColumnElement[str] = cast(tuple_id(rows), Text).label("tid")
    relation: ColumnElement[int] = cast(relation_of(rows), BigInteger).label("relation")
    where = select(given.c.position, at, relation).where(*same, *within(act, partition))
    anchors = dict(zip(places.tolist(), _micros(chosen["anchored_at"]).tolist(), strict=True))
    due: list[Due] = []
    with con.begin():
        # Where the rows are, and what is decided about those and no others, are of one instant; and they are few.
        con.execute(text("set transaction isolation level repeatable read"))
        con.execute(text("select set_config('enable_seqscan', 'off', true)"))
        found = {(row.relation, row.tid): row.position for row in con.execute(where, values)}
        for one in {number for number, _ in found}:
            tids = [tid for number, tid in found if number == one]
            expired = con.execute(
                _of_expired(act, partition, one, tuple_id(rows) == func.any(cast(tids, ARRAY(Tid()))))
            ).one()
            if expired.tids is None:
                continue
            positions = np.array([found[one, tid] for tid in expired.tids], dtype=np.int64)
            planned = np.array([anchors[position] for position in positions.tolist()], dtype=np.int64)
            due.append(_due(partition, one, positions, expired).chosen(planned == _anchors(expired)))
    return due


def _of_expired(act: Act, partition: str, relation: int, *which: ColumnElement[bool]) -> Select[Any]:
    """Of the rows that go by the decision of now, one array of each thing: thousands of rows come as one."""
    rows = act.table
    decision = act.decided().where(
        *within(act, partition), relation_of(rows) == cast(relation, OID), *which, *_governed(act)
    )
    known = decision.selected_columns
    one = (
        decision.where(known["expired"])
        .with_only_columns(
            cast(tuple_id(rows), Text).label("tid"),
            cast(version_of(rows), Text).label("version"),
            known["row_id"],
            known["anchored_at"],
            maintain_column_froms=True,
        )
        .subquery("one")
    )
    micros = cast(extract("epoch", one.c.anchored_at) * 1_000_000, BigInteger)
    arrays: list[ColumnElement[Any]] = [
        func.array_agg(one.c.tid).label("tids"),
        func.array_agg(one.c.version).label("versions"),
        func.array_agg(one.c.row_id).label("row_ids"),
        func.array_agg(micros).label("anchors"),
    ]
    return select(*arrays)


def _governed(act: Act) -> list[ColumnElement[bool]]:
    """What the decision says anyway, in words that an index may answer: a policy that acts here asks for the row."""
    orders = act.plan.action == "delete" and act.plan.only is None
    if orders and any(one.kind == "erasure" for one in act.protections):
        return []
    _, fields = with_reads(act.dataset)
    mine = act.policies.places(act.plan.action, act.plan.only)
    return [or_(false(), *(expression(act.policies.policies[one].match, fields, act.dataset.fields) for one in mine))]


def _due(partition: str, relation: int, positions: np.ndarray, found: Any) -> Due:
    tids, versions = np.array(found.tids, dtype=object), np.array(found.versions, dtype=object)
    return Due(partition=partition, relation=relation, positions=positions, tids=tids, versions=versions)


_NONE = np.iinfo(np.int64).min


def _anchors(found: Any) -> np.ndarray:
    return np.array([_NONE if one is None else one for one in found.anchors], dtype=np.int64)


def _micros(anchors: pa.ChunkedArray) -> np.ndarray:
    micros: np.ndarray = anchors.combine_chunks().cast(pa.int64()).fill_null(_NONE).to_numpy(zero_copy_only=False)
    return micros


def within(act: Act, partition: str) -> list[ColumnElement[bool]]:
    """The day of a partition, so that only that one is looked into; nothing is known of the default one."""
    column_name, last = DAY_COLUMNS.get(act.dataset.table), partition.rpartition("_")[2]
    if column_name is None or not last.isdecimal():
        return []
    return [act.table.c[column_name] == date.fromisoformat(last)]


def tuple_id(rows: Table) -> ColumnElement[Any]:
    """Where a version lies in its relation."""
    return literal_column(f"{rows.name}.ctid")


def relation_of(rows: Table) -> ColumnElement[Any]:
    """The partition a row is in: every one has rows in the same places."""
    return literal_column(f"{rows.name}.tableoid")


def version_of(rows: Table) -> ColumnElement[Any]:
    """The transaction that wrote a version."""
    return literal_column(f"{rows.name}.xmin")
