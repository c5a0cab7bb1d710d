"""Every dataset once: name, layer, columns, grain, partitioning, owner.

The one schema registry: tables are created from it, writes are checked against it, asset checks and documentation
are generated from it. One file per station (`raw`, `features`, `cached`, `series`); nothing here touches storage.
"""

from retention_pipelines.catalog.cached import CACHED_FEATURES
from retention_pipelines.catalog.dataset import Column, Dataset
from retention_pipelines.catalog.features import FEATURE_STORE
from retention_pipelines.catalog.raw import INGESTED_FILES, OBSERVATIONS, OCCURRENCES, QUARANTINE
from retention_pipelines.catalog.series import (
    AGGREGATED_TIME_SERIES,
    BIODIVERSITY_STATISTICS,
    SEASONAL_PATTERNS,
    TRENDS,
    UPWELLING_FREQUENCY,
)
from retention_pipelines.errors import CatalogError

# Flow order: raw tables, features, series.
DATASETS: dict[str, Dataset] = {
    dataset.name: dataset
    for dataset in (
        OCCURRENCES,
        OBSERVATIONS,
        QUARANTINE,
        INGESTED_FILES,
        FEATURE_STORE,
        CACHED_FEATURES,
        AGGREGATED_TIME_SERIES,
        BIODIVERSITY_STATISTICS,
        SEASONAL_PATTERNS,
        TRENDS,
        UPWELLING_FREQUENCY,
    )
}


def dataset(name: str) -> Dataset:
    """The dataset of that name; raises CatalogError with the known names."""
    try:
        return DATASETS[name]
    except KeyError:
        raise CatalogError(f"There is no dataset {name!r}.", hint=f"Known: {', '.join(DATASETS)}.") from None


__all__ = ["DATASETS", "Column", "Dataset", "dataset"]
