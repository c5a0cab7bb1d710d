"""Counts of one cached function, and how they are shown.

What belongs here: counters that cost a hit next to nothing, and `CacheInfo`. What does not: counts by kind and tier of
the whole process (`events.Counters`).
"""

import itertools
from dataclasses import dataclass, field
from typing import Any


def read(counter: "itertools.count[int]") -> int:
    """How often a counter was taken from; reading takes nothing."""
    return int(repr(counter)[6:-1])


def _counter() -> "itertools.count[int]":
    return itertools.count()


@dataclass(frozen=True, kw_only=True, slots=True)
class CacheInfo:
    """What the caches did for one function in this process since it was decorated.

    Every call counts once: as one of the hits, a miss, `shared`, `negative`, `stale`, `bypassed` or an error. Counts
    are exact. Sums of seconds may miss a little where threads add at the same instant.

    Attributes:
        memory_hits, postgres_hits, lake_hits, files_hits: answered from that tier.
        misses: the function ran for the caller and returned.
        shared: waited for a computation another caller had begun.
        negative: answered with a remembered exception.
        stale: answered with an expired value, where the function opted in.
        bypassed: the function just ran: switched off, or a key could not be made.
        errors: the function raised.
        unstorable: results that were returned and not kept.
        renewed: answers computed by a refresh: early, in the background or asked for.
        hook_errors: hooks that raised.
        memory_seconds: time spent answering from memory.
        miss_seconds: time the callers of misses waited: looking up, the function, keeping its answer.
        compute_seconds: time the function took on misses and renewals, also behind everybody's back.
        avoided_seconds: measured compute time of the answers served from a tier: time saved is this minus the time
            the hits took.
    """

    function: str
    memory_hits: int
    postgres_hits: int
    lake_hits: int
    files_hits: int
    misses: int
    shared: int
    negative: int
    stale: int
    bypassed: int
    errors: int
    unstorable: int
    renewed: int
    hook_errors: int
    memory_seconds: float
    below_seconds: float
    miss_seconds: float
    compute_seconds: float
    avoided_seconds: float

    @property
    def hits(self) -> int:
        """Calls answered from any tier with a fresh value."""
        return self.memory_hits + self.postgres_hits + self.lake_hits + self.files_hits

    @property
    def calls(self) -> int:
        """Calls that asked the cache, whatever came of them; bypassed ones did not."""
        return self.hits + self.misses + self.shared + self.negative + self.stale + self.errors

    @property
    def hit_ratio(self) -> float | None:
        """Share of these calls for which the function need not run, 0 to 1; None before the first."""
        return (self.calls - self.misses - self.errors) / self.calls if self.calls else None


@dataclass(slots=True)
class Counts:
    """The counters themselves: `next(counts.misses)` counts one, in one step for all threads."""

    memory_hits: "itertools.count[int]" = field(default_factory=_counter)
    postgres_hits: "itertools.count[int]" = field(default_factory=_counter)
    lake_hits: "itertools.count[int]" = field(default_factory=_counter)
    files_hits: "itertools.count[int]" = field(default_factory=_counter)
    misses: "itertools.count[int]" = field(default_factory=_counter)
    shared: "itertools.count[int]" = field(default_factory=_counter)
    negative: "itertools.count[int]" = field(default_factory=_counter)
    stale: "itertools.count[int]" = field(default_factory=_counter)
    bypassed: "itertools.count[int]" = field(default_factory=_counter)
    errors: "itertools.count[int]" = field(default_factory=_counter)
    unstorable: "itertools.count[int]" = field(default_factory=_counter)
    renewed: "itertools.count[int]" = field(default_factory=_counter)
    hook_errors: "itertools.count[int]" = field(default_factory=_counter)
    memory_seconds: float = 0.0
    below_seconds: float = 0.0
    miss_seconds: float = 0.0
    compute_seconds: float = 0.0
    avoided_seconds: float = 0.0

    def info(self, function: str) -> CacheInfo:
        """What was counted until now."""
        values: dict[str, Any] = {}
        for name in self.__slots__:
            value = getattr(self, name)
            values[name] = value if isinstance(value, float) else read(value)
        return CacheInfo(function=function, **values)
