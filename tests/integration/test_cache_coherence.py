"""Invalidations, versions of models, counts of reads, and turns among processes."""

import random
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal

import psycopg
import pytest

from retention_pipelines.cache.access import AccessCounter
from retention_pipelines.cache.connections import Unavailable
from retention_pipelines.cache.entry import Invalidation, NewEntry, Payload
from retention_pipelines.cache.events import Counters
from retention_pipelines.cache.hot import HotTier, Scope
from retention_pipelines.cache.invalidation import InvalidationLog
from retention_pipelines.cache.models import ModelVersions
from retention_pipelines.cache.process_lock import ProcessLock
from retention_pipelines.cache.writer import WriteBehind, is_named
from retention_pipelines.postgres.engine import connect
from retention_pipelines.postgres.server import Server
from retention_pipelines.settings import Settings

EVENTUALLY = 20.0
Kind = Literal["features", "predictions"]
COLUMNS: dict[str, dict[str, Any]] = {
    "features": {"feature_type": "spatial", "source_table": "studies", "source_data_id": "study 1"},
    "predictions": {"model_id": "m1", "model_type": "sdm", "model_version": "1"},
}

pytestmark = pytest.mark.parametrize("database", ["embedded"], indirect=True)


@pytest.fixture
def tier(database_settings: Settings) -> Iterator[Callable[..., HotTier]]:
    """Opens tiers on the test's database, as another process would."""
    opened: list[HotTier] = []

    def make(**changed: object) -> HotTier:
        values = {"cache_deadline_seconds": 10.0} | changed
        opened.append(HotTier(database_settings.model_copy(update=values), counters=Counters()))
        return opened[-1]

    yield make
    for one in opened:
        one.close()


@pytest.fixture
def hot(tier: Callable[..., HotTier]) -> HotTier:
    return tier()


class Listener:
    """A process that follows the log."""

    def __init__(self, hot: HotTier) -> None:
        self.heard: list[Invalidation] = []
        self.log = InvalidationLog(hot)
        self.log.start(self.heard.append)
        self.wait_until(lambda: self.log.seq() is not None)

    @property
    def targets(self) -> list[str | None]:
        return [told.target for told in self.heard]

    def wait_until(self, done: Callable[[], bool]) -> None:
        ends = time.monotonic() + EVENTUALLY
        while not done():
            assert time.monotonic() < ends, "it was never heard"
            time.sleep(0.005)


@pytest.fixture
def listener(tier: Callable[..., HotTier]) -> Iterator[Listener]:
    opened = Listener(tier())
    yield opened
    opened.log.close()


def entry(key: str, kind: Kind = "features", **more: Any) -> NewEntry:
    values: dict[str, Any] = {
        "kind": kind,
        "key": key,
        "payload": Payload(codec="raw1", data=b"value"),
        "computed_monotonic": time.monotonic() - more.pop("age", 0.0),
        "ttl_seconds": 600.0,
        "compute_seconds": 0.25,
        "function": "m.f",
        "columns": COLUMNS[kind] | more.pop("columns", {}),
    }
    return NewEntry(**(values | more))


def test_what_one_process_says_others_hear_in_order_and_once(hot: HotTier, listener: Listener) -> None:
    log = InvalidationLog(hot)
    numbers = [log.record("tag", f"t{n}") for n in range(30)]
    listener.wait_until(lambda: len(listener.heard) >= 30)
    assert [told.seq for told in listener.heard] == numbers == sorted(numbers)
    assert listener.targets == [f"t{n}" for n in range(30)]
    assert listener.log.seq() == numbers[-1]
    assert listener.log.silent_seconds() < EVENTUALLY


