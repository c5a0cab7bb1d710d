"""Upkeep of the hot tables: partitions made days ahead that go when all in them has expired, and a log kept short.

What belongs here: which days there should be, and which lines of the log are of use. What does not: the mechanism
(`postgres/partitions.py`) and who asks for it when (the thread that writes behind, and maintenance). Nothing depends on
it being done: a row without a partition of its day lies in the default one, and is found and removed there.
"""

import math
from collections.abc import Mapping
from datetime import date, timedelta

from retention_pipelines.cache import statements
from retention_pipelines.cache.entry import Kind
from retention_pipelines.cache.statements import HOT_TABLES
from retention_pipelines.postgres.bounded import BoundedConnection
from retention_pipelines.postgres.partitions import add_day_partitions, drop_day_partitions

# A lookup asks every partition from today on, so there are few; longer lives lie in the default one.
MOST_AHEAD = 7
# Twice what a process may have been remembering things before it first reads the log (`sql/invalidations.sql`).
LOG_SECONDS = 2 * 86_400.0
# What legal holds call the rows of a kind; features are held where they were computed from, in the lake.
_HELD_AS: dict[Kind, str] = {"predictions": "inference_cache"}


def days_ahead(ttl_hours: float) -> int:
    """Days after today on which entries of such a life expire, and one more, so that they are made a day early."""
    return min(MOST_AHEAD, math.ceil(ttl_hours / 24) + 1)


def make_ahead(con: BoundedConnection, ahead: Mapping[Kind, int]) -> int:
    """Make the missing partitions from today on, by the database's clock; returns how many.

    Gives up soon when somebody reads at length: until it has the lock, everybody else waits behind it.
    """
    con.execute("set local lock_timeout = '100ms'")
    today = _today(con)
    add_day_partitions(con, "access_log", today, today + timedelta(days=1))
    return sum(
        add_day_partitions(con, HOT_TABLES[kind].name, today, today + timedelta(days=days))
        for kind, days in ahead.items()
    )


def remove_expired(con: BoundedConnection, keep_stale_seconds: float) -> int:
    """Drop the days that were over so long ago, and remove other expired rows; returns the number of the latter.

    While a legal hold on the predictions is open all of them stay: which of them it holds only plans can tell.
    """
    today = _today(con)
    removed = 0
    held = held_datasets(con)
    for kind, table in HOT_TABLES.items():
        if _HELD_AS.get(kind) in held:
            continue
        horizon = today - timedelta(days=math.ceil(keep_stale_seconds / 86_400))
        drop_day_partitions(con, table.name, horizon)
        removed += con.execute(statements.expired(kind), {"keep": keep_stale_seconds}).rowcount
    prune_log(con)
    return removed


def held_datasets(con: BoundedConnection) -> frozenset[str]:
    """Names of the datasets that a legal hold is open on."""
    rows = con.execute("select distinct dataset from public.holds where released_at is null").fetchall()
    return frozenset(str(row[0]) for row in rows)


def prune_log(con: BoundedConnection) -> int:
    """Remove lines of the invalidation log that later ones repeat, once they are old; returns how many."""
    return con.execute(statements.plain("prune_log"), {"keep": LOG_SECONDS}).rowcount


def _today(con: BoundedConnection) -> date:
    (today,) = con.execute("select (now() at time zone 'UTC')::date").fetchall()[0]
    return date(today.year, today.month, today.day)
