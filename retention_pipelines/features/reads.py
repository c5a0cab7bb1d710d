"""Reads of stored features, counted behind the reader: policies ask how often a row was read, and when last.

What belongs here: counting in memory, and adding to Postgres in batches. What does not: what counts are used for
(`retention`), reads of cache entries (`cache/access.py`). Where there is no database nothing is counted; no reader
waits for it or fails by it. A crash loses the counts of the last seconds.
"""

import atexit
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Iterable, Sequence

import psycopg
import pyarrow as pa

from retention_pipelines.errors import RetentionError
from retention_pipelines.postgres import address, embedded
from retention_pipelines.postgres.address import Deadlines
from retention_pipelines.postgres.bounded import BoundedConnection
from retention_pipelines.postgres.reads import count_reads, counted
from retention_pipelines.postgres.server import Server, open_server
from retention_pipelines.settings import Settings

LOG = logging.getLogger(__name__)
DATASET = "feature_store"
FLUSH_SECONDS = 5.0
EXIT_SECONDS = 10.0
#: Reads that wait at most, some 100 bytes each; further ones are not counted, which is told.
MOST = 2_000_000
_BATCH = 10_000
_DEADLINES = Deadlines(connect=5, statement=30.0, lock=10.0)
# What one call read: a feature type, its studies, and when by the process's clock.
_Call = tuple[str, Sequence[str] | pa.ChunkedArray, float]


class ReadCounter:
    """The counts of one process, database and tenant that are not in Postgres yet. Safe for threads.

    `dropped`: reads that were not counted, for want of room, time or a database.
    """

    def __init__(self, settings: Settings, *, flush_seconds: float = FLUSH_SECONDS) -> None:
        self._settings = settings
        self._flush_seconds = flush_seconds
        self.dropped = 0
        self._reason = ""
        self.begin()

    def begin(self) -> None:
        """Start with no counts: those before a fork are the parent's."""
        self._lock = threading.Lock()
        self._flushing = threading.Lock()
        self._calls: deque[_Call] = deque()
        self._n_waiting = 0
        self._unsent: dict[tuple[str, str], tuple[int, float]] = {}
        self._server: Server | None = None
        self._thread: threading.Thread | None = None

    def count(self, feature_type: str, studies: Sequence[str] | pa.ChunkedArray) -> None:
        """Note that a feature type of each of these studies was read once; costs an append."""
        n = len(studies)
        with self._lock:
            if self._n_waiting + n > MOST:
                self.dropped += n
                return
            self._n_waiting += n
            self._calls.append((feature_type, studies, time.monotonic()))
            if self._thread is None:
                thread = threading.Thread(target=self._run, name="retention-feature-reads", daemon=True)
                try:
                    thread.start()
                except RuntimeError:
                    return  # the interpreter is ending; what is here is sent at exit
                self._thread = thread

    def flush(self, *, seconds: float = 60.0) -> bool:
        """Add what was counted to Postgres; whether all of it is there. What is not is kept."""
        ends = time.monotonic() + seconds
        if not self._flushing.acquire(timeout=seconds):
            return False
        self._reason = "there was no time left"
        try:
            self._gather()
            if self._unsent and _has_database(self._settings):
                self._send(ends)
            else:
                self._drop()
        except psycopg.DataError as error:
            LOG.warning("Reads of features were not counted: %s", error)
            self._drop()
        except (psycopg.Error, RetentionError, OSError, RuntimeError) as error:
            self._reason = str(error).strip().split("\n")[0]
            LOG.debug("Counts of feature reads wait: %s", self._reason)
        finally:
            self._flushing.release()
        return not self._unsent

    def _gather(self) -> None:
        with self._lock:
            calls, self._calls = self._calls, deque()
        for feature_type, studies, at in calls:
            for study in studies.to_pylist() if isinstance(studies, pa.ChunkedArray) else studies:
                key = DATASET, f"{study}/{feature_type}"
                self._unsent[key] = self._unsent.get(key, (0, at))[0] + 1, at

    def _send(self, ends: float) -> None:
        if self._server is None:
            self._server = open_server(self._settings)
        tenant = self._settings.tenant
        where = address.conninfo(self._server.address(role="service", tenant=tenant, deadlines=_DEADLINES))
        with BoundedConnection.open(where, seconds=max(0.0, ends - time.monotonic())) as con:
            con.ends = ends
            # In order of keys: processes that count the same never wait for each other crosswise.
            for names in _batches(sorted(self._unsent), _BATCH):
                now = time.monotonic()
                reads = [(*name, hits, now - at) for name in names for hits, at in (self._unsent[name],)]
                con.execute(count_reads(), counted(tenant, reads))
                self._forget(names)

    def _forget(self, names: Iterable[tuple[str, str]]) -> int:
        n = sum(self._unsent.pop(name)[0] for name in names)
        with self._lock:
            self._n_waiting -= n
        return n

    def _drop(self) -> None:
        self.dropped += self._forget(list(self._unsent))

    def _run(self) -> None:
        while True:
            time.sleep(self._flush_seconds)
            try:
                self.flush()
            except Exception:
                # A fault of ours, which sending the same again would meet again.
                LOG.exception("Counts of feature reads could not be stored and are dropped")
                with self._flushing:
                    self._drop()
            with self._lock:
                if not self._n_waiting:
                    self._thread = None
                    break
        self._leave()

    def _leave(self) -> None:
        if self._flushing.acquire(timeout=1.0):
            server, self._server = self._server, None
            self._flushing.release()
            if server is not None:
                server.close()

    def close(self) -> None:
        """Send what is there, for some seconds at most, and leave the server."""
        if not self.flush(seconds=EXIT_SECONDS) and self._unsent:
            LOG.warning("Reads of %d features were not counted: %s", len(self._unsent), self._reason)
        self._leave()


def read_counter(settings: Settings) -> ReadCounter | None:
    """The counter of this process for the database and tenant of these settings; None where they only read."""
    if settings.mode == "read_only":
        return None
    url = settings.database_url
    place = (url.get_secret_value() if url is not None else "", str(settings.state_dir), settings.tenant)
    with _OPENING:
        return _COUNTERS.setdefault(place, ReadCounter(settings))


def _has_database(settings: Settings) -> bool:
    """Whether there is one: counting is no reason to make it."""
    return settings.database_url is not None or (embedded.places(settings.state_dir).data / "PG_VERSION").exists()


def _batches(names: Sequence[tuple[str, str]], size: int) -> list[Sequence[tuple[str, str]]]:
    return [names[first : first + size] for first in range(0, len(names), size)]


_OPENING = threading.Lock()
_COUNTERS: dict[tuple[str, str, str], ReadCounter] = {}


def _close_all_at_exit() -> None:
    for counter in list(_COUNTERS.values()):
        counter.close()


def _after_fork() -> None:
    global _OPENING
    _OPENING = threading.Lock()
    for counter in list(_COUNTERS.values()):
        counter.begin()


atexit.register(_close_all_at_exit)
os.register_at_fork(after_in_child=_after_fork)
