"""Event dates: the reference in Python, and the SQL that applies it to columns."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retention_pipelines.sources.check import load_macros
from retention_pipelines.sources.dates import EventDate, parse_dates, parse_event_date
from retention_pipelines.warehouse.duck import open_connection


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[misc, arg-type]


EXAMPLES = [
    ("1971", utc(1971, 1, 1), utc(1972, 1, 1), "year", None),
    ("1906-06", utc(1906, 6, 1), utc(1906, 7, 1), "month", None),
    ("1999-12", utc(1999, 12, 1), utc(2000, 1, 1), "month", None),
    ("2007-11-13", utc(2007, 11, 13), utc(2007, 11, 14), "day", None),
    ("2007-11-13T10:00", utc(2007, 11, 13, 10), utc(2007, 11, 13, 10, 1), "time", None),
    ("2007-11-13 10:00:05", utc(2007, 11, 13, 10, 0, 5), utc(2007, 11, 13, 10, 0, 6), "time", None),
    ("2007-11-13T23:30:00-07:00", utc(2007, 11, 14, 6, 30), utc(2007, 11, 14, 6, 30, 1), "time", "-07:00"),
    ("2007-11-13T10:00Z", utc(2007, 11, 13, 10), utc(2007, 11, 13, 10, 1), "time", "Z"),
    ("2007-11-13/2007-11-15", utc(2007, 11, 13), utc(2007, 11, 16), "interval", None),
    ("2007-11-13/15", utc(2007, 11, 13), utc(2007, 11, 16), "interval", None),
    ("2007-11/12", utc(2007, 11, 1), utc(2008, 1, 1), "interval", None),
    ("1971/1975", utc(1971, 1, 1), utc(1976, 1, 1), "interval", None),
    ("2007-11-13T10:00Z/12:30", utc(2007, 11, 13, 10), utc(2007, 11, 13, 12, 31), "interval", "Z"),
]
INVALID = [
    "1987-19-23", "2021-02-29", "0000", "9999", "2007-11-13T24:00:00", "2007-11-13T10:61", "13/11/2007", "abc",
    "2007-11-15/2007-11-13", "2007-11-13/", "/2007-11-13", "2007-11-13/14/15", "now", "infinity", "epoch", "2007W11",
    "2007-11-13T10:00-99:00", "2007-11-13T10:00+24:00", "2007-11-13T10:00:00+05:75", "2007-11-13T23:59:60Z",
    "2007-W11-2", "2007-317", "20071113", "-0044-03-15", "12007-11-13",
]  # fmt: skip


@pytest.mark.parametrize(("text", "start", "end", "precision", "zone"), EXAMPLES)
def test_a_date_lasts_as_long_as_the_precision_it_is_written_in(text, start, end, precision, zone):
    assert parse_event_date(text) == EventDate(start=start, end=end, precision=precision, zone=zone)


@pytest.mark.parametrize("text", INVALID)
def test_a_date_in_no_calendar_or_form_is_invalid(text):
    assert parse_event_date(text) is None


@pytest.fixture(scope="module")
def con() -> Iterator[duckdb.DuckDBPyConnection]:
    with open_connection() as opened:
        load_macros(opened)
        yield opened


def in_sql(con: duckdb.DuckDBPyConnection, texts: list[str]) -> dict[str, EventDate | None]:
    con.execute("create or replace temp table dated as select unnest($1::varchar[]) as date_text", [texts])
    columns = ("written", "event_start", "event_end", "date_precision", "source_timezone")
    found = con.table(parse_dates(con, "dated")).select(*columns).fetchall()
    return {
        text: EventDate(start=start, end=end, precision=precision, zone=zone) if start is not None else None
        for text, start, end, precision, zone in found
    }


def test_the_sql_agrees_on_the_examples(con):
    texts = [example[0] for example in EXAMPLES] + INVALID
    assert in_sql(con, texts) == {text: parse_event_date(text) for text in texts}


_zones = st.sampled_from(["", "Z", " UTC", "+02:00", "-0330", "+05", "-99:00", "+14:60"])
_dates = st.dates(min_value=datetime(1, 1, 2).date(), max_value=datetime(9998, 12, 29).date())  # noqa: DTZ001
_single = st.one_of(
    st.integers(0, 9999).map(lambda year: f"{year:04d}"),
    st.tuples(st.integers(1, 9998), st.integers(0, 14)).map(lambda part: f"{part[0]:04d}-{part[1]:02d}"),
    _dates.map(str),
    st.tuples(_dates, st.times(), st.sampled_from(["T", " "]), st.integers(0, 3), _zones).map(
        lambda part: (
            f"{part[0]}{part[2]}"
            + (f"{part[1]:%H:%M}", f"{part[1]:%H:%M:%S}", f"{part[1]:%H:%M:%S.%f}", f"{part[1]:%H:%M:%S}.5")[part[3]]
            + part[4]
        )
    ),
    st.text(alphabet="0123456789-:T/Z +.", max_size=22),
)
_written = st.one_of(
    _single,
    st.tuples(_single, _single).map("/".join),
    st.tuples(_single, st.sampled_from(["15", "12", "28T12:00", "12:30", "23:59:59Z", "11-30"])).map("/".join),
)


@settings(max_examples=25, derandomize=True, deadline=None)
@given(st.lists(_written, min_size=20, max_size=60))
def test_the_sql_agrees_with_the_reference_on_any_text(con, texts):
    for text, found in in_sql(con, texts).items():
        assert found == parse_event_date(text), text


@settings(max_examples=100, derandomize=True, deadline=None)
@given(_dates, st.sampled_from(["%Y", "%Y-%m", "%Y-%m-%d"]))
def test_the_interval_holds_the_day_it_was_written_for(day, form):
    # strftime does not pad years below 1000 everywhere.
    text = day.isoformat()[: {"%Y": 4, "%Y-%m": 7, "%Y-%m-%d": 10}[form]]
    found = parse_event_date(text)
    assert found is not None
    assert found.start <= datetime(day.year, day.month, day.day, tzinfo=UTC) < found.end
    assert found.end - found.start <= timedelta(days=366)
