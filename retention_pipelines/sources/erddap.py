"""ERDDAP text: `.csv` with a row of units, `.csvp` with `name (units)` in the header, and their tab-separated forms.

What belongs here: tabledap and griddap downloads of measurements, and tables of species, told apart by their columns.
What does not: NetCDF from ERDDAP (`gridded.py`). A variable is read by its name and its unit; what is not a known
quantity is kept in `dynamic_properties`.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import reduce
from operator import or_

import duckdb
import gsw
import numpy as np
import pyarrow as pa

from retention_pipelines.errors import FileRefused
from retention_pipelines.sources.cf import Reading, readings
from retention_pipelines.sources.cf_time import is_monthly
from retention_pipelines.sources.darwin_core.parts import Layout, load_part
from retention_pipelines.sources.darwin_core.records import DataSet, stage
from retention_pipelines.sources.darwin_core.terms import term_of
from retention_pipelines.sources.identity import from_file_name
from retention_pipelines.sources.licences import licence_name
from retention_pipelines.sources.staging import (
    QC_SCALE,
    RawFile,
    Recognition,
    Staged,
    closed_word,
    fresh_name,
    record_hash,
)
from retention_pipelines.sources.text_table import Dialect, encoding_or_refusal, header, load, reader, unique
from retention_pipelines.sources.units import conversion
from retention_pipelines.warehouse.duck import bind, quote_name, set_variables, statement

_PACKAGE = "retention_pipelines.sources"
_PARENTHESISED = re.compile(r"(?P<name>[^()]+?)\s*\((?P<unit>.*)\)")
_PLATFORMS = ("platform_number", "station", "station_id", "station_code", "station_name", "platform", "platform_id",
              "platform_code", "wmo_platform_code", "buoy", "buoy_id", "mooring", "glider", "site", "site_id",
              "trajectory", "trajectory_id")  # fmt: skip
_EVENTS = ("event_id", "eventid", "profile_id", "profile", "cast_id", "cast", "cast_number", "cycle_number", "haul")
_PRESSURES = ("pres", "pressure", "sea_water_pressure", "pressure_dbar", "pres_dbar")
_HEIGHTS = ("altitude", "z", "height", "elevation")
_DEPTHS = ("depth", "depth_m", "depthm", "lev")
_FLAG_ENDINGS = ("_qc_agg", "_qartod_agg", "_qc_primary_flag", "_qartod_rollup_qc", "_qc", "_qc_flag", "_flag",
                 "_quality_flag", "_qcflag")  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Header:
    """Columns of a file with their units; `skip` lines come before the first data row."""

    units: Mapping[str, str]
    delimiter: str
    skip: int

    def named(self, *names: str) -> str | None:
        """The column of the first of these names that is there."""
        by_key = {column.casefold(): column for column in reversed(list(self.units))}
        return next((by_key[name] for name in names if name in by_key), None)


def read_header(text: str) -> Header | None:
    """The header of ERDDAP text; None where the text is something else."""
    found = header(text)
    if found is None:
        return None
    names, delimiter = found
    matches = [_PARENTHESISED.fullmatch(name) for name in names]
    units = {match["name"]: match["unit"] for match in matches if match}
    if _is_erddap(units):
        plain = unique([match["name"] if match else name for match, name in zip(matches, names, strict=True)])
        return Header(
            units=dict(zip(plain, [match["unit"] if match else "" for match in matches], strict=True)),
            delimiter=delimiter,
            skip=1,
        )
    lines = text.split("\n", 2)
    if len(lines) < 2:
        return None
    second = next(reader([lines[1].rstrip("\r")], Dialect(delimiter=delimiter)), [])
    if len(second) != len(names):
        return None
    units = dict(zip(unique(names), (unit.strip() for unit in second), strict=True))
    return Header(units=units, delimiter=delimiter, skip=2) if _is_erddap(units) else None


def _is_erddap(units: Mapping[str, str]) -> bool:
    """ERDDAP writes times as ISO 8601 and says so: the unit of time is UTC."""
    lower = {name.casefold(): unit for name, unit in units.items()}
    return lower.get("time") == "UTC" or (
        conversion(lower.get("latitude", ""), "degree_north") is not None
        and conversion(lower.get("longitude", ""), "degree_east") is not None
    )


class ErddapReader:
    """Reads ERDDAP text."""

    format = "erddap"

    def recognises(self, file: RawFile, around: Sequence[RawFile]) -> Recognition | None:
        """Text whose header or second row has ERDDAP's units."""
        return Recognition(format=self.format) if read_header(file.text_head or "") else None

    def read(
        self, file: RawFile, recognition: Recognition, around: Sequence[RawFile], con: duckdb.DuckDBPyConnection
    ) -> Iterable[Staged]:
        """One staging table, of observations or of occurrences."""
        found = read_header(file.text_head or "")
        if found is None:
            raise FileRefused(f"{file.name} has no row of units.", hint="Download it from ERDDAP as .csv or .csvp.")
        missing = [name for name in ("time", "latitude", "longitude") if found.named(name) is None]
        if missing:
            raise FileRefused(
                f"{file.name} has no column {' and no column '.join(missing)}.",
                hint="Download it again with these variables, or describe it by a mapping.",
            )
        if found.named("scientific_name", "scientificname") is not None:
            return _species(file, found, con)
        return [_observations(file, found, con)]


