"""Month partitions, and how months of data map onto them.

What belongs here: the partitions definition and pure functions between months, partition keys and key ranges. What
does not: asking the lake which months it holds (`resources.py`). Partitions start in 1850; so that no record is ever
outside, the first partition also stands for every earlier month and the newest for every later one.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from itertools import pairwise

import dagster as dg

FIRST_MONTH = "1850-01"
# The partition of the month that is still running exists too: data of today must have a place.
MONTHS = dg.MonthlyPartitionsDefinition(start_date=FIRST_MONTH, fmt="%Y-%m", timezone="UTC", end_offset=1)
# A run costs seconds, an empty month in its range an event of a few milliseconds.
MOST_RUNS = 6
FREE_GAP = 60
# Which months of its range a run is about, where that is not all of them.
ONLY = "retention/months"


def all_keys(at: datetime) -> tuple[str, ...]:
    """Every partition key in order, as of an aware UTC instant; worked out once, since Dagster takes 30 ms for it."""
    return _keys_of(f"{at:%Y-%m}")


@cache
def _keys_of(month: str) -> tuple[str, ...]:
    return tuple(MONTHS.get_partition_keys(current_time=datetime.fromisoformat(f"{month}-15T00:00:00+00:00")))


@dataclass(frozen=True, order=True)
class KeyRange:
    """Partition keys from `start` to `end`, both included; `only` names stretches of them (all when empty)."""

    start: str
    end: str
    only: tuple[tuple[str, str], ...] = ()

    @property
    def tags(self) -> dict[str, str]:
        """Run tags by which Dagster knows a single run over the range, and by which we know what of it is meant."""
        only = {ONLY: ",".join(f"{first}..{last}" for first, last in self.only)} if self.only else {}
        return {
            "dagster/asset_partition_range_start": self.start,
            "dagster/asset_partition_range_end": self.end,
        } | only


def meant(keys: Iterable[str], tags: Mapping[str, str]) -> tuple[str, ...]:
    """Of the partition keys of a run, those it is about by its tags."""
    if ONLY not in tags:
        return tuple(keys)
    stretches = [stretch.split("..") for stretch in tags[ONLY].split(",")]
    return tuple(key for key in keys if any(first <= key <= last for first, last in stretches))


def key_of(month: str, keys: Sequence[str]) -> str:
    """The partition that stands for a month; `keys` are all partition keys in order."""
    return min(max(month, keys[0]), keys[-1])


def months_in(wanted: Collection[str], present: Iterable[str], keys: Sequence[str]) -> tuple[str, ...]:
    """Months of data behind partitions: those `present` that the wanted keys stand for, and the keys themselves."""
    chosen = set(wanted)
    return tuple(sorted(chosen | {month for month in present if key_of(month, keys) in chosen}))


def key_ranges(
    months: Iterable[str], keys: Sequence[str], *, free_gap: int = 0, most: int = MOST_RUNS
) -> tuple[KeyRange, ...]:
    """Ranges that cover the partitions of the months, and say which of a range are meant.

    Dagster knows only runs over ranges without gaps. Two are joined over a gap of at most `free_gap` keys, and over
    the smallest gaps until there are at most `most`.
    """
    place = {key: index for index, key in enumerate(keys)}
    stretches: list[tuple[int, int]] = []
    for index in sorted({place[key_of(month, keys)] for month in months}):
        if stretches and index == stretches[-1][1] + 1:
            stretches[-1] = (stretches[-1][0], index)
        else:
            stretches.append((index, index))
    gaps = [right[0] - left[1] - 1 for left, right in pairwise(stretches)]
    # Of gaps of one size the last are bridged first.
    largest = sorted((at for at, gap in enumerate(gaps) if gap > free_gap), key=lambda at: (-gaps[at], at))
    cuts = [at + 1 for at in sorted(largest[: most - 1])]
    found = []
    for first, last in pairwise([0, *cuts, len(stretches)] if stretches else []):
        inside = stretches[first:last]
        named = tuple((keys[begin], keys[end]) for begin, end in inside) if len(inside) > 1 else ()
        found.append(KeyRange(keys[inside[0][0]], keys[inside[-1][1]], named))
    return tuple(found)
