"""CF time axes: numbers with units and a calendar become intervals with a precision.

What belongs here: bounds, means over months or days, calendars, `hours since`. What does not: text dates (the
framework parses those). A monthly mean is a month, never the instant its file puts in the middle of it.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import cftime  # type: ignore[import-untyped]
import numpy as np

from retention_pipelines.errors import FileRefused
from retention_pipelines.period import first_of_month
from retention_pipelines.sources.arrays import Array

_REAL = {"standard", "gregorian", "proleptic_gregorian", ""}
# Its dates are all real dates: only 29 February is left out.
_NEAR = {"noleap", "365_day"}
_SECOND = timedelta(seconds=1)
_DAY = timedelta(days=1)


@dataclass(frozen=True, kw_only=True)
class Times:
    """Intervals of a time axis, element by element; `known` is false where the axis has no date."""

    known: Array
    start: Array
    end: Array
    precision: Array
    text: Array
    zone: str | None
    flags: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class TimeAxis:
    """A time coordinate as a file describes it; `bounds` has a last dimension of two."""

    values: Array
    units: str
    calendar: str = "standard"
    bounds: Array | None = None
    is_climatology: bool = False
    is_mean: bool = False


def intervals(axis: TimeAxis, *, name: str) -> Times:
    """The interval of every element. Raises FileRefused where the calendar or the units have no real dates."""
    if axis.is_climatology:
        raise FileRefused(
            f"{name} is a climatology: its time axis stands for many years at once.",
            hint="Ingest the fields it was made from; climatologies are computed here.",
        )
    calendar = axis.calendar.strip().casefold()
    if calendar not in _REAL | _NEAR:
        raise FileRefused(
            f"{name} uses the calendar {axis.calendar!r}, whose dates do not exist in the real calendar.",
            hint="Convert it first, for example with `cdo setcalendar,standard` or xarray's convert_calendar.",
        )
    flags = ["MODEL_CALENDAR"] if calendar in _NEAR else []
    middles = _dates(axis.values, axis.units, calendar, name)
    if axis.bounds is not None:
        low = _dates(axis.bounds[..., 0], axis.units, calendar, name)
        high = _dates(axis.bounds[..., 1], axis.units, calendar, name)
        found = [_between(a, b, at) for a, b, at in zip(low, high, middles, strict=True)]
    elif is_monthly(middles):
        flags.append("MONTH_BY_SPACING")
        found = [_month(at) for at in middles]
    elif axis.is_mean and _is_daily(middles):
        found = [_day(at) for at in middles]
    else:
        found = [_instant(at) for at in middles]
    return Times(
        known=np.array([one is not None for one in found]),
        start=np.array([one[0].replace(tzinfo=None) if one else None for one in found], dtype="M8[us]"),
        end=np.array([one[1].replace(tzinfo=None) if one else None for one in found], dtype="M8[us]"),
        precision=np.array([one[2] if one else None for one in found], dtype=object),
        text=np.array([one[3] if one else None for one in found], dtype=object),
        zone="Z" if axis.units.rstrip().upper().endswith(("UTC", "Z", "GMT", "+00:00", "+0:00", "+0000")) else None,
        flags=tuple(flags),
    )


_Interval = tuple[datetime, datetime, str, str]


def _dates(values: Array, units: str, calendar: str, name: str) -> list[datetime | None]:
    """Real instants, None where the number is missing."""
    try:
        dates = cftime.num2date(
            np.ma.masked_invalid(np.ma.asarray(values, dtype="f8").ravel()), units, calendar or "standard"
        )
    except (ValueError, OverflowError) as error:
        raise FileRefused(
            f"The time axis of {name} cannot be read: {error}.",
            hint="CF wants '<seconds|minutes|hours|days> since <date>'.",
        ) from error
    return [None if one is np.ma.masked or one is None else _real(one) for one in np.ma.asarray(dates).tolist()]


def _real(date: Any) -> datetime:
    at = datetime(date.year, date.month, date.day, date.hour, date.minute, date.second, date.microsecond, tzinfo=UTC)
    # Hours and days as floating-point numbers miss whole seconds by microseconds.
    nearest = (at + timedelta(milliseconds=500)).replace(microsecond=0)
    return nearest if abs(nearest - at) < timedelta(milliseconds=1) else at


def is_monthly(dates: Sequence[datetime | None]) -> bool:
    """Whether there is one element in every calendar month of a stretch: no instants, whatever the file says."""
    if len(dates) < 2:
        return False
    known = [date for date in dates if date is not None]
    months = [date.year * 12 + date.month for date in known]
    return len(known) == len(dates) and months == list(range(months[0], months[0] + len(months)))


def _is_daily(dates: Sequence[datetime | None]) -> bool:
    known = [date for date in dates if date is not None]
    return all(later - earlier >= _DAY for earlier, later in itertools.pairwise(known))


def _month(at: datetime | None) -> _Interval | None:
    if at is None:
        return None
    return first_of_month(at.year, at.month), first_of_month(at.year, at.month + 1), "month", f"{at:%Y-%m}"


def _day(at: datetime | None) -> _Interval | None:
    if at is None:
        return None
    start = at.replace(hour=0, minute=0, second=0, microsecond=0)
    return start, start + _DAY, "day", f"{at:%Y-%m-%d}"


def _instant(at: datetime | None) -> _Interval | None:
    return None if at is None else (at, at + _SECOND, "time", f"{at:%Y-%m-%dT%H:%M:%SZ}")


def _between(low: datetime | None, high: datetime | None, at: datetime | None) -> _Interval | None:
    """An interval by its bounds; whole years, months and days by name."""
    if low is None or high is None or high <= low:
        return _instant(at)
    if low == first_of_month(low.year, 1) and high == first_of_month(low.year + 1, 1):
        return low, high, "year", f"{low:%Y}"
    if (low, high) == (first_of_month(low.year, low.month), first_of_month(low.year, low.month + 1)):
        return low, high, "month", f"{low:%Y-%m}"
    if high - low == _DAY and (low.hour, low.minute, low.second) == (0, 0, 0):
        return low, high, "day", f"{low:%Y-%m-%d}"
    return low, high, "interval", f"{low:%Y-%m-%dT%H:%M:%SZ}/{high:%Y-%m-%dT%H:%M:%SZ}"
