from datetime import UTC, datetime, timedelta

import pytest

from retention_pipelines.features.studies import StudyReader

AUGUST_14 = datetime(2017, 8, 14, tzinfo=UTC)


def load(lake, month="2017-08"):
    return StudyReader(lake).load([month]).to_pylist()


def test_a_study_is_one_event_of_one_dataset(lake, add_occurrences):
    add_occurrences({"event_id": "a"}, {"event_id": "a"}, {"event_id": "b"}, {"event_id": "a", "dataset_id": "other"})
    assert [(s["source_data_id"], s["n_records"]) for s in load(lake)] == [
        ("other/a", 1),
        ("survey/a", 2),
        ("survey/b", 1),
    ]


def test_a_study_in_both_tables_is_one_study_of_the_occurrences(lake, add_occurrences, add_observations):
    add_occurrences({"event_id": "a"})
    add_observations({"event_id": "a", "dataset_id": "survey"}, {"event_id": "c"})
    assert [(s["source_data_id"], s["source_table"]) for s in load(lake)] == [
        ("casts/c", "observations"),
        ("survey/a", "occurrences"),
    ]


def test_grids_are_no_studies(lake, add_observations):
    add_observations({"source_type": "grid"})
    assert load(lake) == []


@pytest.mark.parametrize(
    ("longitudes", "mean"),
    [
        ((179.0, -179.0), -180.0),
        ((179.0, -178.0), -179.5),
        ((178.0, -179.0), 179.5),
        ((13.0, 14.0), 13.5),
        ((-1.0, 1.0), 0.0),
    ],
)
def test_longitudes_are_averaged_the_short_way_round(lake, add_occurrences, longitudes, mean):
    add_occurrences(*({"decimal_longitude": lon} for lon in longitudes))
    (study,) = load(lake)
    assert study["longitude"] == mean


def test_positions_either_side_of_the_dateline_are_close_together(lake, add_occurrences):
    add_occurrences(
        {"decimal_longitude": 179.9, "decimal_latitude": 0.0}, {"decimal_longitude": -179.9, "decimal_latitude": 0.0}
    )
    (study,) = load(lake)
    assert study["spread_m"] == pytest.approx(0.1 * 111_195, rel=1e-6)


def test_a_study_on_one_position_has_exactly_that_position_and_its_cell(lake, add_occurrences):
    add_occurrences(*({"decimal_latitude": -12.3, "decimal_longitude": 13.7} for _ in range(7)))
    (study,) = load(lake)
    assert (study["latitude"], study["longitude"], study["location_grid"]) == (-12.3, 13.7, "-12.5_13.5")
    assert (study["cell_lat0"], study["cell_lon0"], study["spread_m"]) == (-12.5, 13.5, 0.0)


def test_the_interval_runs_from_the_first_start_to_the_last_end(lake, add_occurrences):
    late = AUGUST_14 + timedelta(days=2)
    add_occurrences({"event_start": late}, {"event_start": AUGUST_14})
    (study,) = load(lake)
    assert (study["event_time"], study["event_end"]) == (AUGUST_14, late + timedelta(days=1))


@pytest.mark.parametrize(
    ("precision", "known_after"),
    [("time", timedelta(0)), ("day", timedelta(0)), ("month", timedelta(days=31)), ("year", timedelta(days=365))],
)
def test_a_study_is_known_at_its_day_and_a_coarser_one_when_its_interval_is_over(
    lake, add_occurrences, precision, known_after
):
    add_occurrences({"date_precision": precision})
    (study,) = load(lake)
    assert study["known_at"] - study["event_time"] == known_after


def test_a_study_is_not_known_before_its_last_record(lake, add_occurrences):
    add_occurrences({}, {"event_start": AUGUST_14 + timedelta(days=3)})
    (study,) = load(lake)
    assert study["known_at"] == AUGUST_14 + timedelta(days=3)


def test_a_study_is_as_precise_as_its_coarsest_date(lake, add_occurrences):
    add_occurrences({"date_precision": "time"}, {"date_precision": "month"})
    (study,) = load(lake)
    assert study["date_precision"] == "month"


def test_depths_span_all_records(lake, add_occurrences, add_observations):
    add_occurrences(
        {"minimum_depth_in_meters": 0.0, "maximum_depth_in_meters": 30.0},
        {"minimum_depth_in_meters": None, "maximum_depth_in_meters": 45.0},
    )
    add_observations({"depth_m": 2.0}, {"depth_m": 500.0}, {"depth_m": None})
    cast, haul = load(lake)
    assert (haul["minimum_depth_m"], haul["maximum_depth_m"]) == (0.0, 45.0)
    assert (cast["minimum_depth_m"], cast["maximum_depth_m"]) == (2.0, 500.0)
