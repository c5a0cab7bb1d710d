import gc
import time

import pytest

from retention_pipelines import cache_features, cache_predictions
from retention_pipelines.cache import caching
from retention_pipelines.monitoring.metrics import Figures, Totals, measurements, total


@pytest.fixture(autouse=True)
def own_caches():
    with caching.testing() as runtime:
        yield runtime


def test_only_what_happened_since_then_is_in_the_totals() -> None:
    @cache_features("early", "none")
    def known(x: int) -> int:
        return x

    known(1)
    totals = Totals()
    assert total(totals.read()) == Figures()
    known(1)
    known(2)

    @cache_predictions("late")
    def late(x: int) -> int:
        return x

    late(1)
    by_kind = totals.read()
    assert (by_kind["features"].hits, by_kind["features"].misses) == (1, 1)
    assert (by_kind["predictions"].calls, by_kind["training"].calls) == (1, 0)


def test_a_function_that_is_gone_is_still_counted_once() -> None:
    totals = Totals()

    def use() -> None:
        @cache_features("gone", "none")
        def brief(x: int) -> int:
            return x

        brief(1)
        brief(1)
        assert totals.read()["features"].calls == 2

    use()
    gc.collect()
    assert totals.read()["features"].calls == 2
    assert totals.read()["features"].calls == 2


def test_the_ratio_is_between_0_and_1_and_unknown_before_the_first_call() -> None:
    """M1."""
    assert Figures().hit_ratio is None
    assert Figures(misses=100).hit_ratio == 0.0
    assert Figures(memory_hits=30, postgres_hits=20, misses=40, errors=10).hit_ratio == 0.5
    assert Figures(shared=1, stale=1, negative=1).hit_ratio == 1.0


def test_the_response_time_is_a_mean_of_what_was_timed() -> None:
    """M9."""
    assert Figures(errors=3).mean_response_seconds is None
    assert Figures(timed=4, answer_seconds=2.0).mean_response_seconds == 0.5


def test_time_saved_is_measured_and_less_what_the_hits_took() -> None:
    """M2, M8: misses save nothing, and a cache that costs more than it saves says so."""
    assert Figures(misses=5, timed=5, answer_seconds=9.0).saved_seconds == 0.0
    assert Figures(memory_hits=2, avoided_seconds=1.0, lookup_seconds=0.25).saved_seconds == 0.75
    assert Figures(memory_hits=2, avoided_seconds=0.1, lookup_seconds=0.25).saved_seconds < 0


def test_nothing_is_written_for_what_was_not_measured() -> None:
    """M4: constants were."""
    assert measurements("features", Figures()) == []
    written = {row.metric: row.value for row in measurements("features", Figures(bypassed=2))}
    assert written == {
        "cache_calls": 0.0,
        "cache_hits": 0.0,
        "cache_misses": 0.0,
        "cache_errors": 0.0,
        "cache_bypassed": 2.0,
    }


def test_what_is_renewed_behind_the_callers_is_no_response_time() -> None:
    """M9: the mean is of what callers waited for, the whole of it."""
    ran: list[int] = []

    @cache_features("slow", "none", stale_while_revalidate=600.0, ttl=0.001)
    def slow(x: int) -> int:
        ran.append(x)
        time.sleep(0.05)
        return x

    totals = Totals()
    slow(1)
    first = totals.read()["features"]
    assert first.answer_seconds >= 0.05
    slow.refresh(1)
    time.sleep(0.01)
    assert len(ran) == 2
    assert totals.read()["features"].answer_seconds == first.answer_seconds, "nobody's call of it was a miss"
