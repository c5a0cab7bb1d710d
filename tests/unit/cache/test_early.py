"""Early refresh: the decision, and that one caller renews while nobody waits."""

import asyncio
import math
import threading
import time
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retention_pipelines import cache_features, caching
from retention_pipelines.cache.early import due
from retention_pipelines.cache.runtime import CacheRuntime


@pytest.fixture(autouse=True)
def caches() -> Iterator[CacheRuntime]:
    with caching.testing() as own:
        yield own


@settings(max_examples=200, derandomize=True, deadline=None)
@given(
    remaining=st.floats(0, 1e6),
    compute=st.floats(0, 1e4),
    beta=st.floats(0, 100),
    u=st.floats(0, 1, exclude_min=True),
)
def test_the_chance_rises_towards_expiry_and_with_the_time_it_takes(
    remaining: float, compute: float, beta: float, u: float
) -> None:
    now = due(remaining_seconds=remaining, compute_seconds=compute, beta=beta, u=u)
    assert now == (beta > 0 and remaining <= compute * beta * -math.log(u))
    if now:
        assert due(remaining_seconds=remaining / 2, compute_seconds=compute, beta=beta, u=u)
        assert due(remaining_seconds=remaining, compute_seconds=compute * 2, beta=beta, u=u)


def test_what_never_expires_is_never_due() -> None:
    assert not due(remaining_seconds=None, compute_seconds=100, beta=10, u=1e-9)
    assert not due(remaining_seconds=1, compute_seconds=100, beta=0, u=1e-9)
    assert due(remaining_seconds=1, compute_seconds=1, beta=1, u=0.0)


def test_a_due_entry_is_renewed_by_one_caller_while_others_get_what_is_there() -> None:
    ran, gate = [], threading.Event()

    @cache_features("spatial", "occurrences", ttl=3600, early=1e9)
    def features() -> int:
        ran.append(threading.get_ident())
        if len(ran) == 2:
            assert gate.wait(10)
        time.sleep(0.001)
        return len(ran)

    assert features() == 1
    renewing = threading.Thread(target=features)
    renewing.start()
    deadline = time.monotonic() + 10
    while len(ran) < 2 and time.monotonic() < deadline:
        time.sleep(0.001)
    assert [features(), features()] == [1, 1], "others neither wait nor compute"
    assert len(ran) == 2
    gate.set()
    renewing.join(10)
    assert features.cache_info().renewed == 1


def test_coroutines_renew_early_too() -> None:
    ran = []

    @cache_features("spatial", "occurrences", ttl=3600, early=1e9)
    async def features() -> int:
        ran.append(1)
        await asyncio.sleep(0.001)
        return len(ran)

    async def run() -> list[int]:
        return [await features(), await features()]

    assert asyncio.run(run()) == [1, 2]


def test_when_an_early_refresh_fails_the_fresh_value_is_served() -> None:
    ran = []

    @cache_features("spatial", "occurrences", ttl=3600, early=1e9)
    def features() -> int:
        ran.append(1)
        time.sleep(0.001)
        if len(ran) > 1:
            raise LookupError("gone")
        return 1

    assert [features(), features(), features()] == [1, 1, 1]
    assert len(ran) == 3
    assert features.cache_info().errors == 0
