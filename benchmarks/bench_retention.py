"""Planning and removing in the lake, against what a person would type into DuckDB for the same rows.

Features of 4 types over 24 months, a third of the studies read; planned with the reads joined, against the bare
query with that join; a tenth of all rows removed from every partition, against the bare rewrite of the same files;
whole months dropped. What of it is planning, what deciding, what is written.
`python -m benchmarks retention [--small]`.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pyarrow as pa

from retention_pipelines.retention.actions.act_lake import remove_rows
from retention_pipelines.retention.filter.parse import parse
from retention_pipelines.retention.plans.lake_rows import READS_SCHEMA
from retention_pipelines.retention.plans.select_lake import Rules, plan_lake
from retention_pipelines.retention.policies.decide import Protection
from retention_pipelines.retention.policies.defaults import default_policies, read_policies
from retention_pipelines.retention.policies.governed import FEATURE_STORE
from retention_pipelines.retention.policies.policy import PolicySet
from retention_pipelines.settings import load_settings
from retention_pipelines.warehouse import Lake
from tests.unit.warehouse.rows import rows

ROUNDS = 3
_FEATURES = {
    "feature_hash": "md5(i::varchar)",
    "feature_id": "'study-' || (i // 4)",
    "feature_type": "['temporal', 'spatial', 'environmental', 'species'][1 + (i % 4)::int]",
    "month": "strftime(date '2024-01-01' + to_months(((i // 4) % 24)::int), '%Y-%m')",
    "quality_score": "(hash(i) % 1000)::double / 1000",
    "dataset_id": "'d' || (hash(i, 'd') % 10)",
    "computed_at": "timestamptz '2026-11-01 00:00:00+00' - to_seconds((hash(i, 'c') % 70000000)::bigint)",
}
_BARE_PLAN = """
select feature_type, month, case when quality_score > 0.8 and coalesce(hits, 0) > 5 then 1
    when quality_score > 0.6 and coalesce(hits, 0) > 2 then 2 when quality_score is null then 3 else 4 end as policy,
    computed_at < timestamptz '2026-08-24 00:00:00+00' as expired, count(*)
from {rows} left join reads on feature_id = key group by all
"""
# What a plan holds besides: which rows go, in an order that a seal can be put on.
_BARE_NAMES = """
select feature_type, month, feature_hash, computed_at, case when quality_score > 0.8 and coalesce(hits, 0) > 5 then 1
    when quality_score > 0.6 and coalesce(hits, 0) > 2 then 2 when quality_score is null then 3 else 4 end as policy
from {rows} left join reads on feature_id = key
where computed_at < case policy when 1 then timestamptz '2024-11-22 00:00:00+00'
    when 4 then timestamptz '2026-08-24 00:00:00+00' else timestamptz '2025-11-22 00:00:00+00' end
order by feature_type, month, feature_hash
"""
_BARE_REWRITE = """
copy (select * from {rows} where dataset_id <> 'd3' order by feature_type, month, location_grid, event_time)
to '{target}' (format parquet, parquet_version v2, compression zstd, partition_by (feature_type, month), overwrite)
"""
# What a lake looks like that is cleaned every day: few rows of a partition have expired.
DUE_LITTLE = PolicySet.of(
    "feature_store",
    read_policies(
        """
