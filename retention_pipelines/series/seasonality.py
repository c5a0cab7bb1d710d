"""Climatology and seasonal indices per cell and calendar month.

What belongs here: `seasonal_patterns`. The climatology of a calendar month is the mean over years of the monthly
means, each year-month weighing 1; its standard deviation is that of the same monthly means over years (ddof 1).
"""

from retention_pipelines.series.monthly import build_monthly_means
from retention_pipelines.series.replace import replace_all
from retention_pipelines.warehouse import Commit, Lake
from retention_pipelines.warehouse.duck import statement


def update_seasonal_patterns(lake: Lake) -> Commit:
    """Compute `seasonal_patterns` from the monthly rows of `aggregated_time_series` and replace it whole."""

    def rows() -> str:
        build_monthly_means(lake)
        return statement("retention_pipelines.series", "seasonality")

    return replace_all(lake.table("seasonal_patterns"), rows)
