"""The serving copy as an asset. Which windows are current and how they get into Postgres: `series/serving.py`."""

import dagster as dg

from retention_pipelines.defs.freshness import DAILY
from retention_pipelines.defs.resources import LakeResource

SERVING_COPY = "serving_copy"


@dg.asset(
    key=SERVING_COPY,
    deps=["aggregated_time_series"],
    group_name="serving",
    owners=["team:data-engineering"],
    kinds={"postgres"},
    description="The current windows of `aggregated_time_series` in the Postgres table of the same name, for the API "
    "and BI tools: the newest 31 days, 53 weeks, 37 months and 13 seasons with data of every dataset.",
    code_version="1",
    freshness_policy=DAILY,
    pool="lake",
)
def serving_copy(lake: dg.ResourceParam[LakeResource]) -> dg.MaterializeResult[None]:
    """Windows of partitions that changed since the last load, in one transaction."""
    from retention_pipelines.postgres.migrate import upgrade_server
    from retention_pipelines.postgres.server import open_server
    from retention_pipelines.series.serving import load_serving_copy

    with lake.open() as opened, open_server(lake.settings) as server:
        upgrade_server(server)
        done = load_serving_copy(opened, server)
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": done.rows_held,
            "how": done.how,
            "rows_written": done.rows_written,
            "rows_removed": done.rows_removed,
            "lake_version": done.lake_version,
        }
    )


ASSETS = (serving_copy,)
