"""Regrets: entries that a policy let go and that are asked for again, through the caches themselves."""

import math
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import psycopg
import pytest
from sqlalchemy import text

from retention_pipelines import cache_predictions, cache_training_data
from retention_pipelines.cache import runtime
from retention_pipelines.cache.runtime import CacheRuntime
from retention_pipelines.errors import FeatureError
from retention_pipelines.features.store import FeatureStore
from retention_pipelines.retention.recovery.regret import regrets
from retention_pipelines.retention.recovery.restore import restore_plan, restore_rows
from retention_pipelines.retention.runs import run_lake
from retention_pipelines.retention.runs.run import Runner
from retention_pipelines.settings import Settings, load_settings
from tests.fixtures.retention import add_features
from tests.unit.warehouse.rows import rows

pytestmark = pytest.mark.parametrize("database", ["embedded"], indirect=True)


@pytest.fixture
def caches(database_settings: Settings) -> Iterator[CacheRuntime]:
    """The caches of this process over the test's database."""
    yield runtime.configure(database_settings)
    runtime.close()


def execute(retention: Runner, policy_id: str) -> int:
    plan = retention.plan(retention.planner.registry.get(policy_id))
    return int(retention.execute(plan.sha256, confirm=plan.sha256).removed)


def wait_until(is_so: Callable[[], bool], seconds: float = 10.0) -> None:
    ends = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < ends
        time.sleep(0.02)


def make_old(everyone: psycopg.Connection[Any]) -> None:
    """Let every prediction be a month old, and live for ever."""
    everyone.execute(
        "update ml_inference_cache set computed_at = now() - interval '30 days', expires_at = null,"
        " expires_on = 'infinity'"
    )


def test_a_prediction_that_is_asked_for_again_is_regretted_once_with_what_it_cost(
    retention: Runner, caches: CacheRuntime, everyone: psycopg.Connection[Any]
) -> None:
    @cache_predictions(model_id="whales", model_type="t")
    def predict(place: int) -> dict[str, float]:
        return {"confidence": 0.5, "value": float(place)}

    predict(1)
    predict(2)
    assert caches.flush()
    make_old(everyone)
    assert execute(retention, "ic_old_unused") == 2
    caches.memory.clear()
    predict(1)
    predict(3)  # was never there
    assert caches.flush()
    (found,) = regrets(retention.planner.engine)
    assert (found.policy_id, found.removed, found.regrets) == ("ic_old_unused", 2, 1)
    assert found.recompute_seconds > 0
    # A later miss for another reason says nothing about that removal.
    everyone.execute("delete from ml_inference_cache")
    caches.memory.clear()
    predict(1)
    assert caches.flush()
    assert regrets(retention.planner.engine) == (found,)


def test_misses_that_the_database_does_not_take_in_time_are_not_called_written_and_count_later(
    retention: Runner, caches: CacheRuntime, everyone: psycopg.Connection[Any]
) -> None:
    @cache_predictions(model_id="whales", model_type="t")
    def predict(place: int) -> dict[str, float]:
        return {"confidence": 0.5, "value": float(place)}

    predict(1)
    assert caches.flush()
    make_old(everyone)
    assert execute(retention, "ic_old_unused") == 1
    caches.memory.clear()
    with everyone.transaction():
        everyone.execute("lock table tombstones in access exclusive mode")
        predict(1)
        assert not caches.flush(0.5)
    assert caches.flush()
    (found,) = regrets(retention.planner.engine)
    assert (found.removed, found.regrets) == (1, 1)


