"""The runtime: what the caches of one process share, made when first needed.

What belongs here: tiers and connections of a process, and their life. What does not: invalidations and what runs behind
(`invalidating.py`, `background.py`), what happens to a call (`calls.py`, `steps.py`). `current()` makes one from the
environment's settings; a child after a fork makes its own. If Postgres or the settings cannot be used there is memory
only, and that is counted.
"""

import atexit
import importlib
import logging
import os
import secrets
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Protocol

from retention_pipelines.cache.background import Background
from retention_pipelines.cache.coherence import Recent
from retention_pipelines.cache.config import CacheConfig
from retention_pipelines.cache.entry import Kind, StoredEntry
from retention_pipelines.cache.events import Counters, Hook, Outcome
from retention_pipelines.cache.invalidating import Invalidating
from retention_pipelines.cache.loading import loading
from retention_pipelines.errors import CacheError, RetentionError

if TYPE_CHECKING:
    from retention_pipelines.cache.access import AccessCounter
    from retention_pipelines.cache.hot import HotTier
    from retention_pipelines.cache.invalidation import InvalidationLog
    from retention_pipelines.cache.memory import Scope
    from retention_pipelines.cache.models import ModelVersions
    from retention_pipelines.cache.process_lock import ProcessLock
    from retention_pipelines.cache.writer import WriteBehind
    from retention_pipelines.settings import Settings

LOG = logging.getLogger("retention_pipelines.cache")
TABLES: dict[Kind, str] = {
    "features": "ml_feature_store",
    "predictions": "ml_inference_cache",
    "training": "ml_training_cache",
}
_WAIT_FOR_REFRESHES = 1.0
_END_SECONDS = 5.0
_LEAST_WAIT = 0.1
_ASK_AGAIN_SECONDS = 0.5
UNKNOWN_VERSION = "unknown-"
_NAMESPACE = "retention"
# Of functions that are gone; each had noted fewer than `READS_BEFORE_A_BATCH` keys.
_MOST_LEFT = 4_096


class Lower(Protocol):
    """A tier that is only read: the lake's, in `lake_tier.py`."""

    def get(self, key: str) -> StoredEntry | None:
        """The fresh entry of a key."""
        ...


class DrainedCounters(Counters):
    """Counters that first collect what cached functions counted for themselves."""

    def snapshot(self) -> dict[tuple[Kind, Outcome, str], int]:
        """The counts now."""
        from retention_pipelines.cache.calls import registered

        for cached in registered():
            cached.report(self)
        return super().snapshot()


