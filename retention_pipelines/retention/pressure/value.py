"""What keeping an entry is worth, from measured compute time, counted reads and bytes.

What belongs here: the arithmetic. What does not: who may go at all (`decide.py`) and how much must (`state.py`).
Nothing is assumed where nothing was measured: an unknown compute time has no value, and no break-even.
"""

import math
from dataclasses import dataclass

from retention_pipelines.settings import Settings

DAY_SECONDS = 86_400
MONTH_SECONDS = 30 * DAY_SECONDS


@dataclass(frozen=True, kw_only=True, slots=True)
class Prices:
    """What a second of computing and a byte kept for a second cost, in any one currency."""

    compute_second: float
    byte_second: float

    @classmethod
    def of(cls, settings: Settings) -> "Prices":
        """Those of the settings; a gigabyte there is 10^9 bytes, and a month 30 days."""
        return cls(
            compute_second=settings.compute_price_cpu_second,
            byte_second=settings.storage_price_gb_month / (10**9 * MONTH_SECONDS),
        )

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
    """

    compute_seconds: float | None
    hits: int
    age_seconds: float
    size_bytes: int

    @property
    def read_every_seconds(self) -> float:
        """How long from one read to the next, at the rate so far.

        One read more than there were is counted, over the time since it was computed or, if that is longer, a second:
        a new entry that nobody read yet is not worthless, and ages towards it.
        """
        return max(self.age_seconds, 1.0) / (self.hits + 1)


def break_even_seconds(entry: Measured, prices: Prices) -> float | None:
    """The time after which keeping an entry has cost what computing it again would; None: never measured.

    The five-minute rule (Gray and Putzolu 1987, "The 5 minute rule for trading memory for disc accesses"): an entry is
    worth keeping while it is read more often than once in this time. An entry without bytes costs nothing to keep.
    """
    if entry.compute_seconds is None:
        return None
    if entry.size_bytes <= 0:
        return math.inf
    return entry.compute_seconds * prices.compute_second / (entry.size_bytes * prices.byte_second)


def is_worth_keeping(entry: Measured, prices: Prices) -> bool | None:
    """Whether the computing that reads save costs more than keeping the bytes; None: nobody measured it."""
    limit = break_even_seconds(entry, prices)
    return None if limit is None else entry.read_every_seconds <= limit


def value_per_byte(entry: Measured) -> float | None:
    """Compute seconds saved per second and byte kept, at the rate it was read so far; None: never measured."""
    if entry.compute_seconds is None:
        return None
    return entry.compute_seconds / entry.read_every_seconds / max(entry.size_bytes, 1)


def describe(entry: Measured, prices: Prices) -> str:
    """What keeping an entry is worth, as a sentence that names what it was measured by."""
    limit = break_even_seconds(entry, prices)
    known = f"{entry.hits:,} reads in {_span(entry.age_seconds)}, {entry.size_bytes:,} bytes"
    if limit is None or entry.compute_seconds is None:
        return f"unknown: nobody measured what computing it takes; {known}"
    saved = entry.compute_seconds * prices.compute_second * MONTH_SECONDS / entry.read_every_seconds
    cost = entry.size_bytes * prices.byte_second * MONTH_SECONDS
    word = "worth keeping" if is_worth_keeping(entry, prices) else "not worth keeping"
    return (
        f"{word}: {entry.compute_seconds:.3g} s to compute, {known}; a month saves {saved:.2g} and costs {cost:.2g}, "
        f"even at a read in {_span(limit)}"
    )


def _span(seconds: float) -> str:
    if math.isinf(seconds):
        return "any time"
    days = seconds / DAY_SECONDS
    if days >= 2:
        return f"{days:,.0f} d"
    return f"{seconds / 3600:,.1f} h" if seconds >= 3600 else f"{seconds:,.0f} s"
