"""Counts of reads of what is there no more: forgotten, or the table of counts would grow for ever.

What belongs here: which counts nobody can need. What does not: counting (`cache/access.py`, `features/reads.py`), the
log of reads by day (`simulation/access_log.py`).
"""

from collections.abc import Iterable
from datetime import datetime, timedelta

import pyarrow as pa
from sqlalchemy import String, cast, delete, exists, func, select
from sqlalchemy.dialects.postgresql import ARRAY

from retention_pipelines.postgres.tables import (
    ACCESS_COUNTS,
    ML_FEATURE_STORE,
    ML_INFERENCE_CACHE,
    ML_RETENTION_POLICIES,
    ML_TRAINING_CACHE,
)
from retention_pipelines.retention.plans.plan_store import now
from retention_pipelines.retention.plans.planning import Planner
from retention_pipelines.retention.plans.select_lake import table_of
from retention_pipelines.retention.policies.governed import GOVERNED, Governed
from retention_pipelines.warehouse.duck import bind

#: Counts of what went stay so long after the last read and the longest grace: it may come back.
KEPT = timedelta(days=90)
_AT_ONCE = 100_000


def forget_counts(planner: Planner) -> int:
    """Remove counts whose entry or feature is in no table, archive or other root, and unread for long; how many.

    At most 100,000 of the lake at a time; the next call goes on.
    """
    with planner.engine.connect() as con:
        grace = con.scalar(select(func.coalesce(func.max(ML_RETENTION_POLICIES.c.grace_seconds), 0)))
    horizon = now(planner.engine) - KEPT - timedelta(seconds=float(grace or 0))
    return _forget_entries(planner, horizon) + _forget_features(planner, horizon)


def _forget_entries(planner: Planner, horizon: datetime) -> int:
    counts, gone = ACCESS_COUNTS.c, 0
    for table in (ML_FEATURE_STORE, ML_INFERENCE_CACHE, ML_TRAINING_CACHE):
        there = exists().where(table.c.tenant == counts.tenant, table.c.cache_key == counts.key)
        going = delete(ACCESS_COUNTS).where(counts.dataset == table.name, counts.last_accessed_at < horizon, ~there)
        with planner.engine.begin() as con:
            gone += con.execute(going).rowcount
    return gone


def _forget_features(planner: Planner, horizon: datetime) -> int:
    gone = 0
    of_table: dict[str, list[Governed]] = {}
    for dataset in GOVERNED.values():
        if dataset.store == "lake" and dataset.read_key and (planner.lake.settings.cold_root or not dataset.cold):
            of_table.setdefault(dataset.table, []).append(dataset)
    for name, datasets in of_table.items():
        old = (ACCESS_COUNTS.c.dataset == name, ACCESS_COUNTS.c.last_accessed_at < horizon)
        with planner.engine.connect() as con:
            keys = con.scalars(select(ACCESS_COUNTS.c.key).where(*old).distinct().limit(_AT_ONCE)).all()
        if not keys:
            continue
        nowhere = _nowhere(planner, keys, datasets)
        with planner.engine.begin() as con:
            named = ACCESS_COUNTS.c.key == func.any(cast(nowhere, ARRAY(String)))
            gone += con.execute(delete(ACCESS_COUNTS).where(*old, named)).rowcount
    return gone


def _nowhere(planner: Planner, keys: Iterable[str], datasets: Iterable[Governed]) -> list[str]:
    """The keys that no row of these tables has."""
    con = planner.lake.con
    left = pa.table({"key": list(keys)})
    for dataset in datasets:
        table = table_of(planner.lake, dataset)
        bind(con, "_counted_rows", table.scan_files(table.files(), columns={"key": str(dataset.read_key)}))
        con.register("_counted_keys", left)
        try:
            left = con.sql("from _counted_keys anti join _counted_rows using (key)").to_arrow_table()
        finally:
            con.unregister("_counted_keys")
    return [str(key) for key in left["key"].to_pylist()]
