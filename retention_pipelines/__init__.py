"""Public surface for notebooks and ML code; light to import: everything is loaded on first use."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from retention_pipelines.features.store import FeatureStore
    from retention_pipelines.warehouse.reader import connect

__all__ = ["FeatureStore", "connect"]

_HOMES = {
    "FeatureStore": "retention_pipelines.features.store",
    "connect": "retention_pipelines.warehouse.reader",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