feature_store:
- {id: high, priority: 3, match: quality_score > 0.8 and access_count > 5, keep_days: 3650, reason: R}
- {id: medium, priority: 2, match: quality_score > 0.6 and access_count > 2, keep_days: 3650, reason: R}
- {id: low, priority: 1, match: everything, keep_days: 780, reason: R}
"""
    ),
)
_OLD = """
feature_store: [{id: old, priority: 1, match: "month in ('2024-01', '2024-02', '2024-03')", keep_days: 1, reason: R}]
"""


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Wall and CPU seconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def compare(name: str, target: float, ours: list[tuple[float, float]], bare: list[tuple[float, float]]) -> None:
    """Print medians and their ratios."""
    mine, floor = ([statistics.median(one) for one in zip(*found, strict=True)] for found in (ours, bare))
    ratio, cpu = mine[0] / floor[0], mine[1] / floor[1] if floor[1] > 0.01 else float("nan")
    print(
        f"{name:<44} {mine[0]:8.3f} s   bare {floor[0]:8.3f} s   x{ratio:.2f} (CPU x{cpu:.2f})   target x{target}",
        flush=True,
    )


def bench_lake(root: Path, count: int) -> None:
    """Planning and removing in the lake."""
    as_of = datetime(2026, 11, 22, tzinfo=UTC)
    policies = PolicySet.of("feature_store", default_policies())
    with Lake(load_settings({}, lake_root=str(root / "warehouse"), state_dir=root / "state")) as lake:
        table = lake.table("feature_store")
        table.append(rows("feature_store", count, **_FEATURES))
        studies = range(0, count // 4, 3)
        reads = pa.table(
            {
                "key": [f"study-{n}" for n in studies],
                "hits": [n % 11 for n in studies],
                "last_accessed_at": [as_of] * len(studies),
            },
            schema=READS_SCHEMA,
        )
        lake.con.register("reads", reads)
        print(f"lake: {count:,} features, {len(table.files())} files, {sum(f.bytes for f in table.files()):,} bytes")
        ours, bare = [], []
        for _ in range(ROUNDS):
            bare.append(timed(lambda: lake.con.execute(_BARE_PLAN.format(rows=table.scan())).fetchall()))
            ours.append(timed(lambda: plan_lake(lake, FEATURE_STORE, policies, as_of=as_of, reads=reads)))
        compare("planning with reads joined", 1.5, ours, bare)
        bare = [timed(lambda: lake.con.sql(_BARE_NAMES.format(rows=table.scan())).to_arrow_table()) for _ in ours]
        compare("the same, against naming the rows", 1.5, ours, bare)
        young = plan_lake(lake, FEATURE_STORE, DUE_LITTLE, as_of=as_of, reads=reads)
        ours, bare = [], []
        for _ in range(ROUNDS):
            bare.append(timed(lambda: lake.con.execute(_BARE_PLAN.format(rows=table.scan())).fetchall()))
            ours.append(timed(lambda: plan_lake(lake, FEATURE_STORE, DUE_LITTLE, as_of=as_of, reads=reads)))
        compare(f"planning a day's run, {young.expired_rows:,} expired", 1.5, ours, bare)

        order = Protection(kind="erasure", label="order 1", match=parse("dataset_id = 'd3'", FEATURE_STORE.fields))
        keeping = PolicySet.of(
            "feature_store",
            read_policies("feature_store: [{id: all, priority: 1, match: everything, keep_days: 36000, reason: R}]"),
        )
        rules = Rules(
            dataset=FEATURE_STORE, policies=keeping, protections=(order,), as_of=as_of, action="delete", only=None
        )
        ours, bare = [], []
        for _ in range(ROUNDS):
            plan = plan_lake(lake, FEATURE_STORE, keeping, as_of=as_of, reads=reads, protections=[order])
            target = root / "bare"
            bare.append(timed(partial(lake.con.execute, _BARE_REWRITE.format(rows=table.scan(), target=target))))
            before = table.version()
            ours.append(timed(partial(remove_rows, lake, plan, rules, reads, unchanged=True)))
            assert sum(file.rows for file in table.files()) == count - plan.removed_rows
            table.restore(before)
        compare(f"removing {plan.removed_rows:,} rows from every partition", 1.3, ours, bare)

        old = PolicySet.of(
            "feature_store",
            read_policies(_OLD),
        )
        plan = plan_lake(lake, FEATURE_STORE, old, as_of=as_of)
        rules = Rules(dataset=FEATURE_STORE, policies=old, protections=(), as_of=as_of, action="delete", only=None)
        dropped = sum(one.fate == "drop" for one in plan.partitions)
        wall, _ = timed(lambda: remove_rows(lake, plan, rules, None, unchanged=True))
        print(
            f"dropping {dropped} whole partitions, {plan.removed_rows:,} rows: {wall:.3f} s   target 0.1 s", flush=True
        )


def main() -> None:
    """Print one line per comparison."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--small", action="store_true")
    small = parser.parse_args().small
    with tempfile.TemporaryDirectory() as folder:
        bench_lake(Path(folder), 500_000 if small else 5_000_000)


if __name__ == "__main__":
    main()
