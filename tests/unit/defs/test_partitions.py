import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retention_pipelines.defs.partitions import FIRST_MONTH, MONTHS, KeyRange, key_of, key_ranges, meant, months_in

KEYS = tuple(f"{year}-{month:02d}" for year in range(2000, 2010) for month in range(1, 13))
MONTH = st.builds("{:04d}-{:02d}".format, st.integers(1700, 2100), st.integers(1, 12))


def test_partitions_start_before_the_oldest_records_and_include_the_running_month() -> None:
    from datetime import UTC, datetime

    keys = MONTHS.get_partition_keys(current_time=datetime(2026, 11, 22, tzinfo=UTC))
    assert (keys[0], keys[-1]) == (FIRST_MONTH, "2026-11")
    assert "1874-06" in keys
    assert len(keys) == len(set(keys)) == (2026 - 1850) * 12 + 11
    window = MONTHS.time_window_for_partition_key("1874-06")
    assert (window.start, window.end) == (datetime(1874, 6, 1, tzinfo=UTC), datetime(1874, 7, 1, tzinfo=UTC))


@pytest.mark.parametrize(
    ("month", "key"), [("1799-05", "2000-01"), ("2000-01", "2000-01"), ("2004-07", "2004-07"), ("2031-01", "2009-12")]
)
def test_months_outside_the_partitions_belong_to_the_first_or_the_newest(month: str, key: str) -> None:
    assert key_of(month, KEYS) == key


def _inside(span: KeyRange) -> list[str]:
    return [key for key in KEYS if span.start <= key <= span.end]


@settings(max_examples=100, deadline=None, derandomize=True)
@given(present=st.sets(MONTH, max_size=40), gap=st.integers(0, 12), most=st.integers(1, 8))
def test_runs_over_the_ranges_are_about_exactly_the_months_asked_for(present: set[str], gap: int, most: int) -> None:
    ranges = key_ranges(present, KEYS, free_gap=gap, most=most)
    asked = [key for span in ranges for key in meant(_inside(span), span.tags)]
    assert asked == sorted({key_of(month, KEYS) for month in present})
    assert len(ranges) <= most
    assert present <= {month for key in asked for month in months_in([key], present, KEYS)}


@settings(max_examples=100, deadline=None, derandomize=True)
@given(present=st.sets(st.sampled_from(KEYS), min_size=1, max_size=20), gap=st.integers(0, 12))
def test_ranges_start_and_end_at_months_asked_for_and_lie_apart(present: set[str], gap: int) -> None:
    ranges = key_ranges(present, KEYS, free_gap=gap, most=100)
    assert all(span.start in present and span.end in present for span in ranges)
    for left, right in itertools.pairwise(ranges):
        assert KEYS.index(right.start) - KEYS.index(left.end) - 1 > gap


def test_only_the_smallest_gaps_are_bridged_where_there_would_be_too_many_runs() -> None:
    months = ("2001-01", "2001-02", "2003-05", "2003-07", "2009-01")
    assert key_ranges(months, KEYS) == (
        KeyRange("2001-01", "2001-02"),
        KeyRange("2003-05", "2003-05"),
        KeyRange("2003-07", "2003-07"),
        KeyRange("2009-01", "2009-01"),
    )
    assert key_ranges(months, KEYS, most=3) == (
        KeyRange("2001-01", "2001-02"),
        KeyRange("2003-05", "2003-07", (("2003-05", "2003-05"), ("2003-07", "2003-07"))),
        KeyRange("2009-01", "2009-01"),
    )


def test_a_range_is_known_to_dagster_by_two_tags() -> None:
    assert KeyRange("2017-01", "2017-03").tags == {
        "dagster/asset_partition_range_start": "2017-01",
        "dagster/asset_partition_range_end": "2017-03",
    }


def test_a_range_with_gaps_says_which_months_it_is_about() -> None:
    span = KeyRange("2001-01", "2001-06", (("2001-01", "2001-02"), ("2001-06", "2001-06")))
    assert span.tags["retention/months"] == "2001-01..2001-02,2001-06..2001-06"
    assert meant(_inside(span), span.tags) == ("2001-01", "2001-02", "2001-06")
