"""Features in a lake of an S3 bucket: the same rows and answers as in a folder."""

from datetime import UTC, datetime

import pytest

from retention_pipelines.features.compute import compute_features
from retention_pipelines.features.store import FeatureStore
from retention_pipelines.warehouse import Lake

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def lake(any_lake: Lake) -> Lake:
    """The rows of `add_occurrences` and `add_observations` go to a folder once and to a bucket once."""
    return any_lake


def test_features_are_computed_stored_and_read_wherever_the_lake_is(lake, add_occurrences, add_observations):
    add_occurrences(
        {"event_id": "a", "scientific_name": "A"},
        {"event_id": "a", "scientific_name": "B"},
        {"event_id": "b", "event_start": datetime(2017, 9, 20, tzinfo=UTC)},
    )
    add_observations({"value": 15.0}, {"value": 17.0})
    assert compute_features(lake, months=None, now=NOW, studies_at_once=2).rows_added == 11
    assert compute_features(lake, months=["2017-08"], now=NOW).rows_added == 0
    store = FeatureStore(lake)
    entities = [{"source_data_id": f"survey/{name}", "event_timestamp": NOW} for name in "ab"]
    frame = store.training_frame(entities, ["richness", "temperature_degc"], as_of=NOW)
    assert frame["richness"].to_pylist() == [2, 1]
    assert frame["temperature_degc"].to_pylist() == [16.0, None]
    study = store.get("survey/a")
    assert study.environmental is not None
    assert study.environmental.values["temperature_n"] == 2
