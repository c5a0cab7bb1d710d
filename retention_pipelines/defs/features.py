"""The feature store as an asset. What a feature is: `retention_pipelines.features`."""

import dagster as dg

from retention_pipelines.defs import plots
from retention_pipelines.defs.described import BY_MONTH, attributes, result
from retention_pipelines.defs.resources import LakeResource, months_of, now

UPSTREAM = ("occurrences", "observations")


@dg.asset(**attributes("feature_store", deps=UPSTREAM, code_version="1"), **BY_MONTH, pool="lake")
def feature_store(
    context: dg.AssetExecutionContext, lake: dg.ResourceParam[LakeResource]
) -> dg.MaterializeResult[None]:
    """Features of the studies of the months; the same content is stored once."""
    from retention_pipelines.features.compute import compute_features

    with lake.open() as opened:
        compute_features(opened, months=months_of(opened, context.partition_keys), now=now())
        return result(context, opened, "feature_store", upstream=UPSTREAM, plot=plots.map_of_studies)


ASSETS = (feature_store,)