def test_numbers_follow_the_order_of_commits_among_many_that_say_something(
    tier: Callable[..., HotTier], listener: Listener
) -> None:
    logs = [InvalidationLog(tier()) for _ in range(3)]
    seen: list[int] = []
    ended = threading.Event()
    watcher = tier()

    def watch() -> None:
        while not ended.is_set():
            rows = watcher.ask("select seq from invalidation_log where seq > %s order by seq", (max(seen, default=0),))
            seen.extend(seq for (seq,) in rows)

    with ThreadPoolExecutor(4) as pool:
        watching = pool.submit(watch)
        for done in [pool.submit(log.record, "tag", f"{n}") for n in range(20) for log in logs]:
            done.result(60)
        listener.wait_until(lambda: len(listener.heard) >= 60)
        time.sleep(0.1)
        ended.set()
        watching.result(60)
    # Whoever asks for what is after the last number it saw misses nothing.
    assert len(seen) == 60
    assert sorted(listener.targets, key=str) == sorted((f"{n}" for n in range(20) for _ in logs), key=str)


@pytest.mark.parametrize(
    ("scope", "target", "gone"),
    [
        ("key", "f1", {"f1"}),
        ("function", "m.f", {"f1", "p1"}),
        ("tag", "t", {"f2", "p2"}),
        ("model", "m1", {"p1"}),
        ("source", "studies", {"f1"}),
        ("source", "study 1", {"f1", "f2"}),
        ("all", None, {"f1", "f2", "p1", "p2"}),
    ],
)
def test_an_invalidation_removes_what_it_names_and_nothing_else(
    tier: Callable[..., HotTier], scope: Scope, target: str | None, gone: set[str]
) -> None:
    hot, other = tier(), tier(tenant="other")
    entries = [
        entry("f1"),
        entry("f2", function="m.g", tags=("t", "u"), columns={"source_table": "elsewhere"}),
        entry("p1", "predictions"),
        entry("p2", "predictions", function="m.g", tags=("t",), columns={"model_id": "m2"}),
    ]
    hot.put_many(entries)
    other.put_many(entries)
    seq = InvalidationLog(hot).record(scope, target)
    left = {*hot.get_many("features", ["f1", "f2"]), *hot.get_many("predictions", ["p1", "p2"])}
    assert left == {"f1", "f2", "p1", "p2"} - gone
    assert len(other.get_many("features", ["f1", "f2"])) + len(other.get_many("predictions", ["p1", "p2"])) == 4
    # The process decides for what waits in it as the database does for what it holds and for what is sent to it.
    assert {one.key for one in entries if is_named(scope, target, None, one)} == gone
    late = [
        entry(one.key, one.kind, function=one.function, tags=one.tags, columns=one.columns, as_of_seq=seq - 1)
        for one in entries
    ]  # type: ignore[arg-type]
    assert hot.put_many(late) == 4 - len(gone)
    assert hot.put_many([entry("f1", as_of_seq=seq)]) == 1


def test_a_value_whose_computation_began_before_an_invalidation_is_never_stored_whenever_it_comes(
    tier: Callable[..., HotTier],
) -> None:
    writer_tier, hot = tier(), tier()
    log, dice = InvalidationLog(hot), random.Random(3)
    log.catch_up()
    began = log.seq()
    stop = threading.Event()

    def store() -> int:
        n = 0
        while not stop.is_set():
            n += writer_tier.put_many([entry("k", as_of_seq=began)])
            time.sleep(dice.random() / 500)
        return n

    with ThreadPoolExecutor(1) as pool:
        storing = pool.submit(store)
        time.sleep(0.2)
        log.record("function", "m.f")
        # From here on it must not be there, though the other goes on storing.
        for _ in range(50):
            assert hot.get("features", "k") is None
        stop.set()
        assert storing.result(60) >= 1


def test_an_invalidation_reaches_what_still_waits_to_be_written(hot: HotTier) -> None:
    writer, log = WriteBehind(hot, flush_seconds=30.0), InvalidationLog(hot)
    # Before the log was ever read: what was said in the life of the process counts.
    log.observe(lambda told: writer.forget(told.scope, told.target, told.version))
    writer.put(entry("gone"))
    writer.put(entry("stays", function="m.g"))
    log.record("function", "m.f")
    assert writer.pending("features", "gone") is None
    assert writer.pending("features", "stays") is not None
    assert writer.flush(20.0)
    assert list(hot.get_many("features", ["gone", "stays"])) == ["stays"]
    writer.close()


