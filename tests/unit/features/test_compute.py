from datetime import UTC, datetime, timedelta

import pytest

from retention_pipelines.errors import FeatureError
from retention_pipelines.features.compute import compute_features

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
