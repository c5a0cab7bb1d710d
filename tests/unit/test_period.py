"""Windows: Python, DuckDB and an independent oracle agree."""

from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from retention_pipelines.period import Period, TimeWindow, window_label, window_of
from retention_pipelines.warehouse.duck import open_connection

INSTANTS = st.datetimes(datetime(1700, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001

DAY, MONTH = np.timedelta64(1, "D"), np.timedelta64(1, "M")


def oracle(instant: datetime, window: TimeWindow) -> tuple[str, np.datetime64, np.datetime64]:
    """Label, start and end by numpy and isocalendar."""
    day = np.datetime64(instant.replace(tzinfo=None), "D")
    month = day.astype("datetime64[M]")
    if window is TimeWindow.DAILY:
        return str(day), day, day + DAY
    if window is TimeWindow.WEEKLY:
        year, week, weekday = instant.isocalendar()
        return f"{year}-W{week:02d}", day - (weekday - 1) * DAY, day + (8 - weekday) * DAY
    if window is TimeWindow.MONTHLY:
        return str(month), month.astype("datetime64[D]"), (month + MONTH).astype("datetime64[D]")
    shifted = month + MONTH  # December becomes January of the year its DJF is named after
    start = shifted - int(shifted.astype(int) % 3) * MONTH
    name = ("DJF", "MAM", "JJA", "SON")[int(start.astype(int) % 12) // 3]
    year = start.astype("datetime64[Y]")
    return f"{year}-{name}", (start - MONTH).astype("datetime64[D]"), (start + 2 * MONTH).astype("datetime64[D]")


@given(instant=INSTANTS, window=st.sampled_from(TimeWindow))
@example(instant=datetime(2017, 12, 31, 23, 59, tzinfo=UTC), window=TimeWindow.SEASONAL)
@example(instant=datetime(2021, 1, 3, tzinfo=UTC), window=TimeWindow.WEEKLY)
@example(instant=datetime(2024, 2, 29, tzinfo=UTC), window=TimeWindow.MONTHLY)
@settings(max_examples=200, derandomize=True, deadline=None)
def test_windows_are_those_of_the_calendar(instant: datetime, window: TimeWindow) -> None:
    period = window_of(instant, window)
    label, start, end = oracle(instant, window)
    assert window_label(period.start, window) == label
    assert np.datetime64(period.start.replace(tzinfo=None), "D") == start
    assert np.datetime64(period.end.replace(tzinfo=None), "D") == end
    assert period.start <= instant < period.end


@given(st.lists(INSTANTS, min_size=1, max_size=200))
@settings(max_examples=10, derandomize=True, deadline=None)
def test_the_macros_of_duckdb_say_the_same(instants: list[datetime]) -> None:
    with open_connection() as con:
        con.execute("create table moments (number integer, instant timestamptz)")
        con.executemany("insert into moments values (?, ?)", list(enumerate(instants)))
        for window in TimeWindow:
            found = con.execute(
                """
                select s, window_end(s, $name), window_label(s, $name)
                from (select number, window_start(instant, $name) as s from moments) order by number
                """,
                {"name": window.value},
            ).fetchall()
            periods = [window_of(instant, window) for instant in instants]
            assert found == [(p.start, p.end, window_label(p.start, window)) for p in periods]


def test_an_instant_of_another_zone_belongs_to_the_utc_day() -> None:
    late = datetime(2020, 1, 1, 23, tzinfo=timezone(timedelta(hours=-5)))
    assert window_label(window_of(late, TimeWindow.DAILY).start, TimeWindow.DAILY) == "2020-01-02"


def test_a_month_key_names_its_month() -> None:
    period = Period.of_month("2016-12")
    assert (period.start, period.end) == (datetime(2016, 12, 1, tzinfo=UTC), datetime(2017, 1, 1, tzinfo=UTC))
    assert period.month_key == "2016-12"
    for wrong in ("2016-13", "2016-00", "2016-1", "december", "2016-12-01"):
        with pytest.raises(ValueError, match="not a month"):
            Period.of_month(wrong)


def test_periods_are_half_open() -> None:
    january, february = Period.of_month("2020-01"), Period.of_month("2020-02")
    assert not january.overlaps(february)
    assert january.contains(Period(january.start, january.end))
    assert not january.contains(Period(january.start, february.start + timedelta(seconds=1)))
    with pytest.raises(ValueError, match="ends after"):
        Period(january.end, january.start)
    with pytest.raises(ValueError, match="time zone"):
        Period(datetime(2020, 1, 1), datetime(2020, 1, 2))  # noqa: DTZ001
