"""Environmental features: ocean conditions near a study, as they were known at the study.

The search is `match.py`; here are its inputs (which partitions, which climatology) and the columns made of its
answers. Look-back only: nothing observed after the study enters, neither a match nor a climatology.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from retention_pipelines.features.match import EARTH_RADIUS_KM, Match, NearbyObservations, Observations, Targets
from retention_pipelines.features.options import FeatureOptions
from retention_pipelines.features.studies import PACKAGE
from retention_pipelines.features.values import FeatureValues, Floats, doubles, floats
from retention_pipelines.period import Period
from retention_pipelines.warehouse import Lake
from retention_pipelines.warehouse.duck import bind, set_variables, statement

# Variable of the observations, and the stem of its feature columns.
QUANTITIES = {
    "temperature_degc": "temperature",
    "salinity_psu": "salinity",
    "oxygen_saturation_percent": "oxygen_saturation",
    "chlorophyll_mg_m3": "chlorophyll",
}
# The longest interval an observation may have and still be matched (near_observations.sql).
LONGEST_INTERVAL = timedelta(days=31)


class EnvironmentalMatcher:
    """Matches studies with the observations of one state of the lake."""

    def __init__(self, lake: Lake, options: FeatureOptions) -> None:
        self._lake = lake
        self._options = options
        self._table = lake.table("observations")
        self._files = self._table.files()

    def features(self, studies: pa.Table) -> FeatureValues:
        """Environmental features of the loaded studies."""
        targets, matchable = self._targets(studies)
        months = set(studies["month"].unique().to_pylist())
        observed = self._observations(targets, months)
        climatology = self._climatology(months)
        places = list(zip(studies["month"].to_pylist(), studies["location_grid"].to_pylist(), strict=True))
        columns: dict[str, pa.Array] = {}
        support, rejected = np.zeros(studies.num_rows), np.zeros(studies.num_rows)
        for variable, stem in QUANTITIES.items():
            found = self._match(observed.get(variable), targets, matchable, studies.num_rows)
            suffix = variable.removeprefix(f"{stem}_")
            mean, std = _look_up(climatology, variable, places)
            anomaly = found.surface_value - mean
            columns |= {
                variable: doubles(found.value),
                f"{stem}_distance_km": doubles(found.distance_km),
                f"{stem}_age_seconds": doubles(found.age_seconds),
                f"{stem}_n": pa.array(found.n.astype(np.int64)),
                f"{stem}_anomaly_{suffix}": doubles(anomaly),
            }
            support += found.n
            rejected += found.n_rejected
            if variable == "temperature_degc":
                columns |= self._upwelling(found, anomaly, std)
            if variable == "chlorophyll_mg_m3":
                columns["productivity_class"] = productivity_class(found.value, self._options)
        seen = support + rejected
        return FeatureValues(
            feature_type="environmental",
            table=pa.table({"source_data_id": studies["source_data_id"], **columns}),
            support=support,
            validity=np.divide(support, seen, out=np.zeros_like(seen), where=seen > 0),
            temporal_window=f"P{self._options.window.days}D",
            spatial_resolution=f"{self._options.radius_km:g}km",
        )

    def _upwelling(self, found: Match, anomaly: Floats, std: Floats) -> dict[str, pa.Array]:
        usable = std > 0
        index = np.divide(-anomaly, std, out=np.full(len(std), np.nan), where=usable)
        known = ~np.isnan(index)
        return {
            "surface_temperature_degc": doubles(found.surface_value),
            "temperature_gradient_degc_per_km": doubles(found.gradient_per_km, 9),
            "temperature_vertical_gradient_degc_per_m": doubles(found.vertical_gradient_per_m, 9),
            "upwelling_index": doubles(index),
            "is_upwelling": pa.array(np.round(index, 6) >= self._options.upwelling_k, mask=~known),
        }

    def _targets(self, studies: pa.Table) -> tuple[Targets, np.ndarray]:
        """The studies whose moment is known well enough to look back from it, and their row numbers."""
        precision = np.array(studies["date_precision"].to_pylist(), dtype=object)
        start, end = (studies[name].cast(pa.int64()).to_numpy() for name in ("event_time", "event_end"))
        short = end - start <= self._options.window / timedelta(microseconds=1)
        rows = np.flatnonzero(np.isin(precision, ("day", "time")) | ((precision == "interval") & short))
        tolerance = self._options.depth_tolerance_m
        shallow, deep = floats(studies["minimum_depth_m"]), floats(studies["maximum_depth_m"])
        surface = self._lake.settings.surface_limit_m
        targets = Targets(
            microseconds=start[rows],
            latitude=floats(studies["latitude"])[rows],
            longitude=floats(studies["longitude"])[rows],
            first_m=np.where(np.isnan(shallow), -np.inf, shallow - tolerance)[rows],
            last_m=np.where(np.isnan(deep), surface, deep + tolerance)[rows],
        )
        return targets, rows

    def _match(self, near: Observations | None, targets: Targets, rows: np.ndarray, size: int) -> Match:
        options = self._options
        empty = np.empty(0)
        nothing = Observations(
            microseconds=empty.astype(np.int64),
            latitude=empty,
            longitude=empty,
            depth_m=empty,
            value=empty,
            good=empty > 0,
        )
        matched = NearbyObservations(near or nothing).match(
            targets,
            radius_km=options.radius_km,
            window_seconds=int(options.window.total_seconds()),
            surface_m=self._lake.settings.surface_limit_m,
            vertical_m=options.vertical_limit_m,
            vertical_span_m=options.vertical_span_m,
        )
        spread = {}
        for name, values in vars(matched).items():
            whole = np.zeros(size) if name in ("n", "n_rejected") else np.full(size, np.nan)
            whole[rows] = values
            spread[name] = whole
        return Match(**spread)

    def _observations(self, targets: Targets, months: set[str]) -> dict[str, Observations]:
        if not len(targets):
            return {}
        window = self._options.window + timedelta(seconds=1)
        needed = {key for month in months for key in _months_back(month, window + LONGEST_INTERVAL)}
        con = self._lake.con
        bind(
            con,
            "_window_observations",
            self._table.scan_files(file for file in self._files if file.partition["month"] in needed),
        )
        first, last = (
            datetime.fromtimestamp(edge / 1e6, UTC) for edge in (targets.microseconds.min(), targets.microseconds.max())
        )
        set_variables(con, earliest=first - window, latest=last + timedelta(seconds=1), quantities=list(QUANTITIES))
        con.register("_reached", reached_degrees(targets.latitude, targets.longitude, self._options.radius_km))
        try:
            # An order of rows that does not depend on threads: sums must come out the same every time.
            table = con.sql(statement(PACKAGE, "near_observations")).order("all").to_arrow_table()
        finally:
            con.unregister("_reached")
        return {
            variable: _as_observations(table.filter(pc.equal(table["variable"], variable)))
            for variable in table["variable"].unique().to_pylist()
        }

    def _climatology(self, months: set[str]) -> "Climatology":
        """Mean and standard deviation by variable, month and cell, where enough earlier years are there."""
        calendar, last = {month[5:] for month in months}, max(months)
        con = self._lake.con
        bind(
            con,
            "_past_observations",
            self._table.scan_files(
                file
                for file in self._files
                if file.partition["month"][5:] in calendar and file.partition["month"] < last
            ),
        )
        set_variables(con, surface_m=self._lake.settings.surface_limit_m, quantities=list(QUANTITIES))
        rows = con.sql(statement(PACKAGE, "climatology")).fetchall()
        enough = self._options.climatology_min_years
        return {
            (variable, month, cell): (round(mean, 9), round(std, 9) if std is not None else np.nan)
            for month, cell, variable, mean, std, n_years in rows
            if n_years >= enough
        }


Climatology = dict[tuple[str, str, str], tuple[float, float]]


def _months_back(month: str, reach: timedelta) -> Iterator[str]:
    """A month and the earlier ones that lie at least partly within `reach` before it begins."""
    period = Period.of_month(month)
    earliest = period.start - reach
    yield month
    while period.start > earliest:
        period = Period.of_month((period.start - timedelta(days=1)).isoformat()[:7])
        yield period.month_key


def reached_degrees(latitude: Floats, longitude: Floats, radius_km: float) -> pa.Table:
    """Whole degrees (`lat_degree`, `lon_degree`: their lower left corners) that lie within a radius of a position."""
    angle = min(radius_km / EARTH_RADIUS_KM, np.pi) * (1 + 1e-9) + 1e-9
    reached: set[tuple[int, int]] = set()
    for south, west in set(zip(np.floor(latitude).astype(int), np.floor(longitude).astype(int), strict=True)):
        first, last = np.floor(south - np.degrees(angle)), np.floor(south + 1 + np.degrees(angle))
        lat_span = range(max(int(first), -90), min(int(last), 90) + 1)
        # How far a circle reaches east and west of its middle; a circle around a pole reaches everywhere.
        steepest = np.radians(max(abs(south), abs(south + 1)))
        if steepest + angle >= np.pi / 2:
            lon_span = range(-180, 180)
        else:
            half = np.degrees(np.arcsin(np.sin(angle) / np.cos(steepest)))
            lon_span = range(int(np.floor(west - half)), int(np.floor(west + 1 + half)) + 1)
        reached |= {(lat, (lon + 180) % 360 - 180) for lat in lat_span for lon in lon_span}
    lat_degrees, lon_degrees = zip(*sorted(reached), strict=True) if reached else ((), ())
    return pa.table({"lat_degree": pa.array(lat_degrees, pa.int32()), "lon_degree": pa.array(lon_degrees, pa.int32())})


def _as_observations(table: pa.Table) -> Observations:
    return Observations(
        microseconds=table["microseconds"].to_numpy(),
        latitude=floats(table["latitude"]),
        longitude=floats(table["longitude"]),
        depth_m=floats(table["depth_m"]),
        value=floats(table["value"]),
        good=table["good"].to_numpy(),
    )


def _look_up(climatology: Climatology, variable: str, places: list[tuple[str, str]]) -> tuple[Floats, Floats]:
    unknown = (np.nan, np.nan)
    found = np.array([climatology.get((variable, *place), unknown) for place in places], dtype=np.float64)
    return found[:, 0], found[:, 1]


def productivity_class(chlorophyll: Floats, options: FeatureOptions) -> pa.Array:
    """Trophic class by chlorophyll in mg m-3; the limits belong to the middle class."""
    names = np.where(
        chlorophyll < options.oligotrophic_below,
        "oligotrophic",
        np.where(chlorophyll > options.eutrophic_above, "eutrophic", "mesotrophic"),
    ).astype(object)
    names[np.isnan(chlorophyll)] = None
    return pa.array(names, pa.string())
