"""Planning over a Postgres table: the decision as columns of a SELECT, rows counted by partition and verdict.

What belongs here: reading and deciding. What does not: the rules (`compiled.py`), sealing (`plan.py`), removing.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import pyarrow as pa
from sqlalchemy import (
    ColumnElement,
    Connection,
    DateTime,
    Engine,
    FromClause,
    Select,
    Text,
    and_,
    cast,
    column,
    func,
    literal_column,
    or_,
    select,
    table,
    text,
)
from sqlalchemy.dialects.postgresql import REGCLASS

from retention_pipelines.postgres.tables import ACCESS_COUNTS, METADATA
from retention_pipelines.retention.plans.plan import NEWEST, ROW_SCHEMA, PartitionPlan, Plan, VerdictCount, fate, seal
from retention_pipelines.retention.policies.compiled import postgres_columns
from retention_pipelines.retention.policies.decide import Protection, in_order
from retention_pipelines.retention.policies.governed import Governed
from retention_pipelines.retention.policies.policy import Action, PolicySet

SCHEMA = "retention_partitions"
_FETCHED = 20_000
_DAYS = table("days", column("parent"), column("partition"), column("first_day"), schema=SCHEMA)
_TELL = text("select n_rows, told from public.retention_tell_partition(:schema, :name, :columns)")
# Everything older than this has ended, and is in the snapshot that the plan is made of.
_SEEN = text("select to_regclass(:name)::oid || '/' || pg_snapshot_xmin(pg_current_snapshot())")


def plan_postgres(
    engine: Engine,
    dataset: Governed,
    policies: PolicySet,
    *,
    as_of: datetime,
    protections: Sequence[Protection] = (),
    action: Action = "delete",
    only: str | None = None,
) -> Plan:
    """The plan of what `action` would do to a dataset in Postgres, over one snapshot of it.

    Rows governed by a policy with another action, or by another policy than `only`, are kept by it. A day's partition
    goes whole when all its rows may go, but never the newest, which then stays as it is; elsewhere single rows go,
    however few. The engine must see every tenant's rows.
    """
    ordered = in_order(protections)
    with engine.connect().execution_options(isolation_level="REPEATABLE READ") as con:
        rows = decided(dataset, policies, ordered, as_of, action, only).cte("decided")
        numbers = _numbers(con, rows)
        partitions = _partitions(con, dataset, numbers, erasing=any(one.kind == "erasure" for one in ordered))
        unnamed = [one.partition for one in partitions if one.fate in ("drop", "newest")]
        named = _rows(con, rows, policies, unnamed)
    return seal(
        dataset=dataset.name,
        action=action,
        only=only,
        as_of=as_of,
        policies=[str(policy) for policy in policies.policies],
        protections=[one.label for one in ordered],
        store_version=None,
        partitions=partitions,
        counts=_counts(numbers, partitions, policies, ordered),
        rows=named,
    )


_Key = tuple[str, int | None, int | None, str | None, bool]


def fields_of(dataset: Governed, rows: FromClause, reads: FromClause | None) -> Mapping[str, ColumnElement[Any]]:
    """What each field of the dataset is in the SELECT."""
    found: dict[str, ColumnElement[Any]] = {}
    for name in dataset.fields:
        source = dataset.sources.get(name, name)
        if reads is not None and source == "access_count":
            found[name] = func.coalesce(reads.c.hits, 0)
        elif reads is not None and source == "last_accessed_at":
            found[name] = reads.c.last_accessed_at
        else:
            found[name] = rows.c[source]
    return found


def with_reads(dataset: Governed) -> tuple[FromClause, Mapping[str, ColumnElement[Any]]]:
    """The table with its counted reads joined, and what each field is in it."""
    rows = METADATA.tables[dataset.table]
    if dataset.read_key is None:
        return rows, fields_of(dataset, rows, None)
    reads = ACCESS_COUNTS
    joined = rows.outerjoin(
        reads,
        and_(
            reads.c.tenant == rows.c.tenant,
            reads.c.dataset == dataset.table,
            reads.c.key == rows.c[dataset.read_key],
        ),
    )
    return joined, fields_of(dataset, rows, reads)


def decided(
    dataset: Governed,
    policies: PolicySet,
    protections: Sequence[Protection],
    as_of: datetime,
    action: Action,
    only: str | None,
) -> Select[Any]:
    """Every row: partition, name, the columns that name it, and the decision; `expired` says whether it goes."""
    rows = METADATA.tables[dataset.table]
    source, found = with_reads(dataset)
    decision = postgres_columns(found, dataset.fields, policies, protections, as_of)
    mine = policies.places(action, only)
    acted_on: list[ColumnElement[bool]] = [decision.policy.in_(mine)] if mine else []
    if action == "delete" and only is None:
        acted_on.append(decision.ruled_by.is_not(None))
    # What is compressed stays so until it is prepared anew.
    again = [func.coalesce(rows.c.compressed_at < rows.c.computed_at, True)] if action == "compress" else []
    return select(
        cast(cast(literal_column(f"{rows.name}.tableoid"), REGCLASS), Text).label("partition"),
        cast(func.json_build_array(*(rows.c[name] for name in dataset.identity)), Text).label("row_id"),
        *(rows.c[name] for name in dataset.identity),
        decision.policy.label("policy"),
        decision.ruled_by.label("ruled_by"),
        decision.anomaly.label("anomaly"),
        decision.anchored_at.label("anchored_at"),
        and_(decision.expired, func.coalesce(or_(*acted_on), False) if acted_on else text("false"), *again).label(
            "expired"
        ),
    ).select_from(source)


def count_over(engine: Engine, dataset: Governed, policies: PolicySet, as_of: datetime) -> Mapping[str, int]:
    """By partition, the entries whose own end is over by a policy that looks at it: nobody is served those any more."""
    own_end = [place for place, one in enumerate(policies.policies) if one.anchor == "expires_at"]
    if not own_end:
        return {}
    rows = decided(dataset, policies, (), as_of, "delete", None).subquery()
    query = select(rows.c.partition, func.count().label("n_rows")).where(rows.c.expired, rows.c.policy.in_(own_end))
    with engine.connect() as con:
        return {row.partition: row.n_rows for row in con.execute(query.group_by(rows.c.partition))}


def tell(con: Connection, dataset: Governed, schema: str, name: str) -> tuple[int, int]:
    """Number of a partition's rows, and a digest over which rows they are and when each was written."""
    rows = METADATA.tables[dataset.table]
    instants = [one.name for one in rows.columns if isinstance(one.type, DateTime)]
    columns = [*dataset.identity, *(one for one in instants if one not in dataset.identity)]
    found = con.execute(_TELL, {"schema": schema, "name": name, "columns": columns}).one()
    return found.n_rows, found.told


