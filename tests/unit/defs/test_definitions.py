"""What Dagster is told, listed in `definitions.snapshot.json`.

After a change that is meant: `UPDATE_SNAPSHOT=1 pytest tests/unit/defs/test_definitions.py`, then read the diff.
"""

import json
import os
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml

from retention_pipelines.catalog import DATASETS
from retention_pipelines.definitions import build_definitions
from retention_pipelines.defs.jobs import JOB_ASSETS
from retention_pipelines.settings import Settings

SNAPSHOT = Path(__file__).with_name("definitions.snapshot.json")
ROOT = Path(__file__).parents[3]


def _snapshot(definitions: dg.Definitions) -> dict[str, Any]:
    graph = definitions.resolve_asset_graph()
    assets = {}
    for key in graph.toposorted_asset_keys:
        node = graph.get(key)
        assets[key.to_user_string()] = {
            "group": node.group_name,
            "deps": sorted(parent.to_user_string() for parent in node.parent_keys),
            "owners": list(node.owners),
            "kinds": sorted(node.kinds),
            "partitions": type(node.partitions_def).__name__ if node.partitions_def else None,
            "pools": sorted(node.pools or ()),
            "freshness": type(node.freshness_policy).__name__ if node.freshness_policy else None,
            "checks": sorted(check.name for check in graph.get_check_keys_for_assets({key})),
        }
    repository = definitions.get_repository_def()
    return {
        "assets": assets,
        "blocking_checks": sum(graph.get(check).blocking for check in graph.asset_check_keys),
        "jobs": {
            job.name: sorted(node.name for node in job.graph.nodes)
            for job in repository.get_all_jobs()
            if not job.name.startswith("__")
        },
        "schedules": {
            schedule.name: [schedule.cron_schedule, schedule.execution_timezone, schedule.default_status.value]
            for schedule in repository.schedule_defs
        },
        "sensors": {
            sensor.name: [sensor.sensor_type.value, sensor.default_status.value, sensor.minimum_interval_seconds]
            for sensor in repository.sensor_defs
        },
    }


@pytest.fixture
def definitions(settings: Settings) -> dg.Definitions:
    return build_definitions(settings)


def test_definitions_load(definitions: dg.Definitions) -> None:
    dg.Definitions.validate_loadable(definitions)


def test_definitions_are_those_of_the_snapshot(definitions: dg.Definitions) -> None:
    found = json.loads(json.dumps(_snapshot(definitions)))
    if os.environ.get("UPDATE_SNAPSHOT"):
        SNAPSHOT.write_text(json.dumps(found, indent=2, sort_keys=True) + "\n")
    assert found == json.loads(SNAPSHOT.read_text())


def test_every_dataset_is_an_asset_of_its_name_with_all_checks_blocking(definitions: dg.Definitions) -> None:
    graph = definitions.resolve_asset_graph()
    for name, described in DATASETS.items():
        node = graph.get(dg.AssetKey(name))
        assert node.group_name == described.layer.value
        assert described.grain in (node.description or "")
        checks = graph.get_check_keys_for_assets({node.key})
        assert {"schema", "key_unique", "required_not_null", "values_in_range"} <= {check.name for check in checks}
        assert all(graph.get(check).blocking for check in checks)


def test_every_dataset_is_in_exactly_one_job() -> None:
    named = [name for names in JOB_ASSETS.values() for name in names]
    assert sorted(named) == sorted([*DATASETS, "serving_copy"])


def test_building_definitions_touches_nothing(definitions: dg.Definitions, settings: Settings) -> None:
    assert definitions
    assert not Path(settings.lake_root).exists()
    assert not settings.state_dir.exists()


def test_the_instance_file_sends_nothing_home_and_says_what_its_retention_is() -> None:
    text = (ROOT / "dagster.yaml").read_text()
    instance = yaml.safe_load(text)
    assert instance["telemetry"] == {"enabled": False}
    assert instance["nux"] == {"enabled": False}
    assert "NOT data retention" in text
