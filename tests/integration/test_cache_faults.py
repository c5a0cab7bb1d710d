"""The Postgres tier while the network or the server fails: every call ends in time, and all is well soon after.

Bounds on time are ten times what is promised: they tell a wait that ends from one that does not, on a busy machine.
"""

import contextlib
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import psutil
import psycopg
import pytest
from sqlalchemy import make_url

from retention_pipelines import disk
from retention_pipelines.cache.connections import Place, Unavailable
from retention_pipelines.cache.entry import NewEntry, Payload
from retention_pipelines.cache.events import Counters
from retention_pipelines.cache.hot import HotTier
from retention_pipelines.cache.invalidation import InvalidationLog
from retention_pipelines.cache.process_lock import ProcessLock
from retention_pipelines.cache.writer import WriteBehind
from retention_pipelines.postgres import address
from retention_pipelines.postgres.embedded import places, running_pid
from retention_pipelines.postgres.engine import connect
from retention_pipelines.postgres.migrate import upgrade
from retention_pipelines.postgres.server import Server, open_server
from retention_pipelines.settings import Settings, load_settings
from tests.fixtures.proxy import FAULTS, Mode, Proxy

DEADLINE = 0.25
MUCH_LATER = 10 * DEADLINE
EVENTUALLY = 20.0

over_tcp = pytest.mark.parametrize("database", ["external"], indirect=True)
embedded = pytest.mark.parametrize("database", ["embedded"], indirect=True)


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


@over_tcp
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


@over_tcp
@pytest.mark.parametrize("mode", FAULTS)
def test_a_tier_that_was_never_reached_fails_in_time_and_works_when_the_network_does(
    hot: HotTier, proxy: Proxy, mode: Mode, proxied: Settings
) -> None:
    proxy.mode = mode
    assert isinstance(in_time(lambda: hot.get("features", "a")), Unavailable)
    proxy.mode = "ok"
    soon(lambda: hot.get("features", "a") is None)


@over_tcp
def test_when_the_breaker_is_open_calls_fail_at_once(hot: HotTier, proxy: Proxy) -> None:
    stored(hot, "a")
    proxy.mode = "blackhole"
    reasons = [in_time(lambda: hot.get("features", "a")) for _ in range(20)]
    assert [str(getattr(one, "reason", "")) for one in reasons].count("breaker open") >= 10


@over_tcp
def test_threads_at_a_black_hole_all_come_back_in_time(hot: HotTier, proxy: Proxy) -> None:
    stored(hot, "a")
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda _: hot.get("features", "a"), range(64)))
        proxy.mode = "blackhole"
        got = list(pool.map(lambda _: in_time(lambda: hot.get("features", "a")), range(64)))
    assert all(isinstance(one, Unavailable) for one in got)
    proxy.mode = "ok"
    soon(lambda: hot.get("features", "a") is not None)


@over_tcp
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


@over_tcp
def test_a_closed_writer_gives_up_what_it_cannot_send_and_counts_it(hot: HotTier, proxy: Proxy) -> None:
    writer = WriteBehind(hot, flush_seconds=10.0)
    proxy.mode = "down"
    ended = threading.Event()
    writer.put(entry("a"))
    writer.put(entry("b"), then=lambda keys: ended.set())
    writer.close(timeout_seconds=0.3)
    assert ended.is_set()
    assert hot.counters.snapshot()["features", "dropped", "postgres"] == 2
    assert not writer.put(entry("c"))


@over_tcp
def test_the_lock_among_processes_is_not_waited_for_without_a_database(hot: HotTier, proxy: Proxy) -> None:
    lock = ProcessLock(hot)
    soon(lambda: lock.acquire("k", 0.0) == "leader")
    proxy.mode = "blackhole"
    for _ in range(4):
        assert in_time(lambda: lock.acquire("other", 0.2)) == "timeout"
        in_time(lambda: lock.release(["k"]))
    proxy.mode = "ok"
    soon(lambda: lock.acquire("k", 0.0) == "leader")
    lock.close()


@over_tcp
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


@pytest.fixture
def near(database_settings: Settings) -> Iterator[HotTier]:
    tier = HotTier(database_settings, counters=Counters())
    yield tier
    tier.close()


@embedded
def test_a_full_disk_costs_the_writes_and_not_the_reads(near: HotTier, database: Server) -> None:
    stored(near, "a")
    writer = WriteBehind(near, flush_seconds=0.05)
    with connect(database, role="owner", autocommit=True) as con:
        con.execute(
            "create function full_disk() returns trigger language plpgsql as"
            " $$ begin raise disk_full using message = 'could not extend file: No space left on device'; end $$"
        )
        con.execute("create trigger full_disk before insert on ml_feature_store execute function full_disk()")
        with pytest.raises(Unavailable) as raised:
            near.put_many([entry("b")])
        assert raised.value.reason == "disk full"
        assert not writer.put_now(entry("b"))
        assert writer.put(entry("c"))
        for _ in range(20):
            assert near.get("features", "a") is not None
        con.execute("drop trigger full_disk on ml_feature_store")
    soon(lambda: near.get("features", "c") is not None)
    writer.close()


