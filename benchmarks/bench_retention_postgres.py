"""Removing predictions in Postgres, against what a person would type for the same rows.

A day of them, a tenth of the table, taken out by its partition, against one DELETE; a ninth of the rows, spread over
all days, removed in batches, against one DELETE of another ninth, both while another connection updates and reads.
`python -m benchmarks retention_postgres [--small]`; 5 million predictions take some minutes and 4 GB of disk.
"""

import argparse
import contextlib
import itertools
import resource
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import psycopg

from retention_pipelines.postgres import embedded
from retention_pipelines.postgres.address import EVERY_TENANT, PATIENT
from retention_pipelines.postgres.engine import connect, open_engine
from retention_pipelines.postgres.migrate import upgrade_server
from retention_pipelines.postgres.partitions import add_day_partitions
from retention_pipelines.postgres.server import Server, open_server
from retention_pipelines.retention.actions.act_partitions import bury_partitions
from retention_pipelines.retention.actions.act_postgres import Act, delete_rows
from retention_pipelines.retention.plans.plan_store import PlanStore, now
from retention_pipelines.retention.plans.select_postgres import plan_postgres
from retention_pipelines.retention.policies.defaults import read_policies
from retention_pipelines.retention.policies.governed import INFERENCE_CACHE
from retention_pipelines.retention.policies.registry import PolicyRegistry
from retention_pipelines.settings import Settings, load_settings
from retention_pipelines.warehouse.objects import open_objects

_SPREAD = """
inference_cache:
- {{id: ic_spread_{0}, priority: {1}, match: "model_version = 'v{0}'", keep_days: 1, reason: R}}
"""
# Of a day each time, so that its index is in memory; of nine versions, spread over its pages.
_PREDICTIONS = """
insert into ml_inference_cache (tenant, cache_key, model_id, model_type, model_version, payload, payload_codec,
    payload_mac, computed_at, expires_at, expires_on)
select 'local', md5(i::text), 'm', 't', 'v' || i %% 9, decode(repeat(md5(i::text), 8), 'hex'), 'c', sha256('x'),
    now() - interval '30 days', at, (at at time zone 'UTC')::date
from generate_series(%(first)s::bigint, %(last)s::bigint) as i
cross join lateral (
    select date_trunc('day', now()) + make_interval(days => %(day)s::int, hours => 23, mins => 59) as at
) as t
"""
_DAYS = 10
_READ = "select payload from ml_inference_cache where tenant = 'local' and cache_key = md5(%s::text)"
_WRITE = "update ml_inference_cache set writer = 'w' where tenant = 'local' and cache_key = md5(%s::text)"


@dataclass(frozen=True, kw_only=True)
class Took:
    """Seconds of a piece of work: by the clock, and of the processor, here and in the server; others' longest wait."""

    wall: float
    cpu: float
    waited: float
    others: int

    def __str__(self) -> str:
        return (
            f"{self.wall:.3f} s (CPU {self.cpu:.3f} s; longest of {self.others:,} others {self.waited * 1000:.0f} ms)"
        )


@dataclass(frozen=True, kw_only=True)
class Bench:
    """A server with predictions."""

    settings: Settings
    server: Server
    admin: psycopg.Connection[Any]
    count: int

    def cpu(self) -> float:
        """Seconds of the processor that this process and the server's took so far."""
        time.sleep(0.3)  # what ended is counted when the server has noticed
        pid = embedded.running_pid(embedded.places(self.settings.state_dir))
        server = psutil.Process(pid)
        used = time.process_time() + server.cpu_times().children_user + server.cpu_times().children_system
        for one in server.children():
            with contextlib.suppress(psutil.NoSuchProcess):
                used += one.cpu_times().user + one.cpu_times().system
        return used

    def beside_others(self, work: Callable[[], object]) -> Took:
        """Do work while another connection reads and writes rows, after what was written before is on the disk."""
        self.admin.execute("checkpoint")
        waits: list[float] = []
        stop = threading.Event()
        other = threading.Thread(target=self._use, args=(stop, waits))
        other.start()
        time.sleep(0.5)
        waits.clear()
        cpu, started = self.cpu(), time.perf_counter()
        try:
            work()
            wall = time.perf_counter() - started
        finally:
            stop.set()
            other.join()
        return Took(wall=wall, cpu=self.cpu() - cpu, waited=max(waits, default=0.0), others=len(waits))

    def _use(self, stop: threading.Event, waits: list[float]) -> None:
        number = 1
        with connect(self.server, tenant="local", deadlines=PATIENT, autocommit=True) as con:
            while not stop.is_set():
                number = (number * 7919 + 13) % self.count
                started = time.perf_counter()
                con.execute(_READ, (number,))
                con.execute(_WRITE, (number,))
                waits.append(time.perf_counter() - started)
                time.sleep(0.005)


