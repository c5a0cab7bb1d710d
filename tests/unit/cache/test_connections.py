"""What the Postgres tier says where there is no database yet, and how long it is waited for then."""

import logging
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from retention_pipelines.cache.connections import Unavailable
from retention_pipelines.cache.entry import NewEntry, Payload
from retention_pipelines.cache.events import Counters
from retention_pipelines.cache.hot import HotTier
from retention_pipelines.cache.writer import WriteBehind
from retention_pipelines.settings import load_settings


@pytest.fixture
def hot(tmp_path: Path) -> Iterator[HotTier]:
    settings = load_settings(
        {}, state_dir=tmp_path / "state", lake_root=str(tmp_path / "lake"), cache_deadline_seconds=5.0
    )
    tier = HotTier(settings, counters=Counters())
    yield tier
    tier.close()


def test_every_failure_without_a_database_says_what_to_run_also_when_the_breaker_is_open(hot: HotTier) -> None:
    failures = []
    for _ in range(6):
        with pytest.raises(Unavailable) as failed:
            hot.get("features", "a")
        failures.append(failed.value)
    assert failures[-1].reason == "breaker open"
    for failure in failures:
        assert "no database in the state folder" in str(failure)
        assert failure.hint == "Run `retention db upgrade`."


def test_that_there_is_no_database_is_said_once(hot: HotTier, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="retention_pipelines"):
        for _ in range(3):
            with pytest.raises(Unavailable):
                hot.get("features", "a")
    [line] = [record.getMessage() for record in caplog.records]
    assert line == (
        "The caches work with memory only. The Postgres tier is not available (no database): There is no database in "
        "the state folder yet. Run `retention db upgrade`."
    )


def test_the_end_of_a_program_does_not_wait_for_a_database_that_nobody_has_made(hot: HotTier) -> None:
    writer = WriteBehind(hot, flush_seconds=600.0)
    writer.put(
        NewEntry(
            kind="features",
            key="a",
            payload=Payload(codec="raw1", data=b"value"),
            computed_monotonic=time.monotonic(),
            ttl_seconds=600.0,
            compute_seconds=0.1,
            function="m.f",
            columns={"feature_type": "spatial", "source_table": "studies"},
        )
    )
    began = time.monotonic()
    assert not writer.flush(60.0)
    writer.close(60.0)
    assert time.monotonic() - began < 30.0
    assert hot.counters.snapshot()["features", "dropped", "postgres"] == 1
