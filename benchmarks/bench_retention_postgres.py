"""Removing predictions in Postgres, against what a person would type for the same rows.

A day of them, a tenth of the table, taken out by its partition, against one DELETE; rows spread over all days removed
in batches, against one DELETE, while another connection updates and reads.
`python -m benchmarks retention_postgres [--small]`.
"""

import argparse
import itertools
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from retention_pipelines.postgres.address import EVERY_TENANT, Deadlines
from retention_pipelines.postgres.engine import connect, open_engine
from retention_pipelines.postgres.migrate import upgrade_server
from retention_pipelines.postgres.partitions import add_day_partitions
from retention_pipelines.postgres.server import Server, open_server
from retention_pipelines.retention.actions.act_partitions import bury_partitions
from retention_pipelines.retention.actions.act_postgres import Act, delete_rows
from retention_pipelines.retention.plans.plan import Plan
from retention_pipelines.retention.plans.plan_store import PlanStore, now
from retention_pipelines.retention.plans.select_postgres import plan_postgres
from retention_pipelines.retention.policies.defaults import read_policies
from retention_pipelines.retention.policies.governed import INFERENCE_CACHE
from retention_pipelines.retention.policies.registry import PolicyRegistry
from retention_pipelines.settings import load_settings
from retention_pipelines.warehouse.objects import open_objects

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
            steps: list[tuple[str, float]] = [("", time.perf_counter())]
            bury_partitions(engine, act, lambda name: steps.append((name, time.perf_counter())))
            out = sum(at - before for (_, before), (name, at) in itertools.pairwise(steps) if name == "burying")
            whole = steps[-1][1] - steps[0][1]
            print(
                f"expiring {made.removed_rows:,} rows by partition: out of the table in {out:.3f} s,"
                f" {bare[0] / out:.0f} times faster than one DELETE ({bare[0]:.3f} s)   target 30;"
                f" with the comparison, for which nobody waits, {whole:.3f} s, {bare[0] / whole:.0f} times",
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
                time.sleep(1.0)
                alone = max(waits)  # what the machine makes it wait with nothing else to do
                waits.clear()

                def work(act: Act = act, grace: bool = grace) -> None:
                    delete_rows(engine, act, lambda _: None, bury=grace, removed=None)

                ours = timed(work)
                stop.set()
                other.join()
                print(
                    f"deleting {made.removed_rows:,} rows in batches{', kept for a grace' if grace else ''}"
                    f" {ours[0]:.3f} s   one DELETE {bare[0]:.3f} s   x{ours[0] / bare[0]:.2f}   target x3;"
                    f" longest of {len(waits):,} other statements {max(waits) * 1000:.0f} ms"
                    f" (alone {alone * 1000:.0f} ms)   target 100 ms",
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
    with tempfile.TemporaryDirectory(prefix="rp-") as folder:
        bench_postgres(Path(folder), 500_000 if small else 5_000_000)


if __name__ == "__main__":
    main()
