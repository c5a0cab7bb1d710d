"""The breaker: stops asking a store that does not answer, and finds out when it does again.

What belongs here: the three states and when they change. What does not: what counts as a failure, and what is done
instead. Time is the monotonic clock of the process, given as a function.
"""

import threading
import time
from collections.abc import Callable

FAILURES = 3
OPEN_SECONDS = 0.5


class Breaker:
    """Closed until `failures` in a row; then open for `open_seconds`; then one caller at a time may try."""

    def __init__(
        self,
        *,
        failures: int = FAILURES,
        open_seconds: float = OPEN_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limit = failures
        self._open_seconds = open_seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._failed_in_a_row = 0
        self._next_try_at: float | None = None
        # Whether the last call failed: while it did not, nobody need ask or tell. A plain attribute: every hit looks.
        self.is_troubled = False

    @property
    def is_open(self) -> bool:
        """Whether callers are being turned away, but for one now and then."""
        return self._next_try_at is not None

    def allows(self) -> bool:
        """Whether this caller may ask the store; whoever may must tell `succeeded` or `failed`."""
        if not self.is_open:
            return True
        with self._lock:
            due, now = self._next_try_at, self._clock()
            if due is None:
                return True
            if now < due:
                return False
            # This caller probes; the next may after the same time again, should this one never come back.
            self._next_try_at = now + self._open_seconds
            return True

    def succeeded(self) -> None:
        """The store answered."""
        if self._failed_in_a_row or self._next_try_at is not None:
            with self._lock:
                self._failed_in_a_row = 0
                self._next_try_at = None
                self.is_troubled = False

    def try_now(self) -> None:
        """There is reason to believe that the store answers again: let the next caller try."""
        with self._lock:
            if self._next_try_at is not None:
                self._next_try_at = self._clock()

    def failed(self) -> None:
        """The store did not answer, or not in time."""
        with self._lock:
            self._failed_in_a_row += 1
            self.is_troubled = True
            if self._failed_in_a_row >= self._limit:
                self._next_try_at = self._clock() + self._open_seconds
