"""The graveyard in Postgres: bringing rows back while their grace lasts, and letting go of them when it is over.

What belongs here: moving rows and partitions out of the graveyard. What does not: putting them in (`act_postgres.py`),
the files of training sets (`act_training.py`).
"""

import json
from collections.abc import Callable, Collection
from typing import Any

import psycopg
from psycopg import sql
from sqlalchemy import Connection, Engine, delete, or_, select, text

from retention_pipelines.postgres.tables import BURIED_PARTITIONS, GRAVEYARD
from retention_pipelines.retention.actions.rollup import RAW, buried_samples, note_back
from retention_pipelines.retention.plans.plan_store import driver
from retention_pipelines.retention.policies.governed import Governed

_BATCH = 5_000
_BACK = """
with chosen as (
    select position, row from graveyard
    where plan_sha256 = %(plan)s and relation = %(name)s and (%(ids)s::text[] is null or row_id = any(%(ids)s::text[]))
    order by position limit %(batch)s
), back as (
    insert into {relation} select gone.*
    from chosen, jsonb_populate_record(null::{relation}, chosen.row) as gone where {valid}
    on conflict do nothing returning 1
), gone as (
    delete from graveyard using chosen
    where graveyard.plan_sha256 = %(plan)s and graveyard.position = chosen.position returning chosen.position
)
select (select count(*) from gone), (select count(*) from back)
"""
_CHOSEN = """
select position from graveyard
where plan_sha256 = %(plan)s and relation = %(name)s and (%(ids)s::text[] is null or row_id = any(%(ids)s::text[]))
order by position limit %(batch)s
"""
_FROM_PARTITION = """
insert into {relation} select * from {buried} as gone
where ({names}::text[] is null or array[{asked}] && {names}::text[]) and {valid}
on conflict do nothing
"""
# What was invalidated meanwhile must not be served again; of training sets their readers look after that.
_VALID = {"ml_inference_cache": sql.SQL("not public.retention_is_outdated(gone)")}
_MISSING = """
(select gone.* from {buried} as gone where not exists (select from {relation} as live where {same})
    and ({names}::text[] is null or array[{asked}] && {names}::text[]))
"""


def bring_back_rows(
    engine: Engine, plan_sha256: str, relation: str, *, ids: Collection[str] | None, step: Callable[[str], None]
) -> int:
    """Put rows of a plan back into their table, in batches; where one was written anew since, that one stays."""
    name = sql.Identifier(relation)
    values: dict[str, Any] = {
        "plan": plan_sha256,
        "name": relation,
        "ids": None if ids is None else list(ids),
        "batch": _BATCH,
    }
    restored = 0
    while True:
        with engine.begin() as con:
            raw = driver(con)
            if relation == RAW:
                chosen = [one[0] for one in raw.execute(_CHOSEN, values)]
                if chosen:
                    note_back(raw, buried_samples(plan_sha256, chosen))
            back_again = sql.SQL(_BACK).format(relation=name, valid=_VALID.get(relation, sql.SQL("true")))
            row = raw.execute(back_again, values).fetchone()
        taken, back = row or (0, 0)
        restored += back
        step("restoring")
        if not taken:
            return restored


def bring_back_partitions(
    engine: Engine,
    plan_sha256: str,
    relation: str,
    *,
    identity: tuple[str, ...],
    columns: tuple[str, ...],
    names: Collection[str] | None,
) -> int:
    """Put rows of whole partitions back; with `names` only these. A partition that came back whole is dropped."""
    restored = 0
    with engine.connect() as con:
        mine = BURIED_PARTITIONS.c.plan_sha256 == plan_sha256
        partitions = con.scalars(select(BURIED_PARTITIONS.c.buried_as).where(mine)).all()
    for buried in partitions:
        with engine.begin() as con:
            restored += _from_partition(con, relation, buried, identity, columns, names)
    return restored


def put_back(con: Connection, dataset: Governed, buried: str) -> int:
    """Put all rows of one partition back that no run took out yet, and drop it, in the caller's transaction."""
    return _from_partition(con, dataset.table, buried, dataset.identity, (), None, accepted=False)


