"""The tables, as SQLAlchemy Core sees them, one file per concern.

A change here needs a migration (`docs/database.md` says how); a test compares the two.
"""

from retention_pipelines.postgres.tables.base import METADATA
from retention_pipelines.postgres.tables.control import API_KEYS, AUDIT, INVALIDATION_LOG
from retention_pipelines.postgres.tables.graveyard import BURIED_PARTITIONS, COLD_FILES, GRAVES, PLAN_STEPS
from retention_pipelines.postgres.tables.hot import (
    ACCESS_COUNTS,
    ACCESS_LOG,
    ML_FEATURE_STORE,
    ML_INFERENCE_CACHE,
    ML_TRAINING_CACHE,
)
from retention_pipelines.postgres.tables.online import ONLINE_FEATURES, ONLINE_LOADS
from retention_pipelines.postgres.tables.policies import (
    DATASET_BUDGETS,
    ML_RETENTION_POLICIES,
    PLAN_ROWS,
    PLANS,
    REGRETS,
    TOMBSTONES,
)
from retention_pipelines.postgres.tables.protection import ERASURE_ORDERS, HOLDS, LEASES, MODELS, PINS, ROOTS
from retention_pipelines.postgres.tables.serving import (
    AGGREGATED_TIME_SERIES,
    ML_PERFORMANCE_METRICS,
    ML_PERFORMANCE_ROLLUPS,
    SERVING_LOADS,
)
from retention_pipelines.postgres.tables.work import WORK_QUEUE

__all__ = [
    "ACCESS_COUNTS",
    "ACCESS_LOG",
    "AGGREGATED_TIME_SERIES",
    "API_KEYS",
    "AUDIT",
    "BURIED_PARTITIONS",
    "COLD_FILES",
    "DATASET_BUDGETS",
    "ERASURE_ORDERS",
    "GRAVES",
    "HOLDS",
    "INVALIDATION_LOG",
    "LEASES",
    "METADATA",
    "ML_FEATURE_STORE",
    "ML_INFERENCE_CACHE",
    "ML_PERFORMANCE_METRICS",
    "ML_PERFORMANCE_ROLLUPS",
    "ML_RETENTION_POLICIES",
    "ML_TRAINING_CACHE",
    "MODELS",
    "ONLINE_FEATURES",
    "ONLINE_LOADS",
    "PINS",
    "PLANS",
    "PLAN_ROWS",
    "PLAN_STEPS",
    "REGRETS",
    "ROOTS",
    "SERVING_LOADS",
    "TOMBSTONES",
    "WORK_QUEUE",
]
