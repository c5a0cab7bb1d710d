"""A connection whose every call ends in time, whatever happens to the network or the server.

What belongs here: waiting with a deadline of this process. Deadlines of the server (`statement_timeout`) and of TCP do
not help against a peer that takes what is sent and never answers. What does not belong here: pools, retries, breakers.
"""

import select
import time
from collections.abc import Sequence
from typing import Any, Self

import psycopg
from psycopg import generators, pq, waiting
from psycopg.abc import RV, PQGen

from retention_pipelines.postgres.watching import Watching

_READ = select.POLLIN | select.POLLERR | select.POLLHUP
_WRITE = select.POLLOUT | select.POLLERR | select.POLLHUP


# A prepared statement's name, its values, and the places of those that are not text.
Step = tuple[bytes, Sequence[bytes | None], Sequence[int]]


class DeadlinePassed(psycopg.OperationalError):
    """The answer did not come in time; the connection is closed, and whether the statement ran is unknown."""


class BoundedConnection(psycopg.Connection[tuple[Any, ...]]):
    """A psycopg connection that waits until `ends` (of `time.monotonic`) at most; then it is closed."""

    ends: float = float("inf")
    # Who is told when `answer` looked for the answer so often in vain before it slept until it came.
    looks: int = 0
    watching: Watching | None = None
    _reads: Any = None

    @classmethod
    def open(cls, conninfo: str, *, seconds: float) -> Self:
        """Connect within so many seconds, apart from resolving the host's name; commits each statement by itself."""
        pgconn = _connect(conninfo, time.monotonic() + seconds)
        opened = cls(pgconn)
        opened.autocommit = True
        # Statements are prepared by name where it matters.
        opened.prepare_threshold = None
        return opened

    def wait(self, gen: PQGen[RV], interval: float = 0.0, timeout: float | None = None) -> RV:
        """Run one of psycopg's exchanges with the server to its end, or to the deadline."""
        try:
            wanted = next(gen)
            while True:
                wanted = gen.send(self._ready(wanted))
        except StopIteration as ended:
            result: RV = ended.value
            return result
        except DeadlinePassed:
            raise
        except Exception:
            raise
        except BaseException:
            # Interrupted between question and answer: nobody may use it again.
            self.pgconn.finish()
            raise

    def answer(self, name: bytes, values: Sequence[bytes | None]) -> pq.abc.PGresult:
        """Run a statement that was prepared as `name`; values as text, columns of the answer as binary.

        The short way of a hit: psycopg's cursors cost as much again as the exchange itself.
        """
        pgconn = self.pgconn
        try:
            pgconn.send_query_prepared(name, values, result_format=pq.Format.BINARY)
            while pgconn.flush():
                self._await(_WRITE)
            if not self.looks or not self._watch():
                self._await(_READ)
            pgconn.consume_input()
            while pgconn.is_busy():
                self._await(_READ)
                pgconn.consume_input()
            result = pgconn.get_result()
            while pgconn.get_result() is not None:
                pass
        except psycopg.OperationalError:
            raise
        except BaseException:
            pgconn.finish()
            raise
        if result is None:
            pgconn.finish()
            raise psycopg.OperationalError("the server gave no answer")
        if result.status != pq.ExecStatus.TUPLES_OK:
            raise psycopg.errors.error_from_result(result, encoding="utf-8")
        return result

    def answers(self, steps: Sequence[Step]) -> list[pq.abc.PGresult]:
        """Run statements that were prepared, in one transaction and one round trip; nothing of it stays if one fails.

        A transaction of which the server has everything or nothing: its locks never wait for this process.
        """
        pgconn = self.pgconn
        try:
            pgconn.enter_pipeline_mode()
            for name, values, binary in steps:
                formats = [pq.Format.BINARY if place in binary else pq.Format.TEXT for place in range(len(values))]
                pgconn.send_query_prepared(name, values, formats, pq.Format.BINARY)
            pgconn.pipeline_sync()
            while pgconn.flush():
                if self._await(_READ | _WRITE) & ~select.POLLOUT:
                    pgconn.consume_input()
            results = []
            while (result := self._next_result()) is None or result.status != pq.ExecStatus.PIPELINE_SYNC:
                if result is not None:
                    results.append(result)
            pgconn.exit_pipeline_mode()
        except BaseException:
            pgconn.finish()
            raise
        for result in results:
            if result.status not in (pq.ExecStatus.TUPLES_OK, pq.ExecStatus.COMMAND_OK):
                raise psycopg.errors.error_from_result(result, encoding="utf-8")
        return results

    def _next_result(self) -> pq.abc.PGresult | None:
        while self.pgconn.is_busy():
            self._await(_READ)
            self.pgconn.consume_input()
        return self.pgconn.get_result()

    def _ready(self, wanted: int) -> int:
        mask = (_READ if wanted & waiting.WAIT_R else 0) | (_WRITE if wanted & waiting.WAIT_W else 0)
        got = self._await(mask)
        ready = 0
        if got & ~select.POLLOUT:
            ready |= waiting.READY_R
        if got & ~select.POLLIN:
            ready |= waiting.READY_W
        return ready & wanted or wanted

    def _watch(self) -> bool:
        """Look for an answer; whether there is one, or an end of the connection."""
        if self._reads is None:
            return False
        look = self._reads.poll
        for _ in range(self.looks):
            if look(0):
                return True
        if self.watching is not None:
            self.watching.in_vain()
        return False

    def _await(self, mask: int) -> int:
        left = self.ends - time.monotonic()
        poll, place = self._reads, self.pgconn.socket
        if poll is None or mask != _READ:
            poll = select.poll()
            poll.register(place, mask)
            if mask == _READ:
                self._reads = poll
        got = poll.poll(None if left == float("inf") else max(0.0, left * 1000))
        if not got:
            self.pgconn.finish()
            raise DeadlinePassed("no answer within the deadline")
        ready: int = got[0][1]
        return ready


def _connect(conninfo: str, ends: float) -> pq.abc.PGconn:
    exchange = generators.connect(conninfo)
    try:
        place, wanted = next(exchange)
        while True:
            poll = select.poll()
            poll.register(place, (_READ if wanted & waiting.WAIT_R else 0) | (_WRITE if wanted & waiting.WAIT_W else 0))
            left = ends - time.monotonic()
            if left <= 0 or not poll.poll(left * 1000):
                raise DeadlinePassed("no connection within the deadline")
            place, wanted = exchange.send(wanted)
    except StopIteration as ended:
        connected: pq.abc.PGconn = ended.value
        return connected