def test_a_prediction_in_its_grace_is_served_from_the_grave_comes_back_and_is_regretted(
    retention: Runner, caches: CacheRuntime, everyone: psycopg.Connection[Any]
) -> None:
    runs: list[int] = []

    @cache_predictions(model_id="whales", model_type="t", ttl=math.inf)
    def predict(place: int) -> dict[str, float]:
        runs.append(place)
        return {"confidence": 0.5, "value": float(place)}

    @cache_predictions(model_id="seals", model_type="t", ttl=math.inf, tags=("old",))
    def other(place: int) -> dict[str, float]:
        runs.append(place)
        return {"confidence": 0.5, "value": float(place)}

    first = predict(1)
    predict(2), other(7)
    assert caches.flush()
    assert caches.hot is not None
    assert caches.log is not None
    everyone.execute("update ml_inference_cache set computed_at = now() - interval '30 days'")
    whales = (
        "select p::text from ml_inference_cache p where model_id = 'whales' and computed_at < now() - interval '1 day'"
    )
    before = everyone.execute(f"{whales} order by 1").fetchall()
    caches.log.catch_up()
    assert not caches.hot.digs
    assert execute(retention, "ic_old_unused") == 3
    caches.log.catch_up()
    assert caches.hot.digs
    caches.memory.clear()
    assert predict(1) == first
    predict(3)  # was never there
    assert runs == [1, 2, 7, 3]
    old = "select p::text from ml_inference_cache p where computed_at < now() - interval '1 day' order by 1"
    wait_until(lambda: len(everyone.execute(old).fetchall()) == 1)
    assert caches.flush()
    (found,) = regrets(retention.planner.engine)
    assert (found.policy_id, found.removed, found.regrets, found.recompute_seconds) == ("ic_old_unused", 3, 1, 0.0)
    # What was invalidated meanwhile stays where it is, and is computed.
    caches.invalidate("tag", "old")
    caches.memory.clear()
    other(7)
    assert runs == [1, 2, 7, 3, 7]
    # Taken back whole, the run is as if it had not been, but for what was invalidated or computed since.
    (plan,) = (record.sha256 for record in retention.store.open() if record.dataset == "inference_cache")
    restore_plan(retention, plan)
    assert everyone.execute(f"{whales} order by 1").fetchall() == before
    caches.log.catch_up()
    assert not caches.hot.digs


def old_predictions(everyone: psycopg.Connection[Any]) -> list[tuple[Any, ...]]:
    everyone.execute("update ml_inference_cache set computed_at = now() - interval '30 days', compute_seconds = '-0'")
    return everyone.execute("select p::text from ml_inference_cache p order by 1").fetchall()


def test_a_prediction_whose_grace_is_over_is_computed_though_it_was_not_swept_and_others_are_in_theirs(
    retention: Runner, caches: CacheRuntime, everyone: psycopg.Connection[Any]
) -> None:
    runs: list[int] = []

    @cache_predictions(model_id="whales", model_type="t", ttl=math.inf)
    def predict(place: int) -> float:
        runs.append(place)
        return float(place)

    assert caches.hot is not None
    assert caches.log is not None
    for place in (1, 2):
        predict(place)
        assert caches.flush()
        before = old_predictions(everyone)
        assert execute(retention, "ic_old_unused") == 1
        if place == 1:
            everyone.execute("update plans set grace_until = now() - interval '1 second'")
    assert everyone.execute("select count(*) from graveyard_inference_cache").fetchone() == (2,)
    caches.log.catch_up()
    assert caches.hot.digs
    assert not caches.hot.dig_up(predict.key(1))
    caches.memory.clear()
    predict(1), predict(2)
    assert runs == [1, 2, 1]
    # What comes back is what was taken out, to the sign of a zero.
    back = "select p::text from ml_inference_cache p where computed_at < now() - interval '1 day'"
    wait_until(lambda: len(everyone.execute(back).fetchall()) == 1)
    assert everyone.execute(back).fetchall() == before


def test_who_only_reads_is_served_from_the_grave_and_nothing_is_written(
    retention: Runner, caches: CacheRuntime, everyone: psycopg.Connection[Any], database_settings: Settings
) -> None:
    runs: list[int] = []

    @cache_predictions(model_id="whales", model_type="t", ttl=math.inf)
    def predict(place: int) -> float:
        runs.append(place)
        return float(place)

    predict(1)
    assert caches.flush()
    old_predictions(everyone)
    assert execute(retention, "ic_old_unused") == 1
    counted = (
        "select (select count(*) from ml_inference_cache), (select count(*) from graveyard_inference_cache),"
        " (select count(*) from regrets), (select count(*) from access_counts)"
    )
    before = everyone.execute(counted).fetchall()
    with runtime.replaced(CacheRuntime(database_settings.model_copy(update={"mode": "read_only"}))) as own:
        assert own.log is not None
        # The first connection may take longer than a call waits for it.
        wait_until(lambda: own.poll() or own.log.seq() is not None)  # type: ignore[func-returns-value, union-attr]
        for turn in range(4):
            own.memory.clear()
            assert predict(1) == 1.0
            predict(10 + turn)
        counts = own.counters.snapshot()
        own.close()
    assert runs == [1, 10, 11, 12, 13]
    assert counts["predictions", "hit", "postgres"] == 4
    assert ("predictions", "degraded", "postgres") not in counts
    assert everyone.execute(counted).fetchall() == before