def _numbers(con: Connection, decided: FromClause) -> Counter[_Key]:
    keys = (decided.c.partition, decided.c.policy, decided.c.ruled_by, decided.c.anomaly, decided.c.expired)
    rows = con.execute(select(*keys, func.count()).group_by(*keys))
    return Counter({(row[0], row[1], row[2], row[3], row[4]): row[5] for row in rows})


def _partitions(
    con: Connection, dataset: Governed, numbers: Mapping[_Key, int], *, erasing: bool
) -> tuple[PartitionPlan, ...]:
    days = {
        f"{SCHEMA}.{row.partition}": row.first_day
        for row in con.execute(select(_DAYS.c.partition, _DAYS.c.first_day).where(_DAYS.c.parent == dataset.table))
    }
    newest = max(days, key=lambda name: days[name], default=None)
    rows: Counter[str] = Counter()
    expired: Counter[str] = Counter()
    for (name, _, _, _, goes), count in numbers.items():
        rows[name] += count
        expired[name] += count if goes else 0
    plans = []
    for name in sorted(rows):
        size = con.scalar(select(func.pg_total_relation_size(cast(name, REGCLASS)))) or 0
        what = fate(
            rows=rows[name],
            expired=expired[name],
            newest=name == newest,
            parted=name in days,
            erasing=erasing,
            rewrite_share=0.0,
        )
        told = tell(con, dataset, SCHEMA, name.removeprefix(f"{SCHEMA}."))[1] if what == "drop" else None
        plans.append(
            PartitionPlan(
                partition=name,
                rows=rows[name],
                expired=expired[name],
                size_bytes=size,
                fate=what,
                told=told,
                seen=con.scalar(_SEEN, {"name": name}) if what == "drop" else None,
            )
        )
    return tuple(plans)


def _counts(
    numbers: Mapping[_Key, int],
    partitions: Sequence[PartitionPlan],
    policies: PolicySet,
    protections: Sequence[Protection],
) -> tuple[VerdictCount, ...]:
    row_bytes = {one.partition: one.size_bytes / one.rows for one in partitions if one.rows}
    newest = {one.partition for one in partitions if one.fate == "newest"}
    rows: Counter[tuple[int | None, str | None, str | None, bool]] = Counter()
    sizes: dict[tuple[int | None, str | None, str | None, bool], float] = {}
    for (partition, policy, ruled_by, anomaly, expired), count in numbers.items():
        label = None if ruled_by is None else protections[ruled_by].label
        stays = expired and partition in newest
        verdict = (policy, NEWEST if stays else label, anomaly, expired and not stays)
        rows[verdict] += count
        sizes[verdict] = sizes.get(verdict, 0.0) + count * row_bytes[partition]
    return tuple(
        VerdictCount(
            policy=None if policy is None else str(policies.policies[policy]),
            verdict="expire" if expired else "keep",
            ruled_by=ruled_by,
            anomaly=anomaly,
            rows=count,
            size_bytes=round(sizes[policy, ruled_by, anomaly, expired]),
        )
        for (policy, ruled_by, anomaly, expired), count in rows.items()
    )


def _rows(con: Connection, decided: FromClause, policies: PolicySet, dropped: Sequence[str]) -> pa.Table:
    query = select(decided.c.partition, decided.c.row_id, decided.c.policy, decided.c.anchored_at).where(
        decided.c.expired, decided.c.partition.not_in(dropped)
    )
    # As objects of Python rows take ten times the memory; of those there are only so many at a time.
    found = con.execution_options(yield_per=_FETCHED).execute(query)
    return pa.concat_tables([ROW_SCHEMA.empty_table(), *(_table(some, policies) for some in found.partitions())])


def _table(found: Sequence[Any], policies: PolicySet) -> pa.Table:
    governing = [None if row.policy is None else policies.policies[row.policy] for row in found]
    return pa.table(
        {
            "partition": [row.partition for row in found],
            "row_id": [row.row_id for row in found],
            "policy_id": [None if policy is None else policy.policy_id for policy in governing],
            "policy_version": [None if policy is None else policy.version for policy in governing],
            "anchored_at": [row.anchored_at for row in found],
        },
        schema=ROW_SCHEMA,
    )
