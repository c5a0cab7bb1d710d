"""Half-open UTC intervals and the calendar windows of the series.

Windows are daily, weekly (ISO 8601), monthly and seasonal (DJF, MAM, JJA, SON; December belongs to the DJF of the
next year). The same rules for DuckDB are the macros in `warehouse/macros.sql`; a test compares the two.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

SEASONS = {12: "DJF", 3: "MAM", 6: "JJA", 9: "SON"}


class TimeWindow(StrEnum):
    """Lengths of a window; the values are those of the column `time_window`."""

    DAILY = "daily"
    WEEKLY = "weekly"
    MONTHLY = "monthly"
    SEASONAL = "seasonal"


def first_of_month(year: int, month: int) -> datetime:
    """Midnight UTC of the first day of a month; months outside 1..12 roll into other years."""
    months = year * 12 + month - 1
    return datetime(months // 12, months % 12 + 1, 1, tzinfo=UTC)


@dataclass(frozen=True, order=True)
class Period:
    """A half-open interval [start, end) of aware UTC instants."""

    start: datetime
    end: datetime

    def __post_init__(self) -> None:
        if self.start.tzinfo is None or self.end.tzinfo is None:
            raise ValueError("a period needs instants with a time zone")
        if self.end <= self.start:
            raise ValueError(f"a period ends after it starts: {self.start} .. {self.end}")

    @classmethod
    def of_month(cls, key: str) -> "Period":
        """The month of a partition key `YYYY-MM`."""
        match = re.fullmatch(r"(\d{4})-(\d{2})", key)
        if match is None or not 1 <= int(match[2]) <= 12:
            raise ValueError(f"{key!r} is not a month: expected YYYY-MM, for example 2017-08")
        year, month = int(match[1]), int(match[2])
        return cls(first_of_month(year, month), first_of_month(year, month + 1))

    @property
    def month_key(self) -> str:
        """Partition key of the month the period starts in."""
        return f"{self.start.year:04d}-{self.start.month:02d}"

    def contains(self, other: "Period") -> bool:
        """Whether all of `other` lies inside."""
        return self.start <= other.start and other.end <= self.end

    def overlaps(self, other: "Period") -> bool:
        """Whether the two share an instant."""
        return self.start < other.end and other.start < self.end


def window_of(instant: datetime, window: TimeWindow) -> Period:
    """The window of the given length that holds an aware instant."""
    instant = instant.astimezone(UTC)
    midnight = instant.replace(hour=0, minute=0, second=0, microsecond=0)
    match window:
        case TimeWindow.DAILY:
            return Period(midnight, midnight + timedelta(days=1))
        case TimeWindow.WEEKLY:
            monday = midnight - timedelta(days=midnight.weekday())
            return Period(monday, monday + timedelta(days=7))
        case TimeWindow.MONTHLY:
            return Period(first_of_month(instant.year, instant.month), first_of_month(instant.year, instant.month + 1))
        case TimeWindow.SEASONAL:
            first = instant.month - instant.month % 3
            return Period(first_of_month(instant.year, first), first_of_month(instant.year, first + 3))


def window_label(start: datetime, window: TimeWindow) -> str:
    """Name of the window that starts at `start`: 2017-08-14, 2017-W32, 2017-08 or 2018-DJF."""
    match window:
        case TimeWindow.DAILY:
            return start.date().isoformat()
        case TimeWindow.WEEKLY:
            iso = start.isocalendar()
            return f"{iso.year:04d}-W{iso.week:02d}"
        case TimeWindow.MONTHLY:
            return f"{start.year:04d}-{start.month:02d}"
        case TimeWindow.SEASONAL:
            return f"{start.year + (start.month == 12):04d}-{SEASONS[start.month]}"
