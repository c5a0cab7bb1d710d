"""A profiling float in the Angola basin, as an Argo profile file.

Belongs here: the drift, the sensor that goes bad, flags and adjusted values by the Argo user manual's rules, and the
file's variables. Not here: the ocean (`ocean.py`). The platform number 0000000 is of no real float.
"""

from dataclasses import dataclass
from pathlib import Path

import netCDF4
import numpy as np

from retention_pipelines.demo import ocean as sea
from retention_pipelines.demo.labels import CITATION, LICENCE, NOTICE
from retention_pipelines.demo.ocean import Array, Ocean

NAME = "simulated_angola_float_prof.nc"
PLATFORM = "0000000"
CYCLE_DAYS = 10
SALINITY_FAILS_AFTER = 0.75  # share of the cycles with a good salinity cell
FILL = np.float32(99999.0)
_ARGO_EPOCH_DAYS = (sea.EPOCH.date().toordinal()) - np.datetime64("1950-01-01").astype(object).toordinal()
_LEVELS = np.concatenate([np.arange(4, 100, 8), np.arange(100, 500, 25), np.arange(500, 2001, 100)]).astype(float)
_LONG_NAMES = {
    "PRES": ("sea_water_pressure", "decibar"),
    "TEMP": ("sea_water_temperature", "degree_Celsius"),
    "PSAL": ("sea_water_salinity", "psu"),
}


@dataclass(frozen=True, kw_only=True)
class FloatFile:
    """What was written; `levels` counts levels with a pressure, `bad_salinity` those flagged 4."""

    path: Path
    profiles: int
    levels: int
    bad_salinity: int


def write_float(ocean: Ocean, rng: np.random.Generator, folder: Path) -> FloatFile:
    """A profile every ten days: delayed mode, then adjusted in real time, then raw; salinity fails near the end."""
    day = np.arange(3.3, sea.DAYS - 1, CYCLE_DAYS)
    count = day.size
    latitude = -9.5 + np.cumsum(rng.normal(0.015, 0.05, count))
    longitude = 4.0 + np.cumsum(rng.normal(-0.01, 0.08, count))
    pressure = _LEVELS[None, :] + rng.uniform(-1, 1, (count, _LEVELS.size))
    shape = pressure.shape
    place = [np.broadcast_to(axis[:, None], shape) for axis in (latitude, longitude, day)]
    temperature = ocean.temperature(place[0], place[1], pressure, place[2]) + rng.normal(0, 0.05, shape)
    salinity = ocean.salinity(place[0], place[1], pressure, place[2]) + rng.normal(0, 0.01, shape)

    mode = np.where(np.arange(count) < 0.6 * count, "D", np.where(np.arange(count) < 0.8 * count, "A", "R"))
    broken = np.broadcast_to((np.arange(count) >= SALINITY_FAILS_AFTER * count)[:, None], shape)
    salinity = np.where(broken, salinity + rng.normal(2.5, 1.0, shape), salinity)
    spike = rng.random(shape) < 0.004
    temperature = np.where(spike, temperature + 6.0, temperature)
    values = {"PRES": pressure, "TEMP": temperature, "PSAL": salinity}
    flags = {
        "PRES": np.full(shape, "1"),
        "TEMP": np.where(spike, "4", np.where(rng.random(shape) < 0.01, "2", "1")),
        "PSAL": np.where(broken, "4", "1"),
    }
    offset = {"PRES": -0.2, "TEMP": 0.0, "PSAL": 0.012}
    path = folder / NAME
    with netCDF4.Dataset(path, "w", format="NETCDF3_CLASSIC") as file:
        _describe(file, count)
        _profiles(file, mode, day, latitude, longitude)
        for name in values:
            _parameter(file, name, values[name], flags[name], mode, offset[name])
    return FloatFile(path=path, profiles=count, levels=int(np.prod(shape)), bad_salinity=int(broken.sum()))


def _describe(file: netCDF4.Dataset, count: int) -> None:
    file.setncatts(
        {
            "title": "SIMULATED Argo float vertical profile (not observations)",
            "institution": "retention_pipelines, simulated",
            "source": "Simulated float",
            "comment": NOTICE,
            "license": LICENCE,
            "citation": CITATION,
            "id": NAME.removesuffix("_prof.nc"),
            "user_manual_version": "3.1",
            "Conventions": "Argo-3.1 CF-1.6",
            "featureType": "trajectoryProfile",
        }
    )
    sizes = {"N_PROF": count, "N_PARAM": 3, "N_LEVELS": _LEVELS.size, "DATE_TIME": 14}
    for name, size in (sizes | {f"STRING{length}": length for length in (2, 4, 8, 16, 32, 64)}).items():
        file.createDimension(name, size)
    for name, width, text in (
        ("DATA_TYPE", "STRING16", "Argo profile"),
        ("FORMAT_VERSION", "STRING4", "3.1"),
        ("HANDBOOK_VERSION", "STRING4", "1.2"),
        ("REFERENCE_DATE_TIME", "DATE_TIME", "19500101000000"),
        ("DATE_CREATION", "DATE_TIME", "20220101000000"),
        ("DATE_UPDATE", "DATE_TIME", "20220101000000"),
    ):
        _text(file, name, (width,), np.array(text))


