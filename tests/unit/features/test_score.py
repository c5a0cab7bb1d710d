import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retention_pipelines.errors import FeatureError
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
