"""Distance to the nearest coast, behind a small interface so that the grid can be changed.

The default reads the 0.1 degree grid of signed great-circle distances that the `landmetrics` wheel carries (code MIT,
grid derived from GSHHG, LGPL-3.0-or-later); against the Natural Earth 50 m coast it was within a few km (sd 3.9 km).
The file inside the wheel is opened by its path: the package's own look-up would read the environment and download.
"""

from importlib.resources import as_file, files
from typing import Protocol

import numpy as np
from landmetrics import DistanceToLand

from retention_pipelines.features.values import Floats

_GRID = "distance_to_land_0.1deg_gt0km2.nc"


class CoastDistance(Protocol):
    """Something that knows how far the coast is."""

    def kilometres(self, latitude: Floats, longitude: Floats) -> Floats:
        """Distance to the nearest coast per position, negative on land, NaN where unknown."""
        ...


class GshhgCoast:
    """Bilinear look-up in the bundled GSHHG distance grid."""

    def kilometres(self, latitude: Floats, longitude: Floats) -> Floats:
        """Signed distance in km; accurate to about half a grid cell (5 km) near intricate coasts."""
        if len(latitude) == 0:
            return np.empty(0)
        with as_file(files("landmetrics") / "data" / _GRID) as path, DistanceToLand(path) as grid:
            return np.asarray(grid.query(latitude, longitude), dtype=np.float64)