def test_a_process_that_cannot_prove_it_missed_nothing_forgets_everything(
    database: Server, tier: Callable[..., HotTier]
) -> None:
    log, heard = InvalidationLog(tier()), list[Invalidation]()
    log.observe(heard.append)
    teller = InvalidationLog(tier())
    teller.record("tag", "a")
    log.catch_up()
    teller.record("tag", "b")
    log.catch_up()
    assert [told.target for told in heard] == ["a", "b"]
    teller.record("tag", "c")
    with connect(database, role="owner", autocommit=True) as con:
        con.execute("delete from invalidation_log where seq <= 2")
    log.catch_up()
    assert [told.scope for told in heard] == ["tag", "tag", "all"]
    assert log.seq() == 3
    assert log.was_said_since(2, lambda told: False)
    assert not log.was_said_since(3, lambda told: True)


def test_what_was_said_lately_is_known_for_values_on_their_way_to_memory(hot: HotTier) -> None:
    log = InvalidationLog(hot)
    log.catch_up()
    before = log.seq()
    assert not log.was_said_since(before, lambda told: True)
    log.record("tag", "a")
    assert log.was_said_since(before, lambda told: told.target == "a")
    assert not log.was_said_since(before, lambda told: told.target == "b")
    assert not log.was_said_since(log.seq(), lambda told: True)


def test_one_that_fails_to_forget_does_not_keep_the_others_from_it(hot: HotTier, listener: Listener) -> None:
    def fails(told: Invalidation) -> None:
        raise RuntimeError("a fault in an observer")

    listener.log.observe(fails)
    InvalidationLog(hot).record("tag", "a")
    listener.wait_until(lambda: listener.targets == ["a"])


def test_a_new_version_of_a_model_is_current_everywhere(tier: Callable[..., HotTier], listener: Listener) -> None:
    here, there = ModelVersions(tier(), InvalidationLog(tier())), ModelVersions(tier(), listener.log)
    assert here.current("m1") == there.current("m1") == ""
    assert here.register("m1", "1", model_type="sdm") == "1"
    assert here.current("m1") == "1"
    listener.wait_until(lambda: there.current("m1") == "1")
    sealed = here.register("m1", "2", model_type="sdm", artifact_sha256="ab" * 32)
    assert sealed == here.current("m1") == "2@abababababababab"
    listener.wait_until(lambda: there.current("m1") == sealed)
    here.register("m1", "1", model_type="sdm")
    listener.wait_until(lambda: there.current("m1") == "1")
    assert [(told.scope, told.target, told.version) for told in listener.heard] == [
        ("model", "m1", "1"),
        ("model", "m1", "2"),
        ("model", "m1", "1"),
    ]


def test_going_back_to_a_version_finds_its_predictions_and_training_it_again_removes_them(
    tier: Callable[..., HotTier],
) -> None:
    hot, other = tier(), tier(tenant="other")
    models = ModelVersions(hot, InvalidationLog(hot))
    models.register("m1", "1", model_type="sdm")
    hot.put_many([entry("p1", "predictions")])
    other.put_many([entry("p1", "predictions")])
    models.register("m1", "2", model_type="sdm")
    models.register("m1", "1", model_type="sdm")
    assert hot.get("predictions", "p1") is not None
    models.register("m1", "1", model_type="sdm")
    assert hot.get("predictions", "p1") is None
    assert other.get("predictions", "p1") is None


def test_a_former_version_retires_and_one_gone_back_to_lives_again(hot: HotTier) -> None:
    models = ModelVersions(hot, InvalidationLog(hot))
    models.register("m1", "1", model_type="sdm", details={"auc": 0.9})
    models.register("m1", "2", model_type="sdm")
    states = "select model_version, state, retired_at is null from models order by 1"
    assert hot.ask(states) == [("1", "retired", False), ("2", "live", True)]
    models.register("m1", "1", model_type="sdm")
    assert hot.ask(states) == [("1", "live", True), ("2", "retired", False)]
    assert hot.ask("select details from models where model_version = '1'") == [({"auc": 0.9, "model_type": "sdm"},)]


