"""Negative answers: declared exceptions and None, remembered for seconds so that a failing lookup is not hammered.

What belongs here: which outcomes may be remembered, and the remembered exceptions of one function. They stay in this
process: no exception is ever written to a store. Timeouts and running out of memory are never remembered.
"""

import copy
import threading
import time
import traceback
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from types import TracebackType

from retention_pipelines.errors import CacheError

LONGEST_SECONDS = 30.0
_MOST = 1_000
_NEVER = (TimeoutError, MemoryError, RecursionError, ConnectionError)


@dataclass(frozen=True, kw_only=True, slots=True)
class Negative:
    """What a function declared: `none` for a None result, and classes of exceptions."""

    none: bool
    exceptions: tuple[type[Exception], ...]
    ttl_seconds: float

    def remembers(self, error: BaseException) -> bool:
        """Whether this exception may be remembered."""
        return isinstance(error, self.exceptions) and not isinstance(error, _NEVER)


def declare(outcomes: Iterable[type[Exception] | None], ttl_seconds: float) -> Negative | None:
    """Check a declaration such as `(None, LookupError)`; None for an empty one."""
    outcomes = tuple(outcomes)
    if not outcomes:
        return None
    if not 0 < ttl_seconds <= LONGEST_SECONDS:
        raise CacheError(
            f"negative_ttl is {ttl_seconds} s.",
            hint=f"A negative answer may live more than 0 and at most {LONGEST_SECONDS:g} seconds.",
        )
    exceptions = []
    for outcome in outcomes:
        if outcome is None:
            continue
        if not (isinstance(outcome, type) and issubclass(outcome, Exception)):
            raise CacheError(
                f"negative names {outcome!r}.", hint="Name None and classes of Exception, such as (None, LookupError)."
            )
        if outcome is Exception or issubclass(outcome, _NEVER):
            raise CacheError(
                f"negative names {outcome.__name__}, which also means passing trouble.",
                hint="Name the exceptions that are an answer, such as LookupError.",
            )
        exceptions.append(outcome)
    return Negative(none=None in outcomes, exceptions=tuple(exceptions), ttl_seconds=ttl_seconds)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Remembered:
    error: Exception
    traceback: TracebackType | None
    until: float


class Exceptions:
    """Remembered exceptions of one function by key: at most 1,000, oldest out first; safe for threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._by_key: OrderedDict[str, _Remembered] = OrderedDict()

    def remember(self, key: str, error: BaseException, ttl_seconds: float) -> bool:
        """Keep a copy; False where the exception cannot be copied exactly.

        The traceback keeps its lines; the variables of its frames are let go, or they would live as long as the entry.
        """
        kept = _copy(error)
        if kept is None:
            return False
        traceback.clear_frames(error.__traceback__)
        now = time.monotonic()
        with self._lock:
            while self._by_key and (len(self._by_key) >= _MOST or next(iter(self._by_key.values())).until <= now):
                self._by_key.popitem(last=False)
            self._by_key[key] = _Remembered(error=kept, traceback=error.__traceback__, until=now + ttl_seconds)
        return True

    def recall(self, key: str) -> Exception | None:
        """A fresh copy of what was remembered, with its traceback; None when there is nothing or it expired."""
        remembered = self._by_key.get(key)
        if remembered is None:
            return None
        if remembered.until <= time.monotonic():
            with self._lock:
                if self._by_key.get(key) is remembered:
                    del self._by_key[key]
            return None
        again = _copy(remembered.error)
        return None if again is None else again.with_traceback(remembered.traceback)

    def clear(self) -> None:
        """Forget all."""
        with self._lock:
            self._by_key.clear()

    def __len__(self) -> int:
        return len(self._by_key)


def _copy(error: BaseException) -> Exception | None:
    try:
        twin = copy.copy(error)
    except Exception:  # noqa: BLE001 - a class of the user's; whatever it raises, it is just not remembered
        return None
    if not isinstance(twin, Exception) or type(twin) is not type(error) or twin.args != error.args:
        return None
    twin.__cause__ = error.__cause__
    twin.__context__ = error.__context__
    twin.__suppress_context__ = error.__suppress_context__
    return twin
