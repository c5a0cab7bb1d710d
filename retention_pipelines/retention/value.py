"""What keeping an entry is worth, from measured compute time, counted reads and bytes.

What belongs here: the arithmetic. What does not: who may go at all (`decide.py`) and how much must (`pressure.py`).
Nothing is assumed where nothing was measured: an unknown compute time has no value, and no break-even.
"""

import math
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Prices:
    """What a second of computing and a byte kept for a second cost, in any one currency."""

    compute_second: float
    byte_second: float

    def __post_init__(self) -> None:
        for name in self.__slots__:
            price = getattr(self, name)
            if not (math.isfinite(price) and price > 0):
                raise ValueError(f"{name} is {price}: a price is above 0")


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """What is known of an entry; `compute_seconds` is None where it was never measured.

    Attributes:
        hits: reads by users since it was computed.
        age_seconds: since it was computed.
        idle_seconds: since it was last read, or computed.
    """

    compute_seconds: float | None
    hits: int
    age_seconds: float
    idle_seconds: float
    size_bytes: int


def break_even_seconds(entry: Measured, prices: Prices) -> float | None:
    """The idle time after which keeping an entry has cost what computing it again would; None: never measured.

    The five-minute rule (Gray and Putzolu 1987, "The 5 minute rule for trading memory for disc accesses"): an entry is
    worth keeping while it is read more often than once in this time. An entry without bytes costs nothing to keep.
    """
    if entry.compute_seconds is None:
        return None
    if entry.size_bytes <= 0:
        return math.inf
    return entry.compute_seconds * prices.compute_second / (entry.size_bytes * prices.byte_second)


def is_worth_keeping(entry: Measured, prices: Prices) -> bool | None:
    """Whether an entry was read within its break-even time; None: never measured, so nobody can say."""
    limit = break_even_seconds(entry, prices)
    return None if limit is None else entry.idle_seconds <= limit


def value_per_byte(entry: Measured) -> float | None:
    """Compute seconds saved per second and byte kept, at the rate it was read so far; None: never measured.

    The rate counts one read more than there were, over the time since it was computed or, if that is longer, a second:
    a new entry that nobody read yet is not worthless, and ages towards it.
    """
    if entry.compute_seconds is None:
        return None
    rate = (entry.hits + 1) / max(entry.age_seconds, 1.0)
    return rate * entry.compute_seconds / max(entry.size_bytes, 1)
