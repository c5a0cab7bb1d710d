"""Pins, leases and roots on a real lake and a real Postgres: what they keep out of a run, and when they end."""

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import psycopg
import pytest
from sqlalchemy import select, update

from retention_pipelines import cache_training_data
from retention_pipelines.cache import runtime
from retention_pipelines.cache.training.used import UsedSets
from retention_pipelines.cache.training.value import TrainingSet
from retention_pipelines.errors import PolicyError
from retention_pipelines.postgres.tables import LEASES, MODELS
from retention_pipelines.retention.protection.leases import lease
from retention_pipelines.retention.protection.models import (
    DAY_SECONDS,
    Need,
    keep_lake_versions,
    list_models,
    list_roots,
    needs_of_sets,
    needs_of_studies,
    register_model,
    retire_model,
)
from retention_pipelines.retention.protection.pins import list_pins, place_pin, release_pin
from retention_pipelines.retention.runs.run import Runner
from retention_pipelines.settings import Settings
from retention_pipelines.warehouse import Lake
from tests.fixtures.retention import add_features, feature_rows
from tests.integration.test_retention_commands import Typed, typed

__all__ = ["typed"]
pytestmark = pytest.mark.parametrize("database", ["embedded"], indirect=True)


def removed(retention: Runner) -> int:
    """How many rows a plan made now would remove."""
    return retention.plan(retention.planner.registry.get("fs_low_quality")).removed_rows


def test_a_lease_taken_after_the_plan_keeps_its_rows_out_of_the_run_and_ends(retention: Runner) -> None:
    add_features(retention, 600)
    engine = retention.planner.engine
    plan = retention.plan(retention.planner.registry.get("fs_low_quality"))
    wanted = "feature_type = 'species'"
    with lease(
        engine, dataset="feature_store", match=wanted, reason="training", placed_by="ana", seconds=0.3
    ) as number:
        time.sleep(0.5)  # longer than the lease: only renewing keeps it
        outcome = retention.execute(plan.sha256, confirm=plan.sha256)
        assert outcome.kept > 0
        explained = retention.planner.explain("feature_store", "hash-2")[0]
        assert explained.decision.ruled_by is not None
        assert explained.decision.ruled_by.label == f"lease {number}"
    with engine.connect() as con:
        assert con.execute(select(LEASES)).all() == []
    assert removed(retention) >= outcome.kept


def test_a_lease_whose_holder_died_ends_by_itself(retention: Runner) -> None:
    add_features(retention, 600)
    before = removed(retention)
    with lease(retention.planner.engine, dataset="feature_store", match="everything", reason="t", placed_by="ana"):
        assert removed(retention) == 0
        with retention.planner.engine.begin() as con:
            con.execute(
                update(LEASES).values(
                    placed_at=datetime(2020, 1, 1, tzinfo=UTC), leased_until=datetime(2020, 1, 2, tzinfo=UTC)
                )
            )
        assert removed(retention) == before


def test_a_pin_keeps_rows_until_its_end_or_until_it_is_taken_away(retention: Runner) -> None:
    add_features(retention, 600)
    engine, before = retention.planner.engine, removed(retention)
    soon = datetime.now(UTC) + timedelta(seconds=1.0)
    place_pin(engine, dataset="feature_store", match="everything", reason="a paper", placed_by="ana", until=soon)
    assert removed(retention) == 0
    pin = place_pin(engine, dataset="feature_store", match="everything", reason="a paper", placed_by="ana")
    time.sleep(1.1)
    assert [one.pin_id for one in list_pins(engine)] == [pin.pin_id]
    assert removed(retention) == 0
    release_pin(engine, pin.pin_id, released_by="ana")
    assert removed(retention) == before
    with pytest.raises(PolicyError, match="no pin"):
        release_pin(engine, pin.pin_id, released_by="ana")
    with pytest.raises(PolicyError, match="over already"):
        place_pin(engine, dataset="feature_store", match="everything", reason="x", placed_by="ana", until=soon)