def _dialect(file: RawFile, found: Header) -> Dialect:
    return Dialect(delimiter=found.delimiter, encoding=encoding_or_refusal(file.local, file.name), skip=found.skip)


# -- measurements ---------------------------------------------------------------------------------------------------


def _observations(file: RawFile, found: Header, con: duckdb.DuckDBPyConnection) -> Staged:
    values, refused = readings({name: (None, unit) for name, unit in found.units.items() if _is_value(found, name)})
    if not values:
        why = " ".join(one.reason for one in refused) or "None of its columns is a known quantity."
        raise FileRefused(
            f"{file.name} has no variable that can be read. {why}", hint="Describe it by a mapping (docs/formats.md)."
        )
    dataset_id = from_file_name(file.name)
    table = load(con, file.local, list(found.units), _dialect(file, found))
    con.execute(statement(_PACKAGE, "measured"))
    con.execute(statement(_PACKAGE, "licences"))
    is_argo = found.named("platform_number") is not None and found.named("cycle_number") is not None
    platform, event = found.named(*_PLATFORMS), found.named(*_EVENTS)
    depth, at_surface = _depth(found, values)
    used = {name for name in (found.named("time"), found.named("latitude"), found.named("longitude"), platform) if name}
    rights = (found.named("license", "licence"), found.named("citation", "bibliographic_citation"))
    used |= {one.column for one in values} | set(depth.values()) | {name for name in (event, *rights) if name}
    flags: set[str] = {one.remark for one in values if one.remark}
    flags |= {"UNIT_NOT_READ" for one in refused if one.unit_unknown}
    measurements = []
    for one in values:
        expression, names = _measurement(one, values, found, is_argo=is_argo)
        measurements.append(expression)
        used |= names
    text = _column
    con.table(table.relation).select(
        duckdb.ColumnExpression("source_row"),
        text(found.named("time")).alias("event_date"),
        text(found.named("latitude")).alias("decimal_latitude"),
        text(found.named("longitude")).alias("decimal_longitude"),
        text(platform).alias("platform_id"),
        text(event).alias("event"),
        text(found.named("direction")).alias("direction"),
        *(text(depth.get(kind)).alias(kind) for kind in ("depth", "height")),
        (_chosen(found, depth.get("pressure", ""), "pres_adjusted") if is_argo else text(depth.get("pressure"))).alias(
            "pressure"
        ),
        text(rights[0]).alias("licence"),
        text(rights[1]).alias("bibliographic_citation"),
        duckdb.FunctionExpression("list_value", *measurements).alias("every"),
        _rest(sorted(set(table.columns) - used)).alias("rest"),
        _broken([one.column for one in values]).alias("broken"),
        record_hash(dataset_id, table.columns),
    ).create_view("erddap_rows", replace=True)
    bind(con, "erddap_unreadable", quote_name(table.unreadable))
    set_variables(con, at_surface=at_surface, depth_scale=_scale(found, depth, "depth"))
    set_variables(con, height_scale=_scale(found, depth, "height"))
    source_type = "float" if is_argo else _source_type(found)
    monthly = source_type == "grid" and _is_monthly(con)
    set_variables(con, monthly=monthly)
    if monthly:
        flags.add("MONTH_BY_SPACING")
    depths = _bind_depths(con, needed="pressure" in depth and not {"depth", "height"} & set(depth))
    relation = fresh_name("erddap")
    con.sql(statement(_PACKAGE, "erddap")).create(relation)
    for name in (table.unreadable, depths):
        con.execute("drop table " + quote_name(name))
    return Staged(
        relation=relation,
        raw=table.relation,
        dataset="observations",
        dataset_id=dataset_id,
        source_type=source_type,
        read=table.rows,
        flags=tuple(sorted(flags)),
        notes=tuple(one.reason for one in refused),
    )