class CacheRuntime(Background, Invalidating):
    """Tiers, queues and counters of one process under one set of settings.

    Nothing is opened and no thread is started before it is needed. With `testing` there is nothing but memory, and what
    would run in the background runs inline.

    Attributes:
        hot, writer, process_lock, log, access, models, lake_tier: None where they cannot be had: without Postgres, in
            the mode read_only (those that write), or in a test.
        hooks: called with every event of every function; add and remove freely.
        left_reads: keys that functions which are gone had read and not told of; taken without a lock.
        also_told: called with every invalidation this process makes, not with those of others; must not raise.
        namespace, tenant: part of every key.
    """

    def __init__(self, settings: "Settings", *, testing: bool = False, degraded: str = "") -> None:
        # Not at the top: decorating a function must load neither asyncio nor psycopg nor pydantic.
        from retention_pipelines.cache.flight import Flights
        from retention_pipelines.cache.memory import MemoryTier

        self.settings = settings
        self.testing = testing
        self.pid = os.getpid()
        self.namespace = _NAMESPACE
        self.tenant = settings.tenant
        self.read_only = settings.mode == "read_only"
        self.counters = DrainedCounters()
        self.left_reads: deque[tuple[Kind, list[str]]] = deque(maxlen=_MOST_LEFT)
        self.hooks: list[Hook] = []
        self.also_told: list[Callable[[Scope, str | None, str | None], None]] = []
        self.memory = MemoryTier(
            max_entries=settings.cache_memory_entries, max_bytes=settings.cache_memory_mb * 1024 * 1024
        )
        self.flights = Flights()
        self.recent = Recent()
        self.config = CacheConfig(settings, changed=self._reconfigured)
        self.enabled = settings.cache_enabled
        self.hot: HotTier | None = None
        self.writer: WriteBehind | None = None
        self.process_lock: ProcessLock | None = None
        self.log: InvalidationLog | None = None
        self.access: AccessCounter | None = None
        self.models: ModelVersions | None = None
        self.lake_tier: Lower | None = None
        self._lock = threading.Lock()
        self.polls = self.read_only and not testing
        self._unknown: set[str] = set()
        self._unknown_until = 0.0
        self._own_version = f"{UNKNOWN_VERSION}{secrets.token_hex(8)}"
        self._begin_invalidating()
        self._begin_background()
        if degraded:
            self.counters.add("features", "degraded", "postgres")
            LOG.warning("The caches work with memory only: %s", degraded)
        elif not testing:
            self._open_tiers()

    def _open_tiers(self) -> None:
        """Make the tiers below memory; none connects yet. Whatever is missing leaves memory only."""
        try:
            from retention_pipelines.cache.access import AccessCounter
            from retention_pipelines.cache.hot import HotTier
            from retention_pipelines.cache.invalidation import InvalidationLog
            from retention_pipelines.cache.models import ModelVersions
            from retention_pipelines.cache.process_lock import ProcessLock
            from retention_pipelines.cache.writer import WriteBehind
            from retention_pipelines.features.missing import listen

            self.hot = hot = HotTier(self.settings, counters=self.counters)
            self.log = InvalidationLog(hot)
            self.models = ModelVersions(hot, self.log)
            if self.polls:
                self.log.observe(self.apply)
            self.lake_tier = _lake_tier(self.settings)
            if not self.read_only:
                self.writer = WriteBehind(hot, counters=self.counters, flush_seconds=self.settings.cache_flush_seconds)
                self.process_lock = ProcessLock(hot)
                self.access = AccessCounter(hot)
                listen(self.access)
        except (ImportError, RetentionError) as error:
            self.counters.add("features", "degraded", "postgres")
            LOG.warning("The caches work with memory only: %s", error)

    # --- what a call asks ------------------------------------------------------------------------------------

    def model_version(self, model_id: str) -> str:
        """The version registered for a model; empty where none is.

        While the database has never said, this process has a version of its own, so that its memory serves it; what is
        computed then is not written under a version that others use.
        """
        if self.models is None:
            return ""
        if self._unknown_until > time.monotonic() and model_id in self._unknown:
            return self._own_version
        version = self.models.current(model_id)
        if not version.startswith(UNKNOWN_VERSION):
            self._unknown.discard(model_id)
            return version
        self._unknown.add(model_id)
        self._unknown_until = time.monotonic() + _ASK_AGAIN_SECONDS
        return self._own_version

    def count_reads(self, kind: Kind, keys: Sequence[str]) -> None:
        """Tell the access counts of reads."""
        if self.access is not None:
            for key, reads in Counter(keys).items():
                self.access.count(TABLES[kind], key, reads)

    # --- life ------------------------------------------------------------------------------------------------

    def flush(self, timeout_seconds: float = 10.0) -> bool:
        """Write what waits: entries, access counts, invalidations; returns whether all of it was."""
        from retention_pipelines.cache.calls import registered

        for cached in registered():
            cached.drain(self)
        with suppress(IndexError):  # somebody else may be taking them, too
            while True:
                self.count_reads(*self.left_reads.popleft())
        if self._unrecorded:
            self._tell_others()
        ends = time.monotonic() + timeout_seconds
        written = self.writer is None or self.writer.flush(timeout_seconds)
        if self.access is not None and written:
            written = self.access.flush(max(_LEAST_WAIT, ends - time.monotonic()))
        self._wait_until_told(ends)
        return written and not self._unrecorded

    def close(self) -> None:
        """Write what waits, then end threads and connections. Idempotent."""
        if os.getpid() != self.pid:
            return
        # One time for all that waits for Postgres, or the end of a program would add up to a long one without it.
        last = time.monotonic() + _END_SECONDS
        try:
            self.flush(_END_SECONDS)
        except CacheError as error:
            LOG.debug("Not everything was written at the end: %s", error)
        ends = time.monotonic() + _WAIT_FOR_REFRESHES
        for thread in self._behind:
            if thread is not threading.current_thread() and thread.is_alive():
                thread.join(max(0.0, ends - time.monotonic()))
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(wait=False)
        for bounded in (self.access, self.writer, self.log):
            if bounded is not None:
                bounded.close(max(_LEAST_WAIT, last - time.monotonic()))
        for part in (self.process_lock, self.lake_tier, self.hot):
            closing = getattr(part, "close", None)
            if closing is not None:
                closing()
        self.memory.clear()

    def _reconfigured(self, config: CacheConfig) -> None:
        self.enabled = bool(config["enabled"])
        self.memory.resize(
            max_entries=int(config["memory_cache_size"]), max_bytes=int(config["memory_cache_mb"]) * 1024 * 1024
        )