@pytest.mark.parametrize("named", ["model", "function", "tag", "all", "key"])
def test_what_was_invalidated_while_it_lay_in_the_graveyard_does_not_come_back(
    named: Any, retention: Runner, caches: CacheRuntime, everyone: psycopg.Connection[Any]
) -> None:
    @cache_predictions(model_id="whales", model_type="t", ttl=math.inf, tags=("old",))
    def predict(place: int) -> dict[str, float]:
        return {"confidence": 0.5, "value": float(place)}

    predict(1)
    assert caches.flush()
    everyone.execute("update ml_inference_cache set computed_at = now() - interval '30 days'")
    (function,) = everyone.execute("select function from ml_inference_cache").fetchone()
    assert execute(retention, "ic_old_unused") == 1
    caches.invalidate(
        named, {"model": "whales", "function": function, "tag": "old", "all": None, "key": predict.key(1)}[named]
    )
    assert [one.rows for one in restore_rows(retention, "inference_cache", [predict.key(1)])] in ([], [0])
    assert everyone.execute("select count(*) from ml_inference_cache").fetchone() == (0,)


def test_a_training_set_in_its_grace_is_served_from_the_grave_and_regretted(
    retention: Runner, caches: CacheRuntime, everyone: psycopg.Connection[Any]
) -> None:
    runs = []

    @cache_training_data(model_type="whales")
    def prepare() -> tuple[Any, Any]:
        runs.append(1)
        return np.eye(3), np.ones(3)

    prepare()
    assert caches.flush()
    everyone.execute("update ml_training_cache set computed_at = now() - interval '90 days', expires_at = null")
    assert execute(retention, "tc_rare") == 1
    assert everyone.execute("select count(*) from ml_training_cache").fetchall() == [(0,)]
    found, _ = prepare()
    assert (len(runs), found.tolist()) == (1, np.eye(3).tolist())
    assert caches.flush()
    assert everyone.execute("select count(*) from ml_training_cache").fetchall() == [(1,)]
    assert [(one.policy_id, one.regrets) for one in regrets(retention.planner.engine)] == [("tc_rare", 1)]


def test_misses_cost_the_caller_nothing_while_the_database_is_away(database: Any, tmp_path: Any) -> None:
    settings = load_settings(
        {}, lake_root=str(tmp_path / "lake"), state_dir=tmp_path / "state", database_url="postgresql://x@127.0.0.1:1/x"
    )
    caches = runtime.configure(settings)
    try:

        @cache_predictions(model_id="whales", model_type="t")
        def predict(place: int) -> float:
            return float(place)

        assert [predict(place) for place in range(20)] == [float(place) for place in range(20)]
        assert caches.access is not None
        assert not caches.access.flush(0.2)
        # They wait, so many at most, and are told once it is back.
        assert len(caches.access._missed["inference_cache"]) == 20
    finally:
        runtime.close()


def test_features_that_went_from_the_lake_are_regretted_when_they_are_asked_for(
    retention: Runner, caches: CacheRuntime
) -> None:
    lake, old = retention.planner.lake, "timestamptz '2020-01-01 00:00:00+00'"
    table = lake.table("feature_store")
    # Three studies, in a month that goes whole; a young fourth.
    table.append(
        rows(
            "feature_store",
            4,
            feature_hash="'hash-' || i",
            source_data_id="'study-' || i",
            feature_id="'study-' || i || '/temporal'",
            feature_type="'temporal'",
            month="if(i < 3, '2020-01', '2026-01')",
            quality_score="0.1::double",
            computed_at=f"if(i < 3, {old}, now())",
        )
    )
    assert execute(retention, "fs_low_quality") == 3
    store = FeatureStore(lake)
    for _ in range(2):
        with pytest.raises(FeatureError):
            store.get("study-0")
    with pytest.raises(FeatureError):
        store.get("study-99")  # was never there
    assert store.get("study-3").temporal is not None
    assert caches.flush()
    (found,) = regrets(retention.planner.engine)
    assert (found.policy_id, found.removed, found.regrets) == ("fs_low_quality", 3, 1)
    with retention.planner.engine.connect() as con:
        ages = con.execute(text("select distinct tenant, policy_version, age_seconds > 1e8 from tombstones")).all()
    assert ages == [(retention.settings.tenant, 1, True)]


def test_so_many_features_that_nobody_misses_one_leave_no_tombstones_and_the_run_says_so(
    retention: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_lake, "MOST_TOLD", 10)
    add_features(retention, 600)
    plan = retention.plan(retention.planner.registry.get("fs_low_quality"))
    outcome = retention.execute(plan.sha256, confirm=plan.sha256)
    assert outcome.said is not None
    assert "too many to leave tombstones" in outcome.said
    assert regrets(retention.planner.engine) == ()
