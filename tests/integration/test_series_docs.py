"""The queries of docs/series.md run, in order, on a small lake, and each of them answers something."""

import math
import re
from datetime import timedelta
from pathlib import Path

import pytest

from retention_pipelines.catalog import DATASETS
from retention_pipelines.series.aggregate import update_series
from retention_pipelines.series.diversity import update_biodiversity
from retention_pipelines.series.seasonality import update_seasonal_patterns
from retention_pipelines.series.trend import update_trends
from retention_pipelines.series.upwelling import update_upwelling
from retention_pipelines.settings import load_settings
from retention_pipelines.warehouse import Lake
from tests.unit.series.raw_rows import observe, record, utc

PAGE = (Path(__file__).parents[2] / "docs" / "series.md").read_text(encoding="utf-8")
QUERIES = re.findall(r"```sql\n(.*?)```", PAGE, flags=re.DOTALL)
TABLES = ("aggregated_time_series", "biodiversity_statistics", "seasonal_patterns", "trends", "upwelling_frequency")


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    root = tmp_path_factory.mktemp("docs")
    lake = Lake(load_settings({}, lake_root=str(root / "lake"), state_dir=root / "state"))
    days = [utc("2014-01-01T10:00:00") + timedelta(days=3 * i) for i in range(365)]
    # Warming, a seasonal cycle, and now and then a cold day.
    values = [20 + 4 * math.cos(day.month / 2) + i / 100 - 15 * (i % 11 == 0) for i, day in enumerate(days)]
    observe(lake, [{"event_start": day, "value": value} for day, value in zip(days, values, strict=True)])
    record(lake, [{"event_start": day, "scientific_name": f"Taxon {i % 7}"} for i, day in enumerate(days)])
    update_series(lake)
    update_biodiversity(lake)
    update_seasonal_patterns(lake)
    update_trends(lake)
    update_upwelling(lake)
    lake.publish()
    lake.create_views()
    return lake


@pytest.mark.parametrize("query", QUERIES, ids=lambda query: re.sub(r"\W+", "_", query)[:50])
def test_a_query_of_the_page_answers_something(filled: Lake, query: str) -> None:
    assert filled.con.execute(query).fetchall()


def test_every_series_has_a_section_and_a_query() -> None:
    assert len(QUERIES) >= len(TABLES)
    for table in TABLES:
        assert f"## {table}\n" in PAGE
        assert any(table in query for query in QUERIES)
    assert {name for name, dataset in DATASETS.items() if dataset.layer == "series"} == set(TABLES)


FIXED = {
    "aggregated_time_series": "source_type dataset_id variable layer location_grid cell_deg center_lat center_lon "
    "time_window window_label window_start window_end n mean std min max",
    "biodiversity_statistics": "dataset_id basis location_grid cell_deg time_window window_label n_records total "
    "richness shannon simpson_d gini_simpson inverse_simpson pielou dominant_taxon",
    "seasonal_patterns": "dataset_id variable layer location_grid cell_deg month climatology n_years index_additive "
    "index_ratio",
    "trends": "dataset_id variable layer location_grid cell_deg n_months slope_per_year stderr p_value r2 "
    "theil_sen_slope deseasonalised_slope",
}


@pytest.mark.parametrize("table", FIXED)
def test_the_names_people_rely_on_are_columns_of_the_views(filled: Lake, table: str) -> None:
    columns = {row[0] for row in filled.con.execute(f"describe {table}").fetchall()}
    assert set(FIXED[table].split()) <= columns
