"""The newest row at an instant, for keys whose rows leave no doubt: sort once, then bisect.

Pure numpy. A key is plain when all its rows were known at their own time; a pick is plain when no other row of the key
has the same time. Nearly all are; the rest is left to the full rule in SQL (`pick.sql`, `gather.sql`).
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

_SECOND = 1_000_000
_LARGEST = 2**62


@dataclass(frozen=True, kw_only=True)
class Picks:
    """For each ask the number of the picked row, -1 for none, and whether the full rule must decide instead."""

    row: Ints
    contested: Mask


def newest_at(*, key: Ints, event_time: Ints, late: Mask, ask_key: Ints, instant: Ints) -> Picks:
    """Pick for each ask the last row of its key with event_time <= instant; keys are numbers from 0 on."""
    nothing = np.full(len(ask_key), -1, dtype=np.int64)
    if not len(key) or not len(ask_key):
        return Picks(row=nothing, contested=np.zeros(len(ask_key), dtype=bool))
    keys = int(max(key.max(), ask_key.max())) + 1
    times, instants, span = _time_codes(event_time, instant, keys)
    # One number per row that sorts by key, then time. Files hold long sorted runs, which a stable sort merges quickly.
    place_of_row = key * span + times
    order = np.argsort(place_of_row, kind="stable")
    places = place_of_row[order]
    last = np.searchsorted(places, ask_key * span + instants, side="right") - 1
    found = last >= 0
    found[found] = places[last[found]] >= ask_key[found] * span
    tied = found & (last > 0)
    tied[tied] = places[last[tied]] == places[last[tied] - 1]
    has_late = np.zeros(keys, dtype=bool)
    has_late[key[late]] = True
    row = nothing
    row[found] = order[last[found]]
    return Picks(row=row, contested=tied | has_late[ask_key])


def _time_codes(event_time: Ints, instant: Ints, keys: int) -> tuple[Ints, Ints, int]:
    """Whole numbers that order rows' times from 0 on and instants from -1 on, and how many there may be per key."""
    first, unit = int(event_time.min()), 1
    if not np.any(event_time % _SECOND):
        unit = _SECOND
    span = (int(event_time.max()) - first) // unit + 2
    if keys * span < _LARGEST:
        return (event_time - first) // unit, np.clip((instant - first) // unit, -1, span - 2), span
    # Microseconds over decades and very many keys: number the distinct times instead.
    distinct, times = np.unique(event_time, return_inverse=True)
    return times, np.searchsorted(distinct, instant, side="right") - 1, len(distinct) + 1