def _is_monthly(con: duckdb.DuckDBPyConnection) -> bool:
    """Whether a grid has one time in every month: composites, which griddap stamps with an instant of the month."""
    times = con.table("erddap_rows").select("event_date").distinct().fetchall()
    try:
        dates = sorted(datetime.fromisoformat(text) for (text,) in times if text is not None)
    except ValueError:
        return False
    return is_monthly(dates)


def _bind_depths(con: duckdb.DuckDBPyConnection, *, needed: bool) -> str:
    """A table of the depths of rows that have a pressure only, as the view `erddap_depths`."""
    rows = con.sql(statement(_PACKAGE, "pressures")).fetchnumpy() if needed else {}
    pressure = np.ma.filled(rows.get("pressure", np.zeros(0)), np.nan)
    latitude = np.ma.filled(rows.get("latitude", np.zeros(0)), np.nan)
    with np.errstate(invalid="ignore"):
        depth = -gsw.z_from_p(pressure, np.where(np.abs(latitude) <= 90, latitude, np.nan)) if needed else pressure
    table = pa.table(
        {
            "source_row": pa.array(np.ma.filled(rows.get("source_row", np.zeros(0)), 0), pa.int64()),
            "depth_m": pa.array(depth, pa.float64(), from_pandas=True),
        }
    )
    name = fresh_name("erddap_depths")
    con.from_arrow(table).create(name)
    bind(con, "erddap_depths", quote_name(name))
    return name


def _source_type(found: Header) -> str:
    """Kind of platform by the columns; griddap writes its axes first, time before all."""
    names = [name.casefold() for name in found.units]
    if found.named(*_PLATFORMS) is None and names[0] == "time" and {"latitude", "longitude"} <= set(names[1:4]):
        return "grid"
    if found.named("cast", "cast_id", "cast_number", "profile", "profile_id") is not None:
        return "cast"
    if found.named("station", "station_id", "station_code", "buoy", "buoy_id", "mooring", "wmo_platform_code"):
        return "buoy"
    return "other"


def _is_value(found: Header, name: str) -> bool:
    key = name.casefold()
    coordinates = {"time", "latitude", "longitude", *_DEPTHS, *_PRESSURES, *_HEIGHTS}
    return key not in coordinates and not key.endswith(("_adjusted", "_error", *_FLAG_ENDINGS))


def _depth(found: Header, values: Sequence[Reading]) -> tuple[dict[str, str], bool]:
    """Columns of the vertical position; whether it is the surface because there is none."""
    columns = {}
    for kind, names in (("depth", _DEPTHS), ("height", _HEIGHTS), ("pressure", _PRESSURES)):
        name = found.named(*names)
        unit = found.units[name] if name else ""
        if name and conversion(unit or ("dbar" if kind == "pressure" else "m"), "dbar" if kind == "pressure" else "m"):
            columns[kind] = name
    return columns, not columns and any(one.at_surface for one in values)


def _scale(found: Header, columns: Mapping[str, str], kind: str) -> float:
    name = columns.get(kind)
    convert = conversion(found.units[name] or "m", "m") if name else None
    return convert.scale if convert else 1.0


def _measurement(
    one: Reading, all_of_them: Sequence[Reading], found: Header, *, is_argo: bool
) -> tuple[duckdb.Expression, set[str]]:
    """The struct of one of the variables, and the columns it uses."""
    constant = duckdb.ConstantExpression
    flag = found.named(*(one.column.casefold() + ending for ending in _FLAG_ENDINGS))
    adjusted = found.named(f"{one.column.casefold()}_adjusted")
    adjusted_flag = found.named(f"{one.column.casefold()}_adjusted_qc")
    scale = "none" if flag is None else "argo" if is_argo else "qartod"
    is_adjusted = _is_adjusted(found) if adjusted else constant(False)
    good: duckdb.Expression = constant(True)
    if is_argo:
        # A download without a column of flags says nothing about it.
        flags = [_column(name) for name in (found.named("position_qc"), found.named("time_qc", "juld_qc")) if name]
        if found.named("pres_qc"):
            flags.append(_chosen(found, "pres_qc", "pres_adjusted_qc"))
        for one_flag in flags:
            flag_text = duckdb.FunctionExpression("measured_flag", one_flag)
            good = good & duckdb.FunctionExpression("flag_is_good", flag_text, constant("argo"))
    expression = duckdb.FunctionExpression(
        "measured_value",
        closed_word(one.variable, (each.variable for each in all_of_them)),
        closed_word(one.standard_name, (each.standard_name for each in all_of_them)),
        constant(one.conversion.scale),
        constant(one.conversion.offset),
        constant(scale).cast(QC_SCALE),
        _column(one.column),
        _column(flag),
        _column(adjusted),
        _column(adjusted_flag),
        is_adjusted,
        good,
    )
    return expression, {name for name in (flag, adjusted, adjusted_flag) if name}


