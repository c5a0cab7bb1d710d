import statistics
from datetime import timedelta
from typing import Any

import pytest

from retention_pipelines.series.aggregate import update_series
from retention_pipelines.series.upwelling import update_upwelling
from retention_pipelines.warehouse import Lake
from tests.unit.series.raw_rows import observe, rows_of, utc
from tests.unit.series.test_seasonality import monthly


def day(text: str, value: float, **more: Any) -> dict[str, Any]:
    return {"event_start": utc(f"{text}T10:00:00"), "value": value, **more}


def frequency(lake: Lake, window: str = "monthly", **options: float) -> dict[str, dict[str, Any]]:
    update_series(lake)
    update_upwelling(lake, **options)
    return {row["window_label"]: row for row in rows_of(lake, "upwelling_frequency") if row["time_window"] == window}


def test_it_is_the_share_of_days_far_below_the_climatology_of_their_month(lake: Lake) -> None:
    cold = {(2015, 3): 12.0, (2015, 9): 11.0, (2016, 20): 10.0}
    rows = [
        day(f"{year}-07-{number:02d}", cold.get((year, number), base + 0.01 * number))
        for year, base in ((2014, 20.0), (2015, 20.0), (2016, 22.0))
        for number in range(1, 29)
    ]
    observe(lake, rows)
    means = {
        year: statistics.fmean(row["value"] for row in rows if row["event_start"].year == year)
        for year in (2014, 2015, 2016)
    }
    limit = statistics.fmean(means.values()) - 1.5 * statistics.stdev(means.values())
    found = frequency(lake)
    for year in (2014, 2015, 2016):
        low = [row for row in rows if row["event_start"].year == year and row["value"] <= limit]
        row = found[f"{year}-07"]
        assert (row["n_days"], row["n_upwelling_days"], row["k"]) == (28, len(low), 1.5)
        assert row["upwelling_frequency"] == pytest.approx(len(low) / 28)
    assert sum(row["n_upwelling_days"] for row in found.values()) == 3


def test_a_day_is_its_cell_mean_at_the_surface_over_all_platforms(lake: Lake) -> None:
    rows = [day(f"{year}-07-{number:02d}", 20.0 + (year - 2014)) for year in (2014, 2016) for number in range(1, 11)]
    odd = [
        day("2015-07-01", 30.0, source_type="buoy"),
        day("2015-07-01", 12.0),
        day("2015-07-02", 1.0, depth_m=500.0),
        day("2015-07-02", 21.0),
        day("2015-07-02", 0.5, variable="salinity_psu"),
    ]
    observe(lake, rows + odd)
    assert frequency(lake)["2015-07"]["n_days"] == 2
    assert frequency(lake)["2015-07"]["n_upwelling_days"] == 0


def test_one_year_alone_cannot_be_judged(lake: Lake) -> None:
    observe(lake, [day(f"2015-07-{number:02d}", float(number)) for number in range(1, 11)])
    row = frequency(lake)["2015-07"]
    assert (row["n_days"], row["n_upwelling_days"], row["upwelling_frequency"]) == (10, None, None)


def test_a_window_with_a_day_that_cannot_be_judged_is_unknown(lake: Lake) -> None:
    july = [day(f"{year}-07-{number:02d}", 20.0 + year % 2) for year in (2014, 2015) for number in range(25, 32)]
    observe(lake, [*july, day("2015-08-01", 3.0)])
    season = frequency(lake, "seasonal")
    assert season["2014-JJA"]["upwelling_frequency"] == 0.0
    assert (season["2015-JJA"]["n_days"], season["2015-JJA"]["upwelling_frequency"]) == (8, None)


def test_sources_with_month_precision_have_no_days_but_take_part_in_the_climatology(lake: Lake) -> None:
    observe(lake, [monthly(2014, 7, 18.0), monthly(2015, 7, 20.0)])
    assert frequency(lake) == {}
    observe(lake, [day("2016-07-05", 10.0)])
    row = frequency(lake)["2016-07"]
    mean, spread = statistics.fmean([18.0, 20.0, 10.0]), statistics.stdev([18.0, 20.0, 10.0])
    assert row["n_upwelling_days"] == int(mean - 1.5 * spread >= 10.0)


def test_exactly_k_standard_deviations_below_counts(lake: Lake) -> None:
    observe(lake, [monthly(2014, 7, 18.0), monthly(2015, 7, 20.0), day("2016-07-05", 17.0), day("2016-07-06", 27.0)])
    # Monthly means 18, 20, 22: climatology 20, standard deviation 2, limit 20 - 1.5 x 2 = 17, all exact in doubles.
    assert frequency(lake)["2016-07"]["n_upwelling_days"] == 1
    assert frequency(lake, k=1.5001)["2016-07"]["n_upwelling_days"] == 0


def test_weeks_and_seasons_are_labelled_as_everywhere(lake: Lake) -> None:
    start = utc("2018-12-30T10:00:00")
    observe(lake, [{"event_start": start + timedelta(days=i), "value": 20.0 + i} for i in range(3)])
    assert set(frequency(lake, "weekly")) == {"2018-W52", "2019-W01"}
    assert set(frequency(lake, "seasonal")) == {"2019-DJF"}
