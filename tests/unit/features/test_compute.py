import random
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from retention_pipelines.catalog.features import FEATURE_TYPES
from retention_pipelines.errors import FeatureError
from retention_pipelines.features.compute import compute_features
from retention_pipelines.features.options import FeatureOptions

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LATER = NOW + timedelta(days=1)
AUGUST_14 = datetime(2017, 8, 14, tzinfo=UTC)


def test_every_study_has_a_row_of_each_type_and_species_only_where_there_are_occurrences(
    lake, add_occurrences, add_observations
):
    add_occurrences({"event_id": "a"}, {"event_id": "b"})
    add_observations({"event_id": "c"})
    run = compute_features(lake, months=None, now=NOW)
    assert run.studies == 3
    assert run.rows_computed == {"temporal": 3, "spatial": 3, "environmental": 3, "species": 2}
    assert run.rows_added == 11


def test_computing_unchanged_data_again_adds_nothing(lake, add_occurrences, add_observations, stored):
    add_occurrences(*({"event_id": f"h{i}", "decimal_latitude": -12 - i / 7} for i in range(20)))
    add_observations(*({"decimal_latitude": -12 - i / 9, "value": 15 + i / 3} for i in range(50)))
    compute_features(lake, months=None, now=NOW)
    assert compute_features(lake, months=None, now=LATER).rows_added == 0
    assert {row["computed_at"] for row in stored("environmental")} == {NOW}


def test_late_records_make_a_new_version_and_keep_the_old_one(lake, add_occurrences, stored):
    add_occurrences({"abundance": 3.0})
    compute_features(lake, months=None, now=NOW)
    add_occurrences({"scientific_name": "Engraulis capensis", "abundance": 1.0})
    run = compute_features(lake, months=["2017-08"], now=LATER)
    first, second = stored("species")
    assert (first["version"], first["richness"], first["computed_at"]) == (1, 1, NOW)
    assert (second["version"], second["richness"], second["computed_at"]) == (2, 2, LATER)
    assert not second["moved"]
    # Type by type only what changed: the study's time and place are the same (its count of records is in the score).
    assert len(stored("temporal")) == 1
    assert run.rows_added == 1


def test_content_that_changes_back_is_a_version_too_so_that_the_latest_row_is_the_truth(lake, add_occurrences, stored):
    add_occurrences({"abundance": 3.0})
    compute_features(lake, months=None, now=NOW)
    add_occurrences({"scientific_name": "Wrong", "abundance": 1.0, "record_hash": "wrong"})
    compute_features(lake, months=None, now=LATER)
    lake.table("occurrences").delete("record_hash = 'wrong'", op="test")
    compute_features(lake, months=None, now=LATER + timedelta(days=1))
    assert [(row["version"], row["richness"]) for row in stored("species")] == [(1, 1), (2, 2), (3, 1)]
    assert len({row["feature_hash"] for row in stored("species")}) == 3
    assert compute_features(lake, months=None, now=LATER + timedelta(days=2)).rows_added == 0


def test_a_study_whose_date_is_corrected_into_another_month_is_marked_as_moved(lake, add_occurrences, stored):
    add_occurrences({"record_hash": "first"})
    compute_features(lake, months=None, now=NOW)
    lake.table("occurrences").delete("record_hash = 'first'", op="test")
    add_occurrences({"event_start": datetime(2017, 10, 2, tzinfo=UTC)})
    compute_features(lake, months=["2017-10"], now=LATER)
    first, second = stored("temporal")
    assert (first["month"], first["version"], first["moved"]) == ("2017-08", 1, False)
    assert (second["month"], second["version"], second["moved"]) == ("2017-10", 2, True)


def test_only_the_studies_of_the_touched_months_are_computed(lake, add_occurrences):
    add_occurrences({"event_id": "a"}, {"event_id": "b", "event_start": datetime(2017, 9, 2, tzinfo=UTC)})
    run = compute_features(lake, months={"2017-09", "1999-01"}, now=NOW)
    assert run.months == ("2017-09",)
    assert run.studies == 1


def test_a_study_over_the_end_of_a_month_is_one_study_of_its_first_month(lake, add_occurrences, stored):
    add_occurrences(
        {"event_start": datetime(2017, 8, 31, tzinfo=UTC), "scientific_name": "A"},
        {"event_start": datetime(2017, 9, 1, tzinfo=UTC), "scientific_name": "B"},
    )
    run = compute_features(lake, months=["2017-09"], now=NOW)
    assert run.months == ("2017-08", "2017-09")
    assert run.studies == 1
    (row,) = stored("species")
    assert (row["month"], row["richness"]) == ("2017-08", 2)


