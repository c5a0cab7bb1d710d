"""The log of reads by key and day: reading it for a replay, and keeping it short.

What belongs here: the table `access_log`. What does not: writing it (`cache/access.py` counts, in batches), replaying
it (`simulate.py`).
"""

from datetime import date, timedelta
from typing import Any

import pyarrow as pa
from sqlalchemy import ColumnElement, Date, Engine, cast, delete, func, select

from retention_pipelines.postgres.partitions import drop_day_partitions
from retention_pipelines.postgres.tables import ACCESS_LOG
from retention_pipelines.retention.plans.plan_store import driver
from retention_pipelines.retention.policies.governed import Governed

LOG_SCHEMA = pa.schema(
    [("key", pa.string()), ("day", pa.date32()), ("hits", pa.int64()), ("last", pa.timestamp("us", tz="UTC"))]
)
_BATCH = 50_000


def logged_reads(engine: Engine, dataset: Governed, first: date) -> pa.Table:
    """Reads of a dataset by key and day since a day; of the lake by all tenants together, else `tenant` is in the key.

    Columns of `LOG_SCHEMA`.
    """
    own = ACCESS_LOG.c
    key: ColumnElement[Any] = own.key if dataset.store == "lake" else tenant_key(own.tenant, own.key)
    query = (
        select(key, own.accessed_on, func.sum(own.hits), func.max(own.last_accessed_at))
        .where(own.dataset == dataset.table, own.accessed_on >= first)
        .group_by(key, own.accessed_on)
    )
    batches = []
    with engine.connect().execution_options(stream_results=True) as con:
        for rows in con.execute(query).partitions(_BATCH):
            columns = list(zip(*rows, strict=True))
            columns[2] = tuple(int(hits) for hits in columns[2])
            batches.append(pa.table(dict(zip(LOG_SCHEMA.names, map(list, columns), strict=True)), schema=LOG_SCHEMA))
    return pa.concat_tables(batches) if batches else LOG_SCHEMA.empty_table()


def tenant_key(tenant: Any, key: Any) -> ColumnElement[Any]:
    """What names an entry of a tenant, as SQL; tenants have no slash in their names."""
    return func.concat(tenant, "/", key)


def prune(engine: Engine, days: int) -> None:
    """Forget reads of more than so many days ago."""
    with engine.begin() as con:
        today: date = con.scalar(select(cast(func.timezone("UTC", func.now()), Date)))  # type: ignore[assignment]
        horizon = today - timedelta(days=days)
        drop_day_partitions(driver(con), "access_log", horizon)
        con.execute(delete(ACCESS_LOG).where(ACCESS_LOG.c.accessed_on < horizon))
