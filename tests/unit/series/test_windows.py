from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retention_pipelines.errors import SeriesError
from retention_pipelines.period import Period, TimeWindow, window_label, window_of
from retention_pipelines.series.windows import chunks, months_between, touched_windows

months = st.builds("{:04d}-{:02d}".format, st.integers(1870, 2100), st.integers(1, 12))


def labels(keys: list[str], window: TimeWindow) -> list[str]:
    return [window_label(touched.period.start, window) for touched in touched_windows(keys, [window])]


def test_a_month_touches_its_days_the_weeks_and_the_season_that_overlap_it() -> None:
    assert labels(["2017-01"], TimeWindow.DAILY) == [f"2017-01-{day:02d}" for day in range(1, 32)]
    assert labels(["2017-01"], TimeWindow.WEEKLY) == ["2016-W52", *(f"2017-W{week:02d}" for week in range(1, 6))]
    assert labels(["2017-01"], TimeWindow.MONTHLY) == ["2017-01"]
    assert labels(["2017-01"], TimeWindow.SEASONAL) == ["2017-DJF"]


def test_december_touches_the_djf_of_the_next_year_and_a_week_of_the_next_iso_year() -> None:
    assert labels(["2018-12"], TimeWindow.SEASONAL) == ["2019-DJF"]
    assert labels(["2018-12"], TimeWindow.WEEKLY)[-1] == "2019-W01"


def test_a_day_touches_itself_and_the_week_month_and_season_around_it() -> None:
    found = [(t.time_window.value, t.label) for t in touched_windows(["2017-12-31"])]
    assert sorted(found) == [
        ("daily", "2017-12-31"),
        ("monthly", "2017-12"),
        ("seasonal", "2018-DJF"),
        ("weekly", "2017-W52"),
    ]


def test_windows_shared_by_two_months_are_touched_once() -> None:
    found = touched_windows(["2017-01", "2017-02", "2017-02"])
    assert len(found) == len(set(found))
    assert labels(["2017-01", "2017-02"], TimeWindow.SEASONAL) == ["2017-DJF"]


@settings(max_examples=60, derandomize=True, deadline=None)
@given(months, st.floats(0, 1, exclude_max=True), st.sampled_from(TimeWindow))
def test_every_window_that_holds_an_instant_of_the_month_is_touched_and_no_other(
    month: str, share: float, window: TimeWindow
) -> None:
    period = Period.of_month(month)
    instant = period.start + share * (period.end - period.start)
    found = [touched.period for touched in touched_windows([month], [window])]
    assert window_of(instant, window) in found
    assert all(touched.overlaps(period) for touched in found)


@pytest.mark.parametrize("month", ["2017", "2017-13", "17-01", "2017-1", "2017-02-30", "2017-01-01T00", ""])
def test_what_is_neither_a_month_nor_a_day_is_refused_with_the_form_to_use(month: str) -> None:
    with pytest.raises(SeriesError, match="YYYY-MM"):
        touched_windows([month])


def test_months_between_counts_every_month_a_period_overlaps() -> None:
    start = datetime(2016, 12, 26, tzinfo=UTC)
    assert months_between(Period(start, start + timedelta(days=7))) == ["2016-12", "2017-01"]
    assert months_between(Period.of_month("2017-02")) == ["2017-02"]
    assert months_between(Period.of_month("0999-02")) == ["0999-02"]


@settings(max_examples=40, derandomize=True, deadline=None)
@given(
    st.dictionaries(st.builds("2017-{:02d}".format, st.integers(1, 12)), st.integers(1, 100), min_size=1),
    st.integers(1, 500),
)
def test_chunks_hold_every_window_that_can_have_rows_once_and_read_the_months_it_needs(
    rows: dict[str, int], budget: int
) -> None:
    wanted = touched_windows(rows)
    found = chunks(wanted, rows, budget)
    assert sorted(window for chunk in found for window in chunk.windows) == wanted
    for chunk in found:
        for window in chunk.windows:
            assert set(months_between(window.period)) & set(rows) <= chunk.months


def test_a_chunk_reads_no_more_than_the_budget_unless_the_windows_of_one_month_need_more() -> None:
    rows = {f"{year}-{month:02d}": 10 for year in (2015, 2016, 2017) for month in range(1, 13)}
    found = chunks(touched_windows(rows), rows, 80)
    assert len(found) > 4
    assert all(sum(rows[month] for month in chunk.months) <= 80 for chunk in found)
    assert [date.fromisoformat(f"{min(chunk.months)}-01") for chunk in found] == sorted(
        date.fromisoformat(f"{min(chunk.months)}-01") for chunk in found
    )