def _is_adjusted(found: Header) -> duckdb.Expression:
    """Whether adjusted values count in a row: by Argo's data mode."""
    constant = duckdb.ConstantExpression
    mode = found.named("data_mode")
    if mode is None:
        return constant(False)
    return duckdb.CoalesceOperator(_column(mode).isin(constant("A"), constant("D")), constant(False))


def _chosen(found: Header, raw: str, adjusted: str) -> duckdb.Expression:
    """A column, or its adjusted form in the rows where that counts."""
    name, other = found.named(raw), found.named(adjusted)
    if other is None:
        return _column(name)
    return duckdb.FunctionExpression("adjusted_or_raw", _is_adjusted(found), _column(other), _column(name))


def _column(name: str | None) -> duckdb.Expression:
    """A column's text, blank as null; a null where there is no such column."""
    if name is None:
        return duckdb.ConstantExpression(None).cast("VARCHAR")
    blank = duckdb.ConstantExpression("")
    trimmed = duckdb.FunctionExpression("trim", duckdb.ColumnExpression(name))
    return duckdb.FunctionExpression("nullif", trimmed, blank)


def _broken(columns: Sequence[str]) -> duckdb.Expression:
    """The values of a row as JSON where one of them is no number, else null."""
    tests = [duckdb.FunctionExpression("is_no_number", _column(name)) for name in columns]
    return duckdb.CaseExpression(reduce(or_, tests), _rest(columns))


def _rest(columns: Sequence[str]) -> duckdb.Expression:
    pairs = [part for name in columns for part in (duckdb.ConstantExpression(name), _column(name))]
    return duckdb.FunctionExpression("json_object", *pairs)


# -- species --------------------------------------------------------------------------------------------------------


def _species(file: RawFile, found: Header, con: duckdb.DuckDBPyConnection) -> Iterable[Staged]:
    """Occurrences: ERDDAP's names as Darwin Core terms; a column of counts or densities by its unit."""
    by_term: dict[str, str] = {}
    defaults: dict[str, str] = {}
    for name in found.units:
        term = term_of(name)
        if term is not None:
            by_term.setdefault(term, name)
    renamed = {"eventDate": "time", "decimalLatitude": "latitude", "decimalLongitude": "longitude"}
    for term, name in renamed.items():
        by_term.setdefault(term, found.named(name) or name)
    depth = found.named(*_DEPTHS)
    if depth is not None and conversion(found.units[depth], "m") is not None:
        by_term.setdefault("minimumDepthInMeters", depth)
        by_term.setdefault("maximumDepthInMeters", depth)
    common = found.named("common_name")
    if common is not None:
        by_term.setdefault("vernacularName", common)
    con.execute(statement(f"{_PACKAGE}.darwin_core", "macros"))
    for name, unit in found.units.items():
        if name in by_term.values():
            continue
        kind = con.execute("select quantity_kind('abundance', $1, null)", [unit or None]).fetchall()[0][0]
        if kind == "density" and "organismQuantity" not in by_term:
            by_term["organismQuantity"] = name
            defaults["organismQuantityType"] = f"abundance [{unit}]"
        elif kind == "count" and "individualCount" not in by_term:
            by_term["individualCount"] = name
    layout = Layout(columns=tuple(found.units), by_term=by_term, defaults=defaults, dialect=_dialect(file, found))
    part = load_part(con, file.local, layout, "occurrence", file=file)
    rights = con.table(part.terms).select("license").distinct().limit(2).fetchall()
    licence = licence_name(rights[0][0]) if len(rights) == 1 else None
    return stage(con, DataSet(dataset_id=from_file_name(file.name), parts=(part,), licence=licence))
