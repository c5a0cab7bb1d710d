"""The invalidation log: what caches must forget, told to every process in the order it was committed.

What belongs here: adding to the log, and following it. What does not: what a process does with a line of it (given as
`apply`). The log is the truth and is asked every second; a notification only makes that sooner, and a lost one costs
nothing else. When it cannot be proved that no line was missed, everything is forgotten.
"""

import contextlib
import logging
import os
import select
import socket
import threading
import time
import weakref
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import psycopg

from retention_pipelines.cache import columns as fit
from retention_pipelines.cache import statements
from retention_pipelines.cache.connections import Unavailable
from retention_pipelines.cache.entry import Invalidation
from retention_pipelines.cache.hot import REMOVE_SECONDS, HotTier, Scope
from retention_pipelines.errors import DatabaseError
from retention_pipelines.postgres.bounded import BoundedConnection

LOG = logging.getLogger(__name__)
POLL_SECONDS = 1.0
_ASK_SECONDS = 2.0
# A burst of notifications is answered by one look.
_GATHER_SECONDS = 0.01
# How long a quiet line for notifications is trusted before it is tried.
_TRY_SECONDS = 30.0
_REMEMBERED = 4096
# Between the time a line bears and its commit.
_MARGIN_SECONDS = 60.0
Apply = Callable[[Invalidation], None]


class InvalidationLog:
    """One process's view of the log."""

    # What `close` rings, so that it need not wait until the next look is due.
    _bell: socket.socket | None = None

    def __init__(self, hot: HotTier) -> None:
        self._hot = hot
        self._observers: list[Apply] = []
        self._begin()
        _ALL.add(self)

    def _begin(self) -> None:
        # Held while lines are applied, so that they are applied in order and `seq` never runs ahead.
        self._applying = threading.RLock()
        self._seq: int | None = None
        self._began_at = time.monotonic()
        self._recent: dict[int, Invalidation] = {}
        # Lines up to here may be missing from `_recent`.
        self._forgotten_to = 0
        self._asked_at = float("-inf")
        self._stop = threading.Event()
        if self._bell is not None:
            self._bell.close()  # a child's copy of its parent's
        self._bell = None
        self._thread: threading.Thread | None = None

    def observe(self, apply: Apply) -> None:
        """Have `apply` told every line from now on, before those who came earlier; there is no taking back."""
        self._observers.insert(0, apply)

    def start(self, apply: Apply) -> None:
        """Follow the log in a thread: `apply` is told every line, one after another."""
        self._observers.append(apply)
        # A first look at once: what is computed from now on knows what it may rest on.
        self._catch_up_quietly(self._hot.deadline_seconds)
        with self._applying:
            if self._thread is None:
                self._bell, rung = socket.socketpair()
                self._thread = threading.Thread(
                    target=self._follow, args=(rung,), name="retention-invalidation", daemon=True
                )
                self._thread.start()

    def seq(self) -> int | None:
        """Number of the last line this process applied: what a computation that begins now knows of; None: nothing."""
        return self._seq

    def silent_seconds(self) -> float:
        """Time since the log was last read to its end: how far this process may lag."""
        return time.monotonic() - self._asked_at

    def record(
        self, scope: Scope, target: str | None = None, version: str | None = None, *, every_tenant: bool = False
    ) -> int:
        """Add a line and remove what it names from Postgres, in one transaction; returns its number.

        Other processes hear of it within a second. Raises `Unavailable` when it was not done.
        """
        seq = self._hot.change(
            lambda con: self.record_in(con, scope, target, version, every_tenant=every_tenant), seconds=REMOVE_SECONDS
        )
        self._catch_up_quietly()
        return seq

    def record_in(
        self,
        con: BoundedConnection,
        scope: Scope,
        target: str | None = None,
        version: str | None = None,
        *,
        every_tenant: bool = False,
    ) -> int:
        """The same within a transaction of the caller's on the connection for writing."""
        tenant = None if every_tenant else self._hot.tenant
        target = fit.text(target)
        row = con.execute(
            "insert into public.invalidation_log (tenant, scope, target, version)"
            " values (%s, %s, %s, %s) returning seq",
            (tenant, scope, target, version),
        ).fetchone()
        if scope != "model" or version is None:
            self._hot.remove_in(con, scope, target, every_tenant=every_tenant)
        if row is None:
            raise psycopg.OperationalError("the log gave no number")
        return int(row[0])

    def catch_up(self, *, seconds: float = _ASK_SECONDS) -> None:
        """Read the log to its end and apply what is new; raises `Unavailable`. The thread does it by itself.

        The first time that is what was said in the life of this process, which may have remembered things meanwhile.
        """
        with self._applying:
            seen = self._seq
            began = time.monotonic()
            newest, is_complete, said, self._hot.digs = self._hot.ask(
                statements.plain("invalidations"),
                {"seen": seen, "tenant": self._hot.tenant, "alive": began - self._began_at + _MARGIN_SECONDS},
                seconds=seconds,
            )[0]
            if seen is None:
                self._forgotten_to = min((line[0] for line in said), default=newest + 1) - 1
            if not is_complete or newest < (seen or 0):
                LOG.warning("Lines of the invalidation log may have been missed: everything in memory is forgotten")
                self._recent.clear()
                self._forgotten_to = newest
                self._tell(_everything(newest))
            else:
                for line in said:
                    self._tell(_line(line))
            self._seq = newest
            self._asked_at = began

    def was_said_since(self, seq: int | None, names: Callable[[Invalidation], bool]) -> bool:
        """Whether a line after `seq` names something; also yes where the memory of lines does not go back that far.

        For values that are kept in memory after a computation or a read that began at `seq`.
        """
        with self._applying:
            if seq is not None and seq < self._forgotten_to:
                return True
            return any(number > (seq or 0) and names(told) for number, told in self._recent.items())

    def close(self, timeout_seconds: float = POLL_SECONDS + _ASK_SECONDS) -> None:
        """Follow no longer; waits for the thread that does."""
        self._stop.set()
        if self._bell is not None:
            self._bell.close()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout_seconds)

    def _tell(self, told: Invalidation) -> None:
        self._recent[told.seq] = told
        while len(self._recent) > _REMEMBERED:
            oldest = next(iter(self._recent))
            self._forgotten_to = max(self._forgotten_to, oldest)
            del self._recent[oldest]
        for apply in self._observers:
            try:
                apply(told)
            except Exception:
                self._hot.counters.add("features", "error", "memory")
                LOG.exception("A cache could not forget what it was told to: %s", told.scope)

    def _catch_up_quietly(self, seconds: float = _ASK_SECONDS) -> None:
        try:
            self.catch_up(seconds=seconds)
        except Unavailable as error:
            LOG.debug("The invalidation log cannot be read now: %s", error.reason)

    def _follow(self, rung: socket.socket) -> None:
        line = _Line(self._hot, rung)
        stop = self._stop
        while not stop.is_set():
            try:
                # Listening begins before the look, so that nothing falls between the two.
                line.listen()
                self._catch_up_quietly()
                line.wait(POLL_SECONDS, stop)
            except Exception:
                # A process that no longer followed would serve what others invalidate, for ever and without a word.
                self._hot.counters.add("features", "error", "postgres")
                LOG.exception("The invalidation log could not be followed; it is tried again")
                line.close()
                stop.wait(POLL_SECONDS)
        line.close()
        rung.close()


