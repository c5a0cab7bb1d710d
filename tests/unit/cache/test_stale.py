"""Stale answers: served as far as a function opted in, and never further."""

import asyncio
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retention_pipelines import cache_features, caching
from retention_pipelines.cache import runtime
from retention_pipelines.cache.events import CacheEvent
from retention_pipelines.cache.runtime import CacheRuntime
from retention_pipelines.cache.stale import Staleness, use_of


@pytest.fixture(autouse=True)
def caches() -> Iterator[CacheRuntime]:
    with caching.testing() as own:
        yield own


@settings(max_examples=200, derandomize=True, deadline=None)
@given(remaining=st.one_of(st.none(), st.floats(-100, 100)), behind=st.floats(0, 50), failing=st.floats(0, 50))
def test_an_entry_is_never_used_beyond_what_was_declared(
    remaining: float | None, behind: float, failing: float
) -> None:
    use = use_of(remaining, Staleness(while_revalidate=behind, if_error=failing))
    if remaining is None or remaining > 0:
        assert use == "fresh"
    elif -remaining >= max(behind, failing):
        assert use == "no"
    else:
        assert use == ("revalidate" if -remaining < behind else "if_error")


def test_nothing_expired_is_served_without_opting_in() -> None:
    assert use_of(0.0, Staleness()) == "no"


def test_an_expired_value_is_served_once_more_and_renewed_behind() -> None:
    heard: list[CacheEvent] = []
    ran = []

    @cache_features("spatial", "occurrences", ttl=0.02, stale_while_revalidate=60, hooks=(heard.append,))
    def features() -> list[int]:
        ran.append(1)
        return [len(ran)]

    assert features() == [1]
    time.sleep(0.03)
    stale = features()
    assert stale == [1]
    assert len(ran) == 2, "in a test the refresh runs inline"
    stale.append(7)
    told = next(event for event in heard if event.outcome == "stale")
    assert told.age_seconds is not None
    assert told.age_seconds >= 0.02
    assert features.cache_info().stale == 1


def test_coroutines_serve_stale_values_too() -> None:
    ran = []

    @cache_features("spatial", "occurrences", ttl=0.02, stale_while_revalidate=60)
    async def features() -> int:
        ran.append(1)
        return len(ran)

    async def run() -> list[int]:
        first = await features()
        await asyncio.sleep(0.03)
        return [first, await features()]

    assert asyncio.run(run()) == [1, 1]
    assert len(ran) == 2


def test_one_refresh_runs_behind_many_stale_answers_and_leaves_no_thread() -> None:
    go, ran = threading.Event(), []

    @cache_features("spatial", "occurrences", ttl=0.02, stale_while_revalidate=60)
    def features() -> int:
        ran.append(1)
        if len(ran) > 1:
            assert go.wait(10)
        return len(ran)

    with runtime.replaced(_with_threads()):
        features()
        time.sleep(0.03)
        assert {features() for _ in range(20)} == {1}
        go.set()
        deadline = time.monotonic() + 10
        while features.cache_info().renewed == 0 and time.monotonic() < deadline:
            time.sleep(0.001)
        assert len(ran) == 2


def test_a_refresh_behind_sees_the_arguments_of_its_call_not_later_changes() -> None:
    begun, go, seen = threading.Event(), threading.Event(), []

    @cache_features("spatial", "occurrences", ttl=0.02, stale_while_revalidate=60)
    def features(row: dict[str, int]) -> dict[str, int]:
        if seen:
            begun.set()
            assert go.wait(10)
        seen.append(dict(row))
        return dict(row)

    with runtime.replaced(_with_threads()):
        row = {"x": 1}
        features(row)
        time.sleep(0.03)
        features(row)
        assert begun.wait(10)
        row["x"] = 2
        go.set()
        deadline = time.monotonic() + 10
        while len(seen) < 2 and time.monotonic() < deadline:
            time.sleep(0.001)
        assert seen == [{"x": 1}, {"x": 1}]
        assert features({"x": 2}) == {"x": 2}


def test_when_the_function_fails_a_stale_value_is_served_within_its_bound() -> None:
    fails: list[Any] = []

    @cache_features("spatial", "occurrences", ttl=0.02, stale_if_error=60)
    def features() -> str:
        if fails:
            raise fails[0]
        return "fine"

    features()
    fails.append(ConnectionError("station is down"))
    time.sleep(0.03)
    assert features() == "fine"
    assert features.cache_info().stale == 1
    fails[0] = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        features()
    with pytest.raises(KeyboardInterrupt):
        features.refresh()


def test_beyond_its_bound_the_exception_comes_out() -> None:
    fails: list[Any] = []

    @cache_features("spatial", "occurrences", ttl=0.01, stale_if_error=0.01)
    def features() -> str:
        if fails:
            raise fails[0]
        return "fine"

    features()
    fails.append(ConnectionError("station is down"))
    time.sleep(0.03)
    with pytest.raises(ConnectionError):
        features()


def _with_threads() -> CacheRuntime:
    return CacheRuntime(runtime.default_settings(), degraded="a test without Postgres")
