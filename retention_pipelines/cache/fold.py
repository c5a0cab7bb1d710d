"""Folding: cached features that have settled go from Postgres to the lake, where later hits find them.

What belongs here: which rows move, and in which order, so that a crash anywhere loses none and doubles none. What does
not: finding them in the lake (`lake_tier.py`), when this runs (`defs/background.py`).

A run first lets go of the rows of Postgres that the lake has, then adds to the lake those that have settled since. So
a row is in both for a while and in none never, and readers know the lake's copy before Postgres lets go of its own. The
lake takes a row once per tenant, key and time of computation, however often it is offered.
"""

import base64
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import psycopg
import pyarrow as pa

from retention_pipelines.catalog import dataset
from retention_pipelines.postgres.address import EVERY_TENANT, Deadlines
from retention_pipelines.postgres.engine import connect
from retention_pipelines.postgres.server import Server
from retention_pipelines.warehouse import Lake
from retention_pipelines.warehouse.duck import bind, statement

PACKAGE = "retention_pipelines.cache"
DATASET = "cached_features"
# A row this young may be replaced soon, and is likely to be read from Postgres.
SETTLED_SECONDS = 3600.0
# A row that expires this soon is not worth a file.
WORTH_SECONDS = 3600.0
ROWS_AT_ONCE = 20_000
FOLDING = Deadlines(statement=600.0, lock=60.0, idle_in_transaction=600.0)


@dataclass(frozen=True, kw_only=True)
class Folded:
    """What a run did: rows the lake had already, that Postgres let go of, and rows added to the lake."""

    rows_released: int
    rows_added: int


@dataclass(frozen=True, kw_only=True)
class _Version:
    """One computed value of a key: what a row is known by on both sides."""

    tenant: str
    cache_key: str
    computed_at: Any


def fold(
    lake: Lake,
    server: Server,
    *,
    settled_seconds: float = SETTLED_SECONDS,
    worth_seconds: float = WORTH_SECONDS,
    tenant: str = EVERY_TENANT,
) -> Folded:
    """Let go of what the lake holds, then add to the lake what has settled; repeat it as often as you like.

    Values that were invalidated or have expired are not folded. A newer value of a key stays in Postgres, and is asked
    for first.
    """
    with connect(server, role="service", tenant=tenant, deadlines=FOLDING, autocommit=True) as con:
        settled = _settled(con, settled_seconds, worth_seconds)
        held, new = _known(lake, settled)
        released = sum(_release(con, part) for part in _parts(held))
        added = sum(_add(lake, con, part) for part in _parts(new))
    if added:
        lake.publish()
    return Folded(rows_released=released, rows_added=added)


def _settled(con: psycopg.Connection[Any], settled_seconds: float, worth_seconds: float) -> list[_Version]:
    rows = con.execute(_sql("fold_settled"), {"settled": settled_seconds, "worth": worth_seconds}).fetchall()
    return [_Version(tenant=tenant, cache_key=key, computed_at=at) for tenant, key, at in rows]


def _known(lake: Lake, settled: Sequence[_Version]) -> tuple[list[_Version], list[_Version]]:
    """Those the lake holds, and those it does not."""
    if not settled:
        return [], []
    asked = pa.table(
        {
            "tenant": pa.array([one.tenant for one in settled], pa.string()),
            "cache_key": pa.array([one.cache_key for one in settled], pa.string()),
            "computed_at": pa.array([one.computed_at for one in settled], pa.timestamp("us", "UTC")),
            "place": pa.array(range(len(settled)), pa.int64()),
        }
    )
    bind(lake.con, "_cached", lake.table(DATASET).scan())
    lake.con.register("_settled", asked)
    try:
        found = lake.con.execute(statement(PACKAGE, "fold_known")).fetchall()
    finally:
        lake.con.unregister("_settled")
    known = {place for (place,) in found}
    held = [one for place, one in enumerate(settled) if place in known]
    return held, [one for place, one in enumerate(settled) if place not in known]


def _release(con: psycopg.Connection[Any], versions: Sequence[_Version]) -> int:
    """Delete exactly these versions; a newer value of a key stays."""
    return con.execute(_sql("fold_release"), _columns(versions)).rowcount


def _add(lake: Lake, con: psycopg.Connection[Any], versions: Sequence[_Version]) -> int:
    """Add these versions to the lake, as far as they are still there and were not invalidated."""
    cursor = con.execute(_sql("fold_rows"), _columns(versions), binary=True)
    names = [column.name for column in cursor.description or ()]
    columns = {name: list(values) for name, values in zip(names, zip(*cursor.fetchall(), strict=True), strict=False)}
    if not columns:
        return 0
    columns["payload_base64"] = [base64.b64encode(one).decode() for one in columns.pop("payload")]
    columns["payload_mac"] = [one.hex() for one in columns["payload_mac"]]
    columns["month"] = [f"{at:%Y-%m}" for at in columns["computed_at"]]
    empty = lake.con.sql(f"from {lake.table(DATASET).scan_files([])}").to_arrow_table().schema
    rows = pa.table([pa.array(columns[name], empty.field(name).type) for name in empty.names], schema=empty)
    lake.con.register("_folding", rows)
    try:
        done = lake.table(DATASET).append_new("from _folding", key=dataset(DATASET).key, within="month", op="fold")
    finally:
        lake.con.unregister("_folding")
    return done.rows_added


def _columns(versions: Sequence[_Version]) -> dict[str, list[Any]]:
    return {
        "tenants": [one.tenant for one in versions],
        "keys": [one.cache_key for one in versions],
        "instants": [one.computed_at for one in versions],
    }


def _parts(versions: Sequence[_Version]) -> Iterator[Sequence[_Version]]:
    return (versions[start : start + ROWS_AT_ONCE] for start in range(0, len(versions), ROWS_AT_ONCE))


def _sql(name: str) -> bytes:
    return files(PACKAGE).joinpath("sql", f"{name}.sql").read_bytes()
