"""CF NetCDF: grids, and series or tracks whose variables have positions and times as coordinates.

One raw row is one cell: one element of the variables that share their dimensions. What this module knows: which
coordinate is which (by axis, units, standard name, and only then by name), time slabs, units. Masked cells are rows
without values. A file is read block by block, never whole. Argo profiles are `argo.py`'s.
"""

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import cf_xarray  # noqa: F401 - registers the accessor `.cf`
import duckdb
import gsw
import netCDF4
import numpy as np
import pyarrow as pa
import xarray as xr

from retention_pipelines.errors import FileRefused
from retention_pipelines.sources.arrays import Array, Measured, check_whole, is_netcdf, numbers, stage_arrays, texts
from retention_pipelines.sources.cf import Reading, Refusal, notes_on, readings
from retention_pipelines.sources.cf_flags import FlagVariable, described, flag_texts, flags_of, worst_of
from retention_pipelines.sources.cf_time import TimeAxis, Times, intervals
from retention_pipelines.sources.identity import first, from_file_name, from_package, slug
from retention_pipelines.sources.licences import licence_name
from retention_pipelines.sources.staging import RawFile, Recognition, Staged
from retention_pipelines.sources.units import conversion

# Rows of one staging table: some 100 MB, and a few seconds of work.
BLOCK_ROWS = 500_000
# NetCDF's default fill value is 9.97e36, also where a file declares another one and then does not use it.
_NEVER_A_VALUE = 9e36
_SOURCE_TYPES = {"timeseries": "buoy", "profile": "cast", "trajectory": "other", "trajectoryprofile": "other"}


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


