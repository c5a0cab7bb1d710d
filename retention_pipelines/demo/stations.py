"""Stations at sea: monthly CTD casts on three lines, and daily readings at the coast, as ERDDAP CSV files.

Belongs here: where and when is measured, instrument faults and their QARTOD flags, the ERDDAP form (a row of names, a
row of units, NaN for missing). Not here: the ocean (`ocean.py`). Longitudes of the casts are written 0-360.
"""

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from retention_pipelines.demo import ocean as sea
from retention_pipelines.demo.labels import CITATION, LICENCE
from retention_pipelines.demo.ocean import Array, Ocean

CAST_FILE = "simulated_angola_ctd_casts.csv"
COAST_FILE = "simulated_angola_coastal_stations.csv"
# Lines across the shelf: name, latitude. The last station of a line lies west of Greenwich.
LINES = (("Ambriz", -7.9), ("Lobito", -12.4), ("Namibe", -15.3))
STATIONS_KM = (12.0, 30.0, 60.0, 120.0, 1500.0)
DEPTHS_M = (0.0, 5.0, 10.0, 20.0, 30.0, 50.0, 75.0, 100.0, 150.0, 200.0, 300.0, 400.0, 600.0, 1000.0)
COAST = (("SIM-LUANDA", -8.75), ("SIM-LOBITO", -12.30), ("SIM-NAMIBE", -15.15), ("SIM-TOMBUA", -15.85))

_QUANTITIES = ("sea_water_temperature", "sea_water_practical_salinity", "fractional_saturation_of_oxygen_in_sea_water",
               "mass_concentration_of_chlorophyll_a_in_sea_water")  # fmt: skip
_UNITS = ("degree_Celsius", "1", "percent", "mg m-3")
_DIGITS = (3, 3, 1, 3)
_FLAG = "_qc_agg"  # IOOS' name of the aggregate QARTOD flag
_GOOD, _SUSPECT, _FAIL, _MISSING = 1, 3, 4, 9


@dataclass(frozen=True, kw_only=True)
class StationFiles:
    """What was written; rows are data rows, `values` and `bad` count measurements."""

    cast_path: Path
    coast_path: Path
    cast_rows: int
    coast_rows: int
    duplicate_rows: int
    missing_position: int
    bad_values: int
    missing_values: int


def write_stations(ocean: Ocean, rng: np.random.Generator, folder: Path) -> StationFiles:
    """Write both files."""
    casts = _casts(ocean, rng)
    coast = _coast(ocean, rng)
    # A resent block, as loggers do: ten rows come twice.
    resent = casts.rows[200:210]
    lost = casts.rows[-1]
    latitude = casts.columns.index("latitude")
    rows = [*casts.rows[:-1], [*lost[:latitude], "NaN", "NaN", *lost[latitude + 2 :]], *resent]
    return StationFiles(
        cast_path=_write(folder / CAST_FILE, casts.columns, casts.units, rows),
        coast_path=_write(folder / COAST_FILE, coast.columns, coast.units, coast.rows),
        cast_rows=len(rows),
        coast_rows=len(coast.rows),
        duplicate_rows=len(resent),
        missing_position=1,
        bad_values=casts.bad + coast.bad,
        missing_values=casts.missing + coast.missing,
    )


@dataclass(frozen=True, kw_only=True)
class _Table:
    columns: Sequence[str]
    units: Sequence[str]
    rows: Sequence[Sequence[str]]
    bad: int
    missing: int


def _casts(ocean: Ocean, rng: np.random.Generator) -> _Table:
    names: list[tuple[str, str]] = []
    places: list[tuple[float, float, float, float]] = []
    for month in range(12 * sea.YEARS):
        for line, line_latitude in LINES:
            for number, km in enumerate(STATIONS_KM):
                begin = month * 30.4375 + 6.0 + 0.3 * number + rng.uniform(0, 4)
                lon = float(sea.longitude_offshore(np.array(line_latitude), np.array(km)))
                floor = float(sea.floor_depth(np.array(km)))
                station = f"SIM-{line}-{number + 1}"
                levels = [depth for depth in DEPTHS_M if depth < floor]
                names.extend((f"{station}-C{month + 1:02d}", station) for _ in levels)
                places.extend((begin, line_latitude, lon, depth) for depth in levels)
    day, latitude, longitude, depth = np.array(places).T
    values = _measured(ocean, rng, latitude, longitude, depth, day)
    texts, bad, missing = _with_flags(values, rng)
    rows = [
        [cast, station, f"{sea.instant_of(d):%Y-%m-%dT%H:%M:00Z}", f"{lat:.4f}", f"{lon % 360:.4f}", f"{z:.1f}", *text,
         LICENCE, CITATION]
        for (cast, station), (d, lat, lon, z), text in zip(names, places, texts, strict=True)
    ]  # fmt: skip
    columns = (
        "cast_id",
        "station_id",
        "time",
        "latitude",
        "longitude",
        "depth",
        *_value_columns(),
        "license",
        "citation",
    )
    units = ("", "", "UTC", "degrees_north", "degrees_east", "m", *_value_units(), "", "")
    return _Table(columns=columns, units=units, rows=rows, bad=bad, missing=missing)


