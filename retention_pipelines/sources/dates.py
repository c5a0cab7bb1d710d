"""Event dates as published: an interval with a precision, never a guess.

What belongs here: the reference in plain Python of the rules that `dates.sql` applies to whole columns; property tests
compare the two. What does not: formats other than ISO 8601, which a mapping names. The interval is half-open and as
long as the written precision: `1971` is [1971-01-01, 1972-01-01) with precision year, a day lasts 24 hours, a time
with seconds one second.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone

import duckdb

from retention_pipelines.period import first_of_month
from retention_pipelines.warehouse.duck import bind, quote_name, statement

_ZONE = r"(?: ?(?P<zone>Z|UTC|GMT|[+-]\d{2}(?::?\d{2})?))?"
_DATE = re.compile(
    r"(?P<year>\d{4})(?:-(?P<month>\d{1,2})(?:-(?P<day>\d{1,2})"
    r"(?:[T ](?P<hour>\d{1,2})(?::(?P<minute>\d{2})(?::(?P<second>\d{2})(?:[.,](?P<fraction>\d{1,9}))?)?)?"
    + _ZONE
    + r")?)?)?",
    re.ASCII,
)


@dataclass(frozen=True, kw_only=True)
class EventDate:
    """A parsed date: half-open UTC interval, the precision it was written in, and the zone as written."""

    start: datetime
    end: datetime
    precision: str
    zone: str | None


def parse_event_date(text: str) -> EventDate | None:
    """Parse ISO 8601 as published; None where it is invalid."""
    if "/" not in text:
        return _parse_single(text.strip())
    parts = [part.strip() for part in text.split("/")]
    if len(parts) != 2 or not all(parts):
        return None
    first, last = _parse_single(parts[0]), _parse_single(_interval_end(*parts))
    if first is None or last is None or last.start < first.start:
        return None
    return EventDate(start=first.start, end=last.end, precision="interval", zone=first.zone)


def _parse_single(text: str) -> EventDate | None:
    match = _DATE.fullmatch(text)
    if match is None or (match["hour"] and not match["minute"] and "T" not in text):
        return None
    zone = match["zone"]
    try:
        micro = int((match["fraction"] or "0")[:6].ljust(6, "0"))
        start = datetime(
            int(match["year"]),
            int(match["month"] or 1),
            int(match["day"] or 1),
            int(match["hour"] or 0),
            int(match["minute"] or 0),
            int(match["second"] or 0),
            micro,
            tzinfo=_offset(zone),
        ).astimezone(UTC)
        end, precision = _end(start, match)
        if start.year > 9998:  # there is no instant after it
            return None
    except (ValueError, OverflowError):
        return None
    return EventDate(start=start, end=end, precision=precision, zone=zone)


def _end(start: datetime, match: re.Match[str]) -> tuple[datetime, str]:
    if match["fraction"]:
        return start + timedelta(microseconds=10 ** max(6 - len(match["fraction"]), 0)), "time"
    if match["second"]:
        return start + timedelta(seconds=1), "time"
    if match["minute"]:
        return start + timedelta(minutes=1), "time"
    if match["hour"]:
        return start + timedelta(hours=1), "time"
    if match["day"]:
        return start + timedelta(days=1), "day"
    if match["month"]:
        return first_of_month(start.year, start.month + 1), "month"
    return first_of_month(start.year + 1, 1), "year"


def _offset(zone: str | None) -> timezone:
    if zone is None or zone in {"Z", "UTC", "GMT"}:
        return UTC
    hours, minutes = int(zone[1:3]), int(zone[-2:]) if len(zone) > 3 else 0
    if minutes > 59:
        raise ValueError(zone)
    return timezone((timedelta(hours=hours, minutes=minutes)) * (-1 if zone[0] == "-" else 1))


def _interval_end(first: str, last: str) -> str:
    date = first.replace(" ", "T").split("T")[0]
    if re.match(r"\d{4}(-|$)", last):
        whole = last
    elif re.match(r"\d{1,2}:", last):
        whole = f"{date}T{last}"
    else:
        whole = date[: max(len(date) - len(last.split("T")[0]), 0)] + last
    if ":" in last and (found := _DATE.fullmatch(whole)) and not found["zone"]:
        start = _DATE.fullmatch(first)
        return whole + ((start["zone"] if start else None) or "")
    return whole


def load_macros(con: duckdb.DuckDBPyConnection) -> None:
    """Make the macros of `dates.sql` known on a connection."""
    con.execute(statement("retention_pipelines.sources", "dates"))


def parse_dates(con: duckdb.DuckDBPyConnection, source: str) -> str:
    """Parse the column `date_text` of a relation; returns the name of a table with one row per distinct text.

    Columns: `written`, and `event_start`, `event_end`, `date_precision`, `source_timezone`, `month`, null where
    invalid.
    """
    bind(con, "dated_rows", quote_name(source))
    con.execute(statement("retention_pipelines.sources", "parse_dates"))
    return "parsed_dates"


__all__ = ["EventDate", "load_macros", "parse_dates", "parse_event_date"]
