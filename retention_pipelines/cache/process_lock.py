"""The lock that lets one of several processes compute a cold key while the others wait for its value.

What belongs here: advisory locks of Postgres on one dedicated connection, with a bounded wait. What does not: the
threads of one process (`flight.py`). A lock ends with the process or connection that held it; without the database
nobody waits.
"""

import time
from collections import deque
from collections.abc import Generator, Iterable
from hashlib import blake2b
from typing import Literal

from retention_pipelines.cache import lookups
from retention_pipelines.cache.connections import Connections, Unavailable
from retention_pipelines.cache.entry import Kind
from retention_pipelines.cache.hot import HotTier
from retention_pipelines.postgres.bounded import BoundedConnection

# "leader": locked; compute, store, then release. "ready": another process is done with it; look the key up again and
# come back here if it is not there. "timeout": compute without the lock and release nothing.
Standing = Literal["leader", "ready", "timeout"]
_TRY, _RELEASE = b"retention_try_lock", b"retention_unlock"
_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.004, 0.05


class ProcessLock:
    """Locks by key among the processes of one database; safe for threads, which first share a flight."""

    def __init__(self, hot: HotTier) -> None:
        self._hot = hot
        self._connections = Connections(
            hot.place, most=1, statement_seconds=hot.deadline_seconds, prepare=_prepare, breaker=hot.breaker
        )
        self._hash = blake2b(key=hot.tenant.encode(), digest_size=8, person=b"retention-lock")
        # Locks that could not be given back while others used the connection.
        self._owed: deque[bytes] = deque()

    def acquire(self, key: str, wait_seconds: float, *, kind: Kind | None = None) -> Standing:
        """Where this process stands with a key, after `wait_seconds` and one deadline at most."""
        attempts = self.attempts(key, wait_seconds, kind=kind)
        while True:
            try:
                time.sleep(next(attempts))
            except StopIteration as ended:
                standing: Standing = ended.value
                return standing

    def attempts(
        self, key: str, wait_seconds: float, *, kind: Kind | None = None, within_days: int | None = None
    ) -> Generator[float, None, Standing]:
        """The same for whoever waits in his own way: asks when resumed, yields the seconds until it should ask again.

        With a `kind`, the key's entry is looked for in the round trip that locks: whoever had the lock may have been
        done between the caller's own look and now, and then nobody need compute. `within_days` as for `HotTier.get`.
        """
        if self._hot.read_only:
            # It could not store what the others would wait for.
            return "timeout"
        number = self._number(key)
        ends = time.monotonic() + wait_seconds
        pause, waited = _SHORTEST_PAUSE, False
        try:
            while True:
                locked, stored = self._try(number, key, kind, within_days)
                if locked and not waited and not stored:
                    return "leader"
                if locked:
                    self._unlock([number])
                if locked or stored:
                    return "ready"
                waited = True
                left = ends - time.monotonic()
                if left <= 0:
                    return "timeout"
                yield min(pause, left)
                pause = min(pause * 1.5, _LONGEST_PAUSE)
        except Unavailable:
            return "timeout"

    def release(self, keys: Iterable[str]) -> None:
        """Let the others go on, in one round trip; call it when the values are stored or given up."""
        numbers = [self._number(key) for key in keys]
        try:
            self._unlock(numbers)
        except Unavailable as error:
            if error.reason == "busy":
                self._owed.extend(numbers)
                return
            # The connection is gone, and the lock with it; or it is not, and then it must go.
            self._owed.clear()
            self._connections.drop_idle()

    def close(self) -> None:
        """Release everything."""
        self._connections.close()

    def _try(self, number: bytes, key: str, kind: Kind | None, within_days: int | None) -> tuple[bool, bool]:
        """Whether it is locked now, and whether a fresh entry is there: looked for after the lock, by its snapshot."""

        def work(con: BoundedConnection) -> tuple[bool, bool]:
            self._pay(con)
            if kind is None:
                return con.answer(_TRY, (number,)).get_value(0, 0) == b"\1", False
            try:
                tried, found = con.answers(
                    [(_TRY, (number,), ()), self._hot.lookup(kind, key, within_days=within_days)]
                )
                return tried.get_value(0, 0) == b"\1", self._hot.holds(kind, key, found)
            except BaseException:
                # Perhaps it is locked: that ends with the connection.
                con.close()
                raise

        return self._connections.call(work, seconds=self._hot.deadline_seconds)

    def _unlock(self, numbers: list[bytes]) -> None:
        def work(con: BoundedConnection) -> None:
            self._pay(con)
            con.answer(_RELEASE, (_array(numbers),))

        self._connections.call(work, seconds=self._hot.deadline_seconds)

    def _pay(self, con: BoundedConnection) -> None:
        while self._owed:
            con.answer(_RELEASE, (_array([self._owed.popleft()]),))

    def _number(self, key: str) -> bytes:
        digest = self._hash.copy()
        digest.update(key.encode())
        return str(int.from_bytes(digest.digest(), "big", signed=True)).encode()


def _array(numbers: list[bytes]) -> bytes:
    return b"{" + b",".join(numbers) + b"}"


def _prepare(con: BoundedConnection) -> None:
    lookups.prepare(con)
    con.execute("prepare retention_try_lock (int8) as select pg_try_advisory_lock($1)")
    con.execute("prepare retention_unlock (int8[]) as select pg_advisory_unlock(number) from unnest($1) as number")
