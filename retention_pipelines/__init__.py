"""Public surface for notebooks and ML code; light to import: everything is loaded on first use."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from retention_pipelines.cache import caching
    from retention_pipelines.cache.caching import bypass
    from retention_pipelines.cache.decorators import cache_features, cache_predictions
    from retention_pipelines.cache.spatial import Grid
    from retention_pipelines.cache.training.decorator import cache_training_data
    from retention_pipelines.features.store import FeatureStore
    from retention_pipelines.guide import (
        disable_integration,
        enable_integration,
        get_policy_manager,
        get_retention_integrator,
        initialize_ml_retention_system,
        process_new_study,
        start_retention_monitoring,
    )
    from retention_pipelines.warehouse.reader import connect

__all__ = [
    "FeatureStore",
    "Grid",
    "bypass",
    "cache_features",
    "cache_predictions",
    "cache_training_data",
    "caching",
    "connect",
    "disable_integration",
    "enable_integration",
    "get_policy_manager",
    "get_retention_integrator",
    "initialize_ml_retention_system",
    "process_new_study",
    "start_retention_monitoring",
]

_HOMES = {
    "FeatureStore": "retention_pipelines.features.store",
    "Grid": "retention_pipelines.cache.spatial",
    "bypass": "retention_pipelines.cache.caching",
    "cache_features": "retention_pipelines.cache.decorators",
    "cache_predictions": "retention_pipelines.cache.decorators",
    "cache_training_data": "retention_pipelines.cache.training.decorator",
    "connect": "retention_pipelines.warehouse.reader",
    "disable_integration": "retention_pipelines.guide",
    "enable_integration": "retention_pipelines.guide",
    "get_policy_manager": "retention_pipelines.guide",
    "get_retention_integrator": "retention_pipelines.guide",
    "initialize_ml_retention_system": "retention_pipelines.guide",
    "process_new_study": "retention_pipelines.guide",
    "start_retention_monitoring": "retention_pipelines.guide",
}
_MODULES = {"caching": "retention_pipelines.cache.caching"}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(_MODULES[name])
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
