"""The search of the match-up: observations near a target in space, time and depth, and what they say there.

Pure numpy and scipy, no lake. Space: a k-d tree over unit vectors of the distinct positions finds candidates, the exact
great-circle (haversine) distance on the sphere decides. Time: only observations known at the target's instant, back to
the window. Memory is bounded by working on chunks of pairs.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from retention_pipelines.features.values import Floats

EARTH_RADIUS_KM = 6371.0088
_PAIRS_AT_ONCE = 2_000_000
# A plane needs positions that spread at least this far, and not along a line.
_MINIMUM_SPREAD_KM = 1.0
_MINIMUM_ROUNDNESS = 1e-3

Indices = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Targets:
    """Places and instants to match; `first_m`, `last_m` bound the depth layer, both inclusive."""

    microseconds: Indices
    latitude: Floats
    longitude: Floats
    first_m: Floats
    last_m: Floats

    def __len__(self) -> int:
        return len(self.microseconds)


@dataclass(frozen=True, kw_only=True)
class Observations:
    """Values of one quantity; `microseconds` is the instant from which a value was known."""

    microseconds: Indices
    latitude: Floats
    longitude: Floats
    depth_m: Floats
    value: Floats
    good: Mask

    def __len__(self) -> int:
        return len(self.microseconds)

    def take(self, rows: Indices) -> "Observations":
        """Some of the observations."""
        return Observations(
            microseconds=self.microseconds[rows],
            latitude=self.latitude[rows],
            longitude=self.longitude[rows],
            depth_m=self.depth_m[rows],
            value=self.value[rows],
            good=self.good[rows],
        )


@dataclass(frozen=True, kw_only=True)
class Match:
    """What the observations near each target say; NaN and 0 where none is near.

    `n_rejected` counts observations near the target whose QC is not good: they contribute to nothing else.
    """

    value: Floats
    distance_km: Floats
    age_seconds: Floats
    n: Floats
    n_rejected: Floats
    surface_value: Floats
    gradient_per_km: Floats
    vertical_gradient_per_m: Floats


def haversine_km(lat_a: Floats, lon_a: Floats, lat_b: Floats, lon_b: Floats) -> Floats:
    """Great-circle distance in km on a sphere of the mean Earth radius; within 0.5 % of the ellipsoid."""
    half_lat = np.radians(lat_b - lat_a) / 2
    half_lon = np.radians(lon_b - lon_a) / 2
    root = np.sin(half_lat) ** 2 + np.cos(np.radians(lat_a)) * np.cos(np.radians(lat_b)) * np.sin(half_lon) ** 2
    return np.asarray(2 * EARTH_RADIUS_KM * np.arcsin(np.sqrt(np.clip(root, 0, 1))))


def _unit_vectors(latitude: Floats, longitude: Floats) -> Floats:
    lat, lon = np.radians(latitude), np.radians(longitude)
    return np.column_stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)])


class NearbyObservations:
    """Observations of one quantity, indexed by position and, within a position, by time."""

    def __init__(self, observations: Observations) -> None:
        positions, place = np.unique(observations.latitude + 1j * observations.longitude, return_inverse=True)
        order = np.lexsort((observations.microseconds, place))
        self._sorted = observations.take(order)
        self._latitude, self._longitude = positions.real, positions.imag
        self._tree = cKDTree(_unit_vectors(self._latitude, self._longitude)) if len(positions) else None
        seconds = self._sorted.microseconds // 1_000_000
        self._first = int(seconds.min()) if len(seconds) else 0
        self._span = int(seconds.max()) - self._first + 2 if len(seconds) else 1
        self._keys = place[order] * self._span + (seconds - self._first)

    def pairs(
        self, targets: Targets, *, radius_km: float, window_seconds: int
    ) -> Iterator[tuple[Indices, Indices, Floats]]:
        """(target, observation, distance in km) in chunks; all pairs of a target are in one chunk."""
        if self._tree is None or not len(targets):
            return
        chord = 2 * np.sin(min(radius_km / EARTH_RADIUS_KM, np.pi) / 2) * (1 + 1e-9) + 1e-12
        # Sorted: the order of sums must not depend on which other targets and observations are there.
        vectors = _unit_vectors(targets.latitude, targets.longitude)
        balls = self._tree.query_ball_point(vectors, chord, return_sorted=True)
        sizes = np.fromiter((len(ball) for ball in balls), dtype=np.int64, count=len(targets))
        target = np.repeat(np.arange(len(targets)), sizes)
        place = np.fromiter((p for ball in balls for p in ball), dtype=np.int64, count=int(sizes.sum()))
        distance = haversine_km(
            targets.latitude[target], targets.longitude[target], self._latitude[place], self._longitude[place]
        )
        near = distance <= radius_km
        target, place, distance = target[near], place[near], distance[near]
        # Rows of a place between the window's start and the target's instant: a range of sorted keys, to the second.
        seconds = targets.microseconds[target] // 1_000_000 - self._first
        low = place * self._span + np.clip(seconds - window_seconds, 0, self._span - 1)
        high = place * self._span + np.clip(seconds, -1, self._span - 2)
        begin = np.searchsorted(self._keys, low, side="left")
        end = np.maximum(np.searchsorted(self._keys, high, side="right"), begin)
        counts = end - begin
        for first, last in _chunks(target, counts):
            repeat = counts[first:last]
            offsets = np.arange(repeat.sum()) - np.repeat(np.cumsum(repeat) - repeat, repeat)
            rows = np.repeat(begin[first:last], repeat) + offsets
            whose, how_far = np.repeat(target[first:last], repeat), np.repeat(distance[first:last], repeat)
            age = targets.microseconds[whose] - self._sorted.microseconds[rows]
            exact = (age >= 0) & (age <= window_seconds * 1_000_000)
            yield whose[exact], rows[exact], how_far[exact]

    def match(
        self,
        targets: Targets,
        *,
        radius_km: float,
        window_seconds: int,
        surface_m: float,
        vertical_m: float,
        vertical_span_m: float,
    ) -> Match:
        """Mean, distance, age, count and gradients at each target; see docs/features.md for each formula."""
        size = len(targets)
        result = Match(
            value=np.full(size, np.nan),
            distance_km=np.full(size, np.nan),
            age_seconds=np.full(size, np.nan),
            n=np.zeros(size),
            n_rejected=np.zeros(size),
            surface_value=np.full(size, np.nan),
            gradient_per_km=np.full(size, np.nan),
            vertical_gradient_per_m=np.full(size, np.nan),
        )
        for whose, rows, distance in self.pairs(targets, radius_km=radius_km, window_seconds=window_seconds):
            if not len(whose):
                continue
            first, last = int(whose.min()), int(whose.max()) + 1
            found, part = whose - first, slice(first, last)
            near = self._sorted.take(rows)
            width = last - first
            in_layer = (near.depth_m >= targets.first_m[whose]) & (near.depth_m <= targets.last_m[whose])
            layer = in_layer & near.good
            surface = (near.depth_m <= surface_m) & near.good
            upper = (near.depth_m <= vertical_m) & near.good
            _put(result.value, part, _mean(found[layer], near.value[layer], width))
            _put(result.surface_value, part, _mean(found[surface], near.value[surface], width))
            age = (targets.microseconds[whose] - near.microseconds) / 1e6
            _put(result.distance_km, part, _minimum(found[layer], distance[layer], width))
            _put(result.age_seconds, part, _minimum(found[layer], age[layer], width))
            _put(result.n, part, np.bincount(found[layer], minlength=width).astype(np.float64))
            rejected = in_layer & ~near.good
            _put(result.n_rejected, part, np.bincount(found[rejected], minlength=width).astype(np.float64))
            east = (near.longitude - targets.longitude[whose] + 180.0) % 360.0 - 180.0
            x = np.radians(east) * EARTH_RADIUS_KM * np.cos(np.radians(targets.latitude[whose]))
            y = np.radians(near.latitude - targets.latitude[whose]) * EARTH_RADIUS_KM
            _put(
                result.gradient_per_km, part, plane_gradient(found[layer], x[layer], y[layer], near.value[layer], width)
            )
            slope = line_slope(found[upper], near.depth_m[upper], near.value[upper], width, span=vertical_span_m)
            _put(result.vertical_gradient_per_m, part, slope)
        return result


def _chunks(target: Indices, counts: Indices) -> Iterator[tuple[int, int]]:
    """Ranges of pairs that end where a target ends and expand to a bounded number of rows."""
    ends = np.flatnonzero(np.diff(target, append=-1)) + 1
    total = np.cumsum(counts)
    begin = 0
    while begin < len(target):
        done = total[begin - 1] if begin else 0
        fitting = ends[(ends > begin) & (total[ends - 1] - done <= _PAIRS_AT_ONCE)]
        end = int(fitting[-1]) if len(fitting) else int(ends[ends > begin][0])
        yield begin, end
        begin = end


def _put(into: Floats, part: slice, values: Floats) -> None:
    # A chunk holds all pairs of its targets, but targets without pairs inside its range are in no chunk.
    into[part] = values


def _mean(group: Indices, values: Floats, size: int) -> Floats:
    n = np.bincount(group, minlength=size)
    total = np.bincount(group, weights=values, minlength=size)
    return np.asarray(np.divide(total, n, out=np.full(size, np.nan), where=n > 0))


def _minimum(group: Indices, values: Floats, size: int) -> Floats:
    smallest = np.full(size, np.inf)
    np.minimum.at(smallest, group, values)
    smallest[np.isinf(smallest)] = np.nan
    return smallest


def _centred(group: Indices, values: Floats, size: int) -> Floats:
    return np.asarray(values - _mean(group, values, size)[group])


def plane_gradient(group: Indices, x: Floats, y: Floats, values: Floats, size: int) -> Floats:
    """Steepness of the least-squares plane through (x, y, value) per group; NaN where positions fix no plane."""
    x, y, values = (_centred(group, column, size) for column in (x, y, values))
    xx, yy, xy, xv, yv = (
        np.bincount(group, weights=product, minlength=size) for product in (x * x, y * y, x * y, x * values, y * values)
    )
    n = np.bincount(group, minlength=size)
    determinant = xx * yy - xy**2
    spread = (xx + yy) / 2
    fixed = (n >= 3) & (xx + yy >= n * _MINIMUM_SPREAD_KM**2) & (determinant > _MINIMUM_ROUNDNESS * spread**2)
    divisor = np.where(fixed, determinant, 1.0)
    steepness = np.hypot((xv * yy - yv * xy) / divisor, (yv * xx - xv * xy) / divisor)
    return np.where(fixed, steepness, np.nan)


def line_slope(group: Indices, depth: Floats, values: Floats, size: int, *, span: float) -> Floats:
    """Least-squares slope of value over depth per group; NaN where depths span less than `span`."""
    reach = -_minimum(group, -depth, size) - _minimum(group, depth, size)
    depth, values = _centred(group, depth, size), _centred(group, values, size)
    squares = np.bincount(group, weights=depth * depth, minlength=size)
    product = np.bincount(group, weights=depth * values, minlength=size)
    fixed = (reach >= span) & (squares > 0)
    return np.asarray(np.divide(product, squares, out=np.full(size, np.nan), where=fixed))
