"""Events: what the caches did, told to hooks and counted.

What belongs here: the event and the counters. What does not: turning counters into rows, logs or alerts (`monitoring`
and the log hook attach themselves from outside). An event never holds a payload or an argument.
"""

import threading
from collections import Counter, deque
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal, Protocol

from retention_pipelines.cache.entry import Kind

# Of functions that were decorated in others and are gone, between two looks at the counts.
_MOST_LEFT = 65_536
Outcome = Literal[
    "hit",  # answered from `tier`
    "miss",  # the function ran
    "stale",  # answered with an expired value because the function opted in
    "bypass",  # not cached: switched off, or `reason` says why
    "negative",  # answered with a remembered None or declared exception
    "shared",  # waited for another caller's computation
    "stored",  # written to `tier`
    "unstorable",  # the result cannot be stored exactly
    "dropped",  # a write or access count was given up (`reason`)
    "corrupt",  # a stored entry was damaged, foreign or forged
    "degraded",  # a store was not asked or did not answer in time (`reason`)
    "invalidated",
    "error",  # the function raised
]


@dataclass(frozen=True, kw_only=True, slots=True)
class CacheEvent:
    """One thing a cache did.

    Attributes:
        function: qualified name.
        tier: memory, postgres, lake, files; empty where none is meant.
        elapsed_seconds: time this call took in the cache, without the function's own.
        saved_seconds: measured compute time of the answer minus `elapsed_seconds`, for hits only; never guessed.
        compute_seconds: time the function took, for misses.
        size_bytes: bytes of the payload, where known.
        location_grid: cell whose answer was shared, for functions with `spatial=`.
        age_seconds: since the answer was computed, where it was looked at.
    """

    kind: Kind
    outcome: Outcome
    function: str
    key: str = ""
    tier: Literal["", "memory", "postgres", "lake", "files"] = ""
    elapsed_seconds: float = 0.0
    saved_seconds: float | None = None
    compute_seconds: float | None = None
    size_bytes: int | None = None
    reason: str = ""
    location_grid: str = ""
    age_seconds: float | None = None


class Hook(Protocol):
    """What wants to hear events; called on the caller's thread, so it must be quick. What it raises is counted."""

    def __call__(self, event: CacheEvent, /) -> None:
        """Take note."""
        ...


class Counters:
    """Counts of outcomes by kind and tier, of one process; safe for threads.

    `left` takes hits, by kind and tier, without a lock; they count when the counts are next asked for.
    """

    def __init__(self) -> None:
        self.left: deque[tuple[Kind, str, int]] = deque(maxlen=_MOST_LEFT)
        self._lock = threading.Lock()
        self._counts: Counter[tuple[Kind, Outcome, str]] = Counter()

    def add(self, kind: Kind, outcome: Outcome, tier: str = "", n: int = 1) -> None:
        """Count `n` more."""
        with self._lock:
            self._counts[kind, outcome, tier] += n

    def snapshot(self) -> dict[tuple[Kind, Outcome, str], int]:
        """The counts now."""
        with suppress(IndexError):  # somebody else may be taking them, too
            while True:
                kind, tier, hits = self.left.popleft()
                self.add(kind, "hit", tier, hits)
        with self._lock:
            return dict(self._counts)
