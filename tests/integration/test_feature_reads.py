"""Reads of stored features count for policies, whichever way they are read."""

import gc
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from retention_pipelines.features import reads
from retention_pipelines.features.reads import ReadCounter, read_counter
from retention_pipelines.features.store import FeatureStore
from retention_pipelines.postgres.engine import connect
from retention_pipelines.postgres.server import Server
from retention_pipelines.retention.plans.planning import planner
from retention_pipelines.settings import Settings, load_settings
from retention_pipelines.warehouse import Lake
from tests.fixtures.postgres import migrated_database
from tests.integration.test_online_features import load
from tests.unit.features.conftest import append_rows
from tests.unit.features.test_store import row

LATER = datetime(2026, 1, 1, tzinfo=UTC)
FEATURES = ["environmental.temperature_degc"]


@pytest.fixture(scope="module")
def database(request: pytest.FixtureRequest) -> Iterator[Server]:
    request.param = "embedded"
    with migrated_database(request) as opened:
        yield opened


@pytest.fixture
def lake(database_settings: Settings, database: Server) -> Iterator[Lake]:
    patient = database_settings.model_copy(update={"cache_deadline_seconds": 20.0})
    with Lake(patient) as opened:
        append_rows(opened, "feature_store", [row("s/1", event=1, value=1.0), row("s/2", event=1, value=2.0)])
        yield opened
    with connect(database, role="owner") as con:
        con.execute("truncate access_counts, access_log")
    gc.collect()


def counter(lake: Lake) -> ReadCounter:
    found = read_counter(lake.settings)
    assert found is not None
    return found


def known(database: Server, lake: Lake) -> dict[str, int]:
    assert counter(lake).flush()
    with connect(database, tenant=lake.settings.tenant) as con:
        query = "select key, hits from access_counts where dataset = 'feature_store' and last_accessed_at is not null"
        return {str(key): int(str(hits)) for key, hits in con.execute(query).fetchall()}


def asks(*studies: str) -> list[dict[str, Any]]:
    return [{"source_data_id": one, "event_timestamp": LATER} for one in studies]


def test_each_way_of_reading_counts_the_rows_that_answered(lake: Lake, database: Server) -> None:
    store = FeatureStore(lake)
    store.training_frame(asks("s/1", "s/1", "s/2", "s/unknown"), FEATURES)
    assert known(database, lake) == {"s/1/environmental": 1, "s/2/environmental": 1}
    store.get("s/1")
    assert known(database, lake)["s/1/environmental"] == 2
    load(lake, database)
    assert store.online(["s/2", "s/nobody"], FEATURES, lake=False).origins["environmental"] == ["postgres", "missing"]
    assert known(database, lake) == {"s/1/environmental": 2, "s/2/environmental": 2}


def test_what_the_lake_says_to_an_online_read_counts_once(lake: Lake, database: Server) -> None:
    FeatureStore(lake).online(["s/1"], FEATURES)
    assert known(database, lake) == {"s/1/environmental": 1}


def test_a_system_and_a_frame_by_cell_count_nothing(lake: Lake, database: Server) -> None:
    FeatureStore(lake, reader="system").training_frame(asks("s/1"), FEATURES)
    by_cell = [{"location_grid": "0.0_0.0", "event_timestamp": LATER}]
    found = FeatureStore(lake).training_frame(by_cell, FEATURES, on="location_grid")
    assert found["temperature_degc"].null_count == 0
    assert known(database, lake) == {}


def test_policies_see_the_reads_of_a_feature(lake: Lake, database: Server) -> None:
    store = FeatureStore(lake)
    for _ in range(6):
        store.training_frame(asks("s/1"), FEATURES)
    assert counter(lake).flush()
    with planner(lake.settings) as planning:
        by_name = {one: planning.explain("feature_store", one)[0].values["access_count"] for one in ("s/1", "s/2")}
    assert by_name == {"s/1": 6, "s/2": 0}


def test_without_a_database_reads_are_dropped_and_none_is_made(tmp_path: Path) -> None:
    settings = load_settings({}, lake_root=str(tmp_path / "lake"), state_dir=tmp_path / "state")
    counting = ReadCounter(settings, flush_seconds=60.0)
    counting.count("spatial", pa.chunked_array([["a", "b"]]))
    assert not (tmp_path / "state").exists()
    counting.flush()
    assert counting.dropped == 2
    assert not (tmp_path / "state").exists()
    assert read_counter(settings.model_copy(update={"mode": "read_only"})) is None


def test_more_reads_than_there_is_room_for_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reads, "MOST", 3)
    counting = ReadCounter(load_settings({}, state_dir=tmp_path / "state"), flush_seconds=60.0)
    counting.count("spatial", ["a", "b"])
    counting.count("spatial", ["c", "d"])
    assert counting.dropped == 2
