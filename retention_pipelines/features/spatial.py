"""Spatial features: where a study was, how far from the coast, in which zone and belt."""

import numpy as np
import pyarrow as pa

from retention_pipelines.features.coast import CoastDistance
from retention_pipelines.features.options import NAUTICAL_MILE_KM, FeatureOptions
from retention_pipelines.features.polygons import NamedPolygons
from retention_pipelines.features.values import FeatureValues, Floats, doubles, floats

# Belts by distance follow the limits of the law of the sea (UNCLOS articles 3, 33, 57), but from the nearest coast, not
# from legal baselines: a position's belt is geography, not jurisdiction.
_BELTS = ("coastal", "contiguous", "eez_distance", "high_sea")
_BELT_LIMITS_KM = np.array([12.0, 24.0, 200.0]) * NAUTICAL_MILE_KM
# The grid's cells are 0.1 degree: a position less than that inside the coast line may be at sea.
_LAND_BEYOND_KM = -11.0


def spatial_features(
    studies: pa.Table, *, cell_deg: float, coast: CoastDistance, zones: NamedPolygons, options: FeatureOptions
) -> FeatureValues:
    """Spatial features of studies."""
    latitude, longitude = floats(studies["latitude"]), floats(studies["longitude"])
    shallow, deep = floats(studies["minimum_depth_m"]), floats(studies["maximum_depth_m"])
    distance = coast.kilometres(latitude, longitude)
    zone = zones.find(latitude, longitude)
    table = pa.table(
        {
            "source_data_id": studies["source_data_id"],
            "latitude": studies["latitude"],
            "longitude": studies["longitude"],
            "cell_lat0": studies["cell_lat0"],
            "cell_lon0": studies["cell_lon0"],
            "minimum_depth_m": studies["minimum_depth_m"],
            "maximum_depth_m": studies["maximum_depth_m"],
            "depth_range_m": doubles(deep - shallow, 3),
            "sea_floor_depth_m": studies["sea_floor_depth_m"],
            "distance_to_coast_km": doubles(distance, 3),
            "named_zone": pa.array([zones.names[i] if i >= 0 else None for i in zone], pa.string()),
            "coastal_belt": coastal_belt(distance),
            "depth_belt": depth_belt(floats(studies["sea_floor_depth_m"]), options),
        }
    )
    return FeatureValues(
        feature_type="spatial",
        table=table,
        support=floats(studies["n_records"]),
        validity=np.ones(studies.num_rows),
        temporal_window="PT0S",
        spatial_resolution=f"{cell_deg:g}deg",
    )


def coastal_belt(distance_km: Floats) -> pa.Array:
    """Belt by distance to the coast; limits are inclusive."""
    belt = np.array(_BELTS, dtype=object)[np.searchsorted(_BELT_LIMITS_KM, distance_km, side="left")]
    belt[distance_km <= _LAND_BEYOND_KM] = "land"
    belt[np.isnan(distance_km)] = None
    return pa.array(belt, pa.string())


def depth_belt(sea_floor_m: Floats, options: FeatureOptions) -> pa.Array:
    """Belt by depth of the sea floor; limits are inclusive."""
    limits = [options.shelf_depth_m, options.slope_depth_m]
    belt = np.array(["shelf", "slope", "ocean"], dtype=object)[np.searchsorted(limits, sea_floor_m, side="left")]
    belt[np.isnan(sea_floor_m)] = None
    return pa.array(belt, pa.string())
