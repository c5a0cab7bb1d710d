"""Known quantities of a CF NetCDF file, grouped by their dimensions, with the flags that judge them.

What belongs here: what one row consists of. What does not: which quantity a variable is (`cf.py`), which scale flags
are on (`cf_flags.py`), and reading values (`reader.py`).
"""

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import netCDF4

from retention_pipelines.errors import FileRefused
from retention_pipelines.sources.cf import Reading, Refusal, readings
from retention_pipelines.sources.cf_flags import FlagVariable, described, flags_of
from retention_pipelines.sources.gridded.coordinates import Axes


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


def data_fields(data: netCDF4.Dataset, axes: Axes) -> list[str]:
    """Variables that are neither coordinates nor what belongs to them (bounds, a grid mapping)."""
    named = {one.name for one in (axes.latitude, axes.longitude, axes.time)}
    named |= {axes.vertical.coordinate.name} if axes.vertical else set()
    attributes = ("bounds", "climatology", "grid_mapping", "coordinates")
    for variable in data.variables.values():
        for name in set(attributes) & set(variable.ncattrs()):
            named |= set(str(variable.getncattr(name)).split())
    named |= set(data.dimensions)
    return [name for name, one in data.variables.items() if name not in named and one.dimensions]


def find_groups(data: netCDF4.Dataset, axes: Axes, file_name: str) -> tuple[list[Group], list[Refusal]]:
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
            of_places = (_read_flags(data, one, dimensions) for one in placing_flags(data, axes))
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


def placing_flags(data: netCDF4.Dataset, axes: Axes) -> list[FlagVariable]:
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