def test_what_a_model_needs_stays_until_its_window_after_retirement_is_over(retention: Runner) -> None:
    add_features(retention, 600)
    engine, before = retention.planner.engine, removed(retention)
    needs = [Need(dataset="feature_store", match="everything", lake_version=0)]
    register_model(engine, "whales", "1", needs=needs, registered_by="ana", reproducibility_seconds=30 * DAY_SECONDS)
    register_model(engine, "whales", "1", needs=needs, registered_by="ana")
    assert removed(retention) == 0
    (model,) = list_models(engine)
    assert (model.state, model.roots, model.kept_until) == ("live", 1, None)
    assert keep_lake_versions(engine, retention.planner.lake) == {"feature_store": (0,)}
    assert 0 in retention.planner.lake.needed_versions("feature_store")
    retired = retire_model(engine, "whales", "1", retired_by="ana")
    assert retired.kept_until is not None
    assert retired.kept_until - datetime.now(UTC) > timedelta(days=29)
    assert removed(retention) == 0
    with engine.begin() as con:  # as if it had been long ago
        ago = datetime.now(UTC) - timedelta(days=31)
        con.execute(update(MODELS).values(registered_at=ago, retired_at=ago))
    assert removed(retention) == before
    assert [root.in_force for root in list_roots(engine)] == [False]
    assert keep_lake_versions(engine, retention.planner.lake) == {}
    with pytest.raises(PolicyError, match="retired already"):
        retire_model(engine, "whales", "1", retired_by="ana")


def test_many_studies_are_named_by_their_months_and_none_is_left_out(retention: Runner) -> None:
    engine = retention.planner.engine
    few = {"d/it's": "2020-05", "d/b": "2021-01"}
    many = {f"d{i % 2}/s{i}": f"20{10 + i % 9}-0{1 + i % 9}" for i in range(500)}
    assert [one.match for one in needs_of_studies(few)] == ["source_data_id in ('d/b', 'd/it''s')"]
    assert [one.match for one in needs_of_studies({"d/b": "2021-01"})] == ["source_data_id = 'd/b'"]
    needs = needs_of_studies(many, lake_version=7)
    assert [one.match for one in needs] == [
        f"dataset_id = 'd{i}' and event_time >= '2010-01-01T00:00:00Z' and event_time < '2018-10-01T00:00:00Z'"
        for i in (0, 1)
    ]
    model = register_model(engine, "m", "1", needs=[*needs_of_studies(few), *needs], registered_by="ana")
    assert model.roots == 3
    with pytest.raises(PolicyError, match="at most 100 roots"):
        register_model(engine, "m", "2", needs=needs_of_sets(f"{i:032x}" for i in range(101)), registered_by="ana")


def test_a_model_registered_with_its_training_set_keeps_the_set_and_its_features(
    retention: Runner, database_settings: Settings, everyone: psycopg.Connection[Any]
) -> None:
    add_features(retention, 300)
    caches = runtime.configure(database_settings)
    try:

        @cache_training_data(model_type="whales")
        def prepare() -> TrainingSet:
            return TrainingSet(X=np.eye(3), y=np.ones(3), provenance={"studies": ["study-1", "it's"]})

        used = UsedSets()
        prepare()
        keys = used.end()
        assert len(keys) == 1
        assert caches.models is not None
        caches.models.register("whales", "1", model_type="whales", trained_on=keys)
    finally:
        runtime.close()
    engine = retention.planner.engine
    assert {(root.dataset, root.match) for root in list_roots(engine)} == {
        ("training_cache", f"cache_key = '{keys[0]}'"),
        ("feature_store", "source_data_id in ('it''s', 'study-1')"),
    }
    everyone.execute("update ml_training_cache set computed_at = now() - interval '2 years', expires_at = null")
    sets = retention.plan(retention.planner.registry.get("tc_rare"))
    assert (sets.total_rows, sets.removed_rows) == (1, 0)
    assert feature_rows(retention)
    (explained,) = retention.planner.explain("feature_store", "hash-1")
    assert explained.decision.ruled_by is not None
    assert explained.decision.ruled_by.label == "model whales 1"


