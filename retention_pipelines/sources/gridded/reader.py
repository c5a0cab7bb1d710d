"""Blocks of a CF NetCDF file as staging tables.

One raw row is one cell: one element of the variables that share their dimensions. Masked cells are rows without
values. A file is read block by block, never whole.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import duckdb
import gsw
import netCDF4
import numpy as np
import pyarrow as pa

from retention_pipelines.errors import FileRefused
from retention_pipelines.sources.arrays import Array, Measured, check_whole, is_netcdf, numbers, stage_arrays, texts
from retention_pipelines.sources.cf import Reading, Refusal, notes_on
from retention_pipelines.sources.cf_flags import FlagVariable, flag_texts, flags_of, worst_of
from retention_pipelines.sources.gridded.coordinates import Axes, Coordinate, find_axes
from retention_pipelines.sources.gridded.variables import Group, data_fields, find_groups, placing_flags
from retention_pipelines.sources.identity import first, from_file_name, from_package, slug
from retention_pipelines.sources.licences import licence_name
from retention_pipelines.sources.staging import RawFile, Recognition, Staged

# Rows of one staging table: some 100 MB, and a few seconds of work.
BLOCK_ROWS = 500_000
# NetCDF's default fill value is 9.97e36, also where a file declares another one and then does not use it.
_NEVER_A_VALUE = 9e36
_SOURCE_TYPES = {"timeseries": "buoy", "profile": "cast", "trajectory": "other", "trajectoryprofile": "other"}


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
                axes = find_axes(file)
                groups, refused = find_groups(data, axes, file.name)
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
    placing = (one for one in placing_flags(data, axes) if one.scale is None)
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
            [name for name in data_fields(data, axes) if name not in used],
            [one for group in groups for one in group.variables],
            [*refused, *unread],
        ),
    )


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
