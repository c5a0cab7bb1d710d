"""Health: whether the parts the caches need work now, each asked within a deadline.

What belongs here: the checks and their verdict. What does not: figures (`metrics.py`), who shows it. A part is healthy
because it just answered, never because nobody asked.
"""

import os
import time
from dataclasses import dataclass
from typing import Literal

from retention_pipelines.cache import caching
from retention_pipelines.cache.runtime import CacheRuntime
from retention_pipelines.errors import CacheError, RetentionError

Status = Literal["healthy", "degraded", "unhealthy"]
_WORST: tuple[Status, ...] = ("healthy", "degraded", "unhealthy")
DEADLINE_SECONDS = 2.0


@dataclass(frozen=True, kw_only=True, slots=True)
class PartHealth:
    """One part; `detail` says what is wrong and what to do."""

    part: str
    status: Status
    detail: str = ""
    elapsed_ms: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Health:
    """All parts."""

    parts: tuple[PartHealth, ...]

    @property
    def overall(self) -> Status:
        """The worst of them."""
        return max((part.status for part in self.parts), key=_WORST.index, default="unhealthy")


def check(runtime: CacheRuntime, *, covered: int = 0) -> Health:
    """Ask every part; ends within a few seconds whatever happens.

    Args:
        runtime: whose parts.
        covered: patched places somebody else has put something on.
    """
    return Health(parts=(_database(runtime), _lake(runtime), _caches(runtime), _integration(covered)))


def _database(runtime: CacheRuntime) -> PartHealth:
    started = time.perf_counter()
    status: Status = "healthy"
    detail = ""
    if runtime.hot is None:
        status, detail = "unhealthy", "There is no Postgres tier: the caches work with memory only."
    else:
        try:
            runtime.hot.ask("select 1 from public.invalidation_log limit 1", seconds=DEADLINE_SECONDS)
        except (CacheError, RetentionError) as error:
            status, detail = "unhealthy", str(error)
    return PartHealth(part="database", status=status, detail=detail, elapsed_ms=(time.perf_counter() - started) * 1000)


def _lake(runtime: CacheRuntime) -> PartHealth:
    settings = runtime.settings
    if not settings.lake_is_local:
        return PartHealth(part="lake", status="healthy", detail="On an object store; it is not asked here.")
    if os.path.isdir(settings.lake_root) and os.access(settings.lake_root, os.R_OK):
        return PartHealth(part="lake", status="healthy")
    return PartHealth(
        part="lake", status="degraded", detail=f"There is no readable lake at {settings.lake_root!r} yet."
    )


def _caches(runtime: CacheRuntime) -> PartHealth:
    if not runtime.enabled or caching.PROCESS.off:
        return PartHealth(part="caches", status="degraded", detail="The caches are switched off.")
    corrupt = sum(n for (_, outcome, _), n in runtime.counters.snapshot().items() if outcome == "corrupt")
    if corrupt:
        return PartHealth(
            part="caches", status="degraded", detail=f"{corrupt} stored entries were damaged, foreign or forged."
        )
    return PartHealth(part="caches", status="healthy")


def _integration(covered: int) -> PartHealth:
    if covered:
        return PartHealth(
            part="integration",
            status="degraded",
            detail=f"Somebody else has put something on {covered} patched functions.",
        )
    return PartHealth(part="integration", status="healthy")
