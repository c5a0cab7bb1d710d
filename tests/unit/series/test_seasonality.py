import math
import random
import statistics
from collections import defaultdict
from datetime import timedelta
from typing import Any

import pytest

from retention_pipelines.series.aggregate import update_series
from retention_pipelines.series.seasonality import update_seasonal_patterns
from retention_pipelines.warehouse import Lake
from tests.unit.series.raw_rows import observe, rows_of, utc

NAME = "seasonal_patterns"


def monthly(year: int, month: int, value: float, **more: Any) -> dict[str, Any]:
    start = utc(f"{year}-{month:02d}-01T00:00:00")
    end = utc(f"{year + month // 12}-{month % 12 + 1:02d}-01T00:00:00")
    return {"event_start": start, "event_end": end, "date_precision": "month", "value": value, **more}


def patterns(lake: Lake, layer: str = "all") -> dict[int, dict[str, Any]]:
    update_series(lake)
    update_seasonal_patterns(lake)
    return {row["month"]: row for row in rows_of(lake, NAME) if row["layer"] == layer}


def test_each_year_weighs_one_whatever_it_was_observed_with(lake: Lake) -> None:
    many = [{"event_start": utc("2015-03-05T10:00:00") + timedelta(hours=i), "value": 10.0} for i in range(50)]
    observe(lake, [*many, {"event_start": utc("2016-03-05T10:00:00"), "value": 20.0}])
    row = patterns(lake)[3]
    assert (row["climatology"], row["n_years"]) == (15.0, 2)
    assert row["climatology_std"] == pytest.approx(statistics.stdev([10.0, 20.0]))


def test_one_year_has_a_climatology_but_no_spread(lake: Lake) -> None:
    observe(lake, [monthly(2015, 3, 10.0)])
    row = patterns(lake)[3]
    assert (row["climatology"], row["n_years"], row["climatology_std"]) == (10.0, 1, None)


def test_the_indices_compare_with_the_mean_of_the_months_present(lake: Lake) -> None:
    observe(lake, [monthly(2015, 1, 10.0), monthly(2015, 2, 20.0), monthly(2016, 2, 40.0)])
    found = patterns(lake)
    assert {month: row["climatology"] for month, row in found.items()} == {1: 10.0, 2: 30.0}
    assert {month: row["index_additive"] for month, row in found.items()} == {1: -10.0, 2: 10.0}
    assert {month: row["index_ratio"] for month, row in found.items()} == {1: 0.5, 2: 1.5}


def test_a_ratio_to_zero_is_unknown(lake: Lake) -> None:
    observe(lake, [monthly(2015, 1, -1.0), monthly(2015, 2, 1.0)])
    assert {row["index_ratio"] for row in patterns(lake).values()} == {None}


def test_source_types_of_a_dataset_are_merged_over_single_observations(lake: Lake) -> None:
    observe(
        lake,
        [
            {"event_start": utc("2015-03-05T10:00:00"), "value": 1.0, "source_type": "buoy"},
            {"event_start": utc("2015-03-06T10:00:00"), "value": 1.0, "source_type": "buoy"},
            {"event_start": utc("2015-03-07T10:00:00"), "value": 4.0, "source_type": "cast"},
        ],
    )
    row = patterns(lake)[3]
    assert (row["climatology"], row["n_years"]) == (2.0, 1)


def test_it_follows_the_series(lake: Lake) -> None:
    observe(lake, [monthly(2015, 1, 10.0), monthly(2015, 2, 20.0)])
    assert set(patterns(lake)) == {1, 2}
    lake.table("observations").delete("month = '2015-02'", op="test")
    assert set(patterns(lake)) == {1}
    lake.table("observations").delete("true", op="test")
    assert patterns(lake) == {}


def test_random_months_give_the_mean_over_years_of_monthly_means(lake: Lake) -> None:
    chance = random.Random(7)
    rows = [
        {
            "event_start": utc(f"{year}-{month:02d}-{chance.randint(1, 28):02d}T10:00:00"),
            "value": 15 + 5 * math.sin(month) + chance.gauss(0, 2),
            "depth_m": chance.choice([0.0, 5.0, 100.0]),
            "decimal_latitude": chance.choice([-12.1, 0.1]),
        }
        for year in range(2000, 2006)
        for month in range(1, 13)
        for _ in range(chance.randint(0, 3))
    ]
    observe(lake, rows)
    update_series(lake)
    update_seasonal_patterns(lake)
    values: dict[tuple[str, str, int], dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        place = "-12.25_13.25" if row["decimal_latitude"] < 0 else "0.0_13.25"
        for layer in ["all", "surface"] if row["depth_m"] <= 10 else ["all"]:
            values[layer, place, row["event_start"].month][row["event_start"].year].append(row["value"])
    means = {key: [statistics.fmean(each) for each in years.values()] for key, years in values.items()}
    found = {(row["layer"], row["location_grid"], row["month"]): row for row in rows_of(lake, NAME)}
    assert found.keys() == means.keys()
    for key, years in means.items():
        level = statistics.fmean(statistics.fmean(means[other]) for other in means if other[:2] == key[:2])
        row = found[key]
        assert row["n_years"] == len(years)
        assert row["climatology"] == pytest.approx(statistics.fmean(years), rel=1e-9)
        assert row["index_additive"] == pytest.approx(statistics.fmean(years) - level, abs=1e-9)
        assert row["index_ratio"] == pytest.approx(statistics.fmean(years) / level, rel=1e-9)