def test_no_feature_goes_while_a_training_set_is_built_from_the_store_and_it_goes_afterwards(
    retention: Runner, database_settings: Settings, everyone: psycopg.Connection[Any]
) -> None:
    add_features(retention, 300)
    due = removed(retention)
    plan = retention.plan(retention.planner.registry.get("fs_low_quality"))
    seen: list[Any] = []

    @cache_training_data(model_type="whales")
    def prepare(fails: bool) -> TrainingSet:
        seen.append(everyone.execute("select count(*) from leases").fetchone())
        with Lake(database_settings) as lake:
            for _ in range(2):
                lake.con.sql(f"from {lake.table('feature_store').scan()}").fetchall()
        seen.append(retention.execute(plan.sha256, confirm=plan.sha256).removed)
        seen.append(everyone.execute("select dataset, match from leases").fetchall())
        if fails:
            raise ValueError("not today")
        return TrainingSet(X=np.eye(3), y=np.ones(3))

    runtime.configure(database_settings)
    try:
        prepare(False)
        prepare(False)
        assert seen == [(0,), 0, [("feature_store", "everything")]]
        assert everyone.execute("select count(*) from leases").fetchone() == (0,)
        plan = retention.plan(retention.planner.registry.get("fs_low_quality"))
        with pytest.raises(ValueError, match="not today"):
            prepare(True)
        assert everyone.execute("select count(*) from leases").fetchone() == (0,)
    finally:
        runtime.close()
    assert due == removed(retention) > 0


def test_a_training_set_is_built_without_leases_where_the_database_refuses_them(
    retention: Runner, database_settings: Settings, server_owner: Callable[[str], None]
) -> None:
    server_owner("revoke insert on leases from retention_service")
    runtime.configure(database_settings)
    try:

        @cache_training_data(model_type="whales")
        def prepare() -> np.ndarray:
            with Lake(database_settings) as lake:
                return np.eye(2 + len(lake.table("feature_store").files()))

        add_features(retention, 30)
        assert prepare().shape == prepare().shape
    finally:
        runtime.close()


def test_models_and_pins_are_kept_by_typing(typed: Typed) -> None:
    match = "feature_store:feature_type = 'species'"
    code, out, _ = typed("models", "register", "whales", "1", "--needs", match, "--days", "10", "--json")
    assert (code, json.loads(out)["roots"]) == (0, 1)
    code, out, _ = typed("models", "roots", "whales", "--json")
    assert [(one["match"], one["in_force"]) for one in json.loads(out)] == [("feature_type = 'species'", True)]
    code, out, _ = typed("models", "retire", "whales", "1", "--days", "0")
    assert "whales 1 is retired" in out
    code, out, _ = typed("models", "list", "--json")
    assert json.loads(out)[0]["state"] == "retired"
    code, _, said = typed("models", "register", "whales", "2", "--needs", "feature_type = 'species'")
    assert (code, "names no dataset" in said) == (2, True)
    assert json.loads(typed("regrets", "--json")[1]) == []
    code, out, _ = typed("pin", "feature_store", "everything", "--reason", "a paper")
    assert out == "Pin 1 keeps feature_store where everything.\n"
    assert json.loads(typed("plan", "fs_low_quality", "--json")[1])[0]["removed_rows"] == 0
    code, out, _ = typed("pins", "--json")
    assert [one["pin_id"] for one in json.loads(out)] == [1]
    assert typed("unpin", "1")[0] == 0
    assert json.loads(typed("plan", "fs_low_quality", "--json")[1])[0]["removed_rows"] == 4
    code, _, said = typed("pin", "feature_store", "everything", "--reason", "x", "--until", "2030-01-01")
    assert (code, "no time zone" in said) == (2, True)
