"""Argo profile files (`*_prof.nc`, `R/D<float>_<cycle>.nc`, also with biogeochemical parameters).

One raw row is one level of one profile. What this module knows: ADJUSTED values and flags count where the data mode is
A or D, raw ones where it is R; a value is good when its own flag and those of pressure, position and time are. Raw
values and flags are kept beside. What it does not: anything but profiles (no trajectory, technical or meta files).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import duckdb
import gsw
import netCDF4
import numpy as np
import pyarrow as pa

from retention_pipelines.errors import FileRefused
from retention_pipelines.sources.arrays import Array, Measured, check_whole, is_netcdf, numbers, stage_arrays, texts
from retention_pipelines.sources.cf import Reading, Refusal, notes_on, readings
from retention_pipelines.sources.identity import first, slug
from retention_pipelines.sources.licences import licence_name
from retention_pipelines.sources.staging import RawFile, Recognition, Staged

# The set definitions.md states: good, probably good, changed, estimated.
GOOD_FLAGS = ("1", "2", "5", "8")
# Argo data are one data set whatever the float; its licence and citation are the programme's: its files state none. A
# file in Argo's form that names a data set of its own (attribute `id`) is that one's.
DATASET_ID = "argo"
LICENCE = "CC-BY-4.0"
CITATION = (
    "Argo. Argo float data and metadata from Global Data Assembly Centre (Argo GDAC). SEANOE. "
    "https://doi.org/10.17882/42182"
)
_NOT_LEVELS = ("PRES",)


@dataclass(frozen=True, kw_only=True)
class Profiles:
    """What a file says once per profile."""

    platform: Array
    cycle: Array
    direction: Array
    mode: Array
    time: Array
    time_good: Array
    latitude: Array
    longitude: Array
    position_good: Array

    @property
    def event_ids(self) -> Array:
        """Platform and cycle; a descending profile is another event than the ascending one of its cycle."""
        down = np.where(self.direction == "D", "D", "")
        ids = np.char.add(np.char.add(np.char.add(self.platform, "_"), self.cycle.astype(str)), down)
        return np.where((self.platform == "") | (self.cycle < 0), "", ids)


class ArgoReader:
    """Reads Argo profile NetCDF."""

    format = "argo"

    def recognises(self, file: RawFile, around: Sequence[RawFile]) -> Recognition | None:
        """NetCDF with profiles, Julian days and pressure levels."""
        if not is_netcdf(file.head):
            return None
        try:
            with netCDF4.Dataset(file.local) as data:
                found = {"N_PROF", "N_LEVELS"} <= set(data.dimensions) and {"JULD", "PRES"} <= set(data.variables)
        except OSError:
            return None
        return Recognition(format=self.format) if found else None

    def read(
        self, file: RawFile, recognition: Recognition, around: Sequence[RawFile], con: duckdb.DuckDBPyConnection
    ) -> Iterable[Staged]:
        """One staging table of every level that holds anything."""
        try:
            check_whole(file.local)
            with netCDF4.Dataset(file.local) as data:
                return [_stage(data, con)]
        except (OSError, RuntimeError, ValueError) as error:
            raise FileRefused(f"{file.name} is damaged: {error}.", hint="Download it again.") from error


def _chars(data: netCDF4.Dataset, name: str, default: str = "") -> Array:
    """Text of a character variable; fixed-length strings joined, blanks stripped."""
    if name not in data.variables:
        return np.full(data.dimensions["N_PROF"].size, default)
    variable = data[name]
    variable.set_auto_chartostring(False)
    values = np.ma.filled(variable[:], b" ")
    if variable.dimensions[-1].startswith("STRING"):
        values = netCDF4.chartostring(values, encoding="latin-1")
    return np.char.strip(values.astype(str), " \0")


def _values(data: netCDF4.Dataset, name: str) -> Array:
    """Numbers as they are stored, NaN where missing."""
    values = np.ma.asarray(data[name][:])
    floats = values if values.dtype.kind == "f" else values.astype("f8")
    return np.ma.filled(floats, np.nan)


def _profiles(data: netCDF4.Dataset) -> Profiles:
    juld = _values(data, "JULD").astype("f8")
    time = np.full(juld.shape, "", dtype="U20")
    known = np.isfinite(juld)
    dates = netCDF4.num2date(juld[known].tolist(), data["JULD"].units)
    # Days as doubles are exact to some microseconds; the file means whole seconds.
    instants = np.array([date.isoformat() for date in np.asarray(dates).tolist()], dtype="M8[us]")
    seconds = (instants + np.timedelta64(500, "ms")).astype("M8[s]")
    time[known] = np.char.add(seconds.astype(str), "Z")
    return Profiles(
        platform=_chars(data, "PLATFORM_NUMBER"),
        cycle=np.ma.filled(np.ma.asarray(data["CYCLE_NUMBER"][:]), -1),
        direction=_chars(data, "DIRECTION"),
        mode=_chars(data, "DATA_MODE", "R"),
        time=time,
        time_good=np.isin(_chars(data, "JULD_QC", "0"), GOOD_FLAGS),
        latitude=_values(data, "LATITUDE"),
        longitude=_values(data, "LONGITUDE"),
        position_good=np.isin(_chars(data, "POSITION_QC", "0"), GOOD_FLAGS),
    )


def _modes(data: netCDF4.Dataset, name: str, profiles: Profiles) -> Array:
    """Data mode of a parameter per profile: its own where the file has one, the profile's elsewhere."""
    if "PARAMETER_DATA_MODE" not in data.variables:
        return profiles.mode
    modes = _chars(data, "PARAMETER_DATA_MODE")
    own = (_chars(data, "STATION_PARAMETERS") == name) & (modes != "")
    its_own = modes[np.arange(len(modes)), own.argmax(axis=1)]
    return np.where(own.any(axis=1), its_own, profiles.mode)


