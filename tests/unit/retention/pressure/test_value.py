"""What keeping is worth, by hand-worked numbers."""

import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retention_pipelines.retention.pressure.value import (
    Measured,
    Prices,
    break_even_seconds,
    describe,
    is_worth_keeping,
    value_per_byte,
)
from retention_pipelines.settings import load_settings

PRICES = Prices(compute_second=0.00001, byte_second=1e-17)
ENTRY = Measured(compute_seconds=2.0, hits=3, age_seconds=1000.0, size_bytes=1_000_000)


def test_an_entry_is_worth_keeping_while_it_is_read_more_often_than_once_in_its_break_even_time() -> None:
    # 2 s at 0.00001 buy 2,000,000 s of a megabyte at 1e-17 a byte and second; 3 reads count as 4.
    assert break_even_seconds(ENTRY, PRICES) == pytest.approx(2_000_000)
    assert is_worth_keeping(ENTRY, PRICES) is True
    assert is_worth_keeping(replace(ENTRY, age_seconds=7_999_000), PRICES) is True
    assert is_worth_keeping(replace(ENTRY, age_seconds=8_001_000), PRICES) is False


def test_the_sentence_names_what_was_measured_and_says_unknown_where_nothing_was() -> None:
    assert describe(ENTRY, PRICES) == (
        "worth keeping: 2 s to compute, 3 reads in 1,000 s, 1,000,000 bytes; a month saves 0.21 and costs 2.6e-05, "
        "even at a read in 23 d"
    )
    assert describe(replace(ENTRY, compute_seconds=None), PRICES).startswith("unknown: nobody measured")


def test_prices_come_from_the_settings_by_the_gigabyte_and_month() -> None:
    prices = Prices.of(load_settings({}, storage_price_gb_month=2.592, compute_price_cpu_second=0.5))
    assert (prices.compute_second, prices.byte_second) == (0.5, pytest.approx(1e-15))


def test_what_was_never_measured_has_no_value_and_nobody_says_it_may_go() -> None:
    unknown = replace(ENTRY, compute_seconds=None)
    assert (break_even_seconds(unknown, PRICES), is_worth_keeping(unknown, PRICES), value_per_byte(unknown)) == (
        None,
        None,
        None,
    )
    assert break_even_seconds(replace(ENTRY, size_bytes=0), PRICES) == math.inf


def test_value_per_byte_is_seconds_saved_per_second_and_byte() -> None:
    assert value_per_byte(ENTRY) == pytest.approx(4 / 1000 * 2.0 / 1_000_000)


@pytest.mark.parametrize("wrong", [0.0, -1.0, math.nan, math.inf])
def test_a_price_is_above_zero(wrong: float) -> None:
    with pytest.raises(ValueError, match="a price is above 0"):
        Prices(compute_second=wrong, byte_second=1.0)


@settings(max_examples=200, derandomize=True, deadline=None)
@given(st.integers(0, 10**6), st.floats(0, 10**9), st.integers(0, 10**12), st.floats(0, 10**6))
def test_more_reads_or_dearer_computing_never_make_an_entry_worth_less(
    hits: int, age: float, size: int, seconds: float
) -> None:
    entry = Measured(compute_seconds=seconds, hits=hits, age_seconds=age, size_bytes=size)
    value = value_per_byte(entry)
    assert value is not None
    for better in (replace(entry, hits=hits + 1), replace(entry, compute_seconds=seconds * 2)):
        assert (value_per_byte(better) or 0.0) >= value
    assert (value_per_byte(replace(entry, age_seconds=age + 1e9)) or 0.0) <= value