def test_rows_say_which_code_computed_them_and_the_code_version_is_not_content(lake, add_occurrences, stored):
    add_occurrences({})
    compute_features(lake, months=None, now=NOW)
    (row,) = stored("temporal")
    assert "features." in row["code_version"]


def test_a_chosen_feature_type_leaves_the_others_alone(lake, add_occurrences):
    add_occurrences({})
    assert compute_features(lake, months=None, now=NOW, feature_types=["spatial"]).rows_added == 1


def test_an_unknown_feature_type_and_a_naive_now_are_refused(lake):
    with pytest.raises(FeatureError, match="Known: temporal"):
        compute_features(lake, months=None, now=NOW, feature_types=["acoustic"])
    with pytest.raises(FeatureError, match="time zone"):
        compute_features(lake, months=None, now=NOW.replace(tzinfo=None))


def test_an_empty_lake_has_no_features(lake):
    run = compute_features(lake, months=None, now=NOW)
    assert (run.studies, run.rows_added, run.commits) == (0, 0, ())


def awkward_lake(add_occurrences, add_observations):
    """Studies of many months near each other in space, over month ends, at the dateline and at a pole."""
    draw = random.Random(7)
    places = [(-12.1, 13.2), (-12.3, 13.1), (0.0, 179.95), (0.1, -179.95), (89.95, 40.0)]
    occurrences, observations = [], []
    for number in range(120):
        start = datetime(draw.randrange(2012, 2015), 1, 1, tzinfo=UTC) + timedelta(hours=draw.randrange(85 * 24))
        lat, lon = draw.choice(places)
        row = {"event_id": f"e{number}", "event_start": start, "decimal_latitude": lat, "decimal_longitude": lon}
        caught = ("A", "B", "C")[: draw.randrange(1, 4)]
        occurrences += [row | {"scientific_name": name, "abundance": float(draw.randrange(1, 9))} for name in caught]
        # A second record weeks later: some studies lie in two months.
        if number % 5 == 0:
            occurrences.append(row | {"event_start": start + timedelta(days=20), "scientific_name": "D"})
        for step in range(4):
            when = start - timedelta(days=draw.uniform(0, 20))
            observations.append(
                {
                    "event_id": f"c{number}-{step}",
                    "event_start": when,
                    "decimal_latitude": lat + (draw.uniform(-0.2, 0.2) if lat < 89 else -0.02),
                    "decimal_longitude": lon + draw.uniform(0, 0.04) if lat < 89 else draw.uniform(-180, 179),
                    "depth_m": draw.uniform(0, 60),
                    "value": draw.uniform(10, 25),
                    "variable": draw.choice(["temperature_degc", "chlorophyll_mg_m3"]),
                    "qc_good": draw.random() > 0.2,
                    "date_precision": draw.choice(["day", "time"]),
                    "source_type": draw.choice(["cast", "grid"]),
                }
            )
    add_occurrences(*occurrences)
    add_observations(*observations)


def test_the_rows_do_not_depend_on_how_many_studies_are_computed_at_once(
    lake, add_occurrences, add_observations, stored
):
    awkward_lake(add_occurrences, add_observations)
    options = FeatureOptions(climatology_min_years=1)
    month_by_month = compute_features(lake, months=None, now=NOW, options=options, studies_at_once=1)
    assert len(month_by_month.commits) > 9
    matched = [row for row in stored("environmental") if row["temperature_n"]]
    assert {row["location_grid"].partition("_")[0] for row in matched} >= {"-12.25", "0.0", "89.75"}
    assert any(row["temperature_anomaly_degc"] is not None for row in matched)
    # Equal content is not written again, and only equal content.
    at_once = compute_features(lake, months=None, now=LATER, options=options)
    assert (at_once.studies, at_once.rows_computed) == (month_by_month.studies, month_by_month.rows_computed)
    assert at_once.rows_added == 0


def test_an_interrupted_run_keeps_the_batches_it_has_done(lake, add_occurrences, stored):
    class BreaksDown:
        calls = 0

        def kilometres(self, latitude, longitude):
            self.calls += 1
            if self.calls > 2:
                raise KeyboardInterrupt
            return np.full(len(latitude), 5.0)

    add_occurrences(*({"event_id": f"e{m}", "event_start": datetime(2017, m, 2, tzinfo=UTC)} for m in range(1, 6)))
    with pytest.raises(KeyboardInterrupt):
        compute_features(lake, months=None, now=NOW, coast=BreaksDown(), studies_at_once=1)
    done = ["survey/e1", "survey/e2"]
    for feature_type in FEATURE_TYPES:
        assert [row["source_data_id"] for row in stored(feature_type)] == done
    assert compute_features(lake, months=None, now=LATER, feature_types=["species"]).rows_added == 3
