from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from retention_pipelines.features.compute import compute_features
from retention_pipelines.features.environmental import reached_degrees
from retention_pipelines.features.match import EARTH_RADIUS_KM
from retention_pipelines.features.options import FeatureOptions

NOW = datetime(2026, 1, 1, tzinfo=UTC)
AUGUST_14 = datetime(2017, 8, 14, tzinfo=UTC)
HAUL = {"event_id": "haul", "minimum_depth_in_meters": 0.0, "maximum_depth_in_meters": 30.0}


@pytest.fixture
def environment(lake, add_occurrences, add_observations, stored):
    """The environmental row of a haul on 2017-08-14 at 12.1 S, 13.2 E, 0 to 30 m, given observations."""

    def compute(*observed, haul=HAUL, options=None):
        add_occurrences(haul)
        if observed:
            add_observations(*observed)
        compute_features(lake, months=None, now=NOW, feature_types=["environmental"], options=options)
        return next(row for row in stored("environmental") if row["source_data_id"] == "survey/haul")

    return compute


def days(n):
    return AUGUST_14 + timedelta(days=n)


def test_the_value_is_the_mean_of_the_good_observations_near_in_space_time_and_depth(environment):
    row = environment(
        {"event_start": days(-2), "value": 14.0, "depth_m": 5.0},
        {"event_start": days(-9), "value": 18.0, "depth_m": 40.0, "decimal_latitude": -12.2},
        {"event_start": days(-2), "value": 99.0, "depth_m": 41.0},
        {"event_start": days(-15), "value": 99.0},
        {"event_start": days(1), "value": 99.0},
        {"event_start": days(-2), "value": 99.0, "decimal_latitude": -12.4},
        {"event_start": days(-2), "value": 99.0, "qc_good": False, "qc_scale": "argo", "qc_flag": "4"},
        {"event_start": days(-2), "value": None},
    )
    assert (row["temperature_degc"], row["temperature_n"]) == (16.0, 2)
    assert (row["temperature_distance_km"], row["temperature_age_seconds"]) == (0.0, 2 * 86_400)
    assert row["quality_validity"] == pytest.approx(2 / 3)
    assert row["quality_support"] == pytest.approx(2 / 5)
    assert (row["salinity_psu"], row["salinity_n"]) == (None, 0)
    assert (row["temporal_window"], row["spatial_resolution"]) == ("P14D", "25km")


def test_what_was_observed_after_the_study_changes_nothing(environment, lake, add_observations, stored):
    before = environment({"event_start": days(-1), "value": 14.0})
    add_observations(*({"event_start": days(n), "value": 30.0} for n in (1, 2, 40, 365)))
    compute_features(lake, months=["2017-08"], now=NOW + timedelta(days=1), feature_types=["environmental"])
    of_the_haul = [row for row in stored("environmental") if row["source_data_id"] == "survey/haul"]
    assert [row["feature_hash"] for row in of_the_haul] == [before["feature_hash"]]


def test_a_monthly_mean_is_known_when_its_month_is_over(environment):
    july = {"event_start": datetime(2017, 7, 1, tzinfo=UTC), "date_precision": "month", "value": 17.0}
    august = {"event_start": datetime(2017, 8, 1, tzinfo=UTC), "date_precision": "month", "value": 99.0}
    row = environment(july, august)
    assert (row["temperature_degc"], row["temperature_age_seconds"]) == (17.0, 13 * 86_400)


def test_a_study_without_a_known_day_is_not_matched(environment):
    row = environment({"event_start": days(-1)}, haul=HAUL | {"date_precision": "month"})
    assert (row["temperature_degc"], row["temperature_n"], row["quality_score"]) == (None, 0, 0.0)


def test_a_study_without_depth_is_matched_at_the_surface(environment):
    row = environment(
        {"event_start": days(-1), "depth_m": 10.0},
        {"event_start": days(-1), "depth_m": 11.0, "value": 9.0},
        haul={"event_id": "haul"},
    )
    assert (row["temperature_degc"], row["temperature_n"]) == (15.0, 1)


