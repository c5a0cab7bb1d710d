import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pyproj import Geod

from retention_pipelines.features import match
from retention_pipelines.features.match import (
    NearbyObservations,
    Observations,
    Targets,
    haversine_km,
    line_slope,
    plane_gradient,
)

HOUR = 3_600_000_000
LIMITS = {"window_seconds": 10 * 3600, "surface_m": 10.0, "vertical_m": 200.0, "vertical_span_m": 10.0}


def observations(rows):
    time, lat, lon, depth, value, good = zip(*rows, strict=True) if rows else ((),) * 6
    return Observations(
        microseconds=np.array(time, dtype=np.int64),
        latitude=np.array(lat, dtype=float),
        longitude=np.array(lon, dtype=float),
        depth_m=np.array(depth, dtype=float),
        value=np.array(value, dtype=float),
        good=np.array(good, dtype=bool),
    )


def targets(rows):
    time, lat, lon = zip(*rows, strict=True)
    return Targets(
        microseconds=np.array(time, dtype=np.int64),
        latitude=np.array(lat, dtype=float),
        longitude=np.array(lon, dtype=float),
        first_m=np.zeros(len(rows)),
        last_m=np.full(len(rows), 20.0),
    )


def brute_force(near, target, *, radius_km, window_seconds):
    rows = []
    for i in range(len(near)):
        distance = float(
            haversine_km(target.latitude[0], target.longitude[0], near.latitude[i], near.longitude[i])  # type: ignore[arg-type]
        )
        age = int(target.microseconds[0] - near.microseconds[i])
        if distance <= radius_km and 0 <= age <= window_seconds * 1_000_000:
            rows.append((i, distance, age / 1e6))
    return [r for r in rows if target.first_m[0] <= near.depth_m[r[0]] <= target.last_m[0]]


place = st.tuples(st.sampled_from([-0.3, 0.0, 0.1, 0.2]), st.sampled_from([179.8, 179.95, -180.0, -179.9, 0.0]))
observed = st.tuples(
    st.integers(0, 60), place, st.sampled_from([0.0, 5.0, 20.0, 21.0, 150.0]), st.integers(-5, 25), st.booleans()
)


@hypothesis_settings(max_examples=80, derandomize=True, deadline=None)
@given(
    drawn=st.lists(observed, max_size=40),
    asked=st.lists(st.tuples(st.integers(0, 60), place), min_size=1, max_size=6),
    radius_km=st.sampled_from([0.0, 15.0, 40.0]),
    pairs_at_once=st.sampled_from([1, 7, 1000]),
)
def test_a_match_equals_looking_at_every_observation(drawn, asked, radius_km, pairs_at_once):
    near = observations([(h * HOUR, lat, lon, depth, float(v), good) for h, (lat, lon), depth, v, good in drawn])
    wanted = targets([(h * HOUR, lat, lon) for h, (lat, lon) in asked])
    with pytest.MonkeyPatch.context() as patch:
        # The size of a chunk is not a behaviour: it is varied so that chunks end everywhere.
        patch.setattr(match, "_PAIRS_AT_ONCE", pairs_at_once)
        found = NearbyObservations(near).match(wanted, radius_km=radius_km, **LIMITS)
    for i, (hour, (lat, lon)) in enumerate(asked):
        rows = brute_force(
            near, targets([(hour * HOUR, lat, lon)]), radius_km=radius_km, window_seconds=LIMITS["window_seconds"]
        )
        good = [r for r in rows if near.good[r[0]]]
        assert (found.n[i], found.n_rejected[i]) == (len(good), len(rows) - len(good))
        if good:
            assert found.value[i] == pytest.approx(np.mean([near.value[r[0]] for r in good]))
            assert found.distance_km[i] == pytest.approx(min(r[1] for r in good))
            assert found.age_seconds[i] == min(r[2] for r in good)
        else:
            assert np.isnan([found.value[i], found.distance_km[i], found.age_seconds[i]]).all()


def test_an_observation_a_microsecond_after_the_target_does_not_match():
    near = observations([(HOUR + 1, 0.0, 0.0, 0.0, 1.0, True)])
    found = NearbyObservations(near).match(targets([(HOUR, 0.0, 0.0), (HOUR + 1, 0.0, 0.0)]), radius_km=1, **LIMITS)
    assert found.n.tolist() == [0, 1]


def test_the_sphere_is_within_half_a_percent_of_the_ellipsoid():
    rng = np.random.default_rng(7)
    lat = rng.uniform(-80, 80, 300)
    lon = rng.uniform(-180, 180, 300)
    lat_b, lon_b = lat + rng.uniform(-0.5, 0.5, 300), lon + rng.uniform(-0.5, 0.5, 300)
    *_, metres = Geod(ellps="WGS84").inv(lon, lat, lon_b, lat_b)
    assert np.abs(haversine_km(lat, lon, lat_b, lon_b) / (metres / 1000) - 1).max() < 0.006


def test_a_plane_through_its_points_has_its_own_steepness():
    x, y = np.array([0.0, 10.0, 0.0, 7.0]), np.array([0.0, 0.0, 10.0, 8.0])
    group = np.zeros(4, dtype=np.int64)
    assert plane_gradient(group, x, y, 15 + 0.3 * x - 0.4 * y, 1)[0] == pytest.approx(0.5)


@pytest.mark.parametrize("y", [[0, 0, 0, 0], [0, 5, 10, 15]])
def test_points_on_a_line_fix_no_plane(y):
    x = np.array([0.0, 5.0, 10.0, 15.0])
    group = np.zeros(4, dtype=np.int64)
    assert np.isnan(plane_gradient(group, x, np.array(y, dtype=float), x, 1)[0])


def test_the_vertical_gradient_is_a_slope_over_depth_and_needs_a_span():
    group = np.array([0, 0, 0, 1, 1])
    depth = np.array([0.0, 50.0, 100.0, 0.0, 5.0])
    slope = line_slope(group, depth, 20 - 0.05 * depth, 3, span=10)
    assert slope[0] == pytest.approx(-0.05)
    assert np.isnan(slope[1:]).all()


def test_nothing_to_match_gives_nothing():
    found = NearbyObservations(observations([])).match(targets([(0, 0.0, 0.0)]), radius_km=10, **LIMITS)
    assert found.n.tolist() == [0]
    assert np.isnan(found.value).all()
