"""NDBC standard meteorological text: realtime (`41001.txt`) and yearly files (`41001h2017.txt`).

What this module knows: both headers (with a row of units or, before 2007, without), two-digit years, missing values
per column. The files say neither the station nor where it is: the station is in the file's name, its position in a
`stations.csv` beside it. Without a position the file is refused; positions of moored buoys are not guessed.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import or_
from pathlib import Path

import duckdb
import pyarrow as pa

from retention_pipelines.errors import FileRefused
from retention_pipelines.sources.cf import Reading, read_as
from retention_pipelines.sources.staging import (
    QC_SCALE,
    RawFile,
    Recognition,
    Staged,
    closed_word,
    fresh_name,
    record_hash,
)
from retention_pipelines.sources.text_table import Dialect, header, reader
from retention_pipelines.warehouse.duck import bind, quote_name, set_variables, statement

_PACKAGE = "retention_pipelines.sources"
DATASET_ID = "ndbc"
_LICENCE = "US Government work, public domain"
_CITATION = "NOAA National Data Buoy Center. Meteorological and oceanographic data. https://www.ndbc.noaa.gov/"
_STATION = re.compile(r"^([A-Za-z0-9]{5})(?:[hH]?\d{4}|[a-z]\d{4})?(?:\.|$)")


@dataclass(frozen=True, kw_only=True)
class Field:
    """A column of the format: its unit where the file has no row of units, and the number that means missing."""

    unit: str
    missing: float
    reads_as: str


# https://www.ndbc.noaa.gov/faq/measdes.shtml; older files write WD for WDIR and BAR for PRES.
FIELDS: dict[str, Field] = {
    "WDIR": Field(unit="degree", missing=999, reads_as="wind_from_direction"),
    "WSPD": Field(unit="m/s", missing=99, reads_as="wind_speed"),
    "GST": Field(unit="m/s", missing=99, reads_as="wind_speed_of_gust"),
    "WVHT": Field(unit="m", missing=99, reads_as="sea_surface_wave_significant_height"),
    "DPD": Field(unit="s", missing=99, reads_as="sea_surface_wave_period_at_variance_spectral_density_maximum"),
    "APD": Field(unit="s", missing=99, reads_as="sea_surface_wave_mean_period"),
    "MWD": Field(unit="degree", missing=999, reads_as="sea_surface_wave_from_direction"),
    "PRES": Field(unit="hPa", missing=9999, reads_as="air_pressure_at_sea_level"),
    "ATMP": Field(unit="degC", missing=999, reads_as="air_temperature"),
    "WTMP": Field(unit="degC", missing=999, reads_as="sea_surface_temperature"),
    "DEWP": Field(unit="degC", missing=999, reads_as="dew_point_temperature"),
}
_OLD_NAMES = {"WD": "WDIR", "BAR": "PRES", "YYYY": "YY"}


@dataclass(frozen=True, kw_only=True)
class Station:
    """Where a station is."""

    latitude: float
    longitude: float


class NdbcReader:
    """Reads standard meteorological text; `stations.csv` beside it is its lookup."""

    format = "ndbc"

    def recognises(self, file: RawFile, around: Sequence[RawFile]) -> Recognition | None:
        """Text whose first line names the date parts and the wind, or a table of station positions beside one."""
        text = file.text_head
        if text is None:
            return None
        if _is_meteorological(text):
            beside = tuple(one for one in around if _station_columns(one.text_head or ""))
            return Recognition(format=self.format, beside=beside)
        if _station_columns(text) and any(_is_meteorological(other.text_head or "") for other in around):
            return Recognition(format=self.format, role="lookup")
        return None

    def read(
        self, file: RawFile, recognition: Recognition, around: Sequence[RawFile], con: duckdb.DuckDBPyConnection
    ) -> Iterable[Staged]:
        """One staging table."""
        station = station_of(file.name)
        lookup = next((one for one in around if _station_columns(one.text_head or "")), None)
        found = _position(station, lookup) if lookup else None
        if found is None or lookup is None:
            where = f"{lookup.name} has no row for it" if lookup else "no stations.csv lies beside it"
            raise FileRefused(
                f"{file.name} does not say where station {station} is, and {where}.",
                hint="Put a stations.csv with the columns station,latitude,longitude beside it (or describe the file "
                "by a mapping with a fixed position) and ingest again.",
            )
        return [_stage(file, station, found, lookup, con)]


def station_of(name: str) -> str:
    """The station a file is of, by its name."""
    match = _STATION.match(name)
    return (match[1] if match else name.split(".")[0]).upper()


def _columns(line: str) -> list[str]:
    names = line.lstrip("\ufeff").strip().lstrip("#").split()
    return [_OLD_NAMES.get(name, name) for name in names]


def _is_meteorological(text: str) -> bool:
    names = _columns(text.split("\n", 1)[0])
    return names[:4] == ["YY", "MM", "DD", "hh"] and {"WDIR", "WSPD"} <= set(names)


def _station_columns(text: str) -> tuple[str, str, str] | None:
    """Names of the columns of station, latitude and longitude; None where the text is no table of positions."""
    found = header(text)
    if found is None or len(found[0]) > 40:
        return None
    by_key = {name.casefold().lstrip("#").strip(): name for name in found[0]}
    station = next((by_key[name] for name in ("station", "station_id", "id", "stn") if name in by_key), None)
    latitude = next((by_key[name] for name in ("latitude", "lat", "decimallatitude") if name in by_key), None)
    longitude = next((by_key[name] for name in ("longitude", "lon", "lng", "decimallongitude") if name in by_key), None)
    if station is None or latitude is None or longitude is None or "time" in by_key or "date" in by_key:
        return None
    return station, latitude, longitude


def _position(station: str, lookup: RawFile) -> Station | None:
    columns, parsed = _station_columns(lookup.text_head or ""), header(lookup.text_head or "")
    if columns is None or parsed is None:
        return None
    names, delimiter = parsed
    with lookup.local.open(encoding="utf-8-sig", errors="replace", newline="") as text:
        rows = reader(text, Dialect(delimiter=delimiter))
        next(rows, None)
        for row in rows:
            values = dict(zip(names, row, strict=False))
            if values.get(columns[0], "").strip().upper() == station:
                try:
                    return Station(latitude=float(values[columns[1]]), longitude=float(values[columns[2]]))
                except (KeyError, ValueError):
                    return None
    return None


def _stage(file: RawFile, station: str, position: Station, lookup: RawFile, con: duckdb.DuckDBPyConnection) -> Staged:
    names, units, rows = _read_lines(file.local)
    broken = {number: fields for number, fields in enumerate(rows, start=1) if len(fields) != len(names)}
    padded = [(fields + [""] * len(names))[: len(names)] for fields in rows]
    raw = fresh_name("ndbc_raw")
    columns = dict(zip(names, zip(*padded, strict=True), strict=True)) if padded else dict.fromkeys(names, ())
    con.from_arrow(
        pa.table(
            {"source_row": pa.array(range(1, len(rows) + 1), pa.int64())}
            | {name: pa.array(values, pa.string()) for name, values in columns.items()}
        )
    ).create(raw)
    con.execute(statement(_PACKAGE, "measured"))
    values = _values(names, units)
    null = duckdb.ConstantExpression(None).cast("VARCHAR")
    # The station is not in the rows, but is what tells the rows of two stations apart.
    identity = f"{DATASET_ID}/{station}"
    con.table(raw).select(
        duckdb.ColumnExpression("source_row"),
        *(duckdb.ColumnExpression(name).alias(name.lower()) for name in ("YY", "DD", "hh")),
        duckdb.ColumnExpression("MM").alias("month_number"),
        (duckdb.ColumnExpression("mm_") if "mm_" in names else null).alias("minute"),
        duckdb.FunctionExpression("list_value", *(_expression(one, values) for one in values)).alias("every"),
        _broken([name for name, *_ in values]).alias("broken"),
        record_hash(identity, names),
    ).create_view("ndbc_rows", replace=True)
    unreadable = fresh_name("ndbc_unreadable")
    con.from_arrow(
        pa.table(
            {
                "source_row": pa.array(list(broken), pa.int64()),
                "detail": pa.array(
                    [
                        f"The row has {len(one)} fields, the header {len(names)}: {' '.join(one)}"
                        for one in broken.values()
                    ],
                    pa.string(),
                ),
            }
        )
    ).create(unreadable)
    bind(con, "ndbc_unreadable", quote_name(unreadable))
    set_variables(con, latitude=position.latitude, longitude=position.longitude, station=station)
    relation = fresh_name("ndbc")
    con.sql(statement(_PACKAGE, "ndbc")).create(relation)
    con.execute("drop table " + quote_name(unreadable))
    return Staged(
        relation=relation,
        raw=raw,
        dataset="observations",
        dataset_id=DATASET_ID,
        source_type="buoy",
        read=len(rows),
        licence=_LICENCE,
        citation=_CITATION,
        lookups=(lookup,),
    )


def _read_lines(path: Path) -> tuple[list[str], Mapping[str, str], list[list[str]]]:
    """Column names (minutes are `mm_`, so that case does not matter), units where written, rows of fields."""
    with path.open(encoding="utf-8-sig", errors="replace") as text:
        lines = [line.split() for line in text if line.strip()]
    names = ["mm_" if name == "mm" else name for name in _columns(" ".join(lines[0]))]
    units: Mapping[str, str] = {}
    rows = lines[1:]
    if rows and rows[0][0].startswith("#"):
        units = dict(zip(names, rows[0], strict=False))
        rows = rows[1:]
    return names, units, rows


def _values(names: Sequence[str], units: Mapping[str, str]) -> list[tuple[str, Reading, float]]:
    found = []
    for name in names:
        field = FIELDS.get(name)
        if field is None:
            continue
        reading = read_as(name, standard_name=field.reads_as, unit=units.get(name, field.unit))
        if isinstance(reading, Reading):
            found.append((name, reading, field.missing))
    return found


def _broken(names: Sequence[str]) -> duckdb.Expression:
    """The values of a row as JSON where one of them is no number, else null."""
    columns = [duckdb.ColumnExpression(name) for name in names]
    tests = [duckdb.FunctionExpression("is_no_number", column) for column in columns]
    pairs = [part for name in names for part in (duckdb.ConstantExpression(name), duckdb.ColumnExpression(name))]
    return duckdb.CaseExpression(reduce(or_, tests), duckdb.FunctionExpression("json_object", *pairs).cast("VARCHAR"))


def _expression(
    one: tuple[str, Reading, float], all_of_them: Sequence[tuple[str, Reading, float]]
) -> duckdb.Expression:
    name, reading, missing = one
    constant = duckdb.ConstantExpression
    column = duckdb.ColumnExpression(name)
    null = constant(None).cast("VARCHAR")
    text = duckdb.FunctionExpression("ndbc_text", column, constant(missing))
    return duckdb.FunctionExpression(
        "measured_value",
        closed_word(reading.variable, (each.variable for _, each, _ in all_of_them)),
        closed_word(reading.standard_name, (each.standard_name for _, each, _ in all_of_them)),
        constant(reading.conversion.scale),
        constant(reading.conversion.offset),
        constant("none").cast(QC_SCALE),
        text,
        null,
        null,
        null,
        constant(False),
        constant(True),
    )