def year(n, value, month=8):
    return {
        "event_id": f"cast-{n}-{month}-{value}",
        "event_start": datetime(2017 - n, month, 10, tzinfo=UTC),
        "value": value,
    }


def test_the_anomaly_compares_with_the_same_month_of_earlier_years_only(environment):
    row = environment(
        *(year(n, value) for n, value in ((1, 19.0), (2, 20.0), (3, 21.0))),
        year(1, 5.0, month=7),
        year(-1, 99.0),
        {"event_start": days(-1), "value": 17.0},
    )
    assert row["temperature_anomaly_degc"] == -3.0
    assert (row["upwelling_index"], row["is_upwelling"]) == (3.0, True)


def test_years_weigh_the_same_however_many_observations_they_have(environment):
    row = environment(
        *(year(n, value) for n, value in ((1, 18.0), (1, 20.0), (1, 22.0), (2, 20.0), (3, 26.0))),
        {"event_start": days(-1), "value": 22.0},
    )
    assert row["temperature_anomaly_degc"] == 0.0
    assert row["is_upwelling"] is False


def test_without_enough_earlier_years_there_is_no_anomaly(environment):
    row = environment(year(1, 19.0), year(2, 20.0), {"event_start": days(-1), "value": 17.0})
    assert (row["temperature_anomaly_degc"], row["upwelling_index"], row["is_upwelling"]) == (None, None, None)
    assert row["surface_temperature_degc"] == 17.0


@pytest.mark.parametrize(
    ("chlorophyll", "name"),
    [(0.09, "oligotrophic"), (0.1, "mesotrophic"), (1.0, "mesotrophic"), (1.01, "eutrophic"), (None, None)],
)
def test_productivity_follows_chlorophyll(environment, chlorophyll, name):
    row = environment({"event_start": days(-1), "variable": "chlorophyll_mg_m3", "value": chlorophyll})
    assert row["productivity_class"] == name


def test_radius_window_and_tolerance_are_options(environment):
    options = FeatureOptions(radius_km=60, window=timedelta(days=30), depth_tolerance_m=100)
    row = environment(
        {"event_start": days(-29), "value": 14.0, "depth_m": 120.0, "decimal_latitude": -12.6}, options=options
    )
    assert (row["temperature_n"], row["temporal_window"], row["spatial_resolution"]) == (1, "P30D", "60km")


def test_a_cast_may_match_its_own_observations(lake, add_observations, stored):
    add_observations({"value": 15.0}, {"value": 16.0, "depth_m": 8.0})
    compute_features(lake, months=None, now=NOW, feature_types=["environmental"])
    (row,) = stored("environmental")
    assert (row["temperature_degc"], row["temperature_distance_km"], row["temperature_age_seconds"]) == (15.5, 0.0, 0.0)


@hypothesis_settings(max_examples=60, derandomize=True, deadline=None)
@given(
    lat=st.floats(-90, 90), lon=st.floats(-180, 179.999), radius=st.sampled_from([1.0, 25.0, 300.0, 3000.0]),
    bearing=st.floats(0, 2 * np.pi), share=st.floats(0, 1),
)  # fmt: skip
def test_every_position_within_the_radius_lies_in_a_reached_degree(lat, lon, radius, bearing, share):
    angle, phi = share * radius / EARTH_RADIUS_KM, np.radians(lat)
    there = np.arcsin(np.clip(np.sin(phi) * np.cos(angle) + np.cos(phi) * np.sin(angle) * np.cos(bearing), -1, 1))
    turn = np.arctan2(np.sin(bearing) * np.sin(angle) * np.cos(phi), np.cos(angle) - np.sin(phi) * np.sin(there))
    lon_there = (lon + np.degrees(turn) + 180) % 360 - 180
    reached = set(map(tuple, reached_degrees(np.array([lat]), np.array([lon]), radius).to_pandas().to_numpy()))
    assert (np.floor(np.degrees(there)), np.floor(lon_there)) in reached
    assert radius > 25 or abs(lat) > 80 or len(reached) <= 15