def _profiles(file: netCDF4.Dataset, mode: np.ndarray, day: Array, latitude: Array, longitude: Array) -> None:
    count = day.size
    for name, width, text in (
        ("PLATFORM_NUMBER", "STRING8", PLATFORM),
        ("PROJECT_NAME", "STRING64", "SIMULATED by retention_pipelines"),
        ("PI_NAME", "STRING64", "nobody: simulated"),
        ("DATA_CENTRE", "STRING2", "XX"),
        ("PLATFORM_TYPE", "STRING32", "SIMULATED"),
        ("POSITIONING_SYSTEM", "STRING8", "GPS"),
    ):
        _text(file, name, ("N_PROF", width), np.full(count, text))
    _text(file, "STATION_PARAMETERS", ("N_PROF", "N_PARAM", "STRING16"), np.tile(list(_LONG_NAMES), (count, 1)))
    _letters(file, "DIRECTION", ("N_PROF",), np.full(count, "A"))
    _letters(file, "DATA_MODE", ("N_PROF",), mode)
    cycle = file.createVariable("CYCLE_NUMBER", "i4", ("N_PROF",), fill_value=np.int32(99999))
    cycle.long_name = "Float cycle number"
    cycle[:] = np.arange(1, count + 1)
    juld = day + _ARGO_EPOCH_DAYS
    for name in ("JULD", "JULD_LOCATION"):
        variable = file.createVariable(name, "f8", ("N_PROF",), fill_value=999999.0)
        variable.setncatts({"units": "days since 1950-01-01 00:00:00 UTC", "standard_name": "time", "axis": "T"})
        variable[:] = juld
    for name, values, axis in (("LATITUDE", latitude, "Y"), ("LONGITUDE", longitude, "X")):
        variable = file.createVariable(name, "f8", ("N_PROF",), fill_value=99999.0)
        unit = "degree_north" if axis == "Y" else "degree_east"
        variable.setncatts({"units": unit, "standard_name": name.lower(), "axis": axis})
        variable[:] = np.round(values, 3)
    _letters(file, "JULD_QC", ("N_PROF",), np.full(count, "1"))
    _letters(file, "POSITION_QC", ("N_PROF",), np.full(count, "1"))


def _parameter(
    file: netCDF4.Dataset, name: str, values: Array, flags: np.ndarray, mode: np.ndarray, offset: float
) -> None:
    """NAME, NAME_QC and the adjusted ones: fill where the profile is raw or the value bad."""
    is_raw = np.broadcast_to((mode == "R")[:, None], values.shape)
    adjusted = np.where(is_raw | (flags == "4"), FILL, values + offset)
    adjusted_flags = np.where(is_raw, " ", flags)
    shape = ("N_PROF", "N_LEVELS")
    standard_name, units = _LONG_NAMES[name]
    for column, content, quality in ((name, values, flags), (f"{name}_ADJUSTED", adjusted, adjusted_flags)):
        variable = file.createVariable(column, "f4", shape, fill_value=FILL)
        variable.setncatts({"standard_name": standard_name, "units": units, "long_name": f"SIMULATED {standard_name}"})
        variable[:] = content.astype(np.float32)
        _letters(file, f"{column}_QC", shape, quality)


def _text(file: netCDF4.Dataset, name: str, dimensions: tuple[str, ...], texts: np.ndarray) -> None:
    width = len(file.dimensions[dimensions[-1]])
    variable = file.createVariable(name, "S1", dimensions, fill_value=b" ")
    variable[:] = np.char.ljust(texts.astype(f"U{width}"), width).astype(f"S{width}")[..., None].view("S1")


def _letters(file: netCDF4.Dataset, name: str, dimensions: tuple[str, ...], letters: np.ndarray) -> None:
    variable = file.createVariable(name, "S1", dimensions, fill_value=b" ")
    if name.endswith("QC"):
        variable.setncatts({"long_name": "quality flag", "conventions": "Argo reference table 2"})
    variable[:] = letters.astype("S1")
