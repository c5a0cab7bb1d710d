"""The Postgres tier while the network or the server fails: every call ends in time, and all is well soon after.

Bounds on time are ten times what is promised: they tell a wait that ends from one that does not, on a busy machine.
"""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import make_url

from retention_pipelines.cache.connections import Unavailable
from retention_pipelines.cache.entry import NewEntry, Payload
from retention_pipelines.cache.events import Counters
from retention_pipelines.cache.hot import HotTier
from retention_pipelines.cache.invalidation import InvalidationLog
from retention_pipelines.cache.process_lock import ProcessLock
from retention_pipelines.cache.writer import WriteBehind
from retention_pipelines.settings import Settings, load_settings
from tests.fixtures.proxy import FAULTS, Mode, Proxy

DEADLINE = 0.25
MUCH_LATER = 10 * DEADLINE
EVENTUALLY = 20.0

pytestmark = pytest.mark.parametrize("database", ["external"], indirect=True)


@pytest.fixture
def proxy(database_settings: Settings) -> Iterator[Proxy]:
    assert database_settings.database_url is not None
    url = make_url(database_settings.database_url.get_secret_value())
    opened = Proxy(str(url.host), int(url.port or 0))
    yield opened
    opened.close()


@pytest.fixture
def proxied(database_settings: Settings, proxy: Proxy) -> Settings:
    assert database_settings.database_url is not None
    url = make_url(database_settings.database_url.get_secret_value()).set(port=proxy.port)
    return load_settings(
        {},
        database_url=url.render_as_string(hide_password=False),
        state_dir=database_settings.state_dir,
        lake_root=database_settings.lake_root,
        cache_deadline_seconds=DEADLINE,
    )


@pytest.fixture
def hot(proxied: Settings) -> Iterator[HotTier]:
    tier = HotTier(proxied, counters=Counters())
    yield tier
    tier.close()


def entry(key: str, data: bytes = b"value", **more: object) -> NewEntry:
    values: dict[str, object] = {
        "kind": "features",
        "key": key,
        "payload": Payload(codec="raw1", data=data),
        "computed_monotonic": time.monotonic(),
        "ttl_seconds": 600.0,
        "compute_seconds": 0.1,
        "function": "m.f",
        "columns": {"feature_type": "spatial", "source_table": "studies"},
    }
    return NewEntry(**(values | more))  # type: ignore[arg-type]


def in_time(call: Callable[[], object]) -> object:
    """What a call answers or `Unavailable`; it must end."""
    began = time.monotonic()
    try:
        return call()
    except Unavailable as failed:
        return failed
    finally:
        assert time.monotonic() - began < MUCH_LATER


def soon(call: Callable[[], bool]) -> None:
    ends = time.monotonic() + EVENTUALLY
    while True:
        try:
            if call():
                return
        except Unavailable:
            pass
        assert time.monotonic() < ends, "it did not recover"
        time.sleep(0.05)


def stored(hot: HotTier, key: str, data: bytes = b"value") -> None:
    soon(lambda: hot.put_many([entry(key, data)]) == 1)
    soon(lambda: hot.get("features", key) is not None)


@pytest.mark.parametrize("mode", FAULTS)
def test_every_call_ends_in_time_whatever_the_network_does_and_works_again_after(
    hot: HotTier, proxy: Proxy, mode: Mode
) -> None:
    stored(hot, "a")
    proxy.mode = mode
    failures = 0
    for _ in range(8):
        got = in_time(lambda: hot.get("features", "a"))
        # Never a wrong answer: what was stored, or that it cannot be said.
        assert isinstance(got, Unavailable) or (got is not None and got.payload.data == b"value")
        failures += isinstance(got, Unavailable)
        in_time(lambda: hot.get_many("features", ["a", "b"]))
    assert failures >= 6
    in_time(lambda: hot.put_many([entry("b")], seconds=DEADLINE))
    proxy.mode = "ok"
    soon(lambda: hot.get("features", "a") is not None)
    soon(lambda: hot.put_many([entry("c")]) == 1)
    soon(lambda: hot.get("features", "c") is not None)


