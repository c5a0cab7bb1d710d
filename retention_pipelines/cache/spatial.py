"""Spatial sharing: calls whose positions lie in one grid cell share an answer, where a function asked for it.

What belongs here: `Grid`, what users give as `spatial=`, and how a call's position becomes a cell. What does not: the
rules of cells (`retention_pipelines.grid`). The function itself always runs with its caller's own position.
"""

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from numbers import Real

from retention_pipelines.errors import CacheError
from retention_pipelines.grid import Cell

_LATITUDES = ("latitude", "lat", "decimal_latitude", "decimalLatitude")
_LONGITUDES = ("longitude", "lon", "lng", "long", "decimal_longitude", "decimalLongitude")


class Grid:
    """Share answers within cells of `cell_deg` degrees.

    Args:
        cell_deg: size of a cell; must divide 180 degrees.
        latitude: name of the function's argument; None: the first of latitude, lat, decimal_latitude it has.
        longitude: likewise.
    """

    __slots__ = ("cell_deg", "latitude", "longitude")

    def __init__(self, cell_deg: float, latitude: str | None = None, longitude: str | None = None) -> None:
        if not (0.0001 <= cell_deg <= 180) or abs(round(180 / cell_deg) - 180 / cell_deg) > 1e-6:
            raise CacheError(
                f"A cell of {cell_deg} degrees does not tile the globe.",
                hint="Take a size that divides 180, such as 0.01, 0.05, 0.25 or 1.",
            )
        self.cell_deg = float(cell_deg)
        self.latitude = latitude
        self.longitude = longitude

    def __repr__(self) -> str:
        return f"Grid({self.cell_deg:g}, latitude={self.latitude!r}, longitude={self.longitude!r})"

    def cell(self, latitude: float, longitude: float) -> Cell:
        """The cell whose answer a position shares."""
        return Cell.at(latitude, longitude, self.cell_deg)


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Where a call asks: its position, and the cell it shares where the position is one."""

    latitude: float
    longitude: float
    cell: Cell


class Locator:
    """Finds the place of a call; made once per function.

    Raises CacheError where the function has no arguments of the named or usual names.
    """

    __slots__ = ("_default", "_index", "grid", "names")

    def __init__(self, grid: Grid, function: Callable[..., object]) -> None:
        parameters = inspect.signature(function).parameters
        self.grid = grid
        self.names = (
            _name(parameters, grid.latitude, _LATITUDES, "latitude", function),
            _name(parameters, grid.longitude, _LONGITUDES, "longitude", function),
        )
        positional = [
            name
            for name, parameter in parameters.items()
            if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
        ]
        self._index = tuple(positional.index(name) if name in positional else -1 for name in self.names)
        self._default = tuple(
            None
            if name not in parameters or parameters[name].default is inspect.Parameter.empty
            else parameters[name].default
            for name in self.names
        )

    def position(self, args: Sequence[object], kwargs: Mapping[str, object]) -> tuple[object, object]:
        """What the call gave as latitude and longitude, whatever it is."""
        latitude, longitude = (
            kwargs[name] if name in kwargs else args[index] if 0 <= index < len(args) else default
            for name, index, default in zip(self.names, self._index, self._default, strict=True)
        )
        return latitude, longitude

    def place(self, latitude: object, longitude: object) -> Place | None:
        """The place of a position; None for what is no position on Earth, which then shares nothing."""
        position = position_of(latitude, longitude)
        if position is None:
            return None
        return Place(latitude=position[0], longitude=position[1], cell=self.grid.cell(*position))


def position_of(latitude: object, longitude: object) -> tuple[float, float] | None:
    """Degrees north and east of what are numbers in range; else None."""
    try:
        lat, lon = _degrees(latitude), _degrees(longitude)
    except (TypeError, ValueError, OverflowError):
        return None
    return (lat, lon) if -90 <= lat <= 90 and -360 <= lon <= 360 else None


def located(function: Callable[..., object]) -> tuple[str, str] | None:
    """Names of a function's latitude and longitude arguments, if it has the usual ones."""
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError):
        return None
    latitude = next((name for name in _LATITUDES if name in parameters), None)
    longitude = next((name for name in _LONGITUDES if name in parameters), None)
    return None if latitude is None or longitude is None else (latitude, longitude)


def _degrees(value: object) -> float:
    # A numeric text is no position here: float("12") would share an answer between "12" and 12.
    if isinstance(value, bool) or not isinstance(value, Real | Decimal):
        raise TypeError("not a number")
    degrees = float(value)
    if not math.isfinite(degrees):
        raise ValueError("not finite")
    return degrees


def _name(
    parameters: Mapping[str, inspect.Parameter],
    asked: str | None,
    usual: Sequence[str],
    which: str,
    function: Callable[..., object],
) -> str:
    collects = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    if asked is not None:
        if asked in parameters or collects:
            return asked
        raise CacheError(
            f"spatial= names {asked!r}, and {_called(function)} has no such argument.",
            hint=f"Its arguments are {', '.join(parameters) or 'none'}.",
        )
    found = next((name for name in usual if name in parameters), None)
    if found is None:
        raise CacheError(
            f"spatial= is given, and {_called(function)} has no argument called {' or '.join(usual[:2])}.",
            hint=f'Name it: Grid(0.05, {which}="…").',
        )
    return found


def _called(function: Callable[..., object]) -> str:
    return str(getattr(function, "__qualname__", type(function).__qualname__))
