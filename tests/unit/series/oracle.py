"""What the definitions say, written a second time in plain Python: floors, ISO calendars, math.fsum."""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import date, datetime, timedelta
from fractions import Fraction
from typing import Any

MICROSECOND = timedelta(microseconds=1)


def cell(latitude: float, longitude: float, cell_deg: float) -> str:
    """Name of the cell, by exact rational arithmetic on the decimal notation of the inputs."""
    size = Fraction(str(cell_deg))
    folded = (Fraction(str(longitude)) + 180) % 360 - 180
    corner = [math.floor(Fraction(str(latitude)) / size) * size, math.floor(folded / size) * size]
    return "_".join(str(float(value)) for value in corner)


def labels(start: datetime, end: datetime) -> dict[str, str]:
    """The windows that hold the whole of [start, end), by length."""
    first, last = start.date(), max(start, end - MICROSECOND).date()
    found = {}
    for window in ("daily", "weekly", "monthly", "seasonal"):
        a, b = _label(first, window), _label(last, window)
        if a == b:
            found[window] = a
    return found


def _label(day: date, window: str) -> str:
    if window == "daily":
        return day.isoformat()
    if window == "weekly":
        year, week, _ = day.isocalendar()
        return f"{year}-W{week:02d}"
    if window == "monthly":
        return day.isoformat()[:7]
    name = ["DJF", "DJF", "MAM", "MAM", "MAM", "JJA", "JJA", "JJA", "SON", "SON", "SON", "DJF"][day.month - 1]
    return f"{day.year + 1 if day.month == 12 else day.year}-{name}"


def statistics(
    rows: Iterable[Mapping[str, Any]], cell_deg: float, surface_limit: float = 10.0
) -> dict[tuple[str, ...], tuple[int, float, float | None, float, float]]:
    """(n, mean, std, min, max) by (source_type, dataset_id, variable, layer, cell, time_window, label)."""
    groups: dict[tuple[str, ...], list[float]] = defaultdict(list)
    for row in rows:
        value = row["value"]
        if value is None or not math.isfinite(value) or not row["qc_good"]:
            continue
        depth = row["depth_m"] if row["depth_m"] is not None else row["pressure_dbar"]
        layers = ["all", "surface"] if depth is not None and depth <= surface_limit else ["all"]
        name = cell(row["decimal_latitude"], row["decimal_longitude"], cell_deg)
        for window, label in labels(row["event_start"], row["event_end"]).items():
            for layer in layers:
                key = (row["source_type"], row["dataset_id"], row["variable"], layer, name, window, label)
                groups[key].append(value)
    return {key: _describe(values) for key, values in groups.items()}


def _describe(values: list[float]) -> tuple[int, float, float | None, float, float]:
    exact = [Fraction(value) for value in values]
    mean = sum(exact) / len(exact)
    squares = sum((value - mean) ** 2 for value in exact)
    std = math.sqrt(squares / (len(exact) - 1)) if len(exact) > 1 else None
    return len(values), float(mean), std, min(values), max(values)
