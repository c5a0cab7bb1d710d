"""File statistics in the form the Delta log wants.

Only top-level primitives: one statistic of a wrong type makes the whole table unreadable (hazard H3).
"""

import json
import math
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any

_WHOLE = {"TINYINT", "SMALLINT", "INTEGER", "BIGINT"}
_REAL = {"FLOAT", "DOUBLE"}
_INSTANT = "TIMESTAMP WITH TIME ZONE"
_LONGEST_TEXT = 64


def _milliseconds(text: str, *, round_up: bool) -> str:
    """A DuckDB instant as ISO text with milliseconds; a maximum is rounded up so that it stays a maximum."""
    instant = datetime.fromisoformat(text.removesuffix("+00"))
    rest = instant.microsecond % 1000
    instant += timedelta(milliseconds=1 if round_up and rest else 0) - timedelta(microseconds=rest)
    # isoformat and not strftime: %Y writes the year 274 with three digits, which no reader understands.
    return f"{instant.isoformat(timespec='milliseconds')}Z"


def restored_statistics(
    rows: int, minimum: Mapping[str, Any], maximum: Mapping[str, Any], nulls: Mapping[str, int]
) -> str:
    """JSON statistics of a file that is put back, from what the log said of it."""

    def plain(value: Any) -> Any:
        if isinstance(value, datetime):
            return f"{value.astimezone(UTC).replace(tzinfo=None).isoformat(timespec='milliseconds')}Z"
        return value.isoformat() if isinstance(value, date) else value

    values = [{name: plain(value) for name, value in side.items() if value is not None} for side in (minimum, maximum)]
    counts = {name: count for name, count in nulls.items() if count is not None}
    return _as_json(rows, values[0], values[1], counts)


def delta_statistics(rows: int, columns: Mapping[str, Mapping[str, str]], types: Mapping[str, str]) -> str:
    """JSON statistics of one file from what `COPY … RETURN_STATS` reports per column."""
    minimum: dict[str, Any] = {}
    maximum: dict[str, Any] = {}
    nulls: dict[str, int] = {}
    for quoted, measured in columns.items():
        name = quoted.strip('"')
        kind = types.get(name, "")
        if kind not in _WHOLE | _REAL | {"VARCHAR", "DATE", _INSTANT}:
            continue
        if "null_count" in measured:
            nulls[name] = int(measured["null_count"])
        if "min" not in measured or measured.get("has_nan") == "true":
            continue
        if kind == "VARCHAR":
            exact = measured.get("min_is_exact") == measured.get("max_is_exact") == "true"
            if not exact or len(measured["max"]) > _LONGEST_TEXT or len(measured["min"]) > _LONGEST_TEXT:
                continue
        if kind == _INSTANT:
            try:
                low = _milliseconds(measured["min"], round_up=False)
                high = _milliseconds(measured["max"], round_up=True)
            except (ValueError, OverflowError):
                continue  # before the year 1 or after 9999: no statistic is better than a wrong one
            minimum[name], maximum[name] = low, high
        else:
            convert = int if kind in _WHOLE else float if kind in _REAL else str
            least, most = convert(measured["min"]), convert(measured["max"])
            if {least, most} & {math.inf, -math.inf}:
                continue  # JSON has no infinity, and deltalake refuses the commit
            minimum[name], maximum[name] = least, most
    return _as_json(rows, minimum, maximum, nulls)


def _as_json(rows: int, minimum: dict[str, Any], maximum: dict[str, Any], nulls: dict[str, int]) -> str:
    # Not as ASCII: deltalake reads the escaped pair of a character above U+20000 as another character.
    statistics = {"numRecords": rows, "minValues": minimum, "maxValues": maximum, "nullCount": nulls}
    return json.dumps(statistics, ensure_ascii=False)