def _lake_tier(settings: "Settings") -> Lower | None:
    try:
        home = importlib.import_module("retention_pipelines.cache.lake_tier")
    except ImportError:
        return None
    made: Lower = home.LakeTier(settings)
    return made


# --- the runtime of this process --------------------------------------------------------------------------------

CURRENT: CacheRuntime | None = None
BINDING = threading.Lock()
_MAKING = threading.RLock()
# Runtimes of the parent process: kept, so that no destructor of theirs runs in the child.
_OF_THE_PARENT: list[CacheRuntime] = []
_fork_is_watched = False


def current() -> CacheRuntime:
    """The runtime of this process; made from the environment's settings when first asked for."""
    found = CURRENT
    if found is not None:
        return found
    with _MAKING:
        made = CURRENT
        if made is None:
            # Perhaps in a thread, and most of what the caches need is loaded now.
            with loading():
                made = _from_environment()
            _set(made)
        return made


def configure(settings: "Settings") -> CacheRuntime:
    """Use a runtime with these settings from now on; the former one is closed."""
    with _MAKING:
        former = CURRENT
        log_to_file(settings)
        made = CacheRuntime(settings)
        _set(made)
    if former is not None:
        former.close()
    return made


def close() -> None:
    """Close the runtime; the next call makes a new one."""
    with _MAKING:
        former = CURRENT
        _set(None)
    if former is not None:
        former.close()


@contextmanager
def replaced(runtime: CacheRuntime) -> Iterator[CacheRuntime]:
    """Use a runtime inside the block; the former one, untouched, afterwards."""
    with _MAKING:
        former = CURRENT
        _set(runtime)
    try:
        yield runtime
    finally:
        with _MAKING:
            _set(former)
        runtime.close()


def settings_in_use() -> "Settings":
    """The settings of this process's caches, else those of the environment: asking makes no caches."""
    from retention_pipelines.settings import load_settings

    return load_settings() if CURRENT is None else CURRENT.settings


def default_settings() -> "Settings":
    """Settings without an environment, for tests."""
    from retention_pipelines.settings import Settings

    return Settings()


def _from_environment() -> CacheRuntime:
    from retention_pipelines.settings import load_settings

    try:
        settings = load_settings()
        log_to_file(settings)
        return CacheRuntime(settings)
    except RetentionError as error:
        return CacheRuntime(default_settings(), degraded=str(error))


def log_to_file(settings: "Settings") -> None:
    """Write the log file the settings name; one that cannot be written is told and costs nothing else."""
    if settings.log_file is None:
        return
    from retention_pipelines.cache.logs import configure_logging

    try:
        configure_logging(settings)
    except OSError as error:
        LOG.warning("No log is written to %s: %s", settings.log_file, error)


def _set(runtime: CacheRuntime | None) -> None:
    global CURRENT, _fork_is_watched
    CURRENT = runtime
    if runtime is not None and not _fork_is_watched:
        _fork_is_watched = True
        os.register_at_fork(after_in_child=_begin_anew)
        atexit.register(_close_at_exit)


def _close_at_exit() -> None:
    # It stays the runtime: threads that still run would make another, whose end would be waited for too.
    if CURRENT is not None:
        CURRENT.close()


def _begin_anew() -> None:
    """In a child: locks may be held by threads that are not here, connections belong to the parent."""
    global CURRENT, BINDING, _MAKING
    if CURRENT is not None:
        _OF_THE_PARENT.append(CURRENT)
    CURRENT = None
    BINDING = threading.Lock()
    _MAKING = threading.RLock()


__all__ = [
    "CacheRuntime",
    "close",
    "configure",
    "current",
    "default_settings",
    "log_to_file",
    "replaced",
    "settings_in_use",
]
