"""The report, over a lake filled by hand."""

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from retention_pipelines.catalog import DATASETS
from retention_pipelines.demo.report import Quarantined, Report, RichCell, build_report, disk_bytes
from retention_pipelines.settings import Settings
from retention_pipelines.warehouse import Lake

NOW = datetime(2026, 1, 1, tzinfo=UTC)
FILLER = {"VARCHAR": "x", "DOUBLE": 0.5, "BIGINT": 1, "INTEGER": 1, "BOOLEAN": False, "TIMESTAMP WITH TIME ZONE": NOW}


def fill(lake: Lake, name: str, *rows: dict[str, Any]) -> None:
    """Append rows; required columns that are not given get a filler."""
    dataset = DATASETS[name]
    full = [
        {
            c.name: row.get(c.name, FILLER[c.type.value] if c.required and not c.allowed else None)
            for c in dataset.columns
        }
        | {c.name: row.get(c.name, c.allowed[0]) for c in dataset.columns if c.required and c.allowed}
        for row in rows
    ]
    table = pa.Table.from_pylist(full)
    lake.con.register("_rows", table)
    lake.table(name).append("select * from _rows", op="test")
    lake.con.unregister("_rows")


def occurrence(lat: float, lon: float, name: str | None, **more: Any) -> dict[str, Any]:
    return {"decimal_latitude": lat, "decimal_longitude": lon, "scientific_name": name, "month": "2019-01",
            "occurrence_status": "present"} | more  # fmt: skip


def report_of(lake: Lake, settings: Settings) -> Report:
    lake.publish()
    lake.create_views()
    return build_report(lake.con, settings)


def test_an_empty_lake_gives_zeros_and_nothing_invented(lake: Lake, settings: Settings) -> None:
    report = report_of(lake, settings)
    assert [dataset.name for dataset in report.datasets] == list(DATASETS)
    assert {dataset.rows for dataset in report.datasets} == {0}
    assert report.cycle is None
    assert report.simulated == "none"
    assert report.richest == report.quality == report.quarantined == report.deliveries == ()


def test_richest_cells_count_taxa_that_are_present_once_and_no_subtotal(lake: Lake, settings: Settings) -> None:
    fill(
        lake,
        "occurrences",
        occurrence(-12.3, 13.6, "Sardinella aurita"),
        occurrence(-12.3, 13.6, " Sardinella aurita "),
        occurrence(-12.26, 13.74, "Merluccius polli"),
        occurrence(-12.3, 13.6, "Krill total", is_subtotal=True),
        occurrence(-12.3, 13.6, "Sardinops sagax", occurrence_status="absent"),
        occurrence(-12.3, 13.6, None),
        occurrence(-8.0, 12.9, "Merluccius polli"),
    )
    assert report_of(lake, settings).richest == (
        RichCell(
            location_grid="-12.5_13.5", richness=2, n_records=3, commonest="Sardinella aurita", commonest_records=2
        ),
        RichCell(
            location_grid="-8.0_12.75", richness=1, n_records=1, commonest="Merluccius polli", commonest_records=1
        ),
    )


def test_quarantine_and_deliveries_are_counted_by_reason_and_status(lake: Lake, settings: Settings) -> None:
    bad = {"dataset_id": "simulated_a", "reason": "zero_position"}
    fill(lake, "quarantine", bad, bad, bad | {"reason": "invalid_date"})
    counts = {"read": 10, "accepted": 6, "quarantined": 3, "duplicates": 1, "role": "records", "reasons": "{}"}
    fill(lake, "ingested_files", counts | {"status": "ingested", "path": "raw/simulated_a.csv"})
    report = report_of(lake, settings)
    assert report.quarantined == (
        Quarantined(reason="zero_position", dataset_id="simulated_a", rows=2),
        Quarantined(reason="invalid_date", dataset_id="simulated_a", rows=1),
    )
    (delivered,) = report.deliveries
    assert (delivered.read, delivered.accepted, delivered.quarantined, delivered.duplicates) == (10, 6, 3, 1)
    assert report.simulated == "all"


def test_a_lake_with_one_real_file_is_simulated_only_in_part(lake: Lake, settings: Settings) -> None:
    for path in ("raw/simulated_a.csv", "raw/bottle.csv"):
        fill(lake, "ingested_files", {"status": "ingested", "role": "records", "path": path, "reasons": "{}"})
    assert report_of(lake, settings).simulated == "some"


def test_the_cycle_shown_is_surface_temperature_of_the_cell_with_the_most_months(
    lake: Lake, settings: Settings
) -> None:
    def pattern(cell: str, month: int, value: float, variable: str = "temperature_degc", layer: str = "surface") -> Any:
        return {"dataset_id": "d", "variable": variable, "layer": layer, "location_grid": cell, "cell_deg": 0.25,
                "month": month, "climatology": value, "n_years": 3, "center_lat": -12.1}  # fmt: skip

    fill(
        lake,
        "seasonal_patterns",
        *(pattern("long", month, 20.0 + month) for month in range(1, 13)),
        *(pattern("short", month, 30.0) for month in (1, 2)),
        *(pattern("salt", month, 35.0, variable="salinity_psu") for month in range(1, 13)),
        *(pattern("deep", month, 4.0, layer="all") for month in range(1, 13)),
    )
    cycle = report_of(lake, settings).cycle
    assert cycle is not None
    assert (cycle.location_grid, cycle.variable, cycle.center_lat) == ("long", "temperature_degc", -12.1)
    assert [(m.month, m.mean, m.n_years) for m in cycle.months] == [(m, 20.0 + m, 3) for m in range(1, 13)]


def test_quality_takes_the_newest_version_of_each_study(lake: Lake, settings: Settings) -> None:
    def row(study: str, score: float, priority: str, computed: datetime = NOW) -> dict[str, Any]:
        return {"feature_id": f"{study}/species", "feature_type": "species", "quality_score": score, "month": "2019-01",
                "priority": priority, "computed_at": computed, "feature_hash": f"{study}{score}"}  # fmt: skip

    later = datetime(2026, 2, 1, tzinfo=UTC)
    fill(lake, "feature_store", row("a", 0.1, "low"), row("a", 0.9, "high", later), row("b", 0.5, "medium"))
    (quality,) = report_of(lake, settings).quality
    assert (quality.feature_type, quality.rows) == ("species", 2)
    assert quality.mean_quality == pytest.approx(0.7)
    assert (quality.high, quality.medium, quality.low) == (1, 1, 0)


def test_bytes_on_disk_count_a_hard_link_once(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "one").write_bytes(b"x" * 1000)
    os.link(tmp_path / "one", tmp_path / "folder" / "again")
    (tmp_path / "folder" / "two").write_bytes(b"x" * 10)
    assert disk_bytes(tmp_path) == 1010


def test_the_report_needs_no_more_than_a_connection_with_the_views(lake: Lake, settings: Settings) -> None:
    fill(lake, "occurrences", occurrence(-12.3, 13.6, "Sardinella aurita"))
    with duckdb.connect() as con, pytest.raises(duckdb.CatalogException):
        build_report(con, settings)
    assert report_of(lake, settings).richest[0].richness == 1
