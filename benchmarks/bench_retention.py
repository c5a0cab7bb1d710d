"""Planning and removing, against what a person would type into DuckDB or Postgres for the same rows.

Lake: features of 4 types over 24 months, a third of the studies read; planned with the reads joined, against the bare
query with that join; a tenth of all rows removed from every partition, against the bare rewrite of the same files;
whole months dropped. Postgres: a day of predictions, a tenth of the table, taken out by its partition, against one
DELETE; rows spread over all days removed in batches, against one DELETE, while another connection updates and reads.
`python -m benchmarks retention [--small]`.
"""

import argparse
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pyarrow as pa

from retention_pipelines.postgres.address import EVERY_TENANT, Deadlines
from retention_pipelines.postgres.engine import connect, open_engine
from retention_pipelines.postgres.migrate import upgrade_server
from retention_pipelines.postgres.partitions import add_day_partitions
from retention_pipelines.postgres.server import Server, open_server
from retention_pipelines.retention.act_lake import remove_rows
from retention_pipelines.retention.act_postgres import Act, bury_partitions, delete_rows, mark_rows
from retention_pipelines.retention.decide import Protection
from retention_pipelines.retention.defaults import default_policies, read_policies
from retention_pipelines.retention.filter.parse import parse
from retention_pipelines.retention.governed import FEATURE_STORE, INFERENCE_CACHE
from retention_pipelines.retention.lake_rows import READS_SCHEMA
from retention_pipelines.retention.plan import Plan
from retention_pipelines.retention.plan_store import PlanStore, now
from retention_pipelines.retention.policy import PolicySet
from retention_pipelines.retention.registry import PolicyRegistry
from retention_pipelines.retention.select_lake import Rules, plan_lake
from retention_pipelines.retention.select_postgres import plan_postgres
from retention_pipelines.settings import load_settings
from retention_pipelines.warehouse import Lake
from retention_pipelines.warehouse.objects import open_objects
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
_BARE_REWRITE = """
copy (select * from {rows} where dataset_id <> 'd3' order by feature_type, month, location_grid, event_time)
to '{target}' (format parquet, parquet_version v2, compression zstd, partition_by (feature_type, month), overwrite)
"""
_OLD = """
feature_store: [{id: old, priority: 1, match: "month in ('2024-01', '2024-02', '2024-03')", keep_days: 1, reason: R}]
"""
_SPREAD = """
inference_cache: [{id: ic_spread, priority: 900, match: "model_version = '2'", keep_days: 1, reason: R}]
"""
_PREDICTIONS = """
insert into ml_inference_cache (tenant, cache_key, model_id, model_type, model_version, payload, payload_codec,
    payload_mac, computed_at, expires_at, expires_on)
select 'local', md5(i::text), 'm', 't', '1', decode(repeat(md5(i::text), 8), 'hex'), 'c', sha256('x'),
    now() - interval '30 days', at, (at at time zone 'UTC')::date
from generate_series(%(first)s::bigint, %(last)s::bigint) as i
cross join lateral (select date_trunc('day', now()) + make_interval(days => (i %% 10 - 1)::int, hours => 1) as at) as t
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


def bench_postgres(root: Path, count: int) -> None:
    """Removing in Postgres."""
    settings = load_settings({}, lake_root=str(root / "warehouse"), state_dir=root / "pg")
    with open_server(settings) as server:
        upgrade_server(server)
        patient = Deadlines(statement=900, lock=60, idle_in_transaction=900)
        engine = open_engine(server, tenant=EVERY_TENANT, deadlines=patient)
        store = PlanStore(engine, open_objects(str(root / "plans"), None))
        PolicyRegistry(engine).load_defaults()
        policies = PolicyRegistry(engine).policy_set("inference_cache")
        with connect(server, tenant=EVERY_TENANT, deadlines=patient, autocommit=True) as con:
            today = datetime.now(UTC).date()
            add_day_partitions(con, "ml_inference_cache", today - timedelta(days=1), today + timedelta(days=9))
            con.execute(_PREDICTIONS, {"first": 1, "last": count})
            con.execute("vacuum analyze")
            print(f"postgres: {count:,} predictions, a tenth of them expired")

            def plan() -> Plan:
                instant = now(engine)
                made = plan_postgres(engine, INFERENCE_CACHE, policies, as_of=instant, only="ic_expired")
                store.save(made, created_by="bench")
                return made

            # A DELETE that is rolled back has done its work: the rows are still there for the partition to take.
            with con.transaction(force_rollback=True):
                bare = timed(lambda: con.execute("delete from ml_inference_cache where expires_at < now()"))
            con.execute("vacuum ml_inference_cache")
            made = plan()
            act = Act(plan=made, dataset=INFERENCE_CACHE, policies=policies, protections=(), unchanged=True)
            ours = timed(lambda: bury_partitions(engine, act, lambda _: None))
            print(
                f"expiring {made.removed_rows:,} rows by partition {ours[0]:.3f} s   one DELETE {bare[0]:.3f} s"
                f"   {bare[0] / ours[0]:.0f} times faster   target 30",
                flush=True,
            )

            spread = read_policies(_SPREAD)[0]
            con.execute("update ml_inference_cache set model_version = '2' where hashtext(cache_key) % 9 = 0")
            con.execute("vacuum analyze ml_inference_cache")
            saved = PolicyRegistry(engine).set(spread, created_by="bench")
            policies = PolicyRegistry(engine).policy_set("inference_cache")
            with con.transaction(force_rollback=True):
                bare = timed(lambda: con.execute("delete from ml_inference_cache where model_version = '2'"))
            con.execute("vacuum ml_inference_cache")
            for grace in (False, True):
                instant = now(engine)
                made = plan_postgres(engine, INFERENCE_CACHE, policies, as_of=instant, only=saved.policy_id)
                store.save(made, created_by="bench")
                act = Act(plan=made, dataset=INFERENCE_CACHE, policies=policies, protections=())
                waits: list[float] = []
                stop = threading.Event()
                other = threading.Thread(target=_use, args=(server, count, stop, waits))
                other.start()

                def work(act: Act = act, grace: bool = grace) -> None:
                    mark_rows(engine, act.plan, lambda _: None)
                    delete_rows(engine, act, lambda _: None, bury=grace, removed=lambda con, rows: None)

                ours = timed(work)
                stop.set()
                other.join()
                print(
                    f"deleting {made.removed_rows:,} rows in batches{', kept for a grace' if grace else ''}"
                    f" {ours[0]:.3f} s   one DELETE {bare[0]:.3f} s   x{ours[0] / bare[0]:.2f}   target x3;"
                    f" longest of {len(waits):,} other statements {max(waits) * 1000:.0f} ms   target 100 ms",
                    flush=True,
                )
                if not grace:
                    con.execute("update ml_inference_cache set model_version = '2' where hashtext(cache_key) % 9 = 1")
                    con.execute("vacuum analyze ml_inference_cache")
        engine.dispose()
        server.stop()


def _use(server: Server, count: int, stop: threading.Event, waits: list[float]) -> None:
    """What another connection does meanwhile: read a row, write a row."""
    number = 1
    with connect(server, tenant="local", autocommit=True) as con:
        while not stop.is_set():
            number = (number * 7919 + 13) % count
            started = time.perf_counter()
            con.execute(
                "select payload from ml_inference_cache where tenant = 'local' and cache_key = md5(%s::text)", (number,)
            )
            con.execute(
                "update ml_inference_cache set writer = 'w' where tenant = 'local' and cache_key = md5(%s::text)",
                (number,),
            )
            waits.append(time.perf_counter() - started)
            time.sleep(0.005)


def main() -> None:
    """Print one line per comparison."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--small", action="store_true")
    small = parser.parse_args().small
    with tempfile.TemporaryDirectory() as folder:
        bench_lake(Path(folder), 500_000 if small else 5_000_000)
    with tempfile.TemporaryDirectory(prefix="rp-") as folder:
        bench_postgres(Path(folder), 500_000 if small else 5_000_000)


if __name__ == "__main__":
    main()
