"""The aggregated series as assets. What a statistic, an index or a trend is: `retention_pipelines.series`."""

import dagster as dg

from retention_pipelines.defs import plots
from retention_pipelines.defs.described import Result, catalog_asset, result
from retention_pipelines.defs.lacking import left_alone
from retention_pipelines.defs.outcomes import failing_visibly
from retention_pipelines.defs.partitions import meant
from retention_pipelines.defs.resources import LakeResource, months_of
from retention_pipelines.warehouse.removed import removed_months

Lakes = dg.ResourceParam[LakeResource]
_SERIES = ("aggregated_time_series",)


@catalog_asset("aggregated_time_series", deps=("observations",), code_version="1", by_month=True)
def aggregated_time_series(context: dg.AssetExecutionContext, lake: Lakes) -> Result:
    """Statistics of every quantity per cell, in the windows the months touch."""
    from retention_pipelines.series.aggregate import update_series

    with failing_visibly(), lake.open() as opened:
        months = months_of(opened, meant(context.partition_keys, context.run.tags))
        update_series(opened, months=months)
        left = left_alone(context, months, removed_months(opened, "observations"))
        return result(
            context,
            opened,
            "aggregated_time_series",
            upstream=("observations",),
            plot=plots.map_of_observations,
            extra=left,
        )


@catalog_asset("biodiversity_statistics", deps=("occurrences",), code_version="1", by_month=True)
def biodiversity_statistics(context: dg.AssetExecutionContext, lake: Lakes) -> Result:
    """Diversity per cell, in the windows the months touch."""
    from retention_pipelines.series.diversity import update_biodiversity

    with failing_visibly(), lake.open() as opened:
        months = months_of(opened, meant(context.partition_keys, context.run.tags))
        update_biodiversity(opened, months=months)
        left = left_alone(context, months, removed_months(opened, "occurrences"))
        return result(
            context,
            opened,
            "biodiversity_statistics",
            upstream=("occurrences",),
            plot=plots.richness_over_time,
            extra=left,
        )


@catalog_asset("seasonal_patterns", deps=_SERIES, code_version="1")
def seasonal_patterns(context: dg.AssetExecutionContext, lake: Lakes) -> Result:
    """Climatology and seasonal indices, over all years: every month of data changes them, so no partitions."""
    from retention_pipelines.series.seasonality import update_seasonal_patterns

    with lake.open() as opened:
        update_seasonal_patterns(opened)
        return result(context, opened, "seasonal_patterns", upstream=_SERIES, plot=plots.seasonal_cycle)


@catalog_asset("trends", deps=(*_SERIES, "seasonal_patterns"), code_version="1")
def trends(context: dg.AssetExecutionContext, lake: Lakes) -> Result:
    """Trends of monthly means, over all years."""
    from retention_pipelines.series.trend import update_trends

    with lake.open() as opened:
        update_trends(opened)
        return result(context, opened, "trends", upstream=_SERIES)


@catalog_asset("upwelling_frequency", deps=_SERIES, code_version="1")
def upwelling_frequency(context: dg.AssetExecutionContext, lake: Lakes) -> Result:
    """Share of days far below the cell's climatology, which all years define."""
    from retention_pipelines.series.upwelling import update_upwelling

    with lake.open() as opened:
        update_upwelling(opened)
        return result(context, opened, "upwelling_frequency", upstream=_SERIES)


ASSETS = (aggregated_time_series, biodiversity_statistics, seasonal_patterns, trends, upwelling_frequency)