def _parameters(data: netCDF4.Dataset) -> tuple[list[Reading], list[Refusal], list[str]]:
    """The parameters of the file that are quantities of the table, those that cannot be read, and the names of all."""
    columns = {
        name: (getattr(variable, "standard_name", None), getattr(variable, "units", None))
        for name, variable in data.variables.items()
        if variable.dimensions[:2] == ("N_PROF", "N_LEVELS")
        and len(variable.dimensions) == 2
        and f"{name}_QC" in data.variables
        and not name.endswith("_ADJUSTED")
        and name not in _NOT_LEVELS
    }
    return *readings(columns), list(columns)


def _attribute(data: netCDF4.Dataset, name: str) -> str | None:
    return first([str(data.getncattr(name))]) if name in data.ncattrs() else None


def _stage(data: netCDF4.Dataset, con: duckdb.DuckDBPyConnection) -> Staged:
    dataset_id = slug(_attribute(data, "id") or "") or DATASET_ID
    is_argo = dataset_id == DATASET_ID
    profiles = _profiles(data)
    shape = (data.dimensions["N_PROF"].size, data.dimensions["N_LEVELS"].size)
    parameters, refused, all_names = _parameters(data)
    names = ["PRES", *(reading.column for reading in parameters)]
    stored: dict[str, Array] = {}
    for name in names:
        for suffix in ("", "_ADJUSTED"):
            if name + suffix in data.variables:
                stored[name + suffix] = _values(data, name + suffix)
                stored[f"{name}{suffix}_QC"] = _chars(data, f"{name}{suffix}_QC")
    # Profiles shorter than the longest one are padded with fill values: those are no raw rows.
    level = np.zeros(shape, dtype=bool)
    for values in stored.values():
        level |= values != "" if values.dtype.kind == "U" else np.isfinite(values)
    which, depth_index = np.nonzero(level)
    rows = len(which)
    levels = {name: values[level] for name, values in stored.items()}

    def chosen(name: str) -> tuple[Array, Array, Array]:
        """Value, flag and whether they are adjusted, per level."""
        adjusted = np.isin(_modes(data, name, profiles), ("A", "D"))[which]
        if f"{name}_ADJUSTED" not in levels:
            return levels[name], levels[f"{name}_QC"], np.zeros(rows, dtype=bool)
        return (
            np.where(adjusted, levels[f"{name}_ADJUSTED"], levels[name]),
            np.where(adjusted, levels[f"{name}_ADJUSTED_QC"], levels[f"{name}_QC"]),
            adjusted,
        )

    pressure, pressure_flag, _ = chosen("PRES")
    good_row = np.isin(pressure_flag, GOOD_FLAGS) & (profiles.position_good & profiles.time_good)[which]
    # A bad adjusted pressure is a fill value: the level's raw pressure still says where it is, its flag that it is bad.
    pressure = np.where(np.isfinite(pressure), pressure, levels["PRES"]).astype("f8")
    measured = []
    for reading in parameters:
        value, flag, adjusted = chosen(reading.column)
        value = reading.conversion.apply(value.astype("f8"))
        measured.append(
            Measured(
                variable=reading.variable,
                standard_name=reading.standard_name,
                value=value,
                adjusted=adjusted,
                raw_value=np.where(adjusted, reading.conversion.apply(levels[reading.column].astype("f8")), np.nan),
                qc_flag=flag,
                raw_qc_flag=np.where(adjusted, levels[f"{reading.column}_QC"], ""),
                qc_scale="argo",
                qc_good=good_row & np.isin(flag, GOOD_FLAGS) & np.isfinite(value),
            )
        )
    latitude = profiles.latitude[which]
    with np.errstate(invalid="ignore"):
        depth = -gsw.z_from_p(pressure, np.where(np.abs(latitude) <= 90, latitude, np.nan))
    once = {
        "PLATFORM_NUMBER": texts(profiles.platform[which]),
        "CYCLE_NUMBER": pa.array(profiles.cycle[which]),
        "DIRECTION": texts(profiles.direction[which]),
        "DATA_MODE": texts(profiles.mode[which]),
        "JULD": numbers(_values(data, "JULD")[which]),
        "LATITUDE": numbers(latitude),
        "LONGITUDE": numbers(profiles.longitude[which]),
        "POSITION_QC": texts(_chars(data, "POSITION_QC", "0")[which]),
        "JULD_QC": texts(_chars(data, "JULD_QC", "0")[which]),
        "LEVEL": pa.array(depth_index + 1),
    }
    staged = stage_arrays(
        con,
        dataset_id=dataset_id,
        source_row=np.arange(1, rows + 1),
        raw=once
        | {name: texts(values) if values.dtype.kind == "U" else numbers(values) for name, values in levels.items()},
        columns={
            "platform_id": texts(profiles.platform[which]),
            "event_id": texts(profiles.event_ids[which]),
            "event_date": texts(profiles.time[which]),
            "decimal_latitude": numbers(latitude),
            "decimal_longitude": numbers(profiles.longitude[which]),
            "depth_m": numbers(depth),
            "pressure_dbar": numbers(pressure),
        },
        measured=measured,
    )
    return Staged(
        relation=staged.relation,
        raw=staged.raw,
        dataset="observations",
        dataset_id=dataset_id,
        source_type="float",
        read=rows,
        licence=licence_name(_attribute(data, "license")) or (LICENCE if is_argo else None),
        citation=_attribute(data, "citation") or (CITATION if is_argo else None),
        flags=("UNIT_NOT_READ",) if any(one.unit_unknown for one in refused) else (),
        notes=notes_on(all_names, parameters, refused),
    )
