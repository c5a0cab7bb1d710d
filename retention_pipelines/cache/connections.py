"""Connections of the caches to Postgres: few, bounded in time, behind a breaker.

What belongs here: opening, lending and discarding connections, and turning everything that can go wrong with the
database into `Unavailable`. What does not: statements. A process has at most `READERS` connections for reading and one
for writing; the invalidation log and the process lock hold one more each.
"""

import contextlib
import logging
import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from typing import Any, TypeVar

import psycopg
from psycopg import pq

from retention_pipelines.cache.breaker import Breaker
from retention_pipelines.cache.loading import loading
from retention_pipelines.errors import CacheError, DatabaseError
from retention_pipelines.postgres.bounded import BoundedConnection, DeadlinePassed
from retention_pipelines.postgres.watching import Watching
from retention_pipelines.settings import Settings

LOG = logging.getLogger(__name__)
T = TypeVar("T")
READERS = 4
# Opening goes on in the background after the caller has given up, so that a far server is reached at all.
CONNECT_SECONDS = 2.0
# While nobody waits for it, a try that hangs is soon followed by another.
_PROBE_SECONDS = 1.0

_UNREADY = (
    psycopg.errors.UndefinedTable,
    psycopg.errors.UndefinedColumn,
    psycopg.errors.UndefinedFunction,
    psycopg.errors.InvalidCatalogName,
)
# What the caller's own values cause; the database is well. The last: a key too long for an index.
REFUSALS = (psycopg.DataError, psycopg.IntegrityError, psycopg.errors.ProgramLimitExceeded)
_UPGRADE = "Run `retention db upgrade`."


class Unavailable(CacheError):
    """The Postgres tier does not answer now; do without it.

    `reason` is a word for counters; `lasting` says that somebody has to do something first: waiting does not help.
    """

    def __init__(self, reason: str, message: str = "", *, hint: str | None = None, lasting: bool = False) -> None:
        super().__init__(message or f"The Postgres tier is not available: {reason}.", hint=hint)
        self.reason = reason
        self.lasting = lasting


