"""The calls of the platform's guide, by their old names, over the modules that do the work; loaded on first use."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from retention_pipelines.guide.monitoring import RetentionMonitor, get_retention_monitor, start_retention_monitoring
    from retention_pipelines.guide.policies import PolicyManager, get_policy_manager
    from retention_pipelines.guide.system import (
        RetentionIntegrator,
        disable_integration,
        enable_integration,
        get_retention_integrator,
        get_retention_manager,
        initialize_ml_retention_system,
    )
    from retention_pipelines.integration.work_queue import process_new_study

__all__ = [
    "PolicyManager",
    "RetentionIntegrator",
    "RetentionMonitor",
    "disable_integration",
    "enable_integration",
    "get_policy_manager",
    "get_retention_integrator",
    "get_retention_manager",
    "get_retention_monitor",
    "initialize_ml_retention_system",
    "process_new_study",
    "start_retention_monitoring",
]

_HOMES = {
    "PolicyManager": "retention_pipelines.guide.policies",
    "RetentionIntegrator": "retention_pipelines.guide.system",
    "RetentionMonitor": "retention_pipelines.guide.monitoring",
    "disable_integration": "retention_pipelines.guide.system",
    "enable_integration": "retention_pipelines.guide.system",
    "get_policy_manager": "retention_pipelines.guide.policies",
    "get_retention_integrator": "retention_pipelines.guide.system",
    "get_retention_manager": "retention_pipelines.guide.system",
    "get_retention_monitor": "retention_pipelines.guide.monitoring",
    "initialize_ml_retention_system": "retention_pipelines.guide.system",
    "process_new_study": "retention_pipelines.integration.work_queue",
    "start_retention_monitoring": "retention_pipelines.guide.monitoring",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
