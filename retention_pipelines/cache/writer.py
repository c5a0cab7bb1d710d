"""Writing behind: entries wait a moment in this process and go to Postgres in batches.

What belongs here: the bounded queue, its thread, and what happens at exit and after a fork. What does not: how entries
are stored (`hot.py`). An entry is in Postgres `flush_seconds` after it was put, if Postgres answers; that is what
a crash of the process can lose. While Postgres does not answer, entries wait within the bounds; further ones are
dropped and counted.
"""

import atexit
import logging
import multiprocessing.util
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from retention_pipelines.cache.entry import Kind, NewEntry
from retention_pipelines.cache.events import Counters
from retention_pipelines.cache.hot import BATCH, HotTier, Scope, Unavailable

LOG = logging.getLogger(__name__)
MOST_ENTRIES = 20_000
MOST_BYTES = 64 * 2**20
EXIT_SECONDS = 5.0
# One transaction holds so many bytes at most, so that no single one takes long.
_BATCH_BYTES = 8 * 2**20
_LONGEST_PAUSE = 2.0
# So long those gather for whom other processes wait: a batch of each alone would take the interpreter from its callers.
_GATHER_SECONDS = 0.005
_DAYS_SECONDS = 3600.0
_DAYS_AGAIN_SECONDS = 60.0
# Beside its payload an entry costs about this much.
_ENTRY_BYTES = 500


# Called with the keys of entries that are stored or given up.
Then = Callable[[list[str]], None]


@dataclass(slots=True)
class _Waiting:
    entry: NewEntry
    size_bytes: int
    then: list[Then]
    # Invalidated: nobody reads it here any more, and it is not sent (again).
    forgotten: bool = False


