"""Planning over a lake table: one pass of DuckDB over the rows, with the counted reads joined.

What belongs here: reading and deciding. What does not: the rules (`compiled.py`), sealing (`plan.py`), removing.
"""

import json
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import reduce
from itertools import groupby

import duckdb
import pyarrow as pa
from duckdb import ColumnExpression, ConstantExpression, FunctionExpression

from retention_pipelines.retention.filter.ast import fields
from retention_pipelines.retention.plans.lake_rows import counted_reads, rows_of
from retention_pipelines.retention.plans.plan import (
    NEWEST,
    REWRITE_SHARE,
    ROW_SCHEMA,
    PartitionPlan,
    Plan,
    VerdictCount,
    fate,
    seal,
)
from retention_pipelines.retention.policies.compiled import duckdb_columns
from retention_pipelines.retention.policies.decide import Protection, in_order
from retention_pipelines.retention.policies.governed import Governed
from retention_pipelines.retention.policies.policy import Action, PolicySet
from retention_pipelines.warehouse import Lake, LakeFile
from retention_pipelines.warehouse.duck import quote_texts
from retention_pipelines.warehouse.layout import is_packed
from retention_pipelines.warehouse.objects import Objects, open_objects
from retention_pipelines.warehouse.table import Table


def plan_lake(
    lake: Lake,
    dataset: Governed,
    policies: PolicySet,
    *,
    as_of: datetime,
    reads: pa.Table | None = None,
    protections: Sequence[Protection] = (),
    action: Action = "delete",
    only: str | None = None,
) -> Plan:
    """The plan of what `action` would do to a lake dataset, over one version of its table.

    Rows governed by a policy with another action, or by another policy than `only`, are none of its business and are
    kept by it. `reads` has the columns
    of `READS_SCHEMA`: how often rows were read, by the value of the dataset's `read_key`. Memory holds the names of the
    rows that go from partitions that are rewritten, and counts of all others.
    """
    table, con = table_of(lake, dataset), lake.con
    version = table.version()
    files = table.files(version=version)
    ordered = in_order(protections)
    partition_by = table.dataset.partition_by
    rules = Rules(dataset=dataset, policies=policies, protections=ordered, as_of=as_of, action=action, only=only)
    with counted_reads(con, reads):
        numbers = _numbers(decided(con, table, files, rules, []), partition_by)
        partitions = _partitions(files, numbers, rules, partition_by)
        if action == "compress":
            partitions = _to_pack(partitions, files, partition_by, tried_files(lake, table))
        # Packing concerns whole files, whoever's rows are in them.
        rewritten = {one.partition for one in partitions if one.fate == "rewrite" and action != "compress"}
        # Only where a partition is rewritten do the names of rows matter: they cost more to read than all the rest.
        named = [file for file in files if folder(file, partition_by) in rewritten]
        rows = _rows(decided(con, table, named, rules, dataset.identity), rules, partition_by, rewritten)
    return seal(
        dataset=dataset.name,
        action=action,
        only=only,
        as_of=as_of,
        policies=[str(policy) for policy in policies.policies],
        protections=[one.label for one in ordered],
        store_version=version,
        partitions=partitions,
        counts=_counts(numbers, partitions, policies, ordered),
        rows=rows,
    )


def row_id(identity: Sequence[str]) -> duckdb.Expression:
    """What a plan calls a row: its only key, or the keys as a JSON list, so that no two rows share a name."""
    keys = [ColumnExpression(name).cast("VARCHAR") for name in identity]
    if len(keys) == 1:
        return keys[0]
    return FunctionExpression("to_json", FunctionExpression("list_value", *keys)).cast("VARCHAR")


def partition_name(partition_by: Sequence[str]) -> duckdb.Expression:
    """The folder of a row's partition: `feature_type=species/month=2026-06`; empty without partitions."""
    parts = [
        part
        for place, name in enumerate(partition_by)
        for part in (ConstantExpression(f"{'/' if place else ''}{name}="), ColumnExpression(name))
    ]
    return FunctionExpression("concat", *parts) if parts else ConstantExpression("")


def newest_places(places: Collection[tuple[str, ...]]) -> frozenset[tuple[str, ...]]:
    """Of each series of partitions the newest: the greatest last key under the same keys before it."""
    return frozenset(max(group) for _, group in groupby(sorted(places), key=lambda place: place[:-1]))