class Place:
    """Where the database is: an embedded server is joined (and kept running) when the first connection is opened."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._lock = threading.Lock()
        self._server: Any = None
        self._is_told = False

    def connect(self, *, statement_seconds: float, seconds: float = CONNECT_SECONDS) -> BoundedConnection:
        """A new connection that acts for the tenant of the settings, in its role. May take long: see `Connections`."""
        # Not at the top: SQLAlchemy costs more to import than a short program's whole run.
        with loading():
            from retention_pipelines.postgres import address, embedded
            from retention_pipelines.postgres.address import Deadlines

        deadlines = Deadlines(connect=2, statement=statement_seconds, lock=statement_seconds, idle_in_transaction=5.0)
        with self._lock:
            server = self._server = self._server or self._open()
        url = server.address(role="service", tenant=self.settings.tenant, deadlines=deadlines)
        try:
            con = BoundedConnection.open(address.conninfo(url), seconds=seconds)
        except psycopg.OperationalError:
            if server.kind == "embedded" and embedded.running_pid(embedded.places(self.settings.state_dir)) is None:
                # Somebody stopped it: the next attempt starts it again, as any command would. One that is there and
                # refuses is kept, or it would stop under the connections that others have.
                self.close()
            raise
        con.ends = time.monotonic() + seconds
        # Planned once: with a plan per call the planner costs more than the lookup.
        con.execute("set plan_cache_mode = force_generic_plan")
        return con

    def _open(self) -> Any:
        with loading():
            from retention_pipelines.postgres import address, embedded
            from retention_pipelines.postgres.server import Server, open_server

        settings = self.settings
        if settings.database_url is not None:
            url = address.parse(settings.database_url.get_secret_value())
            return Server("external", url, read_only=settings.mode == "read_only")
        if not (embedded.places(settings.state_dir).data / "PG_VERSION").exists():
            raise DatabaseError("There is no database in the state folder yet.", hint=_UPGRADE)
        return open_server(settings)

    def tell(self, failure: Unavailable) -> None:
        """Say once that there is no database and what to do: nothing else that a user sees would."""
        if not self._is_told:
            self._is_told = True
            LOG.warning("The caches work with memory only. %s", failure)

    def close(self) -> None:
        """Leave an embedded server."""
        with self._lock:
            if self._server is not None:
                self._server.close()
                self._server = None


class Connections:
    """A few connections, lent for one piece of work at a time; made when first needed; safe for threads and forks."""

    def __init__(
        self,
        place: Place,
        *,
        most: int,
        statement_seconds: float,
        prepare: Callable[[BoundedConnection], None] | None = None,
        breaker: Breaker | None = None,
        watching: Watching | None = None,
    ) -> None:
        self.breaker = breaker or Breaker()
        self._place = place
        self._most = most
        self._statement_seconds = statement_seconds
        self._prepare = prepare
        # For callers who wait; what goes on behind them must not keep the interpreter from them.
        self._watching = watching
        self._start()
        _ALL.add(self)

    def _start(self) -> None:
        self._idle: deque[BoundedConnection] = deque()
        self._changed = threading.Condition(threading.Lock())
        self._open = 0
        self._waiting = 0
        self._opening = False
        self._failure: Unavailable | None = None
        self._last: Unavailable | None = None
        self._generation = 0
        self._closed = False

    def call(self, work: Callable[[BoundedConnection], T], *, seconds: float) -> T:
        """What `work` returns, or `Unavailable` after `seconds` at most.

        Work must be safe to repeat: when a connection turns out to have been closed it runs again on a new one. What
        the values of the caller cause (`REFUSALS`) comes out as it is.
        """
        breaker = self.breaker
        if breaker.is_troubled and not breaker.allows():
            raise self._turned_away()
        ends = time.monotonic() + seconds
        again = True
        while True:
            try:
                con = self._idle.pop()
            except IndexError:
                con = self._take(ends)
            con.ends = ends
            if self._watching is not None:
                con.looks = self._watching.begin(alone=len(self._idle) == self._open - 1)
            try:
                result = work(con)
            except BaseException as error:
                lost = con.pgconn.status != pq.ConnStatus.OK
                self._after_failure(con, lost=lost)
                if isinstance(error, REFUSALS):
                    breaker.succeeded()
                    raise
                if not isinstance(error, psycopg.Error):
                    raise
                if lost and again and not isinstance(error, DeadlinePassed):
                    again = False
                    continue
                if isinstance(error, psycopg.errors.LockNotAvailable) and time.monotonic() < ends:
                    # The work would not wait for it as long as it might have: no failure of the store.
                    breaker.succeeded()
                    raise unavailable(error) from error
                breaker.failed()
                self._last = unavailable(error)
                # Not the same one: what was raised holds the frames it went through.
                raise unavailable(error) from error
            if breaker.is_troubled:
                breaker.succeeded()
            self._give(con)
            return result

    def _take(self, ends: float) -> BoundedConnection:
        """A connection that is opened or given back by then."""
        with self._changed:
            if self.breaker.is_open and not self._idle:
                # Nobody waits for a server that is known not to answer: the try goes on without its caller.
                if not self._opening and self._open < self._most:
                    self._begin_opening()
                raise self._turned_away()
            self._waiting += 1
            try:
                self._forget_failure()
                while True:
                    if self._closed:
                        raise Unavailable("closed")
                    if self._idle:
                        return self._idle.pop()
                    if self._failure is not None:
                        self.breaker.failed()
                        raise self._failure
                    if not self._opening and self._open < self._most:
                        self._begin_opening()
                        continue
                    if not self._changed.wait(ends - time.monotonic()):
                        if self._open:
                            raise Unavailable("busy")
                        self.breaker.failed()
                        raise Unavailable("connecting")
            finally:
                self._waiting -= 1

    def _turned_away(self) -> Unavailable:
        """What the breaker says, and why it is open: who reads it must learn what to do."""
        last = self._last
        if last is None:
            return Unavailable("breaker open")
        return Unavailable("breaker open", last.message, hint=last.hint, lasting=last.lasting)

    def _forget_failure(self) -> None:
        self._failure = None

    def _give(self, con: BoundedConnection) -> None:
        self._idle.append(con)
        # Looked at without the lock: whoever begins to wait after this looks at `_idle` first.
        if self._waiting or self._closed:
            with self._changed:
                if self._closed:
                    self._discard_idle()
                self._changed.notify()

    def _after_failure(self, con: BoundedConnection, *, lost: bool) -> None:
        if not lost and con.pgconn.transaction_status != pq.TransactionStatus.IDLE:
            # Rolled back by being closed; asking the server for it could take as long again.
            lost = True
        if not lost:
            self._give(con)
            return
        con.close()
        with self._changed:
            self._open -= 1
            # The others were made before the same restart or network failure.
            self._discard_idle()
            self._changed.notify()

    def _discard_idle(self) -> None:
        with contextlib.suppress(IndexError):
            while True:
                self._idle.pop().close()
                self._open -= 1

    def _begin_opening(self) -> None:
        self._opening = True
        generation = self._generation
        opener = threading.Thread(target=self._connect, args=(generation,), name="retention-connect", daemon=True)
        try:
            opener.start()
        except RuntimeError:
            # The interpreter is ending: no more threads, but what is written at the end still wants a connection.
            self._changed.release()
            try:
                self._connect(generation)
            finally:
                self._changed.acquire()

    def _connect(self, generation: int) -> None:
        con, failure = None, None
        probes = self.breaker.is_open
        try:
            con = self._place.connect(
                statement_seconds=self._statement_seconds, seconds=_PROBE_SECONDS if probes else CONNECT_SECONDS
            )
            if self._prepare is not None:
                self._prepare(con)
            con.watching = self._watching
        except (psycopg.Error, DatabaseError, OSError) as error:
            if con is not None:
                con.close()
                con = None
            failure = unavailable(error)
            if failure.lasting:
                self._place.tell(failure)
        except BaseException as error:
            failure = unavailable(error)
            raise
        finally:
            with self._changed:
                if generation == self._generation:
                    self._opening = False
                    self._failure = failure
                    if failure is not None:
                        self._last = Unavailable(
                            failure.reason, failure.message, hint=failure.hint, lasting=failure.lasting
                        )
                    if con is not None and self._closed:
                        con.close()
                    elif con is not None:
                        self._open += 1
                        self._idle.append(con)
                    self._changed.notify_all()
            if con is not None:
                self.breaker.try_now()

    def drop_idle(self) -> None:
        """Close what is not lent; new ones are made when needed."""
        with self._changed:
            self._discard_idle()

    def close(self) -> None:
        """Close what is idle now and what is lent when it comes back."""
        with self._changed:
            self._closed = True
            self._discard_idle()
            self._changed.notify_all()

    def after_fork(self) -> None:
        """Start anew in a child; the parent's connections stay open there, and are never touched here."""
        _INHERITED.extend(self._idle)
        self._start()


