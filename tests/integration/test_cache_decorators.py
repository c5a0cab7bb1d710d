"""Decorated functions over the real Postgres tier."""

import time
from collections.abc import Iterator

import pytest

from retention_pipelines import cache_features
from retention_pipelines.cache import runtime
from retention_pipelines.cache.runtime import CacheRuntime
from retention_pipelines.settings import Settings


@pytest.fixture
def caches(database_settings: Settings) -> Iterator[CacheRuntime]:
    with runtime.replaced(CacheRuntime(database_settings)) as own:
        assert own.hot is not None
        _wait_for(own)
        yield own


def _wait_for(own: CacheRuntime) -> None:
    """Until the first connection is there: a call that comes earlier does without."""
    assert own.hot is not None
    for _ in range(200):
        try:
            own.hot.get("features", "0")
        except runtime.CacheError:
            time.sleep(0.05)
        else:
            return
    raise AssertionError("Postgres does not answer")


def test_a_feature_is_found_in_postgres_once_memory_forgot_it_s3(caches: CacheRuntime) -> None:
    """S3: the Postgres tier never gave a hit."""
    ran = []

    @cache_features("spatial", "occurrences")
    def features(study_id: str, latitude: float, longitude: float) -> dict[str, float]:
        ran.append(study_id)
        return {"depth": 2.5, "missing": float("nan")}

    first = features("a", -12.1, 13.2)
    assert caches.flush()
    caches.memory.clear()
    again = features("a", -12.1, 13.2)
    assert ran == ["a"]
    assert repr(again) == repr(first)
    assert features.cache_info().postgres_hits == 1