def test_threads_that_register_at_the_same_time_agree_on_the_last(hot: HotTier) -> None:
    models = ModelVersions(hot, InvalidationLog(hot))
    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(models.register, "m1", str(n), model_type="sdm") for n in range(12)]:
            done.result(60)
    assert hot.ask("select count(*) from models where state = 'live'") == [(1,)]
    assert [(models.current("m1"),)] == hot.ask("select model_version from models where state = 'live'")


def test_without_a_database_the_last_known_version_holds_and_an_unknown_one_is_never_used_twice(
    tmp_path: Any, database: Server
) -> None:
    from retention_pipelines.settings import load_settings

    unreachable = load_settings({}, database_url="postgresql://x:y@127.0.0.1:9/z", state_dir=tmp_path)
    hot = HotTier(unreachable, counters=Counters())
    models = ModelVersions(hot, InvalidationLog(hot))
    first, second = models.current("m1"), models.current("m1")
    assert first.startswith("unknown-")
    assert first != second
    with pytest.raises(Unavailable):
        models.register("m1", "1", model_type="sdm")
    hot.close()


def test_reads_are_counted_in_batches_and_those_of_the_system_are_not(tier: Callable[..., HotTier]) -> None:
    hot = tier()
    counter = AccessCounter(hot, flush_seconds=60.0)
    for n in range(100):
        counter.count("ml_feature_store", f"k{n % 3}")
        counter.count("ml_feature_store", "k0", reader="system")
    counter.count("ml_inference_cache", "nul \0", 5)
    assert counter.flush()
    assert counter.flush()
    AccessCounter(tier()).count("ml_feature_store", "k0")
    counter.count("ml_feature_store", "k1")
    counter.close()
    rows = hot.ask("select dataset, key, hits, last_accessed_at <= now() from access_counts order by 1, 2")
    assert [row[:3] for row in rows] == [
        ("ml_feature_store", "k0", 34),
        ("ml_feature_store", "k1", 34),
        ("ml_feature_store", "k2", 33),
        ("ml_inference_cache", "nul \u2400", 5),
    ]
    assert all(row[3] for row in rows)


def test_counts_wait_for_the_database_within_bounds(tmp_path: Any, database: Server) -> None:
    from retention_pipelines.settings import load_settings

    unreachable = load_settings({}, database_url="postgresql://x:y@127.0.0.1:9/z", state_dir=tmp_path)
    counter = AccessCounter(HotTier(unreachable, counters=Counters()), flush_seconds=60.0, max_keys=10)
    for n in range(15):
        counter.count("d", f"k{n}")
    assert not counter.flush(0.5)
    counter.count("d", "k0")
    assert counter.dropped == 5
    counter.close()


def test_one_process_leads_and_the_others_are_told_when_it_is_done(tier: Callable[..., HotTier]) -> None:
    first, second = ProcessLock(tier()), ProcessLock(tier())
    assert first.acquire("k", 0.0) == "leader"
    assert second.acquire("k", 0.05) == "timeout"
    assert second.acquire("other", 0.0) == "leader"
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(second.acquire, "k", 30.0)
        time.sleep(0.1)
        first.release(["k"])
        assert waiting.result(60) == "ready"
    assert second.acquire("k", 0.0) == "leader"
    second.close()
    first.close()


def test_nobody_leads_who_gets_the_lock_after_the_value_was_stored(tier: Callable[..., HotTier], hot: HotTier) -> None:
    """S16: a process that looked before the value was stored and locked after the release computed it once more."""
    first, second = ProcessLock(tier()), ProcessLock(tier())
    assert hot.get("features", "k") is None
    assert first.acquire("k", 0.0, kind="features") == "leader"
    hot.put_many([entry("k")])
    assert second.acquire("k", 0.0, kind="features") == "ready"
    first.release(["k"])
    assert second.acquire("k", 0.0, kind="features") == "ready"
    assert first.acquire("k", 0.0) == "leader"  # the one that was told left no lock behind
    hot.put_many([entry("expired", age=700.0)])
    assert second.acquire("expired", 0.0, kind="features") == "leader"
    second.close()
    first.close()


