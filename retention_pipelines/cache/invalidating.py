"""Invalidating: forgetting in this process, telling the others, and hearing of what they forget.

What belongs here: applying invalidations to the tiers of a runtime, in which order, and catching up with the log. What
does not: the log itself (`invalidation.py`), which answers an invalidation names (`coherence.py`).
"""

import logging
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from retention_pipelines.errors import CacheError

if TYPE_CHECKING:
    from retention_pipelines.cache.call import Call
    from retention_pipelines.cache.coherence import Recent
    from retention_pipelines.cache.entry import Invalidation
    from retention_pipelines.cache.events import Counters
    from retention_pipelines.cache.invalidation import InvalidationLog
    from retention_pipelines.cache.memory import MemoryTier, Scope
    from retention_pipelines.cache.writer import WriteBehind
    from retention_pipelines.settings import Settings

LOG = logging.getLogger("retention_pipelines.cache")
_WAIT_FOR_THE_LOG = 2.0
_POLL_SECONDS = 1.0


class Invalidating:
    """What a runtime knows of invalidations; the attributes are the runtime's own."""

    settings: "Settings"
    tenant: str
    read_only: bool
    testing: bool
    polls: bool
    counters: "Counters"
    memory: "MemoryTier"
    recent: "Recent"
    writer: "WriteBehind | None"
    log: "InvalidationLog | None"
    also_told: "list[Callable[[Scope, str | None, str | None], None]]"
    _lock: threading.Lock

    def _begin_invalidating(self) -> None:
        self._listening = False
        self._poll_at = 0.0
        self._telling = threading.Event()
        self._unrecorded: list[tuple[Scope, str | None, str | None]] = []

    def seen_seq(self) -> int | None:
        """Number of the last invalidation this process knows of; None where there is no log."""
        return None if self.log is None else self.log.seq()

    def first_seq(self) -> int | None:
        """The same for a call that came before the log was first read; waits for that, once and for a deadline."""
        if self.log is None:
            return None
        if self.polls:
            self.poll()
        elif not self._listening:
            self._listen()
            ends = time.monotonic() + self.settings.cache_deadline_seconds
            while self.log.seq() is None and time.monotonic() < ends:
                time.sleep(0.002)
        # An entry that knows of no line is held against all there are.
        return self.log.seq() or 0

    def poll(self) -> None:
        """Catch up with the log, at most once a second: for the mode read_only, which has no thread that follows it."""
        now = time.monotonic()
        if self.log is None or now < self._poll_at:
            return
        self._poll_at = now + _POLL_SECONDS
        try:
            self.log.catch_up(seconds=self.settings.cache_deadline_seconds)
        except CacheError as error:
            self.counters.add("features", "degraded", "postgres")
            LOG.debug("The invalidation log cannot be read now: %s", error)

    def may_read(self, call: "Call") -> bool:
        """Whether the tiers below may be asked: not while an invalidation of this process has not reached them."""
        if not self._unrecorded:
            return True
        self._tell_others()
        names = call.names()
        return not any(names.hit_by(*one) for one in list(self._unrecorded))

    def invalidate(self, scope: "Scope", target: str | None, *, version: str | None = None) -> None:
        """Forget everywhere what a scope and target name.

        This process forgets at once. The others are told through the log; while Postgres cannot be reached, this
        process neither reads nor shares what is named, and tells them when it can.
        """
        self._forget(scope, target, version)
        for tell in list(self.also_told):
            tell(scope, target, version)
        if self.log is None or self.read_only:
            return
        self._unrecorded.append((scope, target, version))
        self._tell_others()
        self._wait_until_told(time.monotonic() + _WAIT_FOR_THE_LOG)

    def apply(self, invalidation: "Invalidation") -> None:
        """Forget what an invalidation from the log names."""
        if invalidation.tenant in (None, self.tenant):
            self._forget(invalidation.scope, invalidation.target, invalidation.version)

    def _forget(self, scope: "Scope", target: str | None, version: str | None) -> None:
        from retention_pipelines.cache.calls import registered

        with self.recent.lock:
            # First, and the number last: a call that knows the number finds nothing from before it in any of them.
            if self.writer is not None:
                self.writer.forget(scope, target, version)
            self.memory.remove_where(scope, target)
            self.recent.note(scope, target, version)
            for cached in registered():
                cached.exceptions.clear()
        self.counters.add("features", "invalidated", "memory")

    def _tell_others(self) -> None:
        """Write waiting invalidations to the log, in a thread: the database may take long to say no."""
        with self._lock:
            if self._telling.is_set():
                return
            self._telling.set()
        try:
            threading.Thread(target=self._record, name="retention-invalidate", daemon=True).start()
        except RuntimeError:
            self._record()

    def _record(self) -> None:
        refused = 0
        try:
            while self.log is not None and self._is_more_to_tell(refused):
                waiting = len(self._unrecorded)
                try:
                    self.log.record(*self._unrecorded[0])
                    self._unrecorded.pop(0)
                    refused = 0
                except CacheError as error:
                    refused = waiting
                    self.counters.add("features", "degraded", "postgres")
                    LOG.warning("An invalidation could not be told to other processes yet: %s", error)
        except BaseException:
            self._telling.clear()
            raise

    def _is_more_to_tell(self, refused: int) -> bool:
        """Whether more waits than was refused just now; if not, nobody is telling any more."""
        # Looked at and cleared in one step: who adds one in between would find somebody telling, who never looks again.
        with self._lock:
            if len(self._unrecorded) > refused:
                return True
            self._telling.clear()
            return False

    def _wait_until_told(self, ends: float) -> None:
        """Until nobody is telling the others any more, or a time of the monotonic clock."""
        while self._unrecorded and self._telling.is_set() and time.monotonic() < ends:
            time.sleep(0.002)

    def _listen(self) -> None:
        with self._lock:
            if self._listening or self.log is None or self.testing:
                self._listening = True
                return
            self._listening = True
            self.log.start(self.apply)
