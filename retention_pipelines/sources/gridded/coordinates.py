"""Coordinates of a CF NetCDF file: which is which, by axis, units, standard name, and only then by name.

What belongs here: latitude, longitude, the vertical and time as arrays. What does not: time units (`cf_time.py`) and
the variables on these axes (`variables.py`).
"""

from dataclasses import dataclass

import cf_xarray  # noqa: F401 - registers the accessor `.cf`
import numpy as np
import xarray as xr

from retention_pipelines.errors import FileRefused
from retention_pipelines.sources.arrays import Array
from retention_pipelines.sources.cf_time import TimeAxis, Times, intervals
from retention_pipelines.sources.staging import RawFile
from retention_pipelines.sources.units import conversion


@dataclass(frozen=True, kw_only=True)
class Coordinate:
    """A coordinate over some of the dimensions of the variables."""

    name: str
    dimensions: tuple[str, ...]
    values: Array


@dataclass(frozen=True, kw_only=True)
class Vertical:
    """Depth (positive down, metres) or pressure (dbar), as the axis has it."""

    coordinate: Coordinate
    is_pressure: bool


@dataclass(frozen=True, kw_only=True)
class Axes:
    """Coordinates of a file; `times` belongs to the elements of `time`."""

    latitude: Coordinate
    longitude: Coordinate
    time: Coordinate
    times: Times
    vertical: Vertical | None


def find_axes(file: RawFile) -> Axes:
    """Find the coordinates; what the file does not describe by attributes is found by usual names."""
    with xr.open_dataset(file.local, decode_times=False, mask_and_scale=True, engine="netcdf4") as data:
        described = data.set_coords([name for name in data.variables if name not in data.coords and name in _BY_NAME])
        described = described.cf.guess_coord_axis()
        latitude = _coordinate(described, "latitude", file.name)
        longitude = _coordinate(described, "longitude", file.name)
        time = _coordinate(described, "time", file.name)
        if latitude is None or longitude is None or time is None:
            missing = [
                name
                for name, found in (("latitude", latitude), ("longitude", longitude), ("time", time))
                if found is None
            ]
            raise FileRefused(
                f"{file.name} has no coordinate for {', '.join(missing)}.",
                hint="Name them by CF standard names or units (degrees_north, degrees_east, 'days since …').",
            )
        return Axes(
            latitude=latitude,
            longitude=longitude,
            time=time,
            times=_times(data, time, file.name),
            vertical=_vertical(described, file.name),
        )


_BY_NAME = {"lat", "latitude", "nav_lat", "lon", "longitude", "nav_lon", "time", "depth", "deptht", "lev", "pres"}


def _coordinate(data: xr.Dataset, key: str, file_name: str) -> Coordinate | None:
    names = sorted({*data.cf.coordinates.get(key, []), *data.cf.standard_names.get(key, [])} & set(data.variables))
    if not names:
        return None
    # A file may hold several times (forecast reference time, JULD_LOCATION): the dimension's own is the one.
    own = [name for name in names if name in data.dims] or [name for name in names if str(name).casefold() == key]
    if len(names) > 1 and not own:
        raise FileRefused(f"{file_name} has several coordinates for {key}: {', '.join(map(str, names))}.")
    name = (own or names)[0]
    found = data[name]
    return Coordinate(name=str(name), dimensions=tuple(map(str, found.dims)), values=_decimal(found.values))


def _decimal(values: Array) -> Array:
    """Doubles; a single-precision coordinate is read as the decimal number it was written as.

    0.7 in single precision is 0.69999999 in double: another cell.
    """
    if values.dtype != np.float32:
        return values.astype("f8")
    return np.array([float(str(value)) for value in values.ravel()], dtype="f8").reshape(values.shape)


def _times(data: xr.Dataset, time: Coordinate, file_name: str) -> Times:
    attributes = data[time.name].attrs
    bounds = attributes.get("bounds")
    methods = " ".join(str(one.attrs.get("cell_methods", "")) for one in data.variables.values())
    values = data[time.name].values
    axis = TimeAxis(
        values=values.ravel(),
        units=str(attributes.get("units", "")),
        calendar=str(attributes.get("calendar", "standard")),
        bounds=data[bounds].values.reshape(-1, 2) if bounds in data.variables else None,
        is_climatology="climatology" in attributes,
        is_mean="mean" in methods,
    )
    return intervals(axis, name=file_name)


def _vertical(data: xr.Dataset, file_name: str) -> Vertical | None:
    """The vertical axis in metres, positive down, or in dbar; none where it only numbers levels."""
    names = {*data.cf.coordinates.get("vertical", []), *data.cf.axes.get("Z", [])} & set(data.variables)
    for name in sorted(names, key=lambda one: (one not in data.dims, str(one))):
        found = data[name]
        unit = str(found.attrs.get("units", ""))
        coordinate = Coordinate(
            name=str(name), dimensions=tuple(map(str, found.dims)), values=_decimal(np.asarray(found.values))
        )
        if (metres := conversion(unit, "m")) is not None:
            up = str(found.attrs.get("positive", "")).casefold() == "up" or (
                "positive" not in found.attrs and str(found.attrs.get("standard_name", "")) in {"height", "altitude"}
            )
            values = metres.apply(coordinate.values) * (-1.0 if up else 1.0) + 0.0
            return Vertical(
                coordinate=Coordinate(name=coordinate.name, dimensions=coordinate.dimensions, values=values),
                is_pressure=False,
            )
        if (decibars := conversion(unit, "dbar")) is not None:
            values = decibars.apply(coordinate.values)
            return Vertical(
                coordinate=Coordinate(name=coordinate.name, dimensions=coordinate.dimensions, values=values),
                is_pressure=True,
            )
    return None
