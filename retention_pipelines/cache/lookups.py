"""Lookups: the questions to Postgres for entries, prepared by name, and what is alive in their answers.

What belongs here: names, values and binary answers of those statements. What does not: asking them, and checking what
was found against its seal (`hot.py`). The process tells ages and takes the newest: that would cost the server as much
as finding the rows.
"""

import math
import struct
from collections.abc import Sequence

from psycopg.pq.abc import PGresult

from retention_pipelines.cache import columns as fit
from retention_pipelines.cache import statements
from retention_pipelines.cache.entry import Kind
from retention_pipelines.postgres.bounded import BoundedConnection, Step

_DAY_SECONDS = 86_400.0
_DOUBLE = struct.Struct("!d").unpack
# Microseconds since 2000.
_INSTANT = struct.Struct("!q").unpack
_GET: dict[Kind, bytes] = {"features": b"retention_get_features", "predictions": b"retention_get_predictions"}
_GET_WITHIN: dict[Kind, bytes] = {kind: name + b"_within" for kind, name in _GET.items()}
_GET_MANY: dict[Kind, bytes] = {kind: name + b"_many" for kind, name in _GET.items()}


def one(tenant: bytes, kind: Kind, key: str, stale_seconds: float, within_days: int | None) -> Step:
    """The question for an entry; `within_days` as for `HotTier.get`."""
    ago = b"%d" % days(stale_seconds)
    if within_days is None:
        return _GET[kind], (tenant, key.encode(), ago), ()
    return _GET_WITHIN[kind], (tenant, key.encode(), ago, b"%d" % within_days), ()


def many(tenant: bytes, kind: Kind, keys: Sequence[str], stale_seconds: float) -> Step:
    """The question for many entries."""
    return _GET_MANY[kind], (tenant, fit.array(keys).encode(), b"%d" % days(stale_seconds)), ()


def rows_by_key(found: PGresult) -> dict[str, list[int]]:
    """Which rows of the answer to `many` are of which key."""
    rows: dict[str, list[int]] = {}
    for row in range(found.ntuples):
        rows.setdefault((found.get_value(row, 7) or b"").decode(), []).append(row)
    return rows


def days(stale_seconds: float) -> int:
    """How many days ago an entry may have expired."""
    return math.ceil(stale_seconds / _DAY_SECONDS) if stale_seconds else 0


def newest(
    found: PGresult, stale_seconds: float, rows: Sequence[int] | None = None
) -> tuple[bytes, str, bytes, float, float | None, float] | None:
    """Payload, codec, seal, age, remaining life and compute time of the newest entry that a lookup found alive."""
    value = found.get_value
    best: tuple[int, int, float, float | None] | None = None
    for row in range(found.ntuples) if rows is None else rows:
        computed, expires, now = value(row, 3), value(row, 4), value(row, 5)
        if computed is None or now is None:
            continue
        asked = _INSTANT(now)[0]
        remaining = None if expires is None else (_INSTANT(expires)[0] - asked) / 1e6
        if remaining is not None and remaining <= -stale_seconds:
            continue
        computed_at = _INSTANT(computed)[0]
        if best is None or computed_at > best[0]:
            best = computed_at, row, (asked - computed_at) / 1e6, remaining
    if best is None:
        return None
    _, row, age, remaining = best
    compute = value(row, 6)
    return (
        value(row, 0) or b"",
        (value(row, 1) or b"").decode(),
        value(row, 2) or b"",
        age,
        remaining,
        0.0 if compute is None else _DOUBLE(compute)[0],
    )


def prepare(con: BoundedConnection) -> None:
    """Make a connection ready for lookups."""
    # The plan is made once: a partition that is all but empty then is not read whole when it is full.
    con.execute("set enable_seqscan = off")
    # Days are those of UTC, whatever the address of the database says.
    con.execute("set timezone = 'UTC'")
    for names, bounded in ((_GET, False), (_GET_WITHIN, True)):
        for kind, name in names.items():
            con.execute(statements.prepare_get(name.decode(), kind, bounded=bounded))
    for kind, name in _GET_MANY.items():
        con.execute(statements.prepare_get_many(name.decode(), kind))
