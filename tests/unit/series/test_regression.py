import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import settings as examples
from hypothesis import strategies as st
from scipy import stats

from retention_pipelines.series.regression import least_squares, theil_sen

values = st.lists(st.integers(-1000, 1000).map(lambda i: 1e3 + i / 16), min_size=24, max_size=60)


def groups(*sizes: int) -> tuple[np.ndarray, np.ndarray]:
    lengths = np.array(sizes, dtype=np.int64)
    return np.r_[0, np.cumsum(lengths)[:-1]].astype(np.int64), lengths


@examples(max_examples=60, derandomize=True, deadline=None)
@given(values, values)
def test_lines_are_those_of_scipy(first: list[float], second: list[float]) -> None:
    assume(len(set(first)) > 1)
    assume(len(set(second)) > 1)
    xs = [1950 + (np.arange(len(y)) + 0.5) / 12 for y in (first, second)]
    lines = least_squares(np.concatenate(xs), np.array(first + second), *groups(len(first), len(second)))
    medians = theil_sen(np.concatenate(xs), np.array(first + second), *groups(len(first), len(second)))
    for i, (x, y) in enumerate(zip(xs, (first, second), strict=True)):
        expected = stats.linregress(x, y)
        assert lines.slope[i] == pytest.approx(expected.slope, rel=1e-8, abs=1e-9)
        assert lines.stderr[i] == pytest.approx(expected.stderr, rel=1e-7)
        assert lines.r2[i] == pytest.approx(expected.rvalue**2, rel=1e-7, abs=1e-12)
        assert lines.p_value[i] == pytest.approx(expected.pvalue, rel=1e-6, abs=1e-300)
        assert medians[i] == pytest.approx(stats.theilslopes(y, x)[0], rel=1e-9, abs=1e-12)


def test_a_flat_series_has_no_slope_and_nothing_against_it() -> None:
    x = 2000 + np.arange(30) / 12
    lines = least_squares(x, np.full(30, 17.3), *groups(30))
    assert (lines.slope[0], lines.stderr[0], lines.r2[0], lines.p_value[0]) == (0.0, 0.0, 0.0, 1.0)


def test_a_perfect_line_has_r2_1_and_p_0() -> None:
    x = np.arange(32) / 4
    lines = least_squares(x, 3 * x + 2, *groups(32))
    assert lines.slope[0] == pytest.approx(3)
    assert lines.r2[0] == pytest.approx(1)
    assert lines.p_value[0] == pytest.approx(0, abs=1e-100)


def test_no_groups_give_no_lines() -> None:
    nothing = np.array([], dtype=np.float64)
    none = np.array([], dtype=np.int64)
    lines = least_squares(nothing, nothing, none, none)
    assert len(lines.slope) == len(lines.p_value) == len(theil_sen(nothing, nothing, none, none)) == 0
