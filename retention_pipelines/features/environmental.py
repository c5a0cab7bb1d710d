"""Environmental features: ocean conditions near a study, as they were known at the study.

The search is `match.py`; here are its inputs (which partitions, which climatology) and the columns made of its
answers. Look-back only: nothing observed after the study enters, neither a match nor a climatology.
"""

from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from retention_pipelines.features.match import Match, NearbyObservations, Observations, Targets
from retention_pipelines.features.options import FeatureOptions
from retention_pipelines.features.studies import PACKAGE
from retention_pipelines.features.values import FeatureValues, Floats, doubles, floats
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
_LONGEST_INTERVAL = timedelta(days=31)
_DEGREES_PER_KM = 1 / 111.0


class EnvironmentalMatcher:
    """Matches the studies of a month with the observations of one state of the lake."""

    def __init__(self, lake: Lake, options: FeatureOptions) -> None:
        self._lake = lake
        self._options = options
        self._table = lake.table("observations")
        self._files = self._table.files()

    def features(self, studies: pa.Table, month: str) -> FeatureValues:
        """Environmental features of the month's loaded studies."""
        targets, matchable = self._targets(studies)
        observed = self._observations(targets, month)
        climatology = self._climatology(month)
        cells = studies["location_grid"].to_pylist()
        columns: dict[str, pa.Array] = {}
        support, rejected = np.zeros(studies.num_rows), np.zeros(studies.num_rows)
        for variable, stem in QUANTITIES.items():
            found = self._match(observed.get(variable), targets, matchable, studies.num_rows)
            suffix = variable.removeprefix(f"{stem}_")
            mean, std = _look_up(climatology, variable, cells)
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

    def _observations(self, targets: Targets, month: str) -> dict[str, Observations]:
        if not len(targets):
            return {}
        first, last = (
            datetime.fromtimestamp(edge / 1e6, UTC) for edge in (targets.microseconds.min(), targets.microseconds.max())
        )
        earliest = first - self._options.window - timedelta(seconds=1)
        from_month, to_month = f"{earliest - _LONGEST_INTERVAL:%Y-%m}", f"{last:%Y-%m}"
        files = [file for file in self._files if from_month <= file.partition["month"] <= to_month]
        con = self._lake.con
        bind(con, "_window_observations", self._table.scan_files(files))
        margin = self._options.radius_km * _DEGREES_PER_KM
        set_variables(
            con,
            earliest=earliest,
            latest=last + timedelta(seconds=1),
            south=float(targets.latitude.min() - margin),
            north=float(targets.latitude.max() + margin),
            quantities=list(QUANTITIES),
        )
        # An order of rows that does not depend on threads: sums must come out the same every time.
        table = con.sql(statement(PACKAGE, "near_observations")).order("all").to_arrow_table()
        return {
            variable: _as_observations(table.filter(pc.equal(table["variable"], variable)))
            for variable in table["variable"].unique().to_pylist()
        }

    def _climatology(self, month: str) -> dict[tuple[str, str], tuple[float, float]]:
        """Mean and standard deviation by variable and cell, where enough earlier years are there."""
        files = [
            file for file in self._files if file.partition["month"][5:] == month[5:] and file.partition["month"] < month
        ]
        con = self._lake.con
        bind(con, "_past_observations", self._table.scan_files(files))
        set_variables(con, surface_m=self._lake.settings.surface_limit_m, quantities=list(QUANTITIES))
        rows = con.sql(statement(PACKAGE, "climatology")).fetchall()
        enough = self._options.climatology_min_years
        return {
            (variable, cell): (round(mean, 9), round(std, 9) if std is not None else np.nan)
            for cell, variable, mean, std, n_years in rows
            if n_years >= enough
        }


def _as_observations(table: pa.Table) -> Observations:
    return Observations(
        microseconds=table["microseconds"].to_numpy(),
        latitude=floats(table["latitude"]),
        longitude=floats(table["longitude"]),
        depth_m=floats(table["depth_m"]),
        value=floats(table["value"]),
        good=table["good"].to_numpy(),
    )


def _look_up(
    climatology: dict[tuple[str, str], tuple[float, float]], variable: str, cells: list[str]
) -> tuple[Floats, Floats]:
    found = np.array([climatology.get((variable, cell), (np.nan, np.nan)) for cell in cells], dtype=np.float64)
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
