from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retention_pipelines.errors import FeatureError
from retention_pipelines.features.compute import compute_features
from retention_pipelines.features.score import Quality, precision, support

GOOD = np.array([1.0])
DAY = 86_400.0


@pytest.mark.parametrize("part", ["completeness", "validity", "support", "precision"])
@pytest.mark.parametrize("value", [np.nan, -0.01, 1.01, np.inf])
def test_a_part_outside_0_and_1_is_refused(part, value):
    parts = dict.fromkeys(("completeness", "validity", "support", "precision"), GOOD)
    with pytest.raises(FeatureError, match=part):
        Quality(**parts | {part: np.array([value])})


unit = st.floats(0, 1)


@given(unit, unit, unit, unit)
def test_the_score_is_the_product_of_its_parts_and_gives_the_priority(a, b, c, d):
    quality = Quality(
        completeness=np.array([a]), validity=np.array([b]), support=np.array([c]), precision=np.array([d])
    )
    (score,), (priority,) = quality.score, quality.priority
    assert score == pytest.approx(a * b * c * d)
    assert priority == ("high" if score > 0.8 else "medium" if score > 0.6 else "low")


def test_a_score_on_a_limit_belongs_to_the_lower_priority():
    quality = Quality(completeness=np.array([0.8, 0.6]), validity=np.ones(2), support=np.ones(2), precision=np.ones(2))
    assert quality.priority.tolist() == ["medium", "low"]


def test_support_grows_with_n_and_nothing_supports_nothing():
    assert support(np.array([0.0, 1.0, 3.0, 9.0]), 3.0).tolist() == [0.0, 0.25, 0.5, 0.75]
    assert support(np.array([0.0, 1.0]), 0.0).tolist() == [0.0, 1.0]


def test_precision_falls_with_coarser_dates_and_with_positions_wider_than_a_cell():
    dates = np.array([0.0, DAY, DAY + 1, 31 * DAY, 32 * DAY])
    assert precision(dates, np.full(5, np.nan), 0.25).tolist() == [1.0, 1.0, 0.5, 0.5, 0.2]
    cell = 0.25 * 111_195
    assert precision(np.zeros(3), np.array([10.0, cell, 4 * cell]), 0.25).tolist() == [1.0, 1.0, 0.25]


PARTS = ("quality_completeness", "quality_validity", "quality_support", "quality_precision")


def test_the_four_parts_of_stored_rows_are_what_one_works_out_by_hand(lake, add_occurrences, add_observations, stored):
    far = {"decimal_latitude": 40.0, "decimal_longitude": -30.0}
    month = far | {"event_id": "month", "date_precision": "month", "event_start": datetime(2017, 8, 1, tzinfo=UTC)}
    year = far | {"event_id": "year", "date_precision": "year", "event_start": datetime(2017, 1, 1, tzinfo=UTC)}
    add_occurrences(
        {"event_id": "haul", "scientific_name": "A", "coordinate_uncertainty_in_meters": 100_000.0},
        {"event_id": "haul", "scientific_name": "B"},
        *(month | {"scientific_name": name} for name in "ABCDEFG"),
        year,
    )
    add_observations(
        {"value": 14.0}, {"value": 15.0}, {"value": 99.0, "qc_good": False}, {"variable": "salinity_psu", "value": 35.0}
    )
    compute_features(lake, months=None, now=datetime(2026, 1, 1, tzinfo=UTC))
    rows = {(row["source_data_id"], kind): row for kind in ("temporal", "species", "environmental")
            for row in stored(kind)}  # fmt: skip
    # A position known to 100 km in a cell of 0.25 degree (27.8 km).
    vague = 0.25 * 111_195 / 100_000
    # Of 14 columns: the count, richness, Shannon, Gini-Simpson, evenness, basis, dominant taxon and its share; for one
    # taxon no evenness.
    for study, completeness, n, precise in (("haul", 8, 2, vague), ("month", 8, 7, 0.5), ("year", 7, 1, 0.2)):
        row = rows[f"survey/{study}", "species"]
        assert [row[part] for part in PARTS] == pytest.approx([completeness / 14, 1, n / (n + 3), precise], abs=1e-8)
    # Of 26: two quantities with value, distance, age; four counts; the surface temperature. Three of four were good.
    row = rows["survey/haul", "environmental"]
    assert [row[part] for part in PARTS] == pytest.approx([11 / 26, 3 / 4, 3 / 6, vague], abs=1e-8)
    # Of 15 on the open ocean: a month leaves the year, the month, its two cycles, the season and the hemisphere; a year
    # only the year and the hemisphere.
    for study, completeness, precise in (("month", 6, 0.5), ("year", 2, 0.2)):
        row = rows[f"survey/{study}", "temporal"]
        assert [row[part] for part in PARTS] == pytest.approx([completeness / 15, 1, 1, precise], abs=1e-8)
    for row in rows.values():
        assert row["quality_score"] == pytest.approx(np.prod([row[part] for part in PARTS]), abs=1e-8)
