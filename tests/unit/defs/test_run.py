"""The whole way in one process: the jobs as `retention materialize` runs them, on a small lake."""

import json
from collections.abc import Iterator

import dagster as dg
import pytest

from retention_pipelines.catalog import DATASETS
from retention_pipelines.definitions import build_definitions
from retention_pipelines.defs.partitions import MONTHS as PARTITIONS
from retention_pipelines.defs.run import Request, Step, parse_request, run, steps_after_ingest
from retention_pipelines.errors import CatalogError, RetentionError
from retention_pipelines.settings import Settings
from retention_pipelines.warehouse import Lake
from tests.unit.defs.small_lake import MONTHS, append, fill

KEYS = PARTITIONS.get_partition_keys()


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as made:
        yield made


def test_everything_materializes_from_raw_rows_to_trends(
    lake: Lake, settings: Settings, instance: dg.DagsterInstance, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(lake)
    assert run(Request(), settings, build_definitions(settings), instance)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert not [line for line in lines if line["event"] in ("failure", "check_failed")]
    shown = {line["asset"]: line for line in lines if line["event"] == "asset"}
    assert set(shown) == set(DATASETS)
    for name in DATASETS:
        rows = sum(file.rows for file in lake.table(name).files())
        assert shown[name]["rows"] == rows > 0, name
    assert instance.get_materialized_partitions(dg.AssetKey("feature_store")) == set(MONTHS)
