"""The memory tier: exact lives, two bounds, who may stay, removal, threads."""

import gc
import random
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import numpy as np
import psutil
import pytest

from retention_pipelines.cache import codec, memory
from retention_pipelines.cache.copying import copier
from retention_pipelines.cache.memory import MemoryTier
from retention_pipelines.cache.weighing import weight_of


def put(tier: MemoryTier, key: str, value: Any = 1, *, age: float = 0.0, **more: Any) -> bool:
    options = {"size_bytes": 100, "ttl_seconds": 60.0, "compute_seconds": 0.5, "function": "f", **more}
    return tier.put(key, value, computed_monotonic=time.monotonic() - age, copy=copier(value), **options)


def repr_of(value: Any) -> str:
    return repr(value)[:20]


@pytest.fixture
def tier() -> MemoryTier:
    return MemoryTier(max_entries=1000, max_bytes=4 << 20)


def test_an_answer_is_held_with_what_is_known_of_it(tier: MemoryTier) -> None:
    assert put(tier, "k", {"a": 1}, age=10.0)
    held = tier.get("k")
    assert held is not None
    assert held.answer() == {"a": 1}
    assert 10.0 <= held.age < 40.0
    assert held.remaining is not None
    assert 20.0 < held.remaining <= 50.0
    assert held.compute_seconds == 0.5
    assert tier.get("other") is None
    assert (tier.stats().hits, tier.stats().misses, tier.stats().entries) == (1, 1, 1)


def test_an_answer_ends_with_its_life_to_the_moment(tier: MemoryTier) -> None:
    """S15, R1: the memory tier has a time to live, and it is the one that was asked for."""
    assert put(tier, "k", ttl_seconds=60.0, age=59.0)
    assert tier.get("k") is not None
    assert not put(tier, "gone", ttl_seconds=60.0, age=60.0)
    assert tier.get("gone") is None
    started = time.monotonic()
    assert tier.put(
        "short",
        1,
        size_bytes=1,
        ttl_seconds=0.2,
        computed_monotonic=started,
        compute_seconds=0,
        copy=None,
        function="f",
    )
    while tier.get("short") is not None:
        assert time.monotonic() < started + 5
        time.sleep(0.005)
    assert time.monotonic() >= started + 0.2


def test_an_answer_without_an_end_stays(tier: MemoryTier) -> None:
    assert put(tier, "k", ttl_seconds=None, age=1e9)
    held = tier.get("k")
    assert held is not None
    assert held.remaining is None


def test_an_expired_answer_is_given_only_to_those_who_take_stale_ones(tier: MemoryTier) -> None:
    assert put(tier, "k", ttl_seconds=10.0, age=15.0, stale_seconds=60.0)
    assert tier.get("k") is None
    held = tier.get("k", stale_seconds=60.0)
    assert held is not None
    assert held.remaining is not None
    assert held.remaining < 0
    assert tier.get("k", stale_seconds=4.0) is None


def test_changing_an_answer_or_the_original_does_not_change_what_is_held(tier: MemoryTier) -> None:
    """S14: neither the first caller nor a later one can reach what is held."""
    original = {"a": [1]}
    put(tier, "k", original)
    original["a"].append(2)
    held = tier.get("k")
    assert held is not None
    held.answer()["a"].append(3)
    assert held.answer() == {"a": [1]}


def test_neither_bound_is_ever_exceeded() -> None:
    chance = random.Random(1)
    tier = MemoryTier(max_entries=50, max_bytes=1 << 20)
    for number in range(3000):
        put(tier, f"k{number}", b"x" * chance.choice([1, 100, 5000, 15_000]))
        if number % 100 == 0:
            stats = tier.stats()
            assert stats.entries <= 50
            assert stats.size_bytes <= 1 << 20
    assert tier.stats().entries > 20


def test_what_is_too_large_for_its_share_is_not_held(tier: MemoryTier) -> None:
    assert not put(tier, "k", b"x" * (1 << 17))
    assert not put(tier, "array", np.zeros(1 << 14))
    assert put(tier, "k", b"x")
    assert not put(tier, "k", b"x" * (1 << 17))
    assert tier.get("k") is None


