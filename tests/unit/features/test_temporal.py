from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from retention_pipelines.errors import FeatureError
from retention_pipelines.features.compute import compute_features
from retention_pipelines.features.regions import load_regions

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ANGOLA, MAURITANIA, CAPE, OPEN_OCEAN = (-12.1, 13.2), (18.0, -17.0), (-33.0, 17.5), (-30.0, -25.0)


@pytest.fixture
def temporal(lake, add_occurrences, stored):
    def compute(place=ANGOLA, **columns):
        add_occurrences({"decimal_latitude": place[0], "decimal_longitude": place[1], **columns})
        compute_features(lake, months=None, now=NOW, feature_types=["temporal"])
        (row,) = stored("temporal")
        return row

    return compute


def test_a_day_gives_calendar_season_and_cycles_but_no_hour(temporal):
    row = temporal(event_start=datetime(2016, 12, 31, tzinfo=UTC))
    assert (row["year"], row["month_of_year"], row["day_of_year"], row["season"]) == (2016, 12, 366, "DJF")
    assert row["day_of_year_cos"] == pytest.approx(np.cos(2 * np.pi * 365 / 366))
    assert row["month_sin"] == pytest.approx(np.sin(2 * np.pi * 11 / 12))
    assert (row["hour_sin"], row["hour_cos"], row["duration_seconds"]) == (None, None, None)


def test_a_time_gives_the_hour_angle(temporal):
    row = temporal(event_start=datetime(2017, 8, 14, 6, tzinfo=UTC), date_precision="time")
    assert (row["hour_sin"], row["hour_cos"]) == (1.0, 0.0)


def test_what_a_coarse_date_does_not_say_stays_unknown(temporal):
    row = temporal(
        event_start=datetime(1971, 1, 1, tzinfo=UTC), event_end=datetime(1972, 1, 1, tzinfo=UTC), date_precision="year"
    )
    assert row["year"] == 1971
    assert {row[name] for name in ("month_of_year", "day_of_year", "season", "month_sin", "is_upwelling_season")} == {
        None
    }
    assert row["quality_precision"] == 0.2


def test_a_month_gives_month_and_season_but_no_day(temporal):
    row = temporal(
        event_start=datetime(1971, 6, 1, tzinfo=UTC), event_end=datetime(1971, 7, 1, tzinfo=UTC), date_precision="month"
    )
    assert (row["month_of_year"], row["season"], row["day_of_year"], row["quality_precision"]) == (6, "JJA", None, 0.5)


def test_an_interval_has_a_duration(temporal):
    row = temporal(
        event_start=datetime(2007, 11, 13, tzinfo=UTC),
        event_end=datetime(2007, 11, 16, tzinfo=UTC),
        date_precision="interval",
    )
    assert (row["duration_seconds"], row["month_of_year"], row["day_of_year"]) == (3 * 86_400, 11, None)


@pytest.mark.parametrize(
    ("place", "month", "upwelling", "rain"),
    [
        (ANGOLA, 8, True, "dry"),
        (ANGOLA, 1, False, "wet"),
        (MAURITANIA, 8, False, "wet"),
        (MAURITANIA, 1, True, "dry"),
        (CAPE, 1, True, "dry"),
        (CAPE, 7, False, "wet"),
        (OPEN_OCEAN, 8, None, None),
    ],
)
def test_seasons_are_those_of_the_region_and_null_outside(temporal, place, month, upwelling, rain):
    row = temporal(place, event_start=datetime(2017, month, 10, tzinfo=UTC))
    assert (row["is_upwelling_season"], row["precipitation_season"]) == (upwelling, rain)
    assert row["hemisphere"] == ("north" if place[0] > 0 else "south")


def test_every_packaged_region_names_its_source_and_holds_its_middle_or_a_smaller_region_does():
    regions = load_regions(None)
    assert len(regions.regions) >= 15
    for region in regions.regions:
        assert len(region.source) > 40
        middle = region.shape.centroid
        (found,) = regions.locate(np.array([middle.y]), np.array([middle.x]))["climate_region"].to_pylist()
        assert found is not None


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("regions: [{name: a, source: b}]", "needs a box or a polygon"),
        ("regions: [{name: a, source: b, box: [5, 0, 1, 2]}]", "west < east"),
        ("regions: [{name: a, source: b, box: [0, 0, 1, 1], wet_months: [13]}]", "outside 1..12"),
        ("regions: [{name: a, source: b, box: [0, 0, 1, 1], wet_months: [1], dry_months: [1]}]", "both wet and dry"),
        ("regions: [{name: a, box: [0, 0, 1, 1]}]", "source"),
        ("nothing: here", "cannot be read"),
    ],
)
def test_a_malformed_regions_file_is_refused(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "regions.yaml"
    path.write_text(content)
    with pytest.raises(FeatureError, match=message):
        load_regions(path)