def folder(file: LakeFile, partition_by: Sequence[str]) -> str:
    """What a plan calls the partition of a file."""
    return "/".join(f"{name}={file.partition[name]}" for name in partition_by)


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What a plan decides with."""

    dataset: Governed
    policies: PolicySet
    protections: tuple[Protection, ...]
    as_of: datetime
    action: Action
    only: str | None

    @property
    def erasing(self) -> bool:
        """Whether an erasure order is among what rules."""
        return any(one.kind == "erasure" for one in self.protections)

    def named(self) -> frozenset[str]:
        """The fields that deciding looks at."""
        asked = [fields(policy.match) for policy in self.policies.policies]
        asked += [fields(one.match) for one in self.protections]
        anchors = {name for policy in self.policies.policies for name in _anchored(policy.anchor)}
        return frozenset().union(anchors, *asked) & frozenset(self.dataset.fields)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Number:
    """Rows of a partition with the same verdict; rules by their place."""

    partition: str
    policy: int | None
    ruled_by: int | None
    anomaly: str | None
    expired: bool
    rows: int


def _anchored(anchor: str) -> tuple[str, ...]:
    return ("computed_at", "last_accessed_at") if anchor == "last_used" else (anchor,)


def decided(
    con: duckdb.DuckDBPyConnection, table: Table, files: Sequence[LakeFile], rules: Rules, kept: Sequence[str]
) -> duckdb.DuckDBPyRelation:
    """Partition, the columns `kept` and the decision; `decided_expired` says whether this plan removes the row."""
    named = list(dict.fromkeys([*table.dataset.partition_by, *kept]))
    decision = duckdb_columns(rules.dataset.fields, rules.policies, rules.protections, rules.as_of).named()
    decided = rows_of(con, table, files, rules.dataset, fields=rules.named(), kept=named).select(
        *map(ColumnExpression, named),
        *(expression.alias(f"decided_{name}") for name, expression in decision.items()),
    )
    goes, policy = ColumnExpression("decided_expired"), ColumnExpression("decided_policy")
    mine = rules.policies.places(rules.action, rules.only)
    acted_on = [policy.isin(*map(ConstantExpression, mine))] if mine else []
    if rules.action == "delete" and rules.only is None:
        # What an order erases goes whatever its policy would do with it.
        acted_on.append(ColumnExpression("decided_ruled_by").isnotnull())
    if len(mine) < len(rules.policies.policies) or not mine:
        goes &= reduce(lambda one, other: one | other, acted_on) if acted_on else ConstantExpression(False)
    return decided.select(
        *map(ColumnExpression, named),
        policy,
        ColumnExpression("decided_ruled_by"),
        ColumnExpression("decided_anomaly"),
        ColumnExpression("decided_anchored_at"),
        goes.alias("decided_expired"),
    )


def _numbers(decided: duckdb.DuckDBPyRelation, partition_by: Sequence[str]) -> tuple[_Number, ...]:
    groups = [*partition_by, "decided_policy", "decided_ruled_by", "decided_anomaly", "decided_expired"]
    counted = decided.aggregate([*(ColumnExpression(name) for name in groups), FunctionExpression("count_star")])
    numbers = []
    for row in counted.fetchall():
        place, (policy, ruled_by, anomaly, expired, rows) = row[: len(partition_by)], row[len(partition_by) :]
        name = "/".join(f"{key}={value}" for key, value in zip(partition_by, place, strict=True))
        numbers.append(
            _Number(partition=name, policy=policy, ruled_by=ruled_by, anomaly=anomaly, expired=expired, rows=rows)
        )
    return tuple(numbers)


def _partitions(
    files: Sequence[LakeFile], numbers: Sequence[_Number], rules: Rules, partition_by: Sequence[str]
) -> tuple[PartitionPlan, ...]:
    sizes: dict[tuple[str, ...], int] = {}
    for file in files:
        place = tuple(file.partition[name] for name in partition_by)
        sizes[place] = sizes.get(place, 0) + file.bytes
    newest = newest_places(sizes)
    rows: Counter[str] = Counter()
    expired: Counter[str] = Counter()
    for number in numbers:
        rows[number.partition] += number.rows
        expired[number.partition] += number.rows if number.expired else 0
    plans = []
    for place, size in sizes.items():
        name = "/".join(f"{key}={value}" for key, value in zip(partition_by, place, strict=True))
        what = fate(
            rows=rows[name],
            expired=expired[name],
            newest=place in newest and rules.action != "compress",  # which takes no row away
            parted=bool(partition_by),
            erasing=rules.erasing,
        )
        plans.append(PartitionPlan(partition=name, rows=rows[name], expired=expired[name], size_bytes=size, fate=what))
    return tuple(plans)


def is_all_of_newest(lake: Lake, rules: Rules, reads: pa.Table | None, place: tuple[str, ...]) -> bool:
    """Whether a partition is the newest of its series, and nothing of it would stay."""
    table = table_of(lake, rules.dataset)
    partition_by = table.dataset.partition_by
    places: dict[tuple[str, ...], list[LakeFile]] = {}
    for file in table.files():
        places.setdefault(tuple(file.partition[name] for name in partition_by), []).append(file)
    if not partition_by or place not in newest_places(places):
        return False
    with counted_reads(lake.con, reads):
        numbers = _numbers(decided(lake.con, table, places[place], rules, []), partition_by)
    return all(number.expired for number in numbers)


def _to_pack(
    partitions: Sequence[PartitionPlan],
    files: Sequence[LakeFile],
    partition_by: Sequence[str],
    tried: Collection[str],
) -> tuple[PartitionPlan, ...]:
    """Partitions to be packed: those due of which enough is not packed yet, and was not tried in vain."""
    loose: Counter[str] = Counter()
    for file in files:
        if not is_packed(file.path) and file.path not in tried:
            loose[folder(file, partition_by)] += file.bytes
    return tuple(
        replace(one, fate="keep" if loose[one.partition] < REWRITE_SHARE * one.size_bytes else "rewrite")
        if one.fate in ("drop", "rewrite")
        else one
        for one in partitions
    )


def table_of(lake: Lake, dataset: Governed) -> Table:
    """The table that holds a dataset: its own, its archive, or that on the other root."""
    if dataset.cold:
        return lake.cold_table(dataset.table)
    return lake.archive_table(dataset.table) if dataset.archived else lake.table(dataset.table)


def tried_object(lake: Lake, table: Table) -> tuple[Objects, str]:
    """Where it is remembered which files were packed in vain, as JSON list of paths."""
    return open_objects(
        f"{lake.root}/_plans", lake.settings.storage_options
    ), f"tried-{table.root.split('/')[-2]}-{table.name}.json"


def tried_files(lake: Lake, table: Table) -> frozenset[str]:
    """Files that were packed in vain: they would hardly have become smaller."""
    objects, name = tried_object(lake, table)
    return frozenset(json.loads(objects.read(name) or b"[]"))


def _counts(
    numbers: Sequence[_Number],
    partitions: Sequence[PartitionPlan],
    policies: PolicySet,
    protections: Sequence[Protection],
) -> tuple[VerdictCount, ...]:
    row_bytes = {one.partition: one.size_bytes / one.rows for one in partitions if one.rows}
    newest = {one.partition for one in partitions if one.fate == "newest"}
    rows: Counter[tuple[int | None, bool, str | None, str | None]] = Counter()
    sizes: dict[tuple[int | None, bool, str | None, str | None], float] = {}
    for number in numbers:
        ruled_by = None if number.ruled_by is None else protections[number.ruled_by].label
        stays = number.expired and number.partition in newest
        verdict = (number.policy, number.expired and not stays, NEWEST if stays else ruled_by, number.anomaly)
        rows[verdict] += number.rows
        sizes[verdict] = sizes.get(verdict, 0.0) + number.rows * row_bytes[number.partition]
    return tuple(
        VerdictCount(
            policy=None if policy is None else str(policies.policies[policy]),
            verdict="expire" if expired else "keep",
            ruled_by=ruled_by,
            anomaly=anomaly,
            rows=count,
            size_bytes=round(sizes[policy, expired, ruled_by, anomaly]),
        )
        for (policy, expired, ruled_by, anomaly), count in rows.items()
    )


def _rows(
    decided: duckdb.DuckDBPyRelation, rules: Rules, partition_by: Sequence[str], partitions: Collection[str]
) -> pa.Table:
    """The rows that go."""
    # As numbers, in their order: all of these names begin alike, and comparing them takes longer than all the rest.
    numbered = f"ENUM({quote_texts(sorted(partitions))})" if partitions else "VARCHAR"
    ordered = (
        decided.filter(ColumnExpression("decided_expired"))
        .select(
            partition_name(partition_by).cast(numbered).alias("partition"),
            row_id(rules.dataset.identity).alias("row_id"),
            ColumnExpression("decided_policy").alias("policy"),
            ColumnExpression("decided_anchored_at").alias("anchored_at"),
        )
        .order("partition, row_id")
    )
    named = ("row_id", "policy", "anchored_at")
    found = ordered.select(
        ColumnExpression("partition").cast("VARCHAR").alias("partition"), *map(ColumnExpression, named)
    ).to_arrow_table()
    place = found["policy"].combine_chunks()
    ids = pa.array([policy.policy_id for policy in rules.policies.policies], pa.string())
    versions = pa.array([policy.version for policy in rules.policies.policies], pa.int32())
    return pa.table(
        {
            "partition": found["partition"],
            "row_id": found["row_id"],
            "policy_id": ids.take(place),
            "policy_version": versions.take(place),
            "anchored_at": found["anchored_at"],
        },
        schema=ROW_SCHEMA,
    )
