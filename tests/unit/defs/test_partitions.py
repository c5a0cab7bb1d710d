import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retention_pipelines.defs.partitions import FIRST_MONTH, MONTHS, KeyRange, key_of, key_ranges, months_in

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


@settings(max_examples=100, deadline=None, derandomize=True)
@given(present=st.sets(MONTH, max_size=30))
def test_no_month_of_data_is_lost_when_the_ranges_of_all_months_are_run(present: set[str]) -> None:
    reached: set[str] = set()
    for span in key_ranges(present, KEYS):
        reached |= set(months_in([key for key in KEYS if span.start <= key <= span.end], present, KEYS))
    assert present <= reached


@settings(max_examples=100, deadline=None, derandomize=True)
@given(present=st.sets(st.sampled_from(KEYS), min_size=1, max_size=20), gap=st.integers(0, 12))
def test_ranges_cover_their_months_in_order_and_never_overlap(present: set[str], gap: int) -> None:
    ranges = key_ranges(present, KEYS, longest_gap=gap)
    assert all(span.start in present and span.end in present for span in ranges)
    assert all(any(span.start <= month <= span.end for span in ranges) for month in present)
    for left, right in itertools.pairwise(ranges):
        assert KEYS.index(right.start) - KEYS.index(left.end) - 1 > gap


def test_a_range_is_known_to_dagster_by_two_tags() -> None:
    assert KeyRange("2017-01", "2017-03").tags == {
        "dagster/asset_partition_range_start": "2017-01",
        "dagster/asset_partition_range_end": "2017-03",
    }
