"""Deciding again about a plan's rows in Postgres: which still may go now, and where they lie.

The planned names of a partition are given to the server once, in a temporary table; a SELECT then names those of a
piece of the table that the decision of now lets go. What does not belong here: taking them out (`act_postgres.py`), the
rules (`compiled.py`).
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import csv
from sqlalchemy import (
    JSON,
    BigInteger,
    ColumnElement,
    Connection,
    Date,
    DateTime,
    Integer,
    Select,
    Table,
    Text,
    bindparam,
    cast,
    column,
    false,
    literal_column,
    or_,
    select,
    table,
    text,
)
from sqlalchemy.dialects.postgresql import OID
from sqlalchemy.types import TypeEngine, UserDefinedType

from retention_pipelines.postgres.partitions import DAY_COLUMNS
from retention_pipelines.postgres.tables import METADATA
from retention_pipelines.retention.filter.postgres import expression
from retention_pipelines.retention.plans.plan import Plan
from retention_pipelines.retention.plans.plan_store import driver
from retention_pipelines.retention.plans.select_postgres import decided, with_reads
from retention_pipelines.retention.policies.decide import Protection
from retention_pipelines.retention.policies.governed import Governed
from retention_pipelines.retention.policies.policy import PolicySet

# Below this share of a partition's rows they are looked up one by one.
_FEW = 0.01
_SENT = 100_000
_SIZE = text(
    "select to_regclass(:one)::oid, pg_relation_size(to_regclass(:one)) / current_setting('block_size')::bigint"
)
# So many names are read anew for each piece faster than each row of it is looked up; of more, that would be squared.
_HASHED = 100_000
_MAKE = """
drop table if exists pg_temp.retention_planned;
create temporary table retention_planned (position bigint, row_id text, anchored_at timestamptz)
"""
_JOINED = "select set_config('enable_hashjoin', %s, false)"
_BY_NAME = "create index on retention_planned (row_id)"
_BY_POSITION = "create index on retention_planned (position)"
_PLANNED = table(
    "retention_planned",
    column("position", BigInteger),
    column("row_id", Text),
    column("anchored_at", DateTime(timezone=True)),
)


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
        plan, policies = self.plan, self.policies
        if not self.by_order:
            # Rows that only policies below govern stay, whatever those say: they are not asked.
            last = max(policies.places(plan.action, plan.only), default=-1)
            policies = PolicySet(policies.dataset, policies.policies[: last + 1])
        return decided(self.dataset, policies, self.protections, plan.as_of, plan.action, plan.only)

    @property
    def by_order(self) -> bool:
        """Whether rows go by an order of erasure, whatever policies say."""
        orders = self.plan.action == "delete" and self.plan.only is None
        return orders and any(one.kind == "erasure" for one in self.protections)


@dataclass(frozen=True, kw_only=True)
class Chunk:
    """Planned rows of one partition, which the server has in `retention_planned`.

    Attributes:
        places: their places in the plan, in order.
        day: of the partition; None of the default one, and where there are none.
        relation: number of the partition, where it is read through; None: its rows are looked up by their names.
        blocks: how many it has.
    """

    places: np.ndarray
    day: date | None
    relation: int | None
    blocks: int

    @property
    def extent(self) -> int:
        """How far a piece may reach: blocks of the partition, or planned rows."""
        return self.blocks if self.relation is not None else len(self.places)

    def piece(self, first: int, last: int) -> dict[str, Any]:
        """The parameters of a piece."""
        if self.relation is not None:
            return {"first": f"({first},0)", "last": f"({last},0)", "day": self.day, "relation": self.relation}
        return {"first": int(self.places[first]), "last": int(self.places[min(last, len(self.places)) - 1])}


@dataclass(frozen=True, kw_only=True)
class Pieces:
    """Pieces of chunks, in words: of a partition that is `read` through, or of rows looked up by their names."""

    act: Act
    read: bool

    def due(self) -> Select[Any]:
        """Of a piece the planned rows that go by the decision of now: tid, relation, position."""
        rows = self.act.table
        decision = self.act.decided()
        known = decision.selected_columns
        found = decision.where(
            *self.within(),
            *self._governed(),
            *self._named(known["row_id"]),
            known["expired"],
            # Read since, or written anew with another instant: that is for the next plan.
            known["anchored_at"].is_not_distinct_from(_PLANNED.c.anchored_at),
        ).with_only_columns(
            tuple_id(rows).label("tid"),
            relation_of(rows).label("relation"),
            _PLANNED.c.position,
            *(() if self.read else (_PLANNED.c.row_id,)),
            maintain_column_froms=True,
        )
        # Sorted, all of a piece is decided about before the first row of it goes: until then nobody waits for any.
        return found.order_by(tuple_id(rows))

    def within(self) -> list[ColumnElement[bool]]:
        """The piece of the partition; all of the table, where rows are looked up."""
        if not self.read:
            return []
        rows, tid = self.act.table, tuple_id(self.act.table)
        return [
            rows.c[DAY_COLUMNS[rows.name]] == bindparam("day", type_=Date),
            relation_of(rows) == bindparam("relation", type_=OID),
            tid >= cast(bindparam("first", type_=Text), Tid()),
            tid < cast(bindparam("last", type_=Text), Tid()),
        ]

    def same(self, row_id: ColumnElement[str]) -> list[ColumnElement[bool]]:
        """The row of a name, in words that the primary key answers."""
        rows, name = self.act.table, cast(row_id, JSON)
        return [
            rows.c[key] == cast(name.op("->>")(cast(literal_column(str(place)), Integer)), rows.c[key].type)
            for place, key in enumerate(self.act.dataset.identity)
        ]

    def _named(self, row_id: ColumnElement[str]) -> list[ColumnElement[bool]]:
        if self.read:
            return [_PLANNED.c.row_id == row_id]
        between = _PLANNED.c.position.between(bindparam("first", type_=BigInteger), bindparam("last", type_=BigInteger))
        return [between, *self.same(_PLANNED.c.row_id)]

    def _governed(self) -> list[ColumnElement[bool]]:
        """What the decision says anyway, in words that an index may answer: a policy that acts asks for the row."""
        act = self.act
        if act.by_order:
            return []
        _, fields = with_reads(act.dataset)
        mine = (act.policies.policies[one].match for one in act.policies.places(act.plan.action, act.plan.only))
        return [or_(false(), *(expression(match, fields, act.dataset.fields) for match in mine))]


def chunk(con: Connection, act: Act, places: np.ndarray) -> Chunk:
    """Give the server the names of planned rows of one partition."""
    partition = act.plan.rows["partition"][places[0]].as_py()
    there = next((one.rows for one in act.plan.partitions if one.partition == partition), 0)
    day, relation, blocks = day_of(act, partition), None, 0
    with con.begin():
        if day is not None and len(places) >= _FEW * there:
            relation, blocks = con.execute(_SIZE, {"one": partition}).one()
        raw = driver(con)
        raw.execute(_MAKE)
        with raw.cursor() as cursor, cursor.copy("copy retention_planned from stdin (format csv)") as copy:
            for first in range(0, len(places), _SENT):
                copy.write(_csv(act.plan.rows, places[first : first + _SENT]))
        hashed = relation is not None and len(places) <= _HASHED
        if not hashed:
            raw.execute(_BY_POSITION if relation is None else _BY_NAME)
        raw.execute(_JOINED, ("on" if hashed else "off",))
    return Chunk(places=places, day=day, relation=relation, blocks=blocks or 0)


def still_due(con: Connection, act: Act, places: Sequence[int]) -> list[int]:
    """Places in the plan of those rows that still may go; all are of one partition."""
    if not len(places):
        return []
    given = chunk(con, act, np.asarray(places, dtype=np.int64))
    due = Pieces(act=act, read=given.relation is not None).due().subquery()
    with con.begin():
        return list(con.scalars(select(due.c.position).order_by(due.c.position), given.piece(0, given.extent)))


def _csv(rows: pa.Table, places: np.ndarray) -> bytes:
    in_a_row = int(places[-1]) - int(places[0]) + 1 == len(places)
    chosen = rows.slice(int(places[0]), len(places)) if in_a_row else rows.take(places)
    chosen = chosen.select(["row_id", "anchored_at"])
    content = io.BytesIO()
    csv.write_csv(chosen.add_column(0, "position", pa.array(places)), content, csv.WriteOptions(include_header=False))
    return content.getvalue()


def day_of(act: Act, partition: str) -> date | None:
    """The day of a partition; None of the default one, and where there are none."""
    last = partition.rpartition("_")[2]
    return date.fromisoformat(last) if act.dataset.table in DAY_COLUMNS and last.isdecimal() else None


def tuple_id(rows: Table) -> ColumnElement[Any]:
    """Where a version lies in its relation."""
    return _system(rows, "ctid", Tid())


def relation_of(rows: Table) -> ColumnElement[Any]:
    """The partition a row is in: every one has rows in the same places."""
    return _system(rows, "tableoid", OID())


def _system(rows: Table, name: str, kind: TypeEngine[Any]) -> ColumnElement[Any]:
    one = column(name, kind)
    one.table = rows
    return one