def test_a_lock_ends_with_its_process(tier: Callable[..., HotTier]) -> None:
    dying, other = ProcessLock(tier()), ProcessLock(tier())
    assert dying.acquire("k", 0.0) == "leader"
    dying.close()
    assert other.acquire("k", 30.0) in ("leader", "ready")
    other.close()


def test_tenants_do_not_wait_for_each_other(tier: Callable[..., HotTier]) -> None:
    first, second = ProcessLock(tier(tenant="north")), ProcessLock(tier(tenant="south"))
    assert first.acquire("k", 0.0) == second.acquire("k", 0.0) == "leader"
    second.close()
    first.close()


def test_an_entry_with_somebody_waiting_for_it_is_stored_at_once(hot: HotTier) -> None:
    writer, stored = WriteBehind(hot, flush_seconds=60.0), threading.Event()
    writer.put(entry("k"), then=lambda keys: stored.set())
    assert stored.wait(EVENTUALLY)
    assert hot.get("features", "k") is not None
    writer.close()


def test_who_waits_for_a_key_is_told_at_once_though_a_newer_value_of_it_waits_already(hot: HotTier) -> None:
    writer, told = WriteBehind(hot, flush_seconds=60.0), threading.Event()
    writer.put(entry("k"))
    writer.put(entry("k", age=5.0), then=lambda keys: told.set())
    assert told.wait(EVENTUALLY)
    writer.close()


def test_one_who_cannot_be_told_keeps_no_other_from_being_told_and_stored(hot: HotTier) -> None:
    def fail(keys: list[str]) -> None:
        raise RuntimeError("a fault of ours")

    writer, told = WriteBehind(hot, flush_seconds=60.0), threading.Event()
    writer.put(entry("a"), then=fail)
    writer.put(entry("b"), then=lambda keys: told.set())
    assert told.wait(EVENTUALLY)
    told.clear()
    # Nor does it end the thread.
    writer.put(entry("c"), then=lambda keys: told.set())
    assert told.wait(EVENTUALLY)
    assert hot.counters.snapshot()["features", "degraded", "postgres"] == 1
    writer.close()