@dataclass(frozen=True, kw_only=True)
class Group:
    """Variables of the same dimensions: the values of one row.

    `flags` are those of a variable, by its name in the file; `placed_by` those of the coordinates.
    """

    dimensions: tuple[str, ...]
    shape: tuple[int, ...]
    variables: tuple[Reading, ...]
    flags: Mapping[str, FlagVariable] = field(default_factory=dict)
    placed_by: tuple[FlagVariable, ...] = ()

    def blocks(self, limit: int) -> Iterator[tuple[slice, ...]]:
        """Cut into blocks of at most `limit` rows along the leading dimensions, in storage order."""
        trailing = [math.prod(self.shape[number + 1 :]) for number in range(len(self.shape))]
        cut = next((number for number, size in enumerate(trailing) if size <= limit), len(self.shape) - 1)
        step = max(1, limit // trailing[cut])
        outer = [[slice(at, at + 1) for at in range(size)] for size in self.shape[:cut]]
        inner = [slice(at, min(at + step, self.shape[cut])) for at in range(0, self.shape[cut], step)]
        rest = [slice(0, size) for size in self.shape[cut + 1 :]]
        if 0 in self.shape:
            return
        for chosen in itertools.product(*outer, inner):
            yield (*chosen, *rest)


class GriddedReader:
    """Reads CF NetCDF; the last NetCDF format asked, so it also says why a damaged file cannot be read."""

    format = "gridded"

    def __init__(self, *, block_rows: int = BLOCK_ROWS) -> None:
        self.block_rows = block_rows

    def recognises(self, file: RawFile, around: Sequence[RawFile]) -> Recognition | None:
        """Any NetCDF."""
        return Recognition(format=self.format) if is_netcdf(file.head) else None

    def read(
        self, file: RawFile, recognition: Recognition, around: Sequence[RawFile], con: duckdb.DuckDBPyConnection
    ) -> Iterable[Staged]:
        """One staging table per block; rows are numbered through the file."""
        try:
            check_whole(file.local)
            with netCDF4.Dataset(file.local) as data:
                axes = _axes(file)
                groups, refused = _groups(data, axes, file.name)
                constants = _constants(data, file, axes, groups, refused)
                offset = 0
                for group in groups:
                    for block in group.blocks(self.block_rows):
                        yield _stage(data, axes, group, block, offset, con, constants)
                    offset += math.prod(group.shape)
        except (OSError, RuntimeError, ValueError) as error:
            raise FileRefused(f"{file.name} is no readable NetCDF: {error}.", hint="Download it again.") from error


@dataclass(frozen=True, kw_only=True)
class _Constants:
    dataset_id: str
    source_type: str
    licence: str | None
    rights_holder: str | None
    citation: str | None
    flags: tuple[str, ...]
    notes: tuple[str, ...]


def _attribute(data: netCDF4.Dataset, *names: str) -> str | None:
    attributes = {name.casefold(): name for name in data.ncattrs()}
    return first(str(data.getncattr(attributes[name])) for name in names if name in attributes)


def _constants(
    data: netCDF4.Dataset, file: RawFile, axes: Axes, groups: Sequence[Group], refused: Sequence[Refusal]
) -> _Constants:
    identifier = _attribute(data, "id", "product_id", "dataset_id")
    title = _attribute(data, "title")
    kind = (_attribute(data, "featuretype", "cdm_data_type") or "").casefold()
    used = {name for group in groups for one in (*group.flags.values(), *group.placed_by) for name in one.names}
    of_values = (flags_of(data, reading.column) for group in groups for reading in group.variables)
    placing = (one for one in _placing(data, axes) if one.scale is None)
    unread = [
        Refusal(column=name, reason=f"The flags {name} are {why}, so every value counts.")
        for name, why in {
            name: "on no scale that is known" if one.scale is None else "not of the dimensions of the values"
            for one in (*of_values, *placing)
            if one is not None
            for name in one.names
        }.items()
        if name not in used
    ]
    return _Constants(
        dataset_id=(from_package(identifier) if identifier else slug(title or "")) or from_file_name(file.name),
        source_type=_SOURCE_TYPES.get(kind, "grid"),
        licence=licence_name(_attribute(data, "license", "licence")),
        rights_holder=_attribute(data, "creator_name", "institution"),
        citation=_attribute(data, "citation", "bibliographic_citation", "references"),
        flags=(*axes.times.flags, *(["UNIT_NOT_READ"] if any(one.unit_unknown for one in refused) else [])),
        notes=notes_on(
            [name for name in _fields(data, axes) if name not in used],
            [one for group in groups for one in group.variables],
            [*refused, *unread],
        ),
    )


# -- coordinates ----------------------------------------------------------------------------------------------------


def _axes(file: RawFile) -> Axes:
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


# -- variables ------------------------------------------------------------------------------------------------------


def _fields(data: netCDF4.Dataset, axes: Axes) -> list[str]:
    """Variables that are neither coordinates nor what belongs to them (bounds, a grid mapping)."""
    named = {one.name for one in (axes.latitude, axes.longitude, axes.time)}
    named |= {axes.vertical.coordinate.name} if axes.vertical else set()
    attributes = ("bounds", "climatology", "grid_mapping", "coordinates")
    for variable in data.variables.values():
        for name in set(attributes) & set(variable.ncattrs()):
            named |= set(str(variable.getncattr(name)).split())
    named |= set(data.dimensions)
    return [name for name, one in data.variables.items() if name not in named and one.dimensions]


def _groups(data: netCDF4.Dataset, axes: Axes, file_name: str) -> tuple[list[Group], list[Refusal]]:
    """Known quantities by their dimensions. Raises FileRefused where there is none."""
    needed = [set(one.dimensions) for one in (axes.latitude, axes.longitude, axes.time)]
    columns: dict[tuple[str, ...], dict[str, tuple[str | None, str | None]]] = {}
    for name, variable in data.variables.items():
        located = variable.dimensions and all(one <= set(variable.dimensions) for one in needed)
        if located and variable.dtype != str and variable.dtype.kind in "fiu":
            attributes = variable.ncattrs()
            columns.setdefault(variable.dimensions, {})[name] = (
                variable.standard_name if "standard_name" in attributes else None,
                variable.units if "units" in attributes else None,
            )
    groups: list[Group] = []
    refused: list[Refusal] = []
    for dimensions, named in columns.items():
        found, unread = readings(named)
        refused += unread
        if found:
            shape = tuple(data.dimensions[one].size for one in dimensions)
            of_values = {one.column: _read_flags(data, flags_of(data, one.column), dimensions) for one in found}
            of_places = (_read_flags(data, one, dimensions) for one in _placing(data, axes))
            group = Group(
                dimensions=dimensions,
                shape=shape,
                variables=tuple(found),
                flags={name: one for name, one in of_values.items() if one is not None},
                placed_by=tuple(one for one in of_places if one is not None),
            )
            groups.append(group)
    if not groups:
        why = " ".join(one.reason for one in refused) or "None of its variables on those axes is a known quantity."
        raise FileRefused(f"{file_name} has no variable that can be read. {why}", hint="See docs/formats.md.")
    return groups, refused


def _placing(data: netCDF4.Dataset, axes: Axes) -> list[FlagVariable]:
    """Flags of the coordinates; `POSITION_QC` is that of both of a position."""
    vertical = [axes.vertical.coordinate] if axes.vertical else []
    found = [flags_of(data, one.name, places=True) for one in (axes.latitude, axes.longitude, axes.time, *vertical)]
    found += [described(data, name, places=True) for name in data.variables if name.casefold() == "position_qc"]
    return list(dict.fromkeys(one for one in found if one is not None))


def _read_flags(data: netCDF4.Dataset, flags: FlagVariable | None, dimensions: tuple[str, ...]) -> FlagVariable | None:
    """The flags, if their scale is known and they are of the rows' dimensions."""
    if flags is None or flags.scale is None:
        return None
    # A dimension of one element is none: characters of length 1, a POSITION.
    of_flags = {one for name in flags.names for one in data[name].dimensions if data.dimensions[one].size > 1}
    return flags if of_flags <= set(dimensions) else None


def _stage(
    data: netCDF4.Dataset,
    axes: Axes,
    group: Group,
    block: tuple[slice, ...],
    offset: int,
    con: duckdb.DuckDBPyConnection,
    constants: _Constants,
) -> Staged:
    shape = tuple(one.stop - one.start for one in block)
    rows = math.prod(shape)

    def cut_of(dimensions: tuple[str, ...]) -> tuple[slice | int, ...]:
        return tuple(block[group.dimensions.index(one)] if one in group.dimensions else 0 for one in dimensions)

    def over_rows(cut: Array, dimensions: tuple[str, ...]) -> Array:
        order = [dimensions.index(one) for one in group.dimensions if one in dimensions]
        along = [slice(None) if one in dimensions else None for one in group.dimensions]
        return np.broadcast_to(cut.transpose(order)[tuple(along)], shape).ravel()

    def spread(coordinate: Coordinate, values: Array | None = None) -> Array:
        """A coordinate's values over the rows of the block."""
        chosen = coordinate.values if values is None else values
        return over_rows(chosen[cut_of(coordinate.dimensions)], coordinate.dimensions)

    def flags_over(name: str) -> Array:
        dimensions = tuple(map(str, data[name].dimensions))
        of_rows = tuple(one for one in dimensions if one in group.dimensions)
        return over_rows(flag_texts(data[name], cut_of(dimensions)), of_rows)

    # Blocks are cut along leading dimensions, so their rows are consecutive in storage order.
    before = int(np.ravel_multi_index([one.start for one in block], group.shape))
    source_row = np.arange(offset + before + 1, offset + before + 1 + rows)
    latitude, longitude = spread(axes.latitude), spread(axes.longitude)
    at = spread(axes.time, np.arange(axes.time.values.size).reshape(axes.time.values.shape))
    values = {one.column: np.ma.asarray(data[one.column][block]).ravel() for one in group.variables}
    remarks = sorted({one.remark for one in group.variables if one.remark})
    read = {name: flags_over(name) for one in (*group.flags.values(), *group.placed_by) for name in one.names}
    flags = {name: worst_of([read[one] for one in found.names]) for name, found in group.flags.items()}
    well_placed = np.ones(rows, dtype=bool)
    for one in group.placed_by:
        well_placed &= np.isin(worst_of([read[name] for name in one.names]), one.good)
    columns = {
        "decimal_latitude": numbers(latitude),
        "decimal_longitude": numbers(longitude),
        "event_date": _by_time(axes.times.text, at, pa.string()),
        "event_start": _by_time(axes.times.start, at, pa.timestamp("us", "UTC")),
        "event_end": _by_time(axes.times.end, at, pa.timestamp("us", "UTC")),
        "date_precision": _by_time(axes.times.precision, at, pa.string()),
        "source_timezone": pa.array([axes.times.zone], pa.string()).take(pa.array(np.zeros(rows, dtype="int32"))),
    }
    raw = {
        axes.time.name: numbers(spread(axes.time)),
        axes.latitude.name: numbers(latitude),
        axes.longitude.name: numbers(longitude),
    }
    columns |= _depths(axes, group, spread, latitude, raw)
    staged = stage_arrays(
        con,
        dataset_id=constants.dataset_id,
        source_row=source_row,
        raw=raw
        | {name: numbers(np.ma.filled(_floats(found), np.nan)) for name, found in values.items()}
        | {name: texts(found) for name, found in read.items()},
        columns=columns,
        measured=[
            _measured(one, values[one.column], well_placed, group.flags.get(one.column), flags.get(one.column))
            for one in group.variables
        ],
    )
    return Staged(
        relation=staged.relation,
        raw=staged.raw,
        dataset="observations",
        dataset_id=constants.dataset_id,
        source_type=constants.source_type,
        read=rows,
        licence=constants.licence,
        rights_holder=constants.rights_holder,
        citation=constants.citation,
        flags=(*constants.flags, *remarks),
        notes=constants.notes,
    )


def _by_time(values: Array, at: Array, kind: pa.DataType) -> pa.Array:
    """What holds for a time, for the rows at these times."""
    return pa.array(values, type=kind, from_pandas=True).take(pa.array(at.astype("int64")))


def _depths(axes: Axes, group: Group, spread: Any, latitude: Array, raw: dict[str, pa.Array]) -> Mapping[str, pa.Array]:
    """Depth (and pressure) of the rows: of the vertical axis, else 0 for quantities of the sea surface."""
    vertical = axes.vertical
    if vertical is not None and set(vertical.coordinate.dimensions) <= set(group.dimensions):
        levels = spread(vertical.coordinate)
        raw[vertical.coordinate.name] = numbers(levels)
        if not vertical.is_pressure:
            return {"depth_m": numbers(levels)}
        return {"depth_m": numbers(-gsw.z_from_p(levels, latitude)), "pressure_dbar": numbers(levels)}
    if any(one.at_surface for one in group.variables):
        return {"depth_m": pa.array(np.zeros(len(latitude)))}
    return {}


def _floats(values: Any) -> Any:
    return values if values.dtype.kind == "f" else values.astype("f8")


def _measured(
    reading: Reading, found: Any, well_placed: Array, flags: FlagVariable | None, texts_of_flags: Array | None
) -> Measured:
    raw = np.ma.filled(found.astype("f8"), np.nan)
    there = np.isfinite(raw) & (np.abs(raw) < _NEVER_A_VALUE)
    value = np.where(there, reading.conversion.apply(raw), np.nan)
    good = there & well_placed
    scale = flags.scale if flags is not None and flags.scale is not None else "none"
    if texts_of_flags is not None:
        good &= np.isin(texts_of_flags, flags.good if flags is not None else ())
    return Measured(
        variable=reading.variable,
        standard_name=reading.standard_name,
        value=value,
        qc_good=good,
        # "Missing" and "no control" of a cell without a value are left out: every cell of land would become a row.
        qc_flag=None
        if texts_of_flags is None
        else np.where(there | ~np.isin(texts_of_flags, ("0", "9")), texts_of_flags, ""),
        qc_scale=scale,
    )
