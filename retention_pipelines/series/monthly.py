"""Monthly means per cell: what climatology and trends are computed from.

Monthly windows hold records of month precision and better, so sources that publish one value a month take part.
"""

from retention_pipelines.warehouse import Lake
from retention_pipelines.warehouse.duck import bind, statement


def build_monthly_means(lake: Lake) -> None:
    """Create the temp table `monthly_mean` from the monthly rows of `aggregated_time_series`."""
    table = lake.table("aggregated_time_series")
    bind(lake.con, "monthly_window", table.scan(keep=lambda file: file.partition["time_window"] == "monthly"))
    lake.con.execute(statement("retention_pipelines.series", "monthly"))
