"""The graveyard in Postgres: bringing rows back while their grace lasts, and letting go of them when it is over.

What belongs here: moving rows and partitions out of the graveyard. What does not: putting them in (`act_postgres.py`),
the files of training sets (`act_training.py`).
"""

import json
from collections.abc import Callable, Collection
from typing import Any

import psycopg
from psycopg import sql
from sqlalchemy import Connection, Engine, Text, cast, delete, exists, func, or_, select, text

from retention_pipelines.postgres.tables import BURIED_PARTITIONS, GRAVES, METADATA, ML_INFERENCE_CACHE
from retention_pipelines.retention.actions.rollup import RAW, buried_samples, note_back
from retention_pipelines.retention.plans.plan_store import driver
from retention_pipelines.retention.policies.governed import GOVERNED, Governed

_BATCH = 5_000
_BACK = """
with gone as (
    delete from {grave} where plan_sha256 = %(plan)s and position = any(%(positions)s) returning {columns}
)
insert into {relation} ({columns}) select {columns} from gone where {valid} on conflict do nothing
"""
_CHOSEN = """
select position from {grave}
where plan_sha256 = %(plan)s and (%(ids)s::text[] is null or json_build_array({identity})::text = any(%(ids)s::text[]))
order by position limit %(batch)s
"""
_FROM_PARTITION = """
insert into {relation} ({columns}) select {columns} from {buried} as gone
where ({names}::text[] is null or array[{asked}] && {names}::text[]) and {valid}
on conflict do nothing
"""
# What was invalidated meanwhile must not be served again; of training sets their readers look after that.
_VALID = sql.SQL(
    "not public.retention_is_outdated(jsonb_populate_record(null::public.ml_inference_cache, to_jsonb(gone)))"
)
_MISSING = """
(select gone.* from {buried} as gone where not exists (select from {relation} as live where {same})
    and ({names}::text[] is null or array[{asked}] && {names}::text[]))
"""


def bring_back_rows(
    engine: Engine, plan_sha256: str, relation: str, *, ids: Collection[str] | None, step: Callable[[str], None]
) -> int:
    """Put rows of a plan back into their table, in batches; where one was written anew since, that one stays."""
    values: dict[str, Any] = {"plan": plan_sha256, "ids": None if ids is None else list(ids), "batch": _BATCH}
    identity = next(one for one in GOVERNED.values() if one.table == relation).identity
    parts = {
        "grave": sql.Identifier(GRAVES[relation].name),
        "identity": sql.SQL(", ").join(map(sql.Identifier, identity)),
        **_parts(relation),
    }
    restored = 0
    while True:
        with engine.begin() as con:
            raw = driver(con)
            positions = [one[0] for one in raw.execute(sql.SQL(_CHOSEN).format(**parts), values)]
            if relation == RAW and positions:
                note_back(raw, buried_samples(plan_sha256, positions))
            restored += raw.execute(sql.SQL(_BACK).format(**parts), {**values, "positions": positions}).rowcount
        step("restoring")
        if not positions:
            return restored


def _parts(relation: str) -> dict[str, sql.Composable]:
    """The table, its columns by name, as graves may have them in another order, and which of the rows are valid."""
    columns = sql.SQL(", ").join(map(sql.Identifier, METADATA.tables[relation].c.keys()))
    valid = _VALID if relation == ML_INFERENCE_CACHE.name else sql.SQL("true")
    return {"relation": sql.Identifier(relation), "columns": columns, "valid": valid}


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
        **_parts(relation),
        "buried": sql.Identifier("retention_graveyard", buried),
        "asked": sql.SQL(", ").join(
            (
                sql.SQL("json_build_array({})::text").format(sql.SQL(", ").join(keys)),
                *(sql.SQL("{}::text").format(sql.Identifier("gone", key)) for key in columns),
            )
        ),
        "names": sql.Literal(None if names is None else list(names)),
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
    for grave in GRAVES.values():
        mine = grave.c.plan_sha256 == plan_sha256
        gone = 1
        while gone:
            chosen = select(grave.c.position).where(mine).limit(_BATCH)
            with engine.begin() as con:
                gone = con.execute(delete(grave).where(mine, grave.c.position.in_(chosen))).rowcount
            step("sweeping")
    with engine.connect() as con:
        buried = select(BURIED_PARTITIONS.c.buried_as).where(BURIED_PARTITIONS.c.plan_sha256 == plan_sha256)
        names = con.scalars(buried).all()
    for name in names:
        with engine.begin() as con:
            freed += con.scalar(text("select public.retention_drop_buried_partition(:name)"), {"name": name}) or 0
        step("sweeping")
    return freed


def is_empty(engine: Engine, plan_sha256: str) -> bool:
    """Whether nothing of a plan lies here any more."""
    buried = select(BURIED_PARTITIONS.c.buried_as).where(BURIED_PARTITIONS.c.plan_sha256 == plan_sha256)
    with engine.connect() as con:
        for grave in GRAVES.values():
            if con.scalar(select(exists().where(grave.c.plan_sha256 == plan_sha256))):
                return False
        return not any(_is_there(driver(con), name) for name in con.scalars(buried).all())


def ids_of(engine: Engine, plan_sha256: str, dataset: Governed, names: Collection[str]) -> list[str]:
    """Rows of a plan in the graveyard that have one of these names: a plan's own, or the value of a naming column."""
    grave = GRAVES[dataset.table].c
    row_id = cast(func.json_build_array(*(grave[name] for name in dataset.identity)), Text)
    wanted = [row_id.in_(names), *(cast(grave[name], Text).in_(names) for name in dataset.names)]
    with engine.connect() as con:
        return list(con.scalars(select(row_id).where(grave.plan_sha256 == plan_sha256, or_(*wanted))))


def name_of(row_id: str) -> tuple[Any, ...]:
    """The columns that name a row, out of the name a plan gives it."""
    return tuple(json.loads(row_id))


def _is_there(con: psycopg.Connection[Any], buried: str) -> bool:
    row = con.execute(
        "select to_regclass(format('retention_graveyard.%%I', %s::text)) is not null", (buried,)
    ).fetchone()
    return bool(row and row[0])
