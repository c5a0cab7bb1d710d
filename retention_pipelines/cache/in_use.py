"""Leases of the caches: what a training set is built from, and what a model is trained on, stays meanwhile.

What belongs here: taking them, failing open. What does not: their life (`postgres/leases.py`). Nobody takes one for a
hit: of what is mapped the system keeps the content, and what a prediction reads was read when it is returned.
"""

import logging
import os
import platform
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from retention_pipelines.postgres.leases import InUse

if TYPE_CHECKING:
    from retention_pipelines.cache.runtime import CacheRuntime

LOG = logging.getLogger("retention_pipelines.cache")
# Tables of the lake that policies govern and a training set may be built from.
LAKE_TABLES = frozenset({"feature_store", "aggregated_time_series", "observations", "occurrences"})
_SECONDS = 1.0


class Leases:
    """What one preparation or one training uses; without a database it keeps nothing and says so in the log."""

    def __init__(self, runtime: "CacheRuntime", reason: str) -> None:
        hot = runtime.hot
        self._used: InUse | None = None
        self._fails = False
        self._counters = runtime.counters
        if hot is None or runtime.read_only or runtime.testing:
            return

        def execute(statement: str, values: Mapping[str, object]) -> Sequence[tuple[Any, ...]]:
            return hot.change(lambda con: con.execute(statement.encode(), values).fetchall(), seconds=_SECONDS)

        self._used = InUse(execute, reason=reason, placed_by=f"{platform.node()}:{os.getpid()}")

    def table(self, name: str) -> None:
        """A table of the lake is about to be read: no row of it goes until the end."""
        if name in LAKE_TABLES:
            self._keep(name, "everything")

    def training_set(self, key: str) -> None:
        """A training set is used."""
        self._keep("training_cache", f"cache_key = '{key}'")

    def _keep(self, dataset: str, match: str) -> None:
        if self._used is None or self._fails:
            return
        try:
            self._used.keep(dataset, match)
        except Exception as error:  # noqa: BLE001 - the user's own code reads the table: it goes on
            # One attempt: work that takes minutes must not wait a second for each table it reads.
            self._fails = True
            self._counters.add("training", "degraded", "postgres")
            LOG.info("%s is used without a lease: %s", dataset, error)

    def end(self) -> None:
        """Give them back."""
        if self._used is not None:
            self._used.end()
