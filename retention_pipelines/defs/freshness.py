"""Freshness policies: how old a dataset may become before the UI says so.

They follow the schedules: what runs hourly may be hours old, what runs daily a day and a half. They say that the
pipeline runs, not that new files arrived: surveys come when they come.
"""

from datetime import timedelta

from dagster import FreshnessPolicy

HOURLY = FreshnessPolicy.time_window(fail_window=timedelta(hours=6), warn_window=timedelta(hours=2))
DAILY = FreshnessPolicy.time_window(fail_window=timedelta(days=3), warn_window=timedelta(hours=36))
POLICIES: dict[str, FreshnessPolicy] = {
    "quarantine": HOURLY,
    "ingested_files": HOURLY,
    "occurrences": DAILY,
    "observations": DAILY,
    "feature_store": DAILY,
    "cached_features": DAILY,
    "aggregated_time_series": DAILY,
    "biodiversity_statistics": DAILY,
    "seasonal_patterns": DAILY,
    "trends": DAILY,
    "upwelling_frequency": DAILY,
}
