"""The whole way in one process: the jobs as `retention materialize` runs them, on a small lake."""

import json
from collections.abc import Iterator

import dagster as dg
import pytest

from retention_pipelines.catalog import DATASETS
from retention_pipelines.definitions import build_definitions
from retention_pipelines.defs.partitions import KeyRange
from retention_pipelines.defs.run import Request, Step, parse_request, run, steps_after_ingest
from retention_pipelines.errors import CatalogError, RetentionError
from retention_pipelines.settings import Settings
from retention_pipelines.warehouse import Lake
from tests.unit.defs.small_lake import MONTHS, fill

KEYS = tuple(f"{year}-{month:02d}" for year in range(1990, 2020) for month in range(1, 13))


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as made:
        yield made


def _metadata(instance: dg.DagsterInstance, name: str) -> dict[str, object]:
    event = instance.get_latest_materialization_event(dg.AssetKey(name))
    assert event is not None
    assert event.asset_materialization is not None
    return {key: value.value for key, value in event.asset_materialization.metadata.items()}


def test_everything_materializes_from_raw_rows_to_trends(
    lake: Lake, settings: Settings, instance: dg.DagsterInstance, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(lake)
    assert run(Request(), settings, build_definitions(settings), instance)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert not [line for line in lines if line["event"] in ("failure", "check_failed")]
    shown = {line["asset"]: line for line in lines if line["event"] == "asset"}
    # Cached features come from calls, not from files.
    computed = [name for name in DATASETS if name != "cached_features"]
    assert set(shown) == {*computed, "serving_copy"}
    # All months and seasons of the small lake, two years, are current.
    series = lake.table("aggregated_time_series")
    monthly = [file.rows for file in series.files() if file.partition["time_window"] in ("monthly", "seasonal")]
    assert shown["serving_copy"]["rows"] >= sum(monthly) > 0
    for name in computed:
        files = lake.table(name).files()
        assert shown[name]["rows"] == sum(file.rows for file in files) > 0, name
        assert shown[name]["bytes"] == sum(file.bytes for file in files), name
    by_month = ("occurrences", "observations", "feature_store", "aggregated_time_series", "biodiversity_statistics")
    for name in by_month:
        assert instance.get_materialized_partitions(dg.AssetKey(name)) == set(MONTHS)
        assert shown[name]["partitions"] == len(MONTHS)
    # The plot and the lineage ride on the newest partition, where the asset page looks.
    occurrences = _metadata(instance, "occurrences")
    assert occurrences["dagster/partition_row_count"] == 3
    assert str(occurrences["plot"]).startswith("![Where the species records lie](data:image/png;base64,")
    assert "plot" in _metadata(instance, "seasonal_patterns")
    assert "plot" in _metadata(instance, "biodiversity_statistics")
    lineage = _metadata(instance, "aggregated_time_series")["dagster/column_lineage"]
    assert [dep.column_name for dep in lineage.deps_by_column["variable"]] == ["variable"]  # type: ignore[attr-defined]


def test_small_files_of_a_month_are_merged_and_its_rows_stay_the_same(
    lake: Lake, settings: Settings, instance: dg.DagsterInstance
) -> None:
    for _ in range(5):
        fill(lake, ("2017-08",))
    query = f"select scientific_name, count(*) from {lake.table('occurrences').scan()} group by all order by all"
    before = lake.con.sql(query).fetchall()
    assert len(lake.table("occurrences").files()) == 5
    result = (
        build_definitions(settings)
        .resolve_job_def("months")
        .execute_in_process(instance=instance, partition_key="2017-08", asset_selection=[dg.AssetKey("occurrences")])
    )
    assert result.success
    assert len(lake.table("occurrences").files()) == 1
    query = f"select scientific_name, count(*) from {lake.table('occurrences').scan()} group by all order by all"
    assert lake.con.sql(query).fetchall() == before


def test_months_inside_a_range_that_it_is_not_about_are_left_as_they_are(
    lake: Lake, settings: Settings, instance: dg.DagsterInstance
) -> None:
    months = ("2015-07", "2017-07", "2019-07")
    definitions = build_definitions(settings)
    for wanted in (None, ("2015-07", "2019-07")):
        fill(lake, months)
        request = Request(select=("biodiversity_statistics",), months=wanted)
        assert run(request, settings, definitions, instance)
    rows = lake.con.sql(
        f"select window_label, n_records from {lake.table('biodiversity_statistics').scan()} "
        "where time_window = 'monthly' and basis = 'records' order by all"
    )
    assert rows.fetchall() == [("2015-07", 6), ("2017-07", 3), ("2019-07", 6)]


def test_records_from_before_the_first_partition_reach_the_series(
    lake: Lake, settings: Settings, instance: dg.DagsterInstance
) -> None:
    fill(lake, ("1799-05",))
    request = Request(select=("biodiversity_statistics",))
    assert run(request, settings, build_definitions(settings), instance)
    rows = lake.con.sql(
        f"select window_label from {lake.table('biodiversity_statistics').scan()} where time_window = 'monthly'"
    )
    assert set(rows.fetchall()) == {("1799-05",)}
    assert instance.get_materialized_partitions(dg.AssetKey("biodiversity_statistics")) == {"1850-01"}


def test_months_alone_leave_the_landing_folder_as_it_is() -> None:
    request = Request(months=("2017-08",))
    assert request.assets_of("ingest") == ()
    steps = steps_after_ingest(request, {"1995-01", "2017-08"}, KEYS)
    assert [(step.job, step.keys) for step in steps] == [
        ("months", KeyRange("2017-08", "2017-08")),
        ("climatology", None),
    ]


def test_without_months_all_that_hold_data_are_run_in_few_ranges() -> None:
    steps = steps_after_ingest(Request(select=("feature_store",)), {"1995-01", "2017-08", "2017-10"}, KEYS)
    assert steps == (
        Step(job="months", assets=("feature_store",), keys=KeyRange("1995-01", "1995-01")),
        Step(
            job="months",
            assets=("feature_store",),
            keys=KeyRange("2017-08", "2017-10", (("2017-08", "2017-08"), ("2017-10", "2017-10"))),
        ),
    )


def test_an_empty_lake_has_no_months_to_run() -> None:
    assert [step.job for step in steps_after_ingest(Request(), set(), KEYS)] == ["climatology"]


def test_unknown_names_and_months_are_refused_with_what_is_possible() -> None:
    with pytest.raises(CatalogError, match="Known: occurrences"):
        parse_request(["feature_shop"], None)
    assert parse_request(["serving_copy", "trends"], None).select == ("serving_copy", "trends")
    with pytest.raises(RetentionError, match="expected YYYY-MM"):
        parse_request([], ["August 2017"])