def test_nothing_is_stored_where_writing_stopped_and_nobody_waits_or_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No server is even started: the disk of the embedded one is too full to write to."""
    full = SimpleNamespace(f_blocks=10**9, f_bfree=10**7, f_bavail=10**7, f_frsize=4096)
    monkeypatch.setattr(disk, "_statvfs", lambda _: full)
    tier = HotTier(load_settings({}, state_dir=tmp_path), counters=Counters())
    writer = WriteBehind(tier, flush_seconds=0.05)
    with pytest.raises(Unavailable, match="Writing stops") as raised:
        tier.put_many([entry("a")])
    assert (raised.value.reason, raised.value.lasting) == ("disk full", True)
    assert not writer.put_now(entry("a"))
    assert writer.put(entry("b"))
    assert not writer.flush(60.0), "there is nothing to wait for"
    writer.close()
    tier.close()
    assert not (tmp_path / "postgres").exists()


@embedded
def test_a_database_that_became_read_only_is_read_on(near: HotTier, database: Server) -> None:
    stored(near, "a")
    name = database.database_name()
    with psycopg.connect(address.conninfo(database.address().set(database="postgres")), autocommit=True) as con:
        con.execute(f"alter database {name} set default_transaction_read_only = on".encode())
        con.execute("select pg_terminate_backend(pid) from pg_stat_activity where datname = %s", (name,))
        soon(lambda: near.get("features", "a") is not None)
        with pytest.raises(Unavailable) as raised:
            near.put_many([entry("b")])
        assert raised.value.reason == "read-only"
        con.execute(f"alter database {name} reset default_transaction_read_only".encode())
        con.execute("select pg_terminate_backend(pid) from pg_stat_activity where datname = %s", (name,))
    soon(lambda: near.put_many([entry("b")]) == 1)


@embedded
def test_connections_that_the_server_closed_are_replaced_within_the_same_call(near: HotTier, database: Server) -> None:
    stored(near, "a")
    patient = HotTier(near.settings.model_copy(update={"cache_deadline_seconds": 10.0}), counters=Counters())
    assert patient.get("features", "a") is not None
    with psycopg.connect(address.conninfo(database.address()), autocommit=True) as con:
        con.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " where datname = current_database() and pid <> pg_backend_pid()"
        )
    assert patient.get("features", "a") is not None
    assert patient.put_many([entry("b")]) == 1
    patient.close()


@embedded
def test_a_locked_table_costs_a_bounded_delay(near: HotTier, database: Server) -> None:
    stored(near, "a")
    with connect(database, role="owner") as con:
        con.execute("lock table ml_feature_store in access exclusive mode")
        for _ in range(6):
            assert isinstance(in_time(lambda: near.get("features", "a")), Unavailable)
        con.rollback()
    soon(lambda: near.get("features", "a") is not None)


@pytest.fixture
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Settings]]:
    """An embedded server of the test's own, to be killed."""
    with tempfile.TemporaryDirectory(prefix="rp-") as folder:
        settings = load_settings({}, state_dir=Path(folder) / "s", lake_root=f"{folder}/w")
        upgrade(settings)
        server = open_server(settings)
        yield server, settings
        server.stop()


def processes(settings: Settings) -> list[psutil.Process]:
    """The server's main process, then its others."""
    pid = running_pid(places(settings.state_dir))
    assert pid is not None
    return [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]


def traffic(hot: HotTier, ended: threading.Event) -> tuple[int, int, float]:
    """Reads and writes until the end: how many were answered, how many not, and the longest."""
    answered = without = 0
    longest = 0.0
    while not ended.is_set():
        began = time.monotonic()
        try:
            hot.get("features", "a")
            answered += 1
        except Unavailable:
            without += 1
        longest = max(longest, time.monotonic() - began)
        time.sleep(0.002)
    return answered, without, longest


def test_a_server_that_is_killed_under_traffic_and_restarts_costs_no_error(own: tuple[Server, Settings]) -> None:
    _, settings = own
    hot = HotTier(settings, counters=Counters())
    writer = WriteBehind(hot, flush_seconds=0.2)
    stored(hot, "a")
    ended = threading.Event()
    with ThreadPoolExecutor(8) as pool:
        running = [pool.submit(traffic, hot, ended) for _ in range(8)]
        try:
            for turn in range(2):
                time.sleep(0.3)
                processes(settings)[0].send_signal(signal.SIGQUIT)
                assert writer.put(entry(f"during {turn}"))
                time.sleep(0.3)
                soon(lambda: hot.get("features", "a") is not None)
        finally:
            ended.set()
        done = [one.result(60) for one in running]
    assert sum(answered for answered, _, _ in done) > 100
    assert max(longest for _, _, longest in done) < MUCH_LATER
    soon(lambda: len(hot.get_many("features", ["during 0", "during 1"])) == 2)
    writer.close()
    hot.close()


def test_a_server_that_hangs_costs_a_bounded_delay_and_is_used_when_it_goes_on(own: tuple[Server, Settings]) -> None:
    _, settings = own
    hot = HotTier(settings, counters=Counters())
    stored(hot, "a")
    hanging = processes(settings)
    for process in hanging:
        process.suspend()
    try:
        for _ in range(10):
            assert isinstance(in_time(lambda: hot.get("features", "a")), Unavailable)
    finally:
        for process in hanging:
            process.resume()
    soon(lambda: hot.get("features", "a") is not None)
    hot.close()


def test_a_server_that_takes_no_more_connections_is_not_left(own: tuple[Server, Settings]) -> None:
    """Whoever left it was the last one, as a rule: it stopped under the connections he still used."""
    server, settings = own
    place = Place(settings)
    held = place.connect(statement_seconds=1.0)
    server.close()
    with contextlib.ExitStack() as strangers:
        with contextlib.suppress(psycopg.OperationalError):
            while True:
                strangers.enter_context(psycopg.connect(address.conninfo(server.address())))
        with pytest.raises(psycopg.OperationalError, match=r"too many|reserved"):
            place.connect(statement_seconds=1.0)
        # Longer than a server lingers that nobody holds.
        time.sleep(2.0)
        held.ends = time.monotonic() + 2.0
        assert held.execute("select 1").fetchall() == [(1,)]
    held.close()
    place.close()
