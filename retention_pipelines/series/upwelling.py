"""Upwelling frequency: the share of days whose surface is far colder than the climatology.

What belongs here: `upwelling_frequency`. A day is an upwelling day when its cell mean of surface temperature is at
least `k` climatological standard deviations below the cell's climatology of that calendar month; the standard
deviation is that of the monthly means over years, so one year alone gives null. Datasets with month precision only
have no days: they take part in climatology and trends, not here.
"""

from retention_pipelines.series.monthly import build_monthly_means
from retention_pipelines.series.replace import replace_all
from retention_pipelines.warehouse import Commit, Lake
from retention_pipelines.warehouse.duck import bind, set_variables, statement

K = 1.5


def update_upwelling(lake: Lake, *, k: float = K) -> Commit:
    """Compute `upwelling_frequency` from the daily and monthly rows of `aggregated_time_series`."""

    def rows() -> str:
        build_monthly_means(lake)
        daily = lake.table("aggregated_time_series").scan(keep=lambda file: file.partition["time_window"] == "daily")
        bind(lake.con, "daily_window", daily)
        set_variables(lake.con, k=k)
        return statement("retention_pipelines.series", "upwelling")

    return replace_all(lake.table("upwelling_frequency"), rows)
