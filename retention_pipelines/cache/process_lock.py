"""The lock that lets one of several processes compute a cold key while the others wait for its value.

What belongs here: advisory locks of Postgres on one dedicated connection, with a bounded wait. What does not: the
threads of one process (`flight.py`). A lock ends with the process or connection that held it; without the database
nobody waits.
"""

import time
from hashlib import blake2b
from typing import Literal

from retention_pipelines.cache.connections import Connections, Unavailable
from retention_pipelines.cache.hot import HotTier

# "leader": locked; compute, store, then release. "ready": another process had it and is done; look the key up again and
# come back here if it is not there. "timeout": compute without the lock and release nothing.
Standing = Literal["leader", "ready", "timeout"]
_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.004, 0.05


class ProcessLock:
    """Locks by key among the processes of one database; safe for threads, which first share a flight."""

    def __init__(self, hot: HotTier) -> None:
        self._hot = hot
        self._connections = Connections(hot.place, most=1, statement_seconds=hot.deadline_seconds, breaker=hot.breaker)

    def acquire(self, key: str, wait_seconds: float) -> Standing:
        """Where this process stands with a key, after `wait_seconds` and one deadline at most."""
        if self._hot.read_only:
            # It could not store what the others would wait for.
            return "timeout"
        number = self._number(key)
        ends = time.monotonic() + wait_seconds
        pause, waited = _SHORTEST_PAUSE, False
        try:
            while not self._ask("select pg_try_advisory_lock(%s)", number):
                waited = True
                left = ends - time.monotonic()
                if left <= 0:
                    return "timeout"
                time.sleep(min(pause, left))
                pause = min(pause * 1.5, _LONGEST_PAUSE)
            if waited:
                self._ask("select pg_advisory_unlock(%s)", number)
                return "ready"
        except Unavailable:
            return "timeout"
        return "leader"

    def release(self, key: str) -> None:
        """Let the others go on; call it when the value is stored or given up."""
        try:
            self._ask("select pg_advisory_unlock(%s)", self._number(key))
        except Unavailable:
            # The connection is gone, and the lock with it; or it is not, and then it must go.
            self._connections.drop_idle()

    def close(self) -> None:
        """Release everything."""
        self._connections.close()

    def _ask(self, statement: str, number: int) -> bool:
        rows = self._connections.call(
            lambda con: con.execute(statement.encode(), (number,), prepare=True).fetchall(),
            seconds=self._hot.deadline_seconds,
        )
        return bool(rows[0][0])

    def _number(self, key: str) -> int:
        digest = blake2b(key.encode(), key=self._hot.tenant.encode(), digest_size=8, person=b"retention-lock")
        return int.from_bytes(digest.digest(), "big", signed=True)
