import random
from typing import Any

import numpy as np
import pytest
from scipy import stats

from retention_pipelines.series.aggregate import update_series
from retention_pipelines.series.trend import update_trends
from retention_pipelines.warehouse import Lake
from tests.unit.series.raw_rows import observe, rows_of
from tests.unit.series.test_seasonality import monthly


def trends(lake: Lake) -> list[dict[str, Any]]:
    update_series(lake)
    update_trends(lake)
    return [row for row in rows_of(lake, "trends") if row["layer"] == "all"]


def months(count: int, first_year: int = 2000) -> list[tuple[int, int]]:
    return [(first_year + i // 12, i % 12 + 1) for i in range(count)]


def test_cells_with_fewer_than_24_months_have_no_trend(lake: Lake) -> None:
    observe(lake, [monthly(year, month, float(i)) for i, (year, month) in enumerate(months(23))])
    assert trends(lake) == []
    observe(lake, [monthly(2001, 12, 23.0)])
    found = trends(lake)
    assert [row["n_months"] for row in found] == [24]
    assert found[0]["slope_per_year"] == pytest.approx(12.0)


def test_an_empty_lake_has_no_trends(lake: Lake) -> None:
    assert trends(lake) == []


def test_a_flat_series_has_slope_zero_and_no_missing_figure(lake: Lake) -> None:
    observe(lake, [monthly(year, month, 12.25) for year, month in months(30)])
    (row,) = trends(lake)
    assert None not in row.values()
    assert (row["slope_per_year"], row["p_value"], row["deseasonalised_theil_sen_slope"]) == (0.0, 1.0, 0.0)


def test_slopes_errors_and_p_values_are_those_of_scipy_as_they_are_and_deseasonalised(lake: Lake) -> None:
    chance = random.Random(3)
    rows = [
        monthly(year, month, 15 + 3 * np.cos(month / 2) + 0.05 * i + chance.gauss(0, 1), decimal_latitude=latitude)
        for latitude in (-12.1, 0.1, 40.3)
        for i, (year, month) in enumerate(months(70, 1990))
        if chance.random() < 0.8
    ]
    observe(lake, rows)
    found = {row["center_lat"]: row for row in trends(lake)}
    assert len(found) == 3
    for latitude, center in ((-12.1, -12.125), (0.1, 0.125), (40.3, 40.375)):
        mine = [row for row in rows if row["decimal_latitude"] == latitude]
        x = np.array([row["event_start"].year + (row["event_start"].month - 0.5) / 12 for row in mine])
        y = np.array([row["value"] for row in mine])
        month = np.array([row["event_start"].month for row in mine])
        climatology = {m: y[month == m].mean() for m in set(month.tolist())}
        anomaly = y - np.array([climatology[m] for m in month.tolist()])
        row = found[center]
        assert row["n_months"] == len(mine)
        for prefix, slope, values in (("", "slope_per_year", y), ("deseasonalised_", "deseasonalised_slope", anomaly)):
            line = stats.linregress(x, values)
            assert row[slope] == pytest.approx(line.slope, rel=1e-8)
            assert row[f"{prefix}stderr"] == pytest.approx(line.stderr, rel=1e-8)
            assert row[f"{prefix}p_value"] == pytest.approx(line.pvalue, rel=1e-6)
            assert row[f"{prefix}r2"] == pytest.approx(line.rvalue**2, rel=1e-8)
            assert row[f"{prefix}theil_sen_slope"] == pytest.approx(stats.theilslopes(values, x)[0], rel=1e-8)
