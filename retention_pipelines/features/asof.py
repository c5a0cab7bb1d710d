"""The newest row at an instant, for keys whose rows leave no doubt: sort once, then bisect.

Pure numpy. Rows lie on one line of whole numbers: the keys one after the other, the seconds of a key in order. A pick
is plain when it is the only row of its key in its second, had happened by the instant, and every row of the key was
known at its own time. Nearly all are; the rest is left to the full rule in SQL (`pick.sql`, `gather.sql`).
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

SECOND = 1_000_000
_LARGEST = 2**62


@dataclass(frozen=True, kw_only=True)
class Line:
    """The line of places: a key has `span` of them, the last of which no row takes; `first` is the earliest time (us).

    The place of a row is `key * span + (event_time - first) // SECOND`.
    """

    first: int
    span: int

    @classmethod
    def of_times(cls, first: int, last: int) -> "Line":
        """The line for rows with event times from `first` to `last`, in microseconds since 1970."""
        return cls(first=first, span=(last - first) // SECOND + 2)

    def holds(self, keys: int) -> bool:
        """Whether that many keys have places that a 64-bit number can name."""
        return keys * self.span < _LARGEST

    def places(self, key: Ints, instant: Ints) -> Ints:
        """The last place at each instant; before the first event it is one below the key's own places."""
        # Clipped before the difference is taken: it could be too large for 64 bits.
        inside = np.clip(instant, self.first - 1, self.first + (self.span - 1) * SECOND - 1)
        return key * self.span + (inside - self.first) // SECOND


@dataclass(frozen=True, kw_only=True)
class Picks:
    """For each ask the number of the picked row, -1 for none, and whether the full rule must decide instead.

    A contested ask is `tied` where the answer is surely a row in the second of the picked one.
    """

    row: Ints
    contested: Mask
    tied: Mask


def newest_at(*, place: Ints, event_time: Ints, late: Ints, line: Line, ask_key: Ints, instant: Ints) -> Picks:
    """Pick for each ask the last row of its key with event_time <= instant; keys are numbers from 0 on.

    `late` are the numbers of rows that were known later than their time. Asks in order of key and instant are answered
    faster than in any other.
    """
    row = np.full(len(ask_key), -1, dtype=np.int64)
    if not len(place) or not len(ask_key):
        nothing = np.zeros(len(ask_key), dtype=bool)
        return Picks(row=row, contested=nothing, tied=nothing)
    # Files hold long sorted runs, which a stable sort merges quickly.
    order = np.argsort(place, kind="stable")
    places = place[order]
    asked = line.places(ask_key, instant)
    last = np.searchsorted(places, asked, side="right") - 1
    found = last >= 0
    found[found] = places[last[found]] >= ask_key[found] * line.span
    row[found] = order[last[found]]
    tied = found & (last > 0)
    tied[tied] = places[last[tied]] == places[last[tied] - 1]
    contested = tied.copy()
    contested[found] |= event_time[row[found]] > instant[found]  # in the same second, but after the instant
    tied[tied] = places[last[tied]] < asked[tied]
    if len(late):
        has_late = np.isin(ask_key, place[late] // line.span)
        contested |= has_late
        tied &= ~has_late
    return Picks(row=row, contested=contested, tied=tied)
