"""How often entries are read, and which were asked for in vain: counted in memory, added to Postgres in batches.

What belongs here: counting. What does not: what the counts are used for (policies, reports, regrets). Reads by the
system itself (backfills, retention, dashboards) do not count. A crash loses the counts since the last batch; counts may
be so exact.
"""

import atexit
import logging
import os
import threading
import time
import weakref
from typing import Literal

from retention_pipelines.cache import columns as fit
from retention_pipelines.cache.connections import Unavailable
from retention_pipelines.cache.hot import HotTier
from retention_pipelines.cache.misses import count_regrets
from retention_pipelines.cache.secret import load_secret
from retention_pipelines.errors import CacheError
from retention_pipelines.postgres.reads import count_reads, counted

LOG = logging.getLogger(__name__)
FLUSH_SECONDS = 5.0
MOST_KEYS = 50_000
MOST_MISSED = 5_000
_BATCH = 5000
_EXIT_SECONDS = 2.0


class AccessCounter:
    """The counts of one process that are not in Postgres yet; its thread starts with the first one."""

    def __init__(self, hot: HotTier, *, flush_seconds: float = FLUSH_SECONDS, max_keys: int = MOST_KEYS) -> None:
        self._hot = hot
        self._flush_seconds = flush_seconds
        self._max_keys = max_keys
        self.dropped = 0
        self._begin()
        _ALL.add(self)

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self._flushing = threading.Lock()
        self._counts: dict[tuple[str, str], list[float]] = {}
        # By dataset: a bulk of studies that nobody knows must not take the place of others' misses.
        self._missed: dict[str, dict[str, float | None]] = {}
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def count(self, dataset: str, key: str, hits: int = 1, *, reader: Literal["user", "system"] = "user") -> None:
        """Count reads of an entry or row."""
        if reader == "system" or self._hot.read_only:
            return
        now = time.monotonic()
        with self._lock:
            known = self._counts.get((dataset, key))
            if known is not None:
                known[0] += hits
                known[1] = now
            elif len(self._counts) < self._max_keys:
                self._counts[dataset, key] = [hits, now]
                if self._thread is None:
                    self._start()
            else:
                self.dropped += hits

    def miss(self, dataset: str, key: str, recompute_seconds: float | None) -> None:
        """Note that an entry was not there, and what computing it cost; whether retention took it is asked behind."""
        if self._hot.read_only or self._stop.is_set():
            return
        with self._lock:
            missed = self._missed.setdefault(dataset, {})
            if len(missed) < MOST_MISSED:
                missed[key] = recompute_seconds
                if self._thread is None:
                    self._start()

    def flush(self, timeout_seconds: float = _EXIT_SECONDS) -> bool:
        """Add what was counted to Postgres; whether that worked. What did not is kept."""
        with self._flushing:
            while True:
                with self._lock:
                    names = list(self._counts)[:_BATCH]
                    batch = {name: self._counts.pop(name) for name in names}
                if not batch:
                    return self._tell_missed(timeout_seconds)
                try:
                    self._add(batch, timeout_seconds)
                except Unavailable as error:
                    LOG.debug("Counts of reads wait: %s", error.reason)
                    self._keep(batch)
                    return False
                except Exception:
                    # A fault of ours, which sending the same again would meet again.
                    self.dropped += sum(int(hits) for hits, _ in batch.values())
                    raise

    def _tell_missed(self, timeout_seconds: float) -> bool:
        with self._lock:
            of_datasets, self._missed = self._missed, {}
        missed = {(dataset, key): seconds for dataset, keys in of_datasets.items() for key, seconds in keys.items()}
        if not missed:
            return True
        try:
            secret = load_secret(self._hot.settings)
            self._hot.change(lambda con: count_regrets(con, secret, self._hot.tenant, missed), seconds=timeout_seconds)
        except (Unavailable, CacheError) as error:
            LOG.debug("Misses wait to be looked up: %s", error)
            self._keep_missed(of_datasets)
            return False
        return True

    def close(self, timeout_seconds: float = _EXIT_SECONDS) -> None:
        """Flush and end."""
        self._stop.set()
        if self._counts or self._missed:
            self.flush(timeout_seconds)

    def _add(self, batch: dict[tuple[str, str], list[float]], seconds: float) -> None:
        now = time.monotonic()
        reads = [
            (str(fit.text(dataset)), str(fit.text(key)), int(hits), now - last)
            for (dataset, key), (hits, last) in batch.items()
        ]
        values = counted(self._hot.tenant, reads)
        self._hot.change(lambda con: con.execute(count_reads(), values), seconds=seconds)

    def _keep(self, batch: dict[tuple[str, str], list[float]]) -> None:
        with self._lock:
            for name, (hits, last) in batch.items():
                known = self._counts.get(name)
                if known is not None:
                    known[0] += hits
                elif len(self._counts) < self._max_keys:
                    self._counts[name] = [hits, last]
                else:
                    self.dropped += int(hits)

    def _keep_missed(self, of_datasets: dict[str, dict[str, float | None]]) -> None:
        # Told twice they count once: each removal is regretted at most once.
        with self._lock:
            for dataset, earlier in of_datasets.items():
                missed = self._missed.setdefault(dataset, {})
                for key, seconds in earlier.items():
                    if key not in missed and len(missed) < MOST_MISSED:
                        missed[key] = seconds

    def _start(self) -> None:
        thread = threading.Thread(target=self._run, name="retention-access", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            # The interpreter is ending; `close` at exit sends what is here.
            return
        self._thread = thread

    def _run(self) -> None:
        while not self._stop.wait(self._flush_seconds):
            try:
                self.flush()
            except Exception:
                LOG.exception("Counts of reads could not be stored and were dropped")


_ALL: "weakref.WeakSet[AccessCounter]" = weakref.WeakSet()


def _close_all_at_exit() -> None:
    for counter in list(_ALL):
        counter.close()


def _after_fork() -> None:
    # What was counted before is the parent's.
    for counter in list(_ALL):
        counter._begin()


atexit.register(_close_all_at_exit)
os.register_at_fork(after_in_child=_after_fork)
