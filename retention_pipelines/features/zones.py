"""Named zones: polygons of a GeoJSON file the user configures."""

import json
from pathlib import Path

import shapely
from shapely.geometry import shape

from retention_pipelines.errors import FeatureError
from retention_pipelines.features.polygons import NamedPolygons


def load_zones(path: Path | None) -> NamedPolygons:
    """The zones of a GeoJSON FeatureCollection, none without a file; raises FeatureError that names what is wrong."""
    if path is None:
        return NamedPolygons([], [])
    try:
        collection = json.loads(path.read_text(encoding="utf-8"))
        features = collection["features"]
        names = [feature["properties"]["name"] for feature in features]
        shapes = [shape(feature["geometry"]) for feature in features]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, shapely.errors.ShapelyError) as error:
        raise FeatureError(
            f"The zones file {path} cannot be read: {error!r}.",
            hint="It must be a GeoJSON FeatureCollection whose features have a polygon and a property `name`.",
        ) from error
    for name, polygon in zip(names, shapes, strict=True):
        if not isinstance(name, str) or polygon.geom_type not in ("Polygon", "MultiPolygon") or not polygon.is_valid:
            raise FeatureError(
                f"Zone {name!r} of {path} is no valid polygon with a text as name: {shapely.is_valid_reason(polygon)}.",
                hint="Repair it, for example with shapely.make_valid, or remove it.",
            )
    return NamedPolygons(names, shapes)