def _from_partition(
    con: Connection,
    relation: str,
    buried: str,
    identity: tuple[str, ...],
    columns: tuple[str, ...],
    names: Collection[str] | None,
    *,
    accepted: bool = True,
) -> int:
    keys = [sql.Identifier("gone", key) for key in identity]
    parts = {
        "relation": sql.Identifier(relation),
        "buried": sql.Identifier("retention_graveyard", buried),
        "asked": sql.SQL(", ").join(
            (
                sql.SQL("json_build_array({})::text").format(sql.SQL(", ").join(keys)),
                *(sql.SQL("{}::text").format(sql.Identifier("gone", key)) for key in columns),
            )
        ),
        "names": sql.Literal(None if names is None else list(names)),
        "valid": _VALID.get(relation, sql.SQL("true")),
    }
    raw = driver(con)
    if not _is_there(raw, buried):
        return 0
    if relation == RAW and accepted:
        same = (
            sql.SQL("{} = {}").format(key, sql.Identifier("live", name))
            for key, name in zip(keys, identity, strict=True)
        )
        note_back(raw, sql.SQL(_MISSING).format(**parts, same=sql.SQL(" and ").join(same)))
    restored = raw.execute(sql.SQL(_FROM_PARTITION).format(**parts)).rowcount
    if names is None:
        raw.execute("select public.retention_drop_buried_partition(%s)", (buried,))
    return restored


def let_go(engine: Engine, plan_sha256: str, step: Callable[[str], None]) -> int:
    """Remove what a plan left in the graveyard for good; returns the bytes of the partitions that went."""
    freed = 0
    while True:
        chosen = select(GRAVEYARD.c.position).where(GRAVEYARD.c.plan_sha256 == plan_sha256).limit(_BATCH)
        with engine.begin() as con:
            gone = con.execute(
                delete(GRAVEYARD).where(GRAVEYARD.c.plan_sha256 == plan_sha256, GRAVEYARD.c.position.in_(chosen))
            ).rowcount
        step("sweeping")
        if not gone:
            break
    with engine.connect() as con:
        mine = BURIED_PARTITIONS.c.plan_sha256 == plan_sha256
        names = con.scalars(select(BURIED_PARTITIONS.c.buried_as).where(mine)).all()
    for name in names:
        with engine.begin() as con:
            freed += con.scalar(text("select public.retention_drop_buried_partition(:name)"), {"name": name}) or 0
        step("sweeping")
    return freed


def is_empty(engine: Engine, plan_sha256: str) -> bool:
    """Whether nothing of a plan lies here any more."""
    buried = select(BURIED_PARTITIONS.c.buried_as).where(BURIED_PARTITIONS.c.plan_sha256 == plan_sha256)
    with engine.connect() as con:
        if con.scalar(select(GRAVEYARD.c.position).where(GRAVEYARD.c.plan_sha256 == plan_sha256).limit(1)) is not None:
            return False
        return not any(_is_there(driver(con), name) for name in con.scalars(buried).all())


def ids_of(engine: Engine, plan_sha256: str, dataset: Governed, names: Collection[str]) -> list[str]:
    """Rows of a plan in the graveyard that have one of these names: a plan's own, or the value of a naming column."""
    wanted = [GRAVEYARD.c.row_id.in_(names), *(GRAVEYARD.c.row[column].astext.in_(names) for column in dataset.names)]
    with engine.connect() as con:
        query = select(GRAVEYARD.c.row_id).where(GRAVEYARD.c.plan_sha256 == plan_sha256, or_(*wanted))
        return list(con.scalars(query))


def name_of(row_id: str) -> tuple[Any, ...]:
    """The columns that name a row, out of the name a plan gives it."""
    return tuple(json.loads(row_id))


def _is_there(con: psycopg.Connection[Any], buried: str) -> bool:
    row = con.execute(
        "select to_regclass(format('retention_graveyard.%%I', %s::text)) is not null", (buried,)
    ).fetchone()
    return bool(row and row[0])
