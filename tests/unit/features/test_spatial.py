import json
from datetime import UTC, datetime

import numpy as np
import pytest
from pyproj import Geod

from retention_pipelines.errors import FeatureError
from retention_pipelines.features.coast import GshhgCoast
from retention_pipelines.features.options import FeatureOptions
from retention_pipelines.features.spatial import coastal_belt, depth_belt
from retention_pipelines.features.zones import load_zones

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("name", "latitude", "longitude", "low", "high"),
    [
        ("Luanda harbour", -8.79, 13.23, -10, 10),
        ("Namib desert, inland", -23.5, 15.5, -120, -80),
        ("middle of the South Atlantic", -20.0, -15.0, 800, 1100),
        ("off Monterey", 36.6, -122.6, 30, 70),
        ("Fiji, across the dateline", -18.0, 181.0, -50, 100),
    ],
)
def test_distances_to_the_coast_are_plausible_at_known_places(name, latitude, longitude, low, high):
    (distance,) = GshhgCoast().kilometres(np.array([latitude]), np.array([longitude]))
    assert low <= distance <= high, name


def test_the_distance_grows_by_the_geodesic_when_leaving_a_straight_coast():
    # West of Namibia along 22 degrees south: the nearest coast lies about east.
    longitude = np.array([13.0, 12.0])
    near, far = GshhgCoast().kilometres(np.array([-22.0, -22.0]), longitude)
    *_, metres = Geod(ellps="WGS84").inv(13.0, -22.0, 12.0, -22.0)
    assert far - near == pytest.approx(metres / 1000, rel=0.15)


def test_belts_include_their_outer_limit():
    limits = np.array([-11.0, -10.9, 0.0, 22.224, 22.3, 44.448, 44.5, 370.4, 371.0, np.nan])
    assert coastal_belt(limits).to_pylist() == [
        "land",
        *["coastal"] * 3,
        *["contiguous"] * 2,
        *["eez_distance"] * 2,
        "high_sea",
        None,
    ]
    depths = np.array([10.0, 200.0, 201.0, 2000.0, 2001.0, np.nan])
    assert depth_belt(depths, FeatureOptions()).to_pylist() == ["shelf", "shelf", "slope", "slope", "ocean", None]


def polygon(name, west, south, east, north):
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    return {"type": "Feature", "properties": {"name": name}, "geometry": {"type": "Polygon", "coordinates": [ring]}}


def zones_of(tmp_path, *features):
    path = tmp_path / "zones.geojson"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return load_zones(path)


def found(zones, *positions):
    latitude, longitude = np.array(positions, dtype=float).T
    return [zones.names[i] if i >= 0 else None for i in zones.find(latitude, longitude)]


def test_the_smallest_zone_that_holds_a_position_names_it_and_edges_are_inside(tmp_path):
    zones = zones_of(tmp_path, polygon("wide", 0, -20, 20, 0), polygon("narrow", 10, -15, 14, -10))
    assert found(zones, (-12, 12), (-10, 14), (-1, 1), (5, 5)) == ["narrow", "narrow", "wide", None]


def test_zones_across_the_dateline_hold_positions_on_both_sides(tmp_path):
    zones = zones_of(tmp_path, polygon("east", 170, -10, 190, 10), polygon("west", -200, 20, -170, 30))
    assert found(zones, (0, 179), (0, -171), (0, 0), (25, 165), (25, -175)) == ["east", "east", None, "west", "west"]


def test_without_a_file_there_are_no_zones():
    assert found(load_zones(None), (0, 0)) == [None]


@pytest.mark.parametrize("content", ["{", "[]", '{"features": [{"properties": {}, "geometry": null}]}'])
def test_a_file_that_is_no_geojson_is_refused(tmp_path, content):
    path = tmp_path / "zones.geojson"
    path.write_text(content)
    with pytest.raises(FeatureError, match="FeatureCollection"):
        load_zones(path)


def test_a_polygon_that_crosses_itself_is_refused(tmp_path):
    bow = polygon("bow tie", 0, 0, 1, 1)
    bow["geometry"]["coordinates"] = [[[0, 0], [1, 1], [1, 0], [0, 1], [0, 0]]]
    with pytest.raises(FeatureError, match="bow tie"):
        zones_of(tmp_path, bow)
