"""Monitoring as the guide knows it: start it, ask for health, get the data of a dashboard.

What belongs here: the one monitor of a process and its thread. What does not: figures and checks (`monitoring/`). All
that is returned can be written as JSON.
"""

import logging
import threading
import time
from typing import TypedDict

from retention_pipelines.cache import runtime as runtimes
from retention_pipelines.cache.runtime import CacheRuntime
from retention_pipelines.errors import RetentionError
from retention_pipelines.guide.system import HealthStatus, get_retention_integrator
from retention_pipelines.monitoring.metrics import Recorder, Totals, total

LOG = logging.getLogger(__name__)
INTERVAL_SECONDS = 60.0


class CurrentMetrics(TypedDict):
    """Figures since the monitor was started; None: not measured yet."""

    cache_hit_ratio: float | None
    avg_response_time_ms: float | None
    calls: int
    hits: int
    misses: int
    errors: int
    bypassed: int
    time_saved_ms: float
    memory_entries: int
    memory_bytes: int
    measured_for_seconds: float


class DashboardData(TypedDict):
    """What a dashboard shows."""

    current_metrics: CurrentMetrics
    caches: dict[str, dict[str, float | int | None]]
    integration: dict[str, bool | int | list[str]]
    metrics_written: int
    writing_failed: int


class RetentionMonitor:
    """Adds up what the caches measure and writes it to `ml_performance_metrics` once per interval."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._totals = Totals()
        self._began = time.monotonic()
        self._recorder: tuple[CacheRuntime, Recorder] | None = None
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self.metrics_written = 0
        self.writing_failed = 0

    @property
    def is_running(self) -> bool:
        """Whether its thread is alive."""
        return self._thread is not None and self._thread.is_alive()

    def start(self, interval_seconds: float = INTERVAL_SECONDS) -> None:
        """Write once per interval from now on; starts nothing where nothing may be written. Idempotent."""
        with self._lock:
            if self.is_running or runtimes.current().read_only or runtimes.current().testing:
                return
            self._stop = stop = threading.Event()
            self._thread = threading.Thread(
                target=self._run, args=(stop, interval_seconds), name="retention-monitoring", daemon=True
            )
            self._thread.start()

    def stop(self) -> None:
        """Write once more, then stop. Idempotent."""
        with self._lock:
            thread, self._thread = self._thread, None
        if thread is not None:
            self._stop.set()
            thread.join(10.0)

    def flush(self) -> int:
        """Write what was measured since the last time; returns the number of rows, 0 when it was not possible."""
        runtime = runtimes.current()
        if runtime.read_only or runtime.hot is None:
            return 0
        with self._lock:
            if self._recorder is None or self._recorder[0] is not runtime:
                self._recorder = runtime, Recorder(runtime, self._totals)
            recorder = self._recorder[1]
        try:
            rows = recorder.flush()
        except RetentionError as error:
            self.writing_failed += 1
            LOG.warning("Measurements could not be written; they are in the next batch: %s", error)
            return 0
        self.metrics_written += rows
        return rows

    async def get_health_status(self) -> HealthStatus:
        """Ask every part now, within a few seconds; `overall_status` is healthy, degraded or unhealthy."""
        return await get_retention_integrator().health_check()

    def get_dashboard_data(self) -> DashboardData:
        """Figures since the monitor was made."""
        by_kind = self._totals.read()
        all_kinds = total(by_kind)
        memory = runtimes.current().memory.stats()
        status = get_retention_integrator().integration_status()
        return DashboardData(
            current_metrics=CurrentMetrics(
                cache_hit_ratio=all_kinds.hit_ratio,
                avg_response_time_ms=_milliseconds(all_kinds.mean_response_seconds),
                calls=all_kinds.calls,
                hits=all_kinds.hits,
                misses=all_kinds.misses,
                errors=all_kinds.errors,
                bypassed=all_kinds.bypassed,
                time_saved_ms=all_kinds.saved_seconds * 1000,
                memory_entries=memory.entries,
                memory_bytes=memory.size_bytes,
                measured_for_seconds=time.monotonic() - self._began,
            ),
            caches={
                kind: {
                    "calls": figures.calls,
                    "memory_hits": figures.memory_hits,
                    "postgres_hits": figures.postgres_hits,
                    "lake_hits": figures.lake_hits,
                    "files_hits": figures.files_hits,
                    "misses": figures.misses,
                    "hit_ratio": figures.hit_ratio,
                    "avg_response_time_ms": _milliseconds(figures.mean_response_seconds),
                }
                for kind, figures in by_kind.items()
            },
            integration={
                "enabled": status.enabled,
                "patched": list(status.patched),
                "waiting": list(status.waiting),
                "covered": len(status.covered),
            },
            metrics_written=self.metrics_written,
            writing_failed=self.writing_failed,
        )

    def _run(self, stop: threading.Event, interval_seconds: float) -> None:
        while not stop.wait(interval_seconds):
            self._flush_quietly()
        self._flush_quietly()

    def _flush_quietly(self) -> None:
        try:
            self.flush()
        except Exception:
            self.writing_failed += 1
            LOG.exception("Monitoring goes on after a fault")


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else seconds * 1000


_LOCK = threading.Lock()
_MONITOR: RetentionMonitor | None = None


def get_retention_monitor() -> RetentionMonitor:
    """The monitor of this process; made, not started, when first asked for."""
    global _MONITOR
    with _LOCK:
        if _MONITOR is None:
            _MONITOR = RetentionMonitor()
        return _MONITOR


def start_retention_monitoring(interval_seconds: float = INTERVAL_SECONDS) -> RetentionMonitor:
    """Start the monitor of this process and return it; needs no event loop, and a second call changes nothing."""
    monitor = get_retention_monitor()
    monitor.start(interval_seconds)
    return monitor