class WriteBehind:
    """The queue of one process; its thread starts with the first entry."""

    def __init__(
        self,
        hot: HotTier,
        *,
        flush_seconds: float,
        counters: Counters | None = None,
        max_entries: int = MOST_ENTRIES,
        max_bytes: int = MOST_BYTES,
    ) -> None:
        self._hot = hot
        self._counters = counters or hot.counters
        # The other half is for storing.
        self._delay = flush_seconds / 2
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._begin()
        _ALL.add(self)

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._queue: dict[tuple[Kind, str], _Waiting] = {}
        self._sending: dict[tuple[Kind, str], _Waiting] = {}
        self._bytes = 0
        self._due: float | None = None
        self._hopeless = False
        self._closed = False
        self._thread: threading.Thread | None = None
        # After the first batch: a short program has better things to do.
        self._days_due = time.monotonic() + self._delay

    def put(self, entry: NewEntry, *, then: Then | None = None) -> bool:
        """Take an entry; never waits for Postgres. False when there is no room: it is dropped and counted.

        `then` is called, once for those of a batch, when an entry that was taken is stored or given up; entries with
        one hardly wait for others.
        """
        if self._hot.read_only:
            return False
        size = len(entry.payload.data) + _ENTRY_BYTES
        name = (entry.kind, entry.key)
        with self._lock:
            known = self._queue.get(name)
            room = self._bytes + size - (known.size_bytes if known else 0) <= self._max_bytes
            if (
                self._closed
                or not room
                or (known is None and len(self._queue) + len(self._sending) >= self._max_entries)
            ):
                refused = True
            else:
                refused = False
                self._take(name, entry, size, known, then)
        if refused:
            self._counters.add(entry.kind, "dropped", "postgres")
        return not refused

    def _take(
        self,
        name: tuple[Kind, str],
        entry: NewEntry,
        size: int,
        known: _Waiting | None,
        then: Then | None,
    ) -> None:
        callbacks = known.then if known else []
        if then is not None:
            callbacks.append(then)
        if known is None or known.forgotten or known.entry.computed_monotonic <= entry.computed_monotonic:
            self._bytes += size - (known.size_bytes if known else 0)
            self._queue[name] = _Waiting(entry, size, callbacks)
        if self._thread is None:
            self._start()
        due = time.monotonic()
        if len(self._queue) < BATCH and self._bytes < _BATCH_BYTES:
            due += self._delay if then is None else min(self._delay, _GATHER_SECONDS)
        if self._due is None or due < self._due:
            self._due = due
            self._changed.notify_all()

    def put_now(self, entry: NewEntry) -> bool:
        """Store an entry before returning; True means it is durable, False that the database has it not."""
        try:
            return self._hot.put_many([entry]) == 1
        except Unavailable as error:
            self._counters.add(entry.kind, "degraded", "postgres")
            LOG.debug("An entry was not stored: %s", error.reason)
            return False

    def pending(self, kind: Kind, key: str) -> NewEntry | None:
        """The entry of a key that is on its way, so that a process reads what it wrote."""
        waiting = self._queue.get((kind, key)) or self._sending.get((kind, key))
        return None if waiting is None or waiting.forgotten else waiting.entry

    def forget(self, scope: Scope, target: str | None, version: str | None = None) -> None:
        """Give up the entries that an invalidation names; those under way the database refuses or removes itself."""
        with self._lock:
            for waiting in (*self._queue.values(), *self._sending.values()):
                if is_named(scope, target, version, waiting.entry):
                    waiting.forgotten = True

    def flush(self, timeout_seconds: float = EXIT_SECONDS) -> bool:
        """Send what waits now; whether all of it was stored or given up in time.

        Where somebody has to do something before there is a database, it does not wait for that.
        """
        ends = time.monotonic() + timeout_seconds
        while True:
            with self._changed:
                if not self._sending:
                    if not self._queue:
                        return True
                    batch = self._next_batch()
                else:
                    batch = None
                    if not self._changed.wait(max(0.0, ends - time.monotonic())):
                        return False
            if batch is not None and not self._send(batch, max(0.05, ends - time.monotonic())):
                if self._hopeless or time.monotonic() >= ends:
                    return False
                time.sleep(min(0.05, max(0.0, ends - time.monotonic())))

    def close(self, timeout_seconds: float = EXIT_SECONDS) -> None:
        """Flush, then take no more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        if self._queue or self._sending:
            self.flush(timeout_seconds)
        with self._lock:
            left = [*self._queue.values(), *self._sending.values()]
            self._queue.clear()
            self._bytes = 0
        for waiting in left:
            self._counters.add(waiting.entry.kind, "dropped", "postgres")
        self._tell(left)

    def _start(self) -> None:
        thread = threading.Thread(target=self._run, name="retention-writer", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            # The interpreter is ending; `close` at exit sends what is here.
            return
        self._thread = thread
        # Children of multiprocessing end without atexit.
        self._finalizer = multiprocessing.util.Finalize(self, _close_at_exit, (weakref.ref(self),), exitpriority=10)

    def _run(self) -> None:
        pause = 0.0
        while True:
            if time.monotonic() >= self._days_due:
                self._make_days()
            with self._changed:
                while not self._closed and not self._is_due(pause):
                    self._changed.wait(None if self._due is None else max(0.001, self._due + pause - time.monotonic()))
                if self._closed:
                    return
                if self._sending:
                    self._changed.wait(0.05)
                    continue
                batch = self._next_batch()
            pause = 0.0 if self._send(batch) else min(_LONGEST_PAUSE, max(0.1, pause * 2))

    def _make_days(self) -> None:
        """Make the coming days' partitions; entries are stored without, so whatever prevents it waits for next time."""
        self._days_due = time.monotonic() + _DAYS_SECONDS
        try:
            self._hot.make_days()
        except Unavailable as error:
            LOG.debug("Partitions of the coming days were not made: %s", error.reason)
            self._days_due = time.monotonic() + _DAYS_AGAIN_SECONDS

    def _is_due(self, pause: float) -> bool:
        return self._due is not None and time.monotonic() >= self._due + pause

    def _next_batch(self) -> dict[tuple[Kind, str], _Waiting]:
        """Take the oldest entries out of the queue; the lock is held."""
        size = 0
        for name in list(self._queue)[:BATCH]:
            waiting = self._queue[name]
            if self._sending and size + waiting.size_bytes > _BATCH_BYTES:
                break
            size += waiting.size_bytes
            self._sending[name] = self._queue.pop(name)
        self._due = time.monotonic() if self._queue else None
        return self._sending

    def _send(self, batch: dict[tuple[Kind, str], _Waiting], seconds: float = EXIT_SECONDS) -> bool:
        entries = [waiting.entry for waiting in batch.values() if not waiting.forgotten]
        try:
            if entries:
                self._hot.put_many(entries, seconds=seconds)
        except Unavailable as error:
            LOG.debug("Entries wait: %s", error.reason)
            self._hopeless = error.lasting
            self._put_back(batch)
            return False
        except Exception:
            # A fault of ours must not end the thread: the batch is given up, counted and told.
            LOG.exception("%d cached entries could not be stored and were dropped", len(batch))
            for waiting in batch.values():
                self._counters.add(waiting.entry.kind, "dropped", "postgres")
        with self._changed:
            self._sending = {}
            self._bytes -= sum(waiting.size_bytes for waiting in batch.values())
            self._changed.notify_all()
        self._tell(batch.values())
        return True

    def _put_back(self, batch: dict[tuple[Kind, str], _Waiting]) -> None:
        """Keep for the next time what nobody put anew and what has not expired; nobody waits for it any longer."""
        now = time.monotonic()
        with self._changed:
            self._sending = {}
            kept: dict[tuple[Kind, str], _Waiting] = {}
            for name, waiting in batch.items():
                entry = waiting.entry
                expired = entry.ttl_seconds is not None and now - entry.computed_monotonic >= entry.ttl_seconds
                if expired or waiting.forgotten or name in self._queue:
                    self._bytes -= waiting.size_bytes
                else:
                    kept[name] = _Waiting(entry, waiting.size_bytes, [])
                if expired:
                    self._counters.add(entry.kind, "dropped", "postgres")
            self._queue = kept | self._queue
            self._due = now if self._queue else None
            self._changed.notify_all()
        self._tell(batch.values())

    def _tell(self, entries: Iterable[_Waiting]) -> None:
        """Call what is to be called for entries, each callable once."""
        told: dict[Then, list[NewEntry]] = {}
        for waiting in entries:
            for then in waiting.then:
                told.setdefault(then, []).append(waiting.entry)
        for then, of_then in told.items():
            try:
                then([entry.key for entry in of_then])
            except Exception:
                # As above: nor must it keep the others from hearing.
                LOG.exception("%d stored entries could not be told of", len(of_then))
                self._counters.add(of_then[0].kind, "degraded", "postgres")


def is_named(scope: Scope, target: str | None, version: str | None, entry: NewEntry) -> bool:
    """Whether an invalidation names an entry; the database decides alike when it stores (`sql/put.sql`)."""
    match scope:
        case "all":
            return True
        case "key":
            return target == entry.key
        case "function":
            return target == entry.function
        case "tag":
            return target in entry.tags
        case "model":
            # Keys hold the version: what another version said stays right for that version.
            return version is None and target == entry.columns.get("model_id")
        case "source":
            return target in (entry.columns.get("source_table"), entry.columns.get("source_data_id"))


_ALL: "weakref.WeakSet[WriteBehind]" = weakref.WeakSet()


def _close_at_exit(writer: "weakref.ref[WriteBehind]") -> None:
    alive = writer()
    if alive is not None:
        alive.close()


def _close_all_at_exit() -> None:
    for writer in list(_ALL):
        writer.close()


def _after_fork() -> None:
    # What waits is the parent's, which stores it.
    for writer in list(_ALL):
        writer._begin()


atexit.register(_close_all_at_exit)
os.register_at_fork(after_in_child=_after_fork)