def unavailable(error: BaseException) -> Unavailable:
    """What to tell of a failure: a reason of few words for counters, and the first line of what was said."""
    text = (error.message if isinstance(error, DatabaseError) else str(error)).strip()
    told = text.splitlines()[0] if text else type(error).__name__
    hint = None
    if isinstance(error, DeadlinePassed | psycopg.errors.QueryCanceled | psycopg.errors.LockNotAvailable):
        reason = "deadline"
    elif isinstance(error, _UNREADY) or "does not exist" in told:
        reason, hint = "not migrated", _UPGRADE
    elif isinstance(error, psycopg.errors.ReadOnlySqlTransaction):
        reason = "read-only"
    elif isinstance(error, psycopg.errors.InsufficientPrivilege):
        reason = "no privilege"
    elif isinstance(error, psycopg.errors.DiskFull):
        reason = "disk full"
    elif isinstance(error, DatabaseError):
        reason, hint = "no database", error.hint
    elif isinstance(error, psycopg.OperationalError | psycopg.InterfaceError | OSError):
        reason = "unreachable"
    else:
        reason = type(error).__name__
    return Unavailable(
        reason, f"The Postgres tier is not available ({reason}): {told}", hint=hint, lasting=hint == _UPGRADE
    )


_ALL: "weakref.WeakSet[Connections]" = weakref.WeakSet()
# Connections of a parent: kept, so that no destructor says goodbye to the server over the parent's socket.
_INHERITED: list[BoundedConnection] = []


def _after_fork() -> None:
    for connections in list(_ALL):
        connections.after_fork()


os.register_at_fork(after_in_child=_after_fork)