def bench_postgres(root: Path, count: int) -> None:
    """Removing in Postgres."""
    settings = load_settings({}, lake_root=str(root / "warehouse"), state_dir=root / "pg")
    with open_server(settings) as server:
        upgrade_server(server)
        engine = open_engine(server, tenant=EVERY_TENANT, deadlines=PATIENT)
        store, registry = PlanStore(engine, open_objects(str(root / "plans"), None)), PolicyRegistry(engine)
        registry.load_defaults()

        def plan(policy_id: str, *, unchanged: bool = False) -> Act:
            policies = registry.policy_set("inference_cache")
            made = plan_postgres(engine, INFERENCE_CACHE, policies, as_of=now(engine), only=policy_id)
            store.save(made, created_by="bench")
            return Act(plan=made, dataset=INFERENCE_CACHE, policies=policies, protections=(), unchanged=unchanged)

        sockets = str(embedded.places(settings.state_dir).sockets)
        with (
            connect(server, tenant=EVERY_TENANT, deadlines=PATIENT, autocommit=True) as con,
            psycopg.connect(host=sockets, user=embedded.SUPERUSER, dbname="postgres", autocommit=True) as admin,
        ):
            bench = Bench(settings=settings, server=server, admin=admin, count=count)
            started = time.perf_counter()
            _fill(con, count)
            print(f"{count:,} predictions in {_DAYS} days, loaded in {time.perf_counter() - started:.0f} s", flush=True)

            # A DELETE that is rolled back has done its work: the rows are still there for the partition to take.
            started = time.perf_counter()
            with con.transaction(force_rollback=True):
                con.execute("delete from ml_inference_cache where expires_at < now()")
            bare = time.perf_counter() - started
            con.execute("vacuum ml_inference_cache")
            act = plan("ic_expired", unchanged=True)
            steps: list[tuple[str, float]] = [("", time.perf_counter())]
            bury_partitions(engine, act, lambda name: steps.append((name, time.perf_counter())))
            out = sum(at - before for (_, before), (name, at) in itertools.pairwise(steps) if name == "burying")
            whole = steps[-1][1] - steps[0][1]
            print(
                f"expiring {act.plan.removed_rows:,} rows by partition: out of the table in {out:.3f} s,"
                f" {bare / out:.0f} times faster than one DELETE ({bare:.3f} s)   target 30;"
                f" with the comparison, for which nobody waits, {whole:.3f} s, {bare / whole:.0f} times",
                flush=True,
            )

            alone = bench.beside_others(lambda: time.sleep(3.0))
            print(f"others alone: longest of {alone.others:,} {alone.waited * 1000:.0f} ms", flush=True)
            for version, grace in ((0, False), (2, True), (4, False), (6, True)):
                query = f"delete from ml_inference_cache where model_version = 'v{version}'"
                one = bench.beside_others(partial(con.execute, query))
                con.execute("vacuum ml_inference_cache")
                spread = registry.set(read_policies(_SPREAD.format(version + 1, 900 + version))[0], created_by="bench")
                act = plan(spread.policy_id)
                ours = bench.beside_others(partial(delete_rows, engine, act, lambda _: None, bury=grace, removed=None))
                con.execute("vacuum ml_inference_cache")
                print(
                    f"deleting {act.plan.removed_rows:,} rows{', kept for a grace' if grace else ''}: {ours}\n"
                    f"    one DELETE of as many: {one}\n"
                    f"    x{ours.wall / one.wall:.2f}   target x3 (CPU x{ours.cpu / one.cpu:.2f})",
                    flush=True,
                )
            print(f"peak memory of this process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:,.0f} MB")
        engine.dispose()
        server.stop()


def _fill(con: psycopg.Connection[Any], count: int) -> None:
    today, of_day = datetime.now(UTC).date(), count // _DAYS
    add_day_partitions(con, "ml_inference_cache", today - timedelta(days=1), today + timedelta(days=_DAYS - 1))
    con.execute("set synchronous_commit = off")
    for day in range(_DAYS):
        con.execute(_PREDICTIONS, {"first": day * of_day + 1, "last": (day + 1) * of_day, "day": day - 1})
    con.execute("reset synchronous_commit")
    con.execute("vacuum analyze ml_inference_cache")


def main() -> None:
    """Print one line per comparison."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--small", action="store_true")
    small = parser.parse_args().small
    with tempfile.TemporaryDirectory(prefix="rp-") as folder:
        bench_postgres(Path(folder), 500_000 if small else 5_000_000)


if __name__ == "__main__":
    main()
