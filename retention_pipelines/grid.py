"""Grid cells: longitude folding, cell corners and their names.

The rules are those of docs/definitions.md: a cell of `s` degrees is named by its lower-left corner, corners are
computed on integers and scaled last. The same rules for DuckDB are the macros in `warehouse/macros.sql`; a test
compares the two.
"""

import math
from dataclasses import dataclass

# A position within this share of a cell from an edge counts as on the edge: 0.3 / 0.1 is 2.9999999999999996 in doubles.
EDGE_TOLERANCE = 1e-9


def fold_longitude(longitude: float) -> float:
    """Fold a longitude in degrees to [-180, 180); one that lies there stays the number it was written as.

    13.2 + 180 - 180 is 13.199999999999989 in doubles; whole turns are taken off instead, which is exact up to 360.
    """
    if -180.0 <= longitude < 180.0:
        return longitude + 0.0
    folded = longitude - 360.0 * math.floor((longitude + 180.0) / 360.0)
    return folded if -180.0 <= folded < 180.0 else -180.0


def cell_index(degrees: float, cell_deg: float) -> int:
    """Number of the cell that holds a coordinate, counted from 0 degrees."""
    quotient = degrees / cell_deg
    nearest = round(quotient)
    return nearest if abs(quotient - nearest) < EDGE_TOLERANCE else math.floor(quotient)


def cell_corner(index: int, cell_deg: float) -> float:
    """Lower or left edge of a cell in degrees; never -0.0."""
    return round(index * cell_deg, 9) + 0.0


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A grid cell of `cell_deg` degrees; `lat0`, `lon0` are its lower-left corner."""

    lat0: float
    lon0: float
    cell_deg: float

    @classmethod
    def at(cls, latitude: float, longitude: float, cell_deg: float) -> "Cell":
        """The cell that holds a position; a point on an edge belongs to the cell above or to the right."""
        return cls(
            lat0=cell_corner(cell_index(latitude, cell_deg), cell_deg),
            lon0=cell_corner(cell_index(fold_longitude(longitude), cell_deg), cell_deg),
            cell_deg=cell_deg,
        )

    @property
    def name(self) -> str:
        """The `location_grid` of every dataset: `<lat0>_<lon0>`, for example `-12.25_13.5`."""
        return f"{self.lat0}_{self.lon0}"

    @property
    def center(self) -> tuple[float, float]:
        """Latitude and longitude of the middle."""
        return round(self.lat0 + self.cell_deg / 2, 9), round(self.lon0 + self.cell_deg / 2, 9)