def _coast(ocean: Ocean, rng: np.random.Generator) -> _Table:
    day = np.tile(np.arange(sea.DAYS) + 0.5, len(COAST))
    names = np.repeat([name for name, _ in COAST], sea.DAYS)
    latitude = np.repeat([position for _, position in COAST], sea.DAYS)
    longitude = sea.longitude_offshore(latitude, np.full(latitude.shape, 1.5))
    kept = rng.random(day.size) > 0.02  # days without a reading
    day, names, latitude, longitude = day[kept], names[kept], latitude[kept], longitude[kept]
    values = _measured(ocean, rng, latitude, longitude, np.full(day.size, 1.0), day)
    texts, bad, missing = _with_flags(values, rng)
    rows = [
        [
            str(name),
            f"{sea.instant_of(d):%Y-%m-%dT%H:%M:00Z}",
            f"{lat:.4f}",
            f"{lon:.4f}",
            "1.0",
            *text,
            LICENCE,
            CITATION,
        ]
        for name, d, lat, lon, text in zip(names, day, latitude, longitude, texts, strict=True)
    ]
    columns = ("station_id", "time", "latitude", "longitude", "depth", *_value_columns(), "license", "citation")
    units = ("", "UTC", "degrees_north", "degrees_east", "m", *_value_units(), "", "")
    return _Table(columns=columns, units=units, rows=rows, bad=bad, missing=missing)


def _measured(
    ocean: Ocean, rng: np.random.Generator, latitude: Array, longitude: Array, depth: Array, day: Array
) -> Array:
    count = day.size
    return np.column_stack(
        [
            ocean.temperature(latitude, longitude, depth, day) + rng.normal(0, 0.15, count),
            ocean.salinity(latitude, longitude, depth, day) + rng.normal(0, 0.02, count),
            np.clip(ocean.oxygen_saturation(latitude, longitude, depth, day) + rng.normal(0, 1.5, count), 0.5, None),
            ocean.chlorophyll(latitude, longitude, depth, day) * rng.lognormal(0, 0.25, count),
        ]
    )


def _with_flags(values: Array, rng: np.random.Generator) -> tuple[list[list[str]], int, int]:
    """Text of value and flag per quantity; a few values are spikes (fail), drifts (suspect) or missing."""
    draw = rng.random(values.shape)
    fail, suspect, missing = draw < 0.004, (draw >= 0.004) & (draw < 0.010), (draw >= 0.010) & (draw < 0.020)
    wrong = np.where(fail, values + np.array([12.0, -9.0, 60.0, 30.0]), values)
    wrong = np.where(suspect, wrong + np.array([1.5, 0.4, 12.0, 2.0]), wrong)
    flags = np.select([fail, suspect, missing], [_FAIL, _SUSPECT, _MISSING], _GOOD)
    texts = [
        [
            part
            for column, digits in enumerate(_DIGITS)
            for part in ("NaN" if missing[row, column] else f"{wrong[row, column]:.{digits}f}", str(flags[row, column]))
        ]
        for row in range(values.shape[0])
    ]
    return texts, int(fail.sum() + suspect.sum()), int(missing.sum())


def _value_columns() -> list[str]:
    return [part for name in _QUANTITIES for part in (name, name + _FLAG)]


def _value_units() -> list[str]:
    return [part for unit in _UNITS for part in (unit, "1")]


def _write(path: Path, columns: Sequence[str], units: Sequence[str], rows: Iterable[Sequence[str]]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(columns)
        writer.writerow(units)
        writer.writerows(rows)
    return path