class _Line:
    """The connection notifications come in on; without one the wait is just a wait."""

    def __init__(self, hot: HotTier, rung: socket.socket) -> None:
        self._hot = hot
        self._rung = rung
        self._con: BoundedConnection | None = None
        self._tried_at = float("-inf")

    def listen(self) -> None:
        try:
            if self._con is not None and time.monotonic() - self._tried_at > _TRY_SECONDS:
                self._con.ends = time.monotonic() + _ASK_SECONDS
                self._con.execute("select 1")
                self._tried_at = time.monotonic()
            if self._con is None and not self._hot.breaker.is_open:
                con = self._hot.place.connect(statement_seconds=_ASK_SECONDS)
                con.add_notify_handler(_heard)
                con.execute("listen retention_invalidation")
                self._con, self._tried_at = con, time.monotonic()
        except (psycopg.Error, DatabaseError, OSError):
            self.close()

    def wait(self, seconds: float, stop: threading.Event) -> None:
        """Until a notification comes, the bell rings, or time is over."""
        if self._con is None:
            stop.wait(seconds)
            return
        poll = select.poll()
        poll.register(self._con.pgconn.socket, select.POLLIN)
        poll.register(self._rung, select.POLLIN)
        if not poll.poll(seconds * 1000) or stop.is_set():
            return
        try:
            self._con.pgconn.consume_input()
            while self._con.pgconn.notifies() is not None:
                pass
        except psycopg.Error:
            self.close()
        stop.wait(_GATHER_SECONDS)

    def close(self) -> None:
        if self._con is not None:
            with contextlib.suppress(psycopg.Error):
                self._con.close()
            self._con = None


def _heard(notify: Any) -> None:
    """Without a handler psycopg would keep every notification."""


def _everything(seq: int) -> Invalidation:
    return Invalidation(seq=seq, at=datetime.now(UTC), tenant=None, scope="all", target=None, version=None)


def _line(values: list[Any]) -> Invalidation:
    seq, at, tenant, scope, target, version = values
    return Invalidation(
        seq=seq, at=datetime.fromtimestamp(at, UTC), tenant=tenant, scope=scope, target=target, version=version
    )


_ALL: "weakref.WeakSet[InvalidationLog]" = weakref.WeakSet()


def _after_fork() -> None:
    # A child that uses caches has a runtime of its own, with a log that it follows; others need no thread.
    for log in list(_ALL):
        log._begin()


os.register_at_fork(after_in_child=_after_fork)
