"""Which windows a set of touched months or days concerns.

What belongs here: calendar reasoning of an incremental update, pure and without storage. What does not: the
windows' own rules (`period.py`). A record's whole interval lies inside a window, so every window that can hold a
record overlaps the day the record starts on: recomputing the windows that overlap what was touched is enough.
"""

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from retention_pipelines.errors import SeriesError
from retention_pipelines.period import Period, TimeWindow, first_of_month, window_label, window_of


@dataclass(frozen=True, kw_only=True, order=True)
class TouchedWindow:
    """A window whose rows are computed again."""

    period: Period
    time_window: TimeWindow

    @property
    def year(self) -> str:
        """Value of the partition column `year`."""
        return f"{self.period.start.year:04d}"

    @property
    def label(self) -> str:
        """Name of the window."""
        return window_label(self.period.start, self.time_window)


def touched_period(key: str) -> Period:
    """The month of a key `YYYY-MM` or the day of a key `YYYY-MM-DD`; raises SeriesError for anything else."""
    try:
        if re.fullmatch(r"\d{4}-\d{2}-\d{2}", key):
            start = datetime.fromisoformat(key).replace(tzinfo=UTC)
            return Period(start, start + timedelta(days=1))
        return Period.of_month(key)
    except ValueError:
        raise SeriesError(
            f"{key!r} is neither a month nor a day.", hint="Write YYYY-MM or YYYY-MM-DD, for example 2017-08."
        ) from None


def overlapping(period: Period, window: TimeWindow) -> Iterator[TouchedWindow]:
    """The windows of one length that share an instant with a period, but for the winter begun before the year 1."""
    start = max(period.start, first_of_month(1, 3)) if window == TimeWindow.SEASONAL else period.start
    while start < period.end:
        found = window_of(start, window)
        yield TouchedWindow(period=found, time_window=window)
        start = found.end


def touched_windows(
    touched: Collection[str], windows: Collection[TimeWindow] = tuple(TimeWindow)
) -> list[TouchedWindow]:
    """Every window that overlaps one of the touched months or days, once, in order of start."""
    periods = [touched_period(key) for key in touched]
    return sorted({found for period in periods for window in windows for found in overlapping(period, window)})


def months_between(period: Period) -> list[str]:
    """Keys of the months a period overlaps."""
    keys, start = [], first_of_month(period.start.year, period.start.month)
    while start < period.end:
        following = first_of_month(start.year, start.month + 1)
        keys.append(Period(start, following).month_key)
        start = following
    return keys


@dataclass(frozen=True, kw_only=True)
class Chunk:
    """Windows that are computed together, and the months their records can start in."""

    windows: tuple[TouchedWindow, ...]
    months: frozenset[str]


def chunks(windows: Sequence[TouchedWindow], rows_per_month: dict[str, int], budget: int) -> list[Chunk]:
    """Split windows by the month they start in, so that a chunk reads about `budget` rows or one month's windows.

    Bounds the memory of a full run by the budget and not by the length of the record. Months without rows are not
    read, and windows without any month that has rows are left out.
    """
    by_month: dict[str, list[TouchedWindow]] = {}
    for window in windows:
        by_month.setdefault(window.period.month_key, []).append(window)
    found: list[Chunk] = []
    held: list[TouchedWindow] = []
    read: set[str] = set()
    for _, group in sorted(by_month.items()):
        months = {month for window in group for month in months_between(window.period) if month in rows_per_month}
        if not months:
            continue
        if held and sum(rows_per_month[month] for month in read | months) > budget:
            found.append(Chunk(windows=tuple(held), months=frozenset(read)))
            held, read = [], set()
        held += group
        read |= months
    if held:
        found.append(Chunk(windows=tuple(held), months=frozenset(read)))
    return found
