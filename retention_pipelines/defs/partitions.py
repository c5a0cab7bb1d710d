"""Month partitions, and how months of data map onto them.

What belongs here: the partitions definition and pure functions between months, partition keys and key ranges. What
does not: asking the lake which months it holds (`resources.py`). Partitions start in 1850; so that no record is ever
outside, the first partition also stands for every earlier month and the newest for every later one.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache

import dagster as dg

FIRST_MONTH = "1850-01"
# The partition of the month that is still running exists too: data of today must have a place.
MONTHS = dg.MonthlyPartitionsDefinition(start_date=FIRST_MONTH, fmt="%Y-%m", timezone="UTC", end_offset=1)
# One run over a range costs about as much as one month does, and an empty month in it costs an event of a few
# milliseconds; a further run costs seconds. So ranges reach over gaps of up to five years.
LONGEST_GAP = 60


def all_keys(at: datetime) -> tuple[str, ...]:
    """Every partition key in order, as of an aware UTC instant; worked out once, since Dagster takes 30 ms for it."""
    return _keys_of(f"{at:%Y-%m}")


@cache
def _keys_of(month: str) -> tuple[str, ...]:
    return tuple(MONTHS.get_partition_keys(current_time=datetime.fromisoformat(f"{month}-15T00:00:00+00:00")))


@dataclass(frozen=True, order=True)
class KeyRange:
    """Partition keys from `start` to `end`, both included."""

    start: str
    end: str

    @property
    def tags(self) -> dict[str, str]:
        """Run tags by which Dagster knows a single run over the range."""
        return {"dagster/asset_partition_range_start": self.start, "dagster/asset_partition_range_end": self.end}


def key_of(month: str, keys: Sequence[str]) -> str:
    """The partition that stands for a month; `keys` are all partition keys in order."""
    return min(max(month, keys[0]), keys[-1])


def months_in(wanted: Collection[str], present: Iterable[str], keys: Sequence[str]) -> tuple[str, ...]:
    """Months of data behind partitions: those `present` that the wanted keys stand for, and the keys themselves."""
    chosen = set(wanted)
    return tuple(sorted(chosen | {month for month in present if key_of(month, keys) in chosen}))


def key_ranges(months: Iterable[str], keys: Sequence[str], longest_gap: int = LONGEST_GAP) -> tuple[KeyRange, ...]:
    """Ranges that cover the partitions of the months; two are joined over a gap of at most `longest_gap` keys."""
    place = {key: index for index, key in enumerate(keys)}
    ranges: list[list[int]] = []
    for index in sorted({place[key_of(month, keys)] for month in months}):
        if ranges and index - ranges[-1][1] - 1 <= longest_gap:
            ranges[-1][1] = index
        else:
            ranges.append([index, index])
    return tuple(KeyRange(keys[first], keys[last]) for first, last in ranges)