@pytest.mark.parametrize(
    "value",
    [
        None,
        [1] * 300,
        [None] * 300,
        [[] for _ in range(100)],
        [{} for _ in range(100)],
        [{"": 1} for _ in range(100)],
        [{"a": {}} for _ in range(100)],
        {str(n): n / 8 for n in range(100)},
        [{1} for _ in range(100)],
        [(1,) for _ in range(100)],
        datetime(2024, 1, 1, tzinfo=UTC),
        np.float32(1.0),
        np.zeros(3),
    ],
    ids=repr_of,
)
def test_no_value_weighs_more_than_its_bytes_on_the_wire_allow_for(value: Any) -> None:
    assert weight_of(value) <= memory._MOST_EXPANSION * len(codec.encode(value).data)


def test_what_is_not_weighed_is_when_the_least_changes() -> None:
    tier = MemoryTier(max_entries=10, max_bytes=1 << 20)
    row = [float(n) for n in range(100)]
    assert put(tier, "k", row, size_bytes=len(codec.encode(row).data), encoded=True)
    tier.resize(max_entries=100_000)
    assert tier.get("k") is not None
    assert tier.stats().size_bytes >= weight_of(row)


def test_values_weigh_what_they_take_in_memory_not_on_the_wire() -> None:
    assert weight_of(list(range(1000, 2000))) > 30_000
    assert weight_of({"a": {"b": ["x" * 1000] * 5}}) > 1000
    assert 8_000_000 <= weight_of(np.zeros(1_000_000)) < 8_100_000
    assert weight_of([[float(n)] * 10 for n in range(100_000)]) > 8_000_000
    row = {"name": "x" * 500, "n": 1, "x": 2.5, "flag": True, "nothing": None}
    assert weight_of(row) == sum(map(sys.getsizeof, [row, *row, *row.values()]))
    assert weight_of([row] * 1000) < 500 * weight_of(row)  # one object, held a thousand times


def test_hot_keys_survive_a_scan_of_many_others() -> None:
    """S15, S21: who is asked for often stays; keys asked for once push nobody out."""
    tier = MemoryTier(max_entries=200, max_bytes=8 << 20)
    hot = [f"hot{number}" for number in range(50)]
    for key in hot:
        put(tier, key)
    for number in range(20_000):
        key = hot[number % 50]
        if tier.get(key) is None:
            put(tier, key)
        put(tier, f"once{number}")
    assert sum(tier.get(key) is not None for key in hot) >= 45


