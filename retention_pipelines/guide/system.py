"""The system as the guide knows it: one initializer, the integrator it returns, and the old names of its values.

What belongs here: thin adapters, and the one integrator of a process. What does not: how anything works
(`integration`, `cache`, `monitoring`), policies (`policies.py`). Nothing here needs a running event loop: coroutines
only wrap work that waits for the database.
"""

import os
import threading
from collections.abc import MutableMapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypedDict

from retention_pipelines.cache import runtime as runtimes
from retention_pipelines.cache.config import Value
from retention_pipelines.integration.cleanup import clean_expired
from retention_pipelines.integration.config import Modules
from retention_pipelines.integration.hooks import HOOKS, Hooks
from retention_pipelines.integration.integrator import IntegrationStatus, Integrator
from retention_pipelines.integration.light import LightRuntime
from retention_pipelines.integration.patching import Undone
from retention_pipelines.integration.targets import Target
from retention_pipelines.monitoring import health
from retention_pipelines.monitoring.metrics import Totals, total
from retention_pipelines.settings import Settings


class IntegrationMetrics(TypedDict):
    """Figures since the integrator was made; None: not measured yet.

    `cache_hit_ratio` is the share, 0 to 1, of calls for which no function had to run; `performance_gains_ms` the
    measured compute time of the answers that hits gave, less the time the hits took.
    """

    integration_enabled: bool
    cloudflare_mode: bool
    queries_intercepted: int
    cache_calls: int
    cache_hits: int
    cache_misses: int
    cache_bypassed: int
    cache_hit_ratio: float | None
    avg_response_time_ms: float | None
    performance_gains_ms: float
    patched: list[str]
    waiting: list[str]
    models_retrained: int
    models_not_registered: int
    studies_not_queued: int
    hook_failures: int


class HealthStatus(TypedDict):
    """What the health checks say: healthy, degraded or unhealthy, overall and by part."""

    overall_status: str
    components: dict[str, str]
    issues: list[str]


class RetentionManager:
    """The caches of this process, under the guide's names."""

    @property
    def cache_config(self) -> MutableMapping[str, Value]:
        """Live values such as `feature_ttl_hours` and `memory_cache_size`; a change takes effect at once."""
        return runtimes.current().config

    @property
    def readonly_mode(self) -> bool:
        """Whether nothing is written."""
        return runtimes.current().read_only

    async def cleanup_expired_data(self) -> dict[str, int]:
        """Remove what has expired from the caches; returns the number of rows removed from each table."""
        runtime = runtimes.current()
        removed = await runtime.in_thread(lambda: clean_expired(runtime))
        return {
            "ml_feature_store": removed.ml_feature_store,
            "ml_inference_cache": removed.ml_inference_cache,
            "ml_training_cache": removed.ml_training_cache,
        }


class RetentionIntegrator:
    """What `initialize_ml_retention_system` returns; there is one per process."""

    def __init__(self) -> None:
        self._integrator = Integrator()
        self._totals = Totals()
        self._light: ExitStack | None = None
        self._light_settings = Settings()
        self._former_settings: Settings | None = None
        self.retention_manager = RetentionManager()

    @property
    def hooks(self) -> Hooks:
        """Hooks before and after studies, predictions and trainings."""
        return HOOKS

    @property
    def cache_config(self) -> MutableMapping[str, Value]:
        """See `RetentionManager.cache_config`."""
        return self.retention_manager.cache_config

    @property
    def cloudflare_mode(self) -> bool:
        """Whether the caches are read only and light."""
        return self._light is not None

    def enable_integration(
        self,
        file: Path | None = None,
        *,
        targets: Sequence[Target | dict[str, Any]] | None = None,
        modules: Modules | None = None,
    ) -> IntegrationStatus:
        """Patch `targets`, else those of `file`, else of the setting `integration_file`, else the packaged ones.

        All are patched or none. See `Integrator.enable`.
        """
        file = file or runtimes.current().settings.integration_file
        return self._integrator.enable(file, targets=targets, modules=modules)

    def disable_integration(self) -> Undone:
        """Give every place its original object back."""
        return self._integrator.disable()

    def integration_status(self) -> IntegrationStatus:
        """What is patched, waits or was passed over, and why."""
        return self._integrator.status()

    def enable_cloudflare_mode(self, settings: Settings | None = None) -> None:
        """Read both tiers, write nothing, start nothing; until `disable_cloudflare_mode`.

        What was started before is ended, and what waited to be written is written first.
        """
        from retention_pipelines.guide.monitoring import get_retention_monitor

        if self._light is not None:
            if settings in (None, self._light_settings):
                return
            self.disable_cloudflare_mode()
        self._light_settings = settings or runtimes.settings_in_use()
        if runtimes.CURRENT is not None:
            get_retention_monitor().stop()
            self._former_settings = runtimes.CURRENT.settings
            runtimes.close()
        self._read_lightly()
        if not _fork_is_watched:
            _watch_forks()

    def disable_cloudflare_mode(self) -> None:
        """Write, too, from now on, under the settings from before."""
        light, self._light = self._light, None
        former, self._former_settings = self._former_settings, None
        if light is not None:
            light.close()
        if former is not None:
            runtimes.configure(former)

    def get_integration_metrics(self) -> IntegrationMetrics:
        """The figures until now."""
        by_kind = self._totals.read()
        figures = total(by_kind)
        status, tally = self._integrator.status(), self._integrator.tally.read()
        mean = figures.mean_response_seconds
        return IntegrationMetrics(
            integration_enabled=status.enabled,
            cloudflare_mode=self.cloudflare_mode,
            queries_intercepted=tally["calls"],
            cache_calls=figures.calls,
            cache_hits=figures.hits,
            cache_misses=figures.misses,
            cache_bypassed=figures.bypassed,
            cache_hit_ratio=figures.hit_ratio,
            avg_response_time_ms=None if mean is None else mean * 1000,
            performance_gains_ms=figures.saved_seconds * 1000,
            patched=list(status.patched),
            waiting=list(status.waiting),
            models_retrained=tally["retrained"],
            models_not_registered=tally["not_registered"],
            studies_not_queued=tally["not_queued"],
            hook_failures=self.hooks.failures,
        )

    async def cleanup_expired_data(self) -> dict[str, int]:
        """See `RetentionManager.cleanup_expired_data`."""
        return await self.retention_manager.cleanup_expired_data()

    async def health_check(self) -> HealthStatus:
        """Ask every part, within a few seconds."""
        runtime = runtimes.current()
        covered = len(self._integrator.status().covered)
        return told(await runtime.in_thread(lambda: health.check(runtime, covered=covered)))

    def _read_lightly(self) -> None:
        self._light = ExitStack()
        self._light.enter_context(runtimes.replaced(LightRuntime(self._light_settings)))

    def begin_anew(self) -> None:
        """In a child after a fork, which has no runtime yet: one of the same mode."""
        if self._light is not None:
            # The parent's is not closed here: its connections are the parent's.
            _OF_THE_PARENT.append(self._light.pop_all())
            self._read_lightly()