@pytest.mark.parametrize("mode", FAULTS)
def test_a_tier_that_was_never_reached_fails_in_time_and_works_when_the_network_does(
    hot: HotTier, proxy: Proxy, mode: Mode, proxied: Settings
) -> None:
    proxy.mode = mode
    assert isinstance(in_time(lambda: hot.get("features", "a")), Unavailable)
    proxy.mode = "ok"
    soon(lambda: hot.get("features", "a") is None)


def test_when_the_breaker_is_open_calls_fail_at_once(hot: HotTier, proxy: Proxy) -> None:
    stored(hot, "a")
    proxy.mode = "blackhole"
    reasons = [in_time(lambda: hot.get("features", "a")) for _ in range(20)]
    assert [str(getattr(one, "reason", "")) for one in reasons].count("breaker open") >= 10


def test_threads_at_a_black_hole_all_come_back_in_time(hot: HotTier, proxy: Proxy) -> None:
    stored(hot, "a")
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda _: hot.get("features", "a"), range(64)))
        proxy.mode = "blackhole"
        got = list(pool.map(lambda _: in_time(lambda: hot.get("features", "a")), range(64)))
    assert all(isinstance(one, Unavailable) for one in got)
    proxy.mode = "ok"
    soon(lambda: hot.get("features", "a") is not None)


def test_a_write_that_the_network_swallowed_is_stored_after(hot: HotTier, proxy: Proxy) -> None:
    writer = WriteBehind(hot, flush_seconds=0.1)
    stored(hot, "a")
    proxy.mode = "down"
    began = time.monotonic()
    for n in range(100):
        assert writer.put(entry(f"w{n}"))
    assert time.monotonic() - began < MUCH_LATER
    assert writer.pending("features", "w7") is not None
    assert not writer.flush(0.5)
    proxy.mode = "ok"
    soon(lambda: writer.flush(2.0))
    assert len(hot.get_many("features", [f"w{n}" for n in range(100)])) == 100
    writer.close()


def test_a_closed_writer_gives_up_what_it_cannot_send_and_counts_it(hot: HotTier, proxy: Proxy) -> None:
    writer = WriteBehind(hot, flush_seconds=10.0)
    proxy.mode = "down"
    ended = threading.Event()
    writer.put(entry("a"))
    writer.put(entry("b"), then=ended.set)
    writer.close(timeout_seconds=0.3)
    assert ended.is_set()
    assert hot.counters.snapshot()["features", "dropped", "postgres"] == 2
    assert not writer.put(entry("c"))


def test_the_lock_among_processes_is_not_waited_for_without_a_database(hot: HotTier, proxy: Proxy) -> None:
    lock = ProcessLock(hot)
    soon(lambda: lock.acquire("k", 0.0) == "leader")
    proxy.mode = "blackhole"
    for _ in range(4):
        assert in_time(lambda: lock.acquire("other", 0.2)) == "timeout"
        in_time(lambda: lock.release("k"))
    proxy.mode = "ok"
    soon(lambda: lock.acquire("k", 0.0) == "leader")
    lock.close()


def test_invalidations_said_while_nobody_could_listen_are_caught_up(
    hot: HotTier, proxy: Proxy, database_settings: Settings
) -> None:
    direct = HotTier(database_settings, counters=Counters())
    teller, log = InvalidationLog(direct), InvalidationLog(hot)
    heard: list[str | None] = []
    log.start(lambda told: heard.append(told.target))
    soon(lambda: log.seq() is not None)
    soon(lambda: teller.record("tag", "before") > 0)
    soon(lambda: heard == ["before"])
    proxy.mode = "blackhole"
    for n in range(100):
        teller.record("tag", f"while {n}")
    proxy.mode = "ok"
    soon(lambda: len(heard) >= 101)
    assert heard == ["before", *(f"while {n}" for n in range(100))]
    log.close()
    direct.close()
