"""Tombstones and regrets: what removal cost, told by later requests for what is gone.

A removed entry leaves a keyed digest of its name, never the name. Whoever misses an entry may ask here, in batches,
whether retention took it; each that was is a regret, counted for the policy that let it go. Entries whose own life was
over leave no tombstone: that they are asked for again says nothing about retention.
"""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from sqlalchemy import Connection, Engine, func, select

from retention_pipelines.cache.misses import NO_TENANT, count_regrets, key_digest
from retention_pipelines.postgres.tables import REGRETS, TOMBSTONES
from retention_pipelines.retention.plans.plan_store import driver

# COPY is not for tables with row-level security.
_INSERT = (
    "insert into public.tombstones (tenant, dataset, key_digest, removed_at, policy_id, policy_version, plan_sha256,"
    " age_seconds) select %s, %s, gone.key_digest, %s, gone.policy_id, gone.policy_version, %s, gone.age_seconds"
    " from unnest(%s::bytea[], %s::text[], %s::int[], %s::float8[])"
    " as gone (key_digest, policy_id, policy_version, age_seconds)"
)
_BATCH = 50_000


# Of an entry: key, policy with its version, and age in seconds.
Removed = tuple[str, str | None, int | None, float | None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Tombstone:
    """What remains of an entry; `position` is its place in the plan, where it lies in the graveyard."""

    tenant: str | None
    key: str
    policy_id: str | None
    policy_version: int | None
    age_seconds: float | None
    compute_seconds: float | None
    size_bytes: int | None
    position: int | None = None


@dataclass(frozen=True, kw_only=True)
class Regretted:
    """How often entries that a policy let go were asked for again, and what computing them again cost."""

    policy_id: str | None
    removed: int
    regrets: int
    recompute_seconds: float


def place_tombstones(
    con: Connection, secret: bytes, dataset: str, plan_sha256: str, removed: Sequence[Tombstone]
) -> None:
    """Leave a tombstone for each entry, in the caller's transaction."""
    if not removed:
        return
    # As columns: a statement for each row took longer than removing it.
    told = ("policy_id", "policy_version", "compute_seconds", "size_bytes", "position")
    values: dict[str, Any] = {name: [getattr(one, name) for one in removed] for name in told}
    driver(con).execute(
        _statement(),
        {
            **values,
            "dataset": dataset,
            "plan": plan_sha256,
            "tenant": [one.tenant or NO_TENANT for one in removed],
            "key_digest": [key_digest(secret, one.tenant, dataset, one.key) for one in removed],
            "age_seconds": [None if one.age_seconds is None else max(0.0, one.age_seconds) for one in removed],
        },
    )


@cache
def _statement() -> bytes:
    return resources.files(__package__).joinpath("place_tombstones.sql").read_bytes()


def place_all_tombstones(
    con: Connection, secret: bytes, dataset: str, plan_sha256: str, tenant: str, removed: Iterable[Removed]
) -> int:
    """Leave a tombstone for each of many entries that a plan removed at once, in the caller's transaction.

    Returns how many; 0 where the plan has some already, because an earlier try of the run left them.
    """
    mine = select(TOMBSTONES.c.plan_sha256).where(TOMBSTONES.c.plan_sha256 == plan_sha256)
    if con.scalar(select(mine.exists())):
        return 0
    removed_at, count, rest = con.scalar(select(func.clock_timestamp())), 0, iter(removed)
    while batch := list(itertools.islice(rest, _BATCH)):
        digests = [key_digest(secret, tenant, dataset, key) for key, _, _, _ in batch]
        _, policies, versions, ages = map(list, zip(*batch, strict=True))
        ages = [None if age is None else max(0.0, age) for age in ages]
        driver(con).execute(_INSERT, (tenant, dataset, removed_at, plan_sha256, digests, policies, versions, ages))
        count += len(batch)
    return count


def note_misses(engine: Engine, secret: bytes, *, tenant: str, dataset: str, missed: Mapping[str, float | None]) -> int:
    """Count as regrets those missed keys that retention had removed; `missed` says what computing each again cost.

    The caches do this by themselves (`cache/access.py`).
    """
    with engine.begin() as con:
        named = {(dataset, key): seconds for key, seconds in missed.items()}
        return count_regrets(driver(con), secret, tenant, named)


def regrets(engine: Engine) -> tuple[Regretted, ...]:
    """Regrets by policy, beside how much each removed."""
    gone = select(TOMBSTONES.c.policy_id, func.count().label("n")).group_by(TOMBSTONES.c.policy_id).subquery()
    asked = (
        select(
            REGRETS.c.policy_id,
            func.count().label("n"),
            func.coalesce(func.sum(REGRETS.c.recompute_seconds), 0.0).label("seconds"),
        )
        .group_by(REGRETS.c.policy_id)
        .subquery()
    )
    query = select(gone.c.policy_id, gone.c.n, func.coalesce(asked.c.n, 0), func.coalesce(asked.c.seconds, 0.0))
    joined = query.outerjoin(asked, gone.c.policy_id.is_not_distinct_from(asked.c.policy_id))
    with engine.connect() as con:
        return tuple(
            Regretted(policy_id=policy, removed=removed, regrets=count, recompute_seconds=seconds)
            for policy, removed, count, seconds in con.execute(joined.order_by(gone.c.policy_id))
        )