def told(found: health.Health) -> HealthStatus:
    """Health as the guide writes it."""
    return HealthStatus(
        overall_status=found.overall,
        components={part.part: part.status for part in found.parts},
        issues=[f"{part.part}: {part.detail}" for part in found.parts if part.status != "healthy"],
    )


_LOCK = threading.RLock()
_INTEGRATOR: RetentionIntegrator | None = None
_OF_THE_PARENT: list[ExitStack] = []
_fork_is_watched = False


def _watch_forks() -> None:
    global _fork_is_watched
    _fork_is_watched = True
    # After the runtime's own, which forgets the parent's.
    runtimes.current()
    os.register_at_fork(after_in_child=lambda: get_retention_integrator().begin_anew())


def get_retention_integrator() -> RetentionIntegrator:
    """The integrator of this process; made when first asked for, and nothing is patched by that."""
    global _INTEGRATOR
    with _LOCK:
        if _INTEGRATOR is None:
            _INTEGRATOR = RetentionIntegrator()
        return _INTEGRATOR


def get_retention_manager() -> RetentionManager:
    """The caches of this process under the guide's name."""
    return get_retention_integrator().retention_manager


def initialize_ml_retention_system(
    enable_integration: bool = True,
    cloudflare_mode: bool = False,
    auto_start: bool = True,
    *,
    settings: Settings | None = None,
    integration_file: Path | None = None,
    modules: Modules | None = None,
) -> RetentionIntegrator:
    """Set the caches up and return the integrator; calling it again changes only what differs.

    Args:
        enable_integration: patch the targets; False leaves them as they are.
        cloudflare_mode: read both tiers, write nothing, and start neither threads nor background tasks.
        auto_start: start monitoring, which writes measurements once a minute; never in `cloudflare_mode`.
        settings: to use instead of the environment's.
        integration_file: YAML with the targets, instead of that of the settings.
        modules: where the platform keeps what the packaged targets name, such as `{"models": "my.models"}`.

    Raises:
        IntegrationError: a target cannot be patched; nothing was changed.
    """
    from retention_pipelines.guide.monitoring import start_retention_monitoring

    with _LOCK:
        integrator = get_retention_integrator()
        if cloudflare_mode:
            integrator.enable_cloudflare_mode(settings)
        else:
            integrator.disable_cloudflare_mode()
            if settings is not None and runtimes.current().settings != settings:
                runtimes.configure(settings)
        runtimes.log_to_file(runtimes.current().settings)
        if enable_integration:
            integrator.enable_integration(integration_file, modules=modules)
        if auto_start and not cloudflare_mode:
            start_retention_monitoring()
        return integrator


def enable_integration(
    file: Path | None = None,
    *,
    targets: Sequence[Target | dict[str, Any]] | None = None,
    modules: Modules | None = None,
) -> IntegrationStatus:
    """See `RetentionIntegrator.enable_integration`."""
    return get_retention_integrator().enable_integration(file, targets=targets, modules=modules)


def disable_integration() -> Undone:
    """See `RetentionIntegrator.disable_integration`."""
    return get_retention_integrator().disable_integration()
