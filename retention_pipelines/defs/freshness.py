"""Freshness policies: how old a dataset may become before the UI says so.

They follow the schedules: what runs hourly may be hours old, what runs daily a day and a half. They say that the
pipeline runs, not that new files arrived: surveys come when they come.
"""

from datetime import timedelta

import dagster as dg
from dagster import FreshnessPolicy

HOURLY = FreshnessPolicy.time_window(fail_window=timedelta(hours=6), warn_window=timedelta(hours=2))
DAILY = FreshnessPolicy.time_window(fail_window=timedelta(days=3), warn_window=timedelta(hours=36))
POLICIES: dict[str, FreshnessPolicy] = {
    "quarantine": HOURLY,
    "ingested_files": HOURLY,
    "occurrences": DAILY,
    "observations": DAILY,
    "feature_store": DAILY,
    "aggregated_time_series": DAILY,
    "biodiversity_statistics": DAILY,
    "seasonal_patterns": DAILY,
    "trends": DAILY,
    "upwelling_frequency": DAILY,
}


def with_freshness(definitions: dg.Definitions) -> dg.Definitions:
    """The same definitions, each dataset with its policy."""

    def apply(spec: dg.AssetSpec) -> dg.AssetSpec:
        policy = POLICIES.get(spec.key.to_user_string())
        return dg.apply_freshness_policy(spec, policy) if policy else spec

    return definitions.map_asset_specs(func=apply)