def test_memory_does_not_grow_with_the_number_of_keys() -> None:
    tier = MemoryTier(max_entries=10_000, max_bytes=16 << 20)
    process = psutil.Process()

    def fill(name: str, many: int) -> int:
        for number in range(many):
            tier.put(
                f"{name}{number}",
                b"z" * 500 + str(number).encode(),
                size_bytes=600,
                ttl_seconds=60.0,
                computed_monotonic=time.monotonic(),
                compute_seconds=0.0,
                copy=None,
                function="f",
                tags=("t",),
            )
        gc.collect()
        return int(process.memory_info().rss)

    before = fill("warm", 20_000)
    after = fill("more", 80_000)
    assert after - before < max(before // 20, 16 << 20)
    assert tier.stats().entries <= 10_000


@pytest.mark.parametrize(
    ("scope", "target"), [("function", "f"), ("tag", "t"), ("model", "m"), ("source", "s"), ("key", "k"), ("all", None)]
)
def test_an_answer_is_gone_when_what_it_was_made_of_is_removed(tier: MemoryTier, scope: Any, target: Any) -> None:
    more = {"function": "g", "tags": ("u",), "model": "n", "source": "r"}
    put(tier, "k", tags=("t", "v"), model="m", source="s")
    put(tier, "other", **more)
    tier.remove_where(scope, target)
    assert tier.get("k") is None
    assert (tier.get("other") is not None) == (scope != "all")
    assert put(tier, "k", tags=("t", "v"), model="m", source="s")
    assert tier.get("k") is not None


@pytest.mark.parametrize(
    ("scope", "target"), [("function", "f"), ("tag", "t"), ("model", "m"), ("key", "k"), ("all", None)]
)
def test_what_was_removed_while_it_was_computed_is_not_held(tier: MemoryTier, scope: Any, target: Any) -> None:
    since = tier.number()
    tier.remove_where(scope, target)
    assert not put(tier, "k", tags=("t",), model="m", since=since)
    assert tier.get("k") is None
    assert put(tier, "k2", function="g", since=since) == (scope != "all")
    assert put(tier, "k", tags=("t",), model="m", since=tier.number())


def test_many_removals_cost_no_memory_and_lose_no_meaning(tier: MemoryTier) -> None:
    since = tier.number()
    put(tier, "kept", function="kept")
    for number in range(10_000):
        tier.remove(f"k{number}")
    assert tier.get("kept") is not None
    assert not put(tier, "k0", since=since)
    for number in range(10_000):
        tier.remove_where("tag", f"t{number}")
    put(tier, "k", tags=("t9999",))
    assert tier.get("k") is not None
    tier.remove_where("tag", "t9999")
    assert tier.get("k") is None
    assert len(tier._marks) < 5000
    assert len(tier._removed) < 5000


def test_the_bounds_change_at_once() -> None:
    tier = MemoryTier(max_entries=100, max_bytes=8 << 20)
    for number in range(100):
        put(tier, f"k{number}")
    tier.resize(max_entries=1000)
    assert sum(tier.get(f"k{number}") is not None for number in range(100)) >= 95
    for number in range(2000):
        put(tier, f"n{number}")
    assert 500 < tier.stats().entries <= 1000
    tier.resize(max_entries=10)
    for number in range(100):
        put(tier, f"k{number}")
    assert tier.stats().entries <= 10
    tier.resize(max_bytes=64 << 10)
    assert not put(tier, "large", b"x" * 5000)
    assert (tier.stats().max_entries, tier.stats().max_bytes) == (10, 64 << 10)


def test_answers_removed_or_cleared_do_not_come_back_after_a_change_of_bounds(tier: MemoryTier) -> None:
    for key in ("a", "b", "c"):
        put(tier, key, tags=(key,))
    tier.resize(max_entries=2000)
    tier.remove("a")
    tier.remove_where("tag", "b")
    assert tier.get("a") is None
    assert tier.get("b") is None
    tier.clear()
    assert tier.get("c") is None


def test_threads_never_see_another_keys_answer_while_others_remove_and_resize() -> None:
    tier = MemoryTier(max_entries=100, max_bytes=8 << 20)
    wrong: list[object] = []
    stop = threading.Event()

    def work(seed: int) -> None:
        chance = random.Random(seed)
        while not stop.is_set():
            key = f"k{chance.randrange(300)}"
            held = tier.get(key)
            if held is None:
                put(tier, key, (key, "answer"), tags=("t",), since=tier.number())
            elif held.value != (key, "answer"):
                wrong.append((key, held.value))

    def remove() -> None:
        while not stop.is_set():
            tier.remove_where("tag", "t")
            time.sleep(0.002)

    def resize() -> None:
        while not stop.is_set():
            tier.resize(max_entries=random.Random(1).choice([50, 100, 200]))
            time.sleep(0.01)

    with ThreadPoolExecutor(10) as pool:
        futures = [pool.submit(work, seed) for seed in range(8)] + [pool.submit(remove), pool.submit(resize)]
        time.sleep(0.8)
        stop.set()
        for future in futures:
            future.result(30)
    assert wrong == []
    assert tier.stats().entries <= 200


def test_no_answer_from_before_a_removal_is_given_after_it() -> None:
    tier = MemoryTier(max_entries=100, max_bytes=8 << 20)
    state = {"value": 0}
    stop = threading.Event()

    def compute_and_put() -> None:
        while not stop.is_set():
            since = tier.number()
            value = state["value"]
            time.sleep(0)
            put(tier, "k", value, tags=("t",), since=since)

    with ThreadPoolExecutor(4) as pool:
        futures = [pool.submit(compute_and_put) for _ in range(4)]
        for number in range(1, 500):
            state["value"] = number
            tier.remove_where("tag" if number % 2 else "key", "t" if number % 2 else "k")
            held = tier.get("k")
            assert held is None or held.value >= number
        stop.set()
        for future in futures:
            future.result(30)


def test_a_source_that_is_no_known_table_is_a_study_and_takes_all_that_has_a_source() -> None:
    """Memory does not know an answer's study; rows below it do. In doubt an answer goes, and is asked for below."""
    tier = MemoryTier(max_entries=100, max_bytes=10**6)
    for key, source in (("a", "occurrences"), ("b", "observations"), ("c", "")):
        put(tier, key, source=source)
    tier.remove_where("source", "occurrences")
    assert [tier.get(key) is not None for key in "abc"] == [False, True, True]
    tier.remove_where("source", "survey/haul-1")
    assert [tier.get(key) is not None for key in "abc"] == [False, False, True]