def test_all_turns_of_a_batch_are_given_back_at_once(
    tier: Callable[..., HotTier], hot: HotTier, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One round trip each took the connection from those who wanted a turn."""
    mine, other, calls = ProcessLock(hot), ProcessLock(tier()), list[list[str]]()
    keys = ["a", "b", "c"]
    assert {mine.acquire(key, 0.0) for key in keys} == {"leader"}

    def give_back(keys: list[str]) -> None:
        calls.append(keys)
        mine.release(keys)

    writer = WriteBehind(hot, flush_seconds=60.0)
    monkeypatch.setattr(writer, "_start", lambda: None)  # the thread might take the first ones alone
    for key in keys:
        writer.put(entry(key), then=give_back)
    assert writer.flush(20.0)
    assert calls == [keys]
    assert {other.acquire(key, 0.0) for key in keys} == {"leader"}
    other.close()
    mine.close()
    writer.close()


def test_the_newest_of_what_waits_for_a_key_is_stored_and_everyone_is_told(hot: HotTier) -> None:
    writer, told = WriteBehind(hot, flush_seconds=60.0), list[str]()
    writer.put(entry("k", payload=Payload(codec="raw1", data=b"new")), then=lambda keys: told.append("new"))
    writer.put(entry("k", payload=Payload(codec="raw1", data=b"old"), age=5.0), then=lambda keys: told.append("old"))
    assert writer.flush(20.0)
    found = hot.get("features", "k")
    assert found is not None
    assert found.payload.data == b"new"
    assert sorted(told) == ["new", "old"]
    writer.close()


def test_a_full_queue_drops_and_counts_and_tells_at_once(hot: HotTier) -> None:
    writer, told = WriteBehind(hot, flush_seconds=60.0, max_entries=10), list[int]()
    taken = [writer.put(entry(f"k{n}")) for n in range(15)]
    assert taken == [True] * 10 + [False] * 5
    assert not writer.put(entry("one more"), then=lambda keys: told.append(1))
    # Whoever was refused is told by the answer.
    assert told == []
    assert writer.put(entry("k3"))
    assert hot.counters.snapshot()["features", "dropped", "postgres"] == 6
    assert writer.flush(20.0)
    small = WriteBehind(hot, flush_seconds=60.0, max_bytes=2000)
    assert not small.put(entry("k", payload=Payload(codec="raw1", data=b"x" * 5000)))
    writer.close()
    small.close()


def test_threads_that_put_at_the_same_time_lose_nothing(hot: HotTier) -> None:
    writer = WriteBehind(hot, flush_seconds=0.05)

    def put(thread: int) -> None:
        for n in range(200):
            assert writer.put(entry(f"{thread}-{n}"))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(put, range(8)))
    assert writer.flush(60.0)
    assert len(hot.get_many("features", [f"{thread}-{n}" for thread in range(8) for n in range(200)])) == 1600
    writer.close()


def test_the_log_stays_short_and_every_old_value_it_named_is_named_still(
    database: Server, tier: Callable[..., HotTier]
) -> None:
    hot = tier()
    log, dice = InvalidationLog(hot), random.Random(5)
    said = [
        (dice.choice(["tag", "model"]), f"t{dice.randrange(4)}", dice.choice(["1", "2", None]), dice.random() < 0.3)
        for _ in range(120)
    ]
    for scope, target, version, everyone in said:
        log.record(scope, target, version if scope == "model" else None, every_tenant=everyone)  # type: ignore[arg-type]
    log.record("key", "old")
    log.record("key", "young")
    with connect(database, role="owner", autocommit=True) as con:
        con.execute("update invalidation_log set at = at - interval '3 days' where scope <> 'key' and seq <= 110")
        con.execute("update invalidation_log set at = at - interval '401 days' where target = 'old'")
    lines = "select seq, at, scope, target, tenant, version from invalidation_log order by seq"
    before = hot.ask(lines)
    hot.make_days()
    after = hot.ask(lines)
    assert set(after) < set(before)
    assert len([line for line in after if line[0] <= 110]) <= 4 * 2 * 3
    assert [line for line in after if line[0] > 110] == [line for line in before if line[0] > 110 and line[3] != "old"]
    for seq, at, scope, target, tenant, version in set(before) - set(after):
        assert target == "old" or any(
            line[0] > seq and line[1] >= at and line[2:5] == (scope, target, tenant) and (line[5] is None or version)
            for line in after
        )
    # A process that was there all the time goes on; one that stopped at a line that is gone forgets everything.
    heard: list[str] = []
    late = InvalidationLog(tier())
    late.observe(lambda told: heard.append(told.scope))
    late._seq = min({line[0] for line in before} - {line[0] for line in after})
    late.catch_up()
    assert heard == ["all"]
    log.catch_up()
    assert log.seq() == late.seq() == before[-1][0]


def test_counts_of_reads_that_cannot_be_stored_at_all_are_counted_as_dropped(hot: HotTier) -> None:
    counter = AccessCounter(hot, flush_seconds=60.0)
    counter.count("ml_feature_store", "k0", hits=2**63)  # one more than the column holds
    with pytest.raises(psycopg.Error):
        counter.flush()
    assert counter.dropped == 2**63
    assert counter.flush()
    counter.close()


def test_an_observer_that_fails_is_counted_and_the_others_are_told(hot: HotTier) -> None:
    log, heard = InvalidationLog(hot), []

    def fail(told: object) -> None:
        raise ValueError(told)

    log.start(fail)
    log.start(lambda told: heard.append(told.target))
    log.record("tag", "t1")
    log.catch_up()
    log.close()
    assert "t1" in heard
    assert hot.counters.snapshot()["features", "error", "memory"] >= 1
