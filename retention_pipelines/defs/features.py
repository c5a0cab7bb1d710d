"""The feature store as an asset. What a feature is: `retention_pipelines.features`."""

import dagster as dg

from retention_pipelines.defs import plots
from retention_pipelines.defs.described import Result, catalog_asset, result
from retention_pipelines.defs.lacking import left_alone
from retention_pipelines.defs.outcomes import failing_visibly
from retention_pipelines.defs.partitions import meant
from retention_pipelines.defs.resources import LakeResource, months_of, now
from retention_pipelines.warehouse.removed import removed_months

UPSTREAM = ("occurrences", "observations")


@catalog_asset("feature_store", deps=UPSTREAM, code_version="1", by_month=True)
def feature_store(context: dg.AssetExecutionContext, lake: dg.ResourceParam[LakeResource]) -> Result:
    """Features of the studies of the months and of those their observations reach; the same content is stored once."""
    from retention_pipelines.features.affected import affected_months
    from retention_pipelines.features.compute import compute_features

    with failing_visibly(), lake.open() as opened:
        asked = months_of(opened, meant(context.partition_keys, context.run.tags))
        compute_features(opened, months=affected_months(opened, asked), now=now())
        left = left_alone(context, asked, removed_months(opened, *UPSTREAM))
        return result(context, opened, "feature_store", upstream=UPSTREAM, plot=plots.map_of_studies, extra=left)


ASSETS = (feature_store,)
