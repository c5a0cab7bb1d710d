"""The Postgres tier: hits, of the tier and of a decorated function, against a bare prepared SELECT and caches on Redis.

Also stores, the tier's own and what a decorated miss costs its caller beside the function and the reads, batches, and
32 threads.

Everything is interleaved in rounds and the median of the rounds is told, with the CPU time of this process beside it:
on a shared machine ratios mean more than figures. Redis takes part where `redis-server` is installed.
"""

import argparse
import asyncio
import itertools
import shutil
import socket
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import psycopg

from retention_pipelines import cache_features
from retention_pipelines.cache import codec, runtime
from retention_pipelines.cache.entry import NewEntry
from retention_pipelines.cache.events import Counters
from retention_pipelines.cache.hot import HotTier
from retention_pipelines.cache.writer import WriteBehind
from retention_pipelines.postgres import address
from retention_pipelines.postgres.migrate import upgrade
from retention_pipelines.postgres.server import open_server
from retention_pipelines.settings import Settings, load_settings

VALUE = {
    "mean_sst": 18.25,
    "depth_m": 120.5,
    "n_records": 42,
    "region": "Angola-Benguela",
    "is_coastal": True,
    "quality": None,
    "month": 7,
    "richness": 33.0,
}
BARE = "select payload from bare where key = %s"
BARE_MANY = "select key, payload from bare where key = any(%s)"


class Timed:
    """Microseconds a call took, wall and CPU, by round."""

    def __init__(self, name: str, call: Callable[[], object], per: int = 1) -> None:
        self.name, self.call, self.per = name, call, per
        self.wall: list[float] = []
        self.cpu: list[float] = []

    def round(self, calls: int) -> None:
        """Measure one round."""
        wall, cpu = time.perf_counter(), time.process_time()
        for _ in range(calls):
            self.call()
        self.cpu.append((time.process_time() - cpu) / calls / self.per * 1e6)
        self.wall.append((time.perf_counter() - wall) / calls / self.per * 1e6)

    @property
    def us(self) -> float:
        """Median of the rounds."""
        return statistics.median(self.wall)

    def told(self, beside: "Timed | None" = None) -> str:
        """A line of the report, with the ratio to another."""
        ratio = "" if beside is None else f"   {self.us / beside.us:5.2f}x"
        return f"{self.name:<58}{self.us:9.1f} us {statistics.median(self.cpu):9.1f} us CPU{ratio}"


