"""Linear trends of monthly means per cell, as they are and deseasonalised.

What belongs here: `trends`. x = year + (month - 0.5) / 12; a series needs at least 24 months. Deseasonalised means
minus the climatology of the calendar month. How a line is fitted: `regression.py`.
"""

import numpy as np
import pyarrow as pa

from retention_pipelines.series.monthly import build_monthly_means
from retention_pipelines.series.regression import least_squares, theil_sen
from retention_pipelines.series.replace import replace_all
from retention_pipelines.warehouse import Commit, Lake
from retention_pipelines.warehouse.duck import statement

_KEY = ("dataset_id", "variable", "layer", "location_grid", "cell_deg", "center_lat", "center_lon")


def update_trends(lake: Lake) -> Commit:
    """Compute `trends` from the monthly rows of `aggregated_time_series` and replace it whole."""

    def rows() -> str:
        build_monthly_means(lake)
        points = lake.con.sql(statement("retention_pipelines.series", "trend")).to_arrow_table()
        lake.con.register("trend_row", _fit(points))
        lake.con.execute("create or replace temp table trend as from trend_row")
        lake.con.unregister("trend_row")
        return "from trend"

    return replace_all(lake.table("trends"), rows)


def _fit(points: pa.Table) -> pa.Table:
    """One row per series of points, which are ordered by series and x."""
    series = np.asarray(points["series"])
    x = np.asarray(points["x"])
    starts = np.flatnonzero(np.r_[True, series[1:] != series[:-1]][: len(series)]).astype(np.int64)
    sizes = np.diff(np.r_[starts, len(series)]).astype(np.int64)
    columns = {name: points[name].take(pa.array(starts)) for name in _KEY} | {"n_months": pa.array(sizes)}
    for values, prefix in (("y", ""), ("deseasonalised", "deseasonalised_")):
        y = np.asarray(points[values])
        lines = least_squares(x, y, starts, sizes)
        columns |= {
            f"{prefix}slope" if prefix else "slope_per_year": pa.array(lines.slope),
            f"{prefix}stderr": pa.array(lines.stderr),
            f"{prefix}p_value": pa.array(lines.p_value),
            f"{prefix}r2": pa.array(lines.r2),
            f"{prefix}theil_sen_slope": pa.array(theil_sen(x, y, starts, sizes)),
        }
    return pa.table(columns)
