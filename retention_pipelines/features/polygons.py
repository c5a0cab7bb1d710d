"""Which named polygon holds a position: used for zones and for climate regions."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import shapely

from retention_pipelines.features.values import Floats


class NamedPolygons:
    """Polygons in degrees (WGS84, x = longitude), found through an R-tree; edges are straight in degrees.

    Polygons may be written in -180..180 or, across the dateline, in 0..360 or beyond -180. A position on an edge is
    inside. Where polygons overlap, the smallest wins: the more specific name.
    """

    def __init__(self, names: Sequence[str], shapes: Sequence[shapely.Geometry]) -> None:
        order = sorted(range(len(names)), key=lambda i: (shapes[i].area, names[i]))
        self.names = [names[i] for i in order]
        self._tree = shapely.STRtree([shapes[i] for i in order])

    def find(self, latitude: Floats, longitude: Floats) -> npt.NDArray[np.int64]:
        """Index into `names` for each position, -1 outside all polygons."""
        nowhere = len(self.names)
        found = np.full(len(latitude), nowhere, dtype=np.int64)
        for turn in (0.0, 360.0, -360.0):
            points = shapely.points(longitude + turn, latitude)
            positions, shapes = self._tree.query(points, predicate="intersects")
            np.minimum.at(found, positions, shapes)
        found[found == nowhere] = -1
        return found