def interleaved(timed: list[Timed], rounds: int, calls: int) -> None:
    for one in timed:
        one.round(max(1, calls // 5))
        one.wall.clear()
        one.cpu.clear()
    for _ in range(rounds):
        for one in timed:
            one.round(calls)


def entry(key: str) -> NewEntry:
    return NewEntry(
        kind="features",
        key=key,
        payload=codec.encode(VALUE),
        computed_monotonic=time.monotonic(),
        ttl_seconds=86_400.0,
        compute_seconds=0.5,
        function="bench.f",
        columns={"feature_type": "spatial", "source_table": "studies", "quality_score": 0.9},
    )


@contextmanager
def redis() -> Iterator[int | None]:
    """A Redis of its own on a free port, without persistence; None where it is not installed."""
    program = shutil.which("redis-server")
    if program is None:
        yield None
        return
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        command = [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", folder]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        try:
            for _ in range(100):
                try:
                    socket.create_connection(("127.0.0.1", port), 1).close()
                    break
                except OSError:
                    time.sleep(0.05)
            yield port
        finally:
            process.terminate()
            process.wait(10)


def on_redis(port: int) -> list[Timed]:
    from cashews import Cache
    from dogpile.cache import make_region

    region = make_region().configure("dogpile.cache.redis", arguments={"host": "127.0.0.1", "port": port})
    cached = region.cache_on_arguments()(lambda number: dict(VALUE))
    cached(7)
    loop = asyncio.new_event_loop()
    cashews = Cache()
    cashews.setup(f"redis://127.0.0.1:{port}")

    @cashews(ttl="1h")
    async def asked(number: int) -> dict[str, object]:
        return dict(VALUE)

    loop.run_until_complete(asked(7))
    return [
        Timed("dogpile.cache on Redis, hit", lambda: cached(7)),
        Timed("cashews on Redis, hit", lambda: loop.run_until_complete(asked(7))),
    ]


def hits(hot: HotTier, con: psycopg.Connection, port: int | None, rounds: int, calls: int) -> None:
    cursor = con.cursor(binary=True)
    keys = [f"k{n}" for n in range(100)]

    def decoded() -> object:
        found = hot.get("features", "k7", within_days=1)
        return None if found is None else codec.decode(found.payload)

    bare = Timed("bare prepared SELECT (psycopg 3)", lambda: cursor.execute(BARE, ("k7",), prepare=True).fetchone())
    hit = Timed("hit: looked up, seal checked, life told", lambda: hot.get("features", "k7", within_days=1))
    miss = Timed("miss", lambda: hot.get("features", "nothing", within_days=1))
    whole = Timed("hit and its value (a dict of 8 fields)", decoded)
    bare_100 = Timed(
        "bare = ANY of 100, each", lambda: cursor.execute(BARE_MANY, (keys,), prepare=True).fetchall(), per=100
    )
    hit_100 = Timed("hits of 100 in one question, each", lambda: hot.get_many("features", keys), per=100)
    others = [] if port is None else on_redis(port)
    interleaved([bare, hit, miss, whole, *others], rounds, calls)
    interleaved([bare_100, hit_100], rounds, max(10, calls // 50))
    for one in (bare, hit, miss, whole, *others):
        print(one.told(bare))
    print(bare_100.told())
    print(hit_100.told(bare_100))
    print(f"target: hit at most 2x a bare prepared SELECT: {'met' if hit.us <= 2 * bare.us else 'MISSED'}")
    if others:
        print(f"target: faster than dogpile on Redis: {'met' if whole.us < others[0].us else 'MISSED'}")
    else:
        print("caches on Redis: not measured, redis-server is not installed")


# When the decorated function last returned, wall and CPU.
RETURNED = [0.0, 0.0]


@cache_features("spatial", "studies", version="1")
def decorated(number: int) -> dict[str, object]:
    """What a user's function is here; it takes no time, so that a miss shows what the cache takes."""
    value = {**VALUE, "number": number}
    RETURNED[:] = time.perf_counter(), time.thread_time()
    return value


class Asked:
    """Time a caller waits for one of the runtime's questions to Postgres."""

    def __init__(self, owner: Any, name: str) -> None:
        self.seconds = self.cpu = 0.0
        ask = getattr(owner, name)

        def timed(*args: Any, **kwargs: Any) -> Any:
            start, cpu = time.perf_counter(), time.thread_time()
            try:
                return ask(*args, **kwargs)
            finally:
                self.seconds += time.perf_counter() - start
                self.cpu += time.thread_time() - cpu

        setattr(owner, name, timed)
        self.forget = partial(delattr, owner, name)


def through_the_decorator(settings: Settings, con: psycopg.Connection, port: int | None, rounds: int) -> None:
    """Decorated calls that memory does not answer. Each call of a round has another key, for the others too."""
    keys = 500
    caches = runtime.configure(settings)
    assert caches.hot is not None
    assert caches.process_lock is not None
    for number in range(keys):
        decorated(number)
    caches.flush(60)
    cursor, hot = con.cursor(binary=True), caches.hot
    digests = [decorated.key(number) for number in range(keys)]
    con.cursor().executemany("insert into bare values (%s, %s)", [(key, codec.encode(VALUE).data) for key in digests])
    con.execute("vacuum analyze bare")

    def selected() -> None:
        for key in digests:
            cursor.execute(BARE, (key,), prepare=True).fetchone()

    def looked_up() -> None:
        for key in digests:
            hot.get("features", key, within_days=1)

    def called() -> None:
        caches.memory.clear()
        for number in range(keys):
            decorated(number)

    timed = [
        Timed("bare prepared SELECT, another row each time", selected, per=keys),
        Timed("hit of the tier alone", looked_up, per=keys),
        Timed("decorated hit from Postgres", called, per=keys),
    ]
    if port is not None:
        from dogpile.cache import make_region

        region = make_region().configure("dogpile.cache.redis", arguments={"host": "127.0.0.1", "port": port})
        on_redis = region.cache_on_arguments()(lambda number: {**VALUE, "number": number})

        def asked() -> None:
            for number in range(keys):
                on_redis(number)

        timed.append(Timed("dogpile.cache on Redis, the same function", asked, per=keys))
    before = decorated.cache_info()
    interleaved(timed, rounds * 2, 1)
    after = decorated.cache_info()
    assert after.misses == before.misses
    assert after.postgres_hits - before.postgres_hits == (rounds * 2 + 1) * keys
    for one in timed:
        print(one.told(timed[0]))
    print(f"target: decorated hit at most 2x bare: {'met' if timed[2].us <= 2 * timed[0].us else 'MISSED'}")
    if port is not None:
        print(f"target: faster than dogpile on Redis: {'met' if timed[2].us < timed[3].us else 'MISSED'}")
    misses(caches, rounds)
    runtime.close()


def misses(caches: runtime.CacheRuntime, rounds: int) -> None:
    """What a miss takes, how much of it comes after the function, and how much is neither Postgres nor the function."""
    whole, own, cpu = list[float](), list[float](), list[float]()
    store, store_cpu = list[float](), list[float]()
    numbers = itertools.count(10**6)
    asked = [Asked(caches.hot, "get"), Asked(caches.process_lock, "_try")]
    for _ in range(rounds):
        for number in itertools.islice(numbers, 50):
            for one in asked:
                one.seconds = one.cpu = 0.0
            start, used = time.perf_counter(), time.thread_time()
            decorated(number)
            now, now_used = time.perf_counter(), time.thread_time()
            store.append((now - RETURNED[0]) * 1e6)
            store_cpu.append((now_used - RETURNED[1]) * 1e6)
            used, seconds = now_used - used, now - start
            whole.append(seconds * 1e6)
            own.append((seconds - sum(one.seconds for one in asked)) * 1e6)
            cpu.append((used - sum(one.cpu for one in asked)) * 1e6)
        caches.flush(10)
    for one in asked:
        one.forget()
    mine, used = statistics.median(own), statistics.median(cpu)
    stored, stored_used = statistics.median(store), statistics.median(store_cpu)
    print(f"{'decorated miss of a function that takes no time':<58}{statistics.median(whole):9.1f} us")
    print(f"{'of it on the caller beside the two questions to Postgres':<58}{mine:9.1f} us {used:9.1f} us CPU")
    print(f"{'of it after the function: store':<58}{stored:9.1f} us {stored_used:9.1f} us CPU")
    print(f"target: store on the caller at most 40 us: {'met' if stored <= 40 else 'MISSED'}")


def stores(hot: HotTier, rows: int) -> None:
    writer = WriteBehind(hot, flush_seconds=1.0, max_entries=rows)
    paced = []
    entries = [entry(f"w{n}") for n in range(rows)]
    for one in entries[: rows // 4]:
        start = time.perf_counter()
        writer.put(one)
        paced.append((time.perf_counter() - start) * 1e6)
        time.sleep(0.0002)
    writer.flush(60)
    start, cpu = time.perf_counter(), time.process_time()
    for one in entries:
        writer.put(one)
    burst = (time.perf_counter() - start) / rows * 1e6
    writer.flush(60)
    each = (time.perf_counter() - start) / rows * 1e6
    cpu_each = (time.process_time() - cpu) / rows * 1e6
    now = []
    for one in entries[:200]:
        start = time.perf_counter()
        writer.put_now(one)
        now.append((time.perf_counter() - start) * 1e6)
    writer.close()
    paced.sort()
    print(
        f"{'store behind, on the caller, one now and then':<58}{statistics.median(paced):9.1f} us"
        f"   (99 of 100 below {paced[len(paced) * 99 // 100]:.1f} us)"
    )
    print(f"{'store behind, on the caller, in a burst of ' + str(rows):<58}{burst:9.1f} us")
    print(f"{'until all are in Postgres, each':<58}{each:9.1f} us {cpu_each:9.1f} us CPU")
    print(f"{'store at once (durable when it returns)':<58}{statistics.median(now):9.1f} us")
    print(f"target: store on the caller at most 40 us: {'met' if statistics.median(paced) <= 40 else 'MISSED'}")


def threads(hot: HotTier, seconds: float) -> None:
    for count in (1, 4, 32):
        ends = time.perf_counter() + seconds

        def work(ends: float = ends) -> tuple[int, int]:
            done = failed = 0
            while time.perf_counter() < ends:
                try:
                    done += hot.get("features", "k7", within_days=1) is not None
                except Exception:  # noqa: BLE001 - counted
                    failed += 1
            return done, failed

        cpu = time.process_time()
        with ThreadPoolExecutor(count) as pool:
            got = [one.result() for one in [pool.submit(work) for _ in range(count)]]
        done, failed = (sum(column) for column in zip(*got, strict=True))
        used = (time.process_time() - cpu) / max(1, done) * 1e6
        print(
            f"{f'{count} threads: hits a second, not answered':<58}{done / seconds:9.0f} {failed:6} {used:9.1f} us CPU"
        )


def run(small: bool) -> None:
    rounds, calls, rows = (5, 300, 2000) if small else (15, 1500, 10_000)
    with tempfile.TemporaryDirectory(prefix="rp-") as folder, redis() as port:
        settings: Settings = load_settings(
            {}, state_dir=Path(folder) / "s", lake_root=f"{folder}/w", cache_deadline_seconds=10.0
        )
        upgrade(settings)
        with open_server(settings) as server:
            hot = HotTier(settings, counters=Counters())
            hot.make_days()
            keys = [f"k{n}" for n in range(10_000)]
            hot.put_many([entry(key) for key in keys], seconds=60)
            info = address.conninfo(server.address(role="owner"))
            with psycopg.connect(info, autocommit=True) as con:
                con.execute("create table bare (key text primary key, payload bytea not null)")
                con.cursor().executemany(
                    "insert into bare values (%s, %s)", [(k, codec.encode(VALUE).data) for k in keys]
                )
                con.execute("vacuum analyze")
                hits(hot, con, port, rounds, calls)
                through_the_decorator(settings, con, port, rounds)
            stores(hot, rows)
            threads(hot, 0.5 if small else 2.0)
            hot.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true")
    run(parser.parse_args().small)
