import math
import tempfile
import threading
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from retention_pipelines.catalog import DATASETS
from retention_pipelines.period import TimeWindow
from retention_pipelines.series import refresh
from retention_pipelines.series.aggregate import update_series
from retention_pipelines.series.diversity import update_biodiversity
from retention_pipelines.series.seasonality import update_seasonal_patterns
from retention_pipelines.series.trend import update_trends
from retention_pipelines.series.upwelling import update_upwelling
from retention_pipelines.settings import Settings, load_settings
from retention_pipelines.warehouse import Lake
from retention_pipelines.warehouse.duck import statement
from tests.unit.series.oracle import statistics
from tests.unit.series.raw_rows import observe, record, rows_of, utc

NAME = "aggregated_time_series"
KEY = ("source_type", "dataset_id", "variable", "layer", "location_grid", "time_window", "window_label")
Figures = tuple[int, float, float | None, float, float]


def table(lake: Lake) -> dict[tuple[str, ...], Figures]:
    rows = rows_of(lake, NAME)
    found = {
        tuple(row[name] for name in KEY): (row["n"], row["mean"], row["std"], row["min"], row["max"]) for row in rows
    }
    assert len(found) == len(rows), "two rows of one key"
    return found


def same(found: dict[tuple[str, ...], Figures], expected: dict[tuple[str, ...], Figures]) -> None:
    assert found.keys() == expected.keys()
    for key, (n, mean, std, smallest, largest) in expected.items():
        got = found[key]
        assert (got[0], got[3], got[4]) == (n, smallest, largest), key
        assert got[1] == pytest.approx(mean, rel=1e-9, abs=1e-12 * max(abs(smallest), abs(largest))), key
        if std is None:
            assert got[2] is None, key
        else:
            assert got[2] == pytest.approx(std, rel=1e-9, abs=1e-12 * max(abs(smallest), abs(largest))), key


def only(lake: Lake, **where: Any) -> dict[str, Any]:
    rows = [row for row in rows_of(lake, NAME) if all(row[name] == value for name, value in where.items())]
    assert len(rows) == 1, rows
    return rows[0]


def windows_of(lake: Lake) -> set[tuple[str, str]]:
    return {(row["time_window"], row["window_label"]) for row in rows_of(lake, NAME)}


def at(text: str, value: float | None = 1.0, **more: Any) -> dict[str, Any]:
    return {"event_start": utc(text), "value": value, **more}


def test_a_row_says_what_was_measured_where_and_when(lake: Lake) -> None:
    observe(lake, [at("2017-08-14T10:00:00", 10.0), at("2017-08-14T12:00:00", 14.0)])
    update_series(lake)
    row = only(lake, time_window="daily", layer="surface")
    assert row == {
        "source_type": "cast",
        "dataset_id": "d",
        "variable": "temperature_degc",
        "layer": "surface",
        "location_grid": "-12.25_13.25",
        "cell_deg": 0.25,
        "center_lat": -12.125,
        "center_lon": 13.375,
        "time_window": "daily",
        "window_label": "2017-08-14",
        "window_start": utc("2017-08-14T00:00:00"),
        "window_end": utc("2017-08-15T00:00:00"),
        "n": 2,
        "mean": 12.0,
        "std": pytest.approx(math.sqrt(8)),
        "min": 10.0,
        "max": 14.0,
        "surface_limit_m": 10.0,
        "year": "2017",
    }
    assert windows_of(lake) == {
        ("daily", "2017-08-14"),
        ("weekly", "2017-W33"),
        ("monthly", "2017-08"),
        ("seasonal", "2017-JJA"),
    }


def test_a_single_observation_has_no_standard_deviation(lake: Lake) -> None:
    observe(lake, [at("2017-08-14T10:00:00", 10.0)])
    update_series(lake)
    assert {row["std"] for row in rows_of(lake, NAME)} == {None}


def test_null_nan_infinite_and_bad_values_count_nowhere_and_a_window_without_any_has_no_row(lake: Lake) -> None:
    bad = [
        at("2017-08-14T10:00:00", None),
        at("2017-08-14T10:00:00", math.nan),
        at("2017-08-14T10:00:00", math.inf),
        at("2017-08-14T10:00:00", 99.0, qc_good=False),
    ]
    observe(lake, [*bad, at("2017-08-15T10:00:00", 5.0)])
    update_series(lake)
    assert ("daily", "2017-08-14") not in windows_of(lake)
    assert {row["n"] for row in rows_of(lake, NAME)} == {1}


def test_the_surface_reaches_to_the_limit_inclusive_and_goes_by_pressure_only_where_depth_is_missing(
    lake: Lake,
) -> None:
    observe(
        lake,
        [
            at("2017-08-14T10:00:00", 1.0, depth_m=10.0),
            at("2017-08-14T10:00:00", 2.0, depth_m=10.000001),
            at("2017-08-14T10:00:00", 4.0, depth_m=None, pressure_dbar=10.0),
            at("2017-08-14T10:00:00", 8.0, depth_m=None, pressure_dbar=10.5),
            at("2017-08-14T10:00:00", 16.0, depth_m=None),
            at("2017-08-14T10:00:00", 32.0, depth_m=12.0, pressure_dbar=9.0),
            at("2017-08-14T10:00:00", 64.0, depth_m=9.9, pressure_dbar=11.0),
        ],
    )
    update_series(lake)
    surface, everything = (only(lake, time_window="daily", layer=layer) for layer in ("surface", "all"))
    assert (surface["n"], surface["mean"] * 3) == (3, pytest.approx(1 + 4 + 64))
    assert (everything["n"], everything["mean"] * 7) == (7, pytest.approx(127))


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        ("2017-01-01T00:00:00", "2018-01-01T00:00:00", set()),
        ("2017-06-01T00:00:00", "2017-07-01T00:00:00", {"2017-06", "2017-JJA"}),
        ("2017-06-03T00:00:00", "2017-06-04T00:00:00", {"2017-06-03", "2017-W22", "2017-06", "2017-JJA"}),
        ("2017-11-13T00:00:00", "2017-11-16T00:00:00", {"2017-W46", "2017-11", "2017-SON"}),
        ("2017-06-30T00:00:00", "2017-07-02T00:00:00", {"2017-W26", "2017-JJA"}),
        ("2017-11-30T00:00:00", "2017-12-02T00:00:00", {"2017-W48"}),
        ("2017-12-31T12:00:00", "2018-01-02T00:00:00", {"2018-DJF"}),
        ("2017-08-14T23:59:59", "2017-08-15T00:00:00", {"2017-08-14", "2017-W33", "2017-08", "2017-JJA"}),
        ("2017-08-14T23:59:59", "2017-08-15T00:00:01", {"2017-W33", "2017-08", "2017-JJA"}),
        ("2018-12-31T00:00:00", "2018-12-31T00:00:00", {"2018-12-31", "2019-W01", "2018-12", "2019-DJF"}),
        ("1965-01-01T05:00:00", "1965-01-01T05:00:01", {"1965-01-01", "1964-W53", "1965-01", "1965-DJF"}),
    ],
)
def test_a_record_enters_the_windows_that_hold_its_whole_interval(
    lake: Lake, start: str, end: str, expected: set[str]
) -> None:
    observe(lake, [at(start, event_end=utc(end))])
    update_series(lake)
    assert {label for _, label in windows_of(lake)} == expected


@pytest.mark.parametrize(
    ("latitude", "longitude", "cell_deg", "expected"),
    [
        (0.0, 0.0, 0.25, "0.0_0.0"),
        (-0.0, -0.0, 0.25, "0.0_0.0"),
        (-0.01, -0.01, 0.25, "-0.25_-0.25"),
        (-12.25, 13.5, 0.25, "-12.25_13.5"),
        (-12.250001, 13.499999, 0.25, "-12.5_13.25"),
        (0.3, 0.7, 0.1, "0.3_0.7"),
        (5.0, 180.0, 1.0, "5.0_-180.0"),
        (5.0, -180.0, 1.0, "5.0_-180.0"),
        (5.0, 179.9999, 1.0, "5.0_179.0"),
        (90.0, 10.0, 5.0, "90.0_10.0"),
        (-90.0, 10.0, 5.0, "-90.0_10.0"),
    ],
)
def test_a_position_on_an_edge_belongs_to_the_cell_above_and_to_the_right(
    settings: Settings, latitude: float, longitude: float, cell_deg: float, expected: str
) -> None:
    with Lake(settings.model_copy(update={"cell_deg": cell_deg})) as lake:
        observe(lake, [at("2017-08-14T10:00:00", decimal_latitude=latitude, decimal_longitude=longitude)])
        update_series(lake)
        assert {(row["location_grid"], row["cell_deg"]) for row in rows_of(lake, NAME)} == {(expected, cell_deg)}


def test_years_of_any_number_of_digits_are_in_their_windows_and_the_winter_before_the_year_1_is_in_none(
    lake: Lake,
) -> None:
    # Climatologies and model runs count years from 0001.
    starts = ["0001-01-01", "0001-02-28", "0001-12-01", "0274-01-01", "0999-05-05", "1582-10-12", "2263-01-01"]
    observe(lake, [at(f"{start}T00:00:00") for start in starts])
    update_series(lake)
    rows = [row for row in rows_of(lake, NAME) if row["layer"] == "all"]
    assert {row["window_label"] for row in rows if row["time_window"] == "daily"} == set(starts)
    assert {row["window_label"] for row in rows if row["time_window"] == "monthly"} == {start[:7] for start in starts}
    seasons = {"0002-DJF", "0274-DJF", "0999-MAM", "1582-SON", "2263-DJF"}
    assert {row["window_label"] for row in rows if row["time_window"] == "seasonal"} == seasons
    assert update_series(lake, months=["0001-01"]).rows_added > 0
    assert {row["window_label"] for row in rows_of(lake, NAME) if row["time_window"] == "daily"} == set(starts)
    update_upwelling(lake)
    found = rows_of(lake, "upwelling_frequency", "time_window = 'seasonal'")
    assert {row["window_label"] for row in found} == seasons


def test_values_far_from_zero_keep_the_digits_of_their_spread(lake: Lake) -> None:
    rows = [
        at(f"2017-{month:02d}-{day:02d}T10:00:00", 1e6 + ((month * 31 + day) * 7919 % 1000) / 1000)
        for month in (6, 7, 8)
        for day in range(1, 29)
        for _ in range(2)
    ]
    observe(lake, rows)
    update_series(lake)
    expected = statistics(_filled(rows), 0.25)
    assert table(lake).keys() == expected.keys()
    for key, (_, mean, std, *_) in expected.items():
        assert table(lake)[key][1] == pytest.approx(mean, rel=1e-9)
        assert table(lake)[key][2] == pytest.approx(std, rel=1e-9, abs=1e-9)


def _filled(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    defaults = {
        "source_type": "cast",
        "dataset_id": "d",
        "variable": "temperature_degc",
        "decimal_latitude": -12.1,
        "decimal_longitude": 13.3,
        "depth_m": 0.0,
        "pressure_dbar": None,
        "qc_good": True,
    }
    return [{**defaults, "event_end": row["event_start"] + timedelta(seconds=1), **row} for row in rows]


START = utc("2016-12-20T00:00:00")
instants = st.integers(0, 40 * 24 * 60).map(lambda minutes: START + timedelta(minutes=minutes))
lengths = st.sampled_from([timedelta(seconds=1), timedelta(minutes=1), timedelta(days=1), timedelta(days=3)])
months_whole = st.sampled_from(["2016-11", "2016-12", "2017-01", "2017-02"]).map(
    lambda key: (utc(f"{key}-01T00:00:00"), utc(f"{key}-01T00:00:00") + timedelta(days=28))
)


def _interval(instant: datetime, length: timedelta) -> tuple[datetime, datetime]:
    start = instant.replace(hour=0, minute=0) if length >= timedelta(days=1) else instant
    return start, start + length


@st.composite
def observation(draw: st.DrawFn) -> dict[str, Any]:
    start, end = draw(st.builds(_interval, instants, lengths) | months_whole)
    return {
        "event_start": start,
        "event_end": end,
        "source_type": draw(st.sampled_from(["cast", "buoy"])),
        "dataset_id": draw(st.sampled_from(["a", "b"])),
        "variable": draw(st.sampled_from(["temperature_degc", "salinity_psu"])),
        "decimal_latitude": draw(st.sampled_from([-0.25, 0.0, 0.1])),
        "decimal_longitude": draw(st.sampled_from([-180.0, 179.99, 180.0])),
        "depth_m": draw(st.sampled_from([None, 0.0, 10.0, 11.0])),
        "pressure_dbar": draw(st.sampled_from([None, 5.0, 50.0])),
        "value": draw(st.none() | st.floats(-50, 50) | st.integers(0, 1000).map(lambda i: 1e6 + i / 1000)),
        "qc_good": draw(st.sampled_from([True, True, True, False])),
    }


batches = st.lists(st.lists(observation(), max_size=25), min_size=1, max_size=4)


@examples(max_examples=20, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(batches, st.sampled_from(["%Y-%m", "%Y-%m-%d"]))
def test_any_order_of_late_batches_ends_in_what_the_definitions_say(
    batches: list[list[dict[str, Any]]], key: str
) -> None:
    with tempfile.TemporaryDirectory() as root, Lake(load_settings({}, lake_root=root)) as lake:
        for batch in batches:
            observe(lake, batch)
            update_series(lake, months={f"{row['event_start']:{key}}" for row in batch})
        same(table(lake), statistics([row for batch in batches for row in batch], 0.25))


@examples(max_examples=10, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(batches, st.sampled_from(["2016-12", "2017-01"]), st.sampled_from(["a", "b"]))
def test_an_update_equals_a_full_recompute_also_after_rows_vanished(
    batches: list[list[dict[str, Any]]], month: str, gone: str
) -> None:
    with tempfile.TemporaryDirectory() as root, Lake(load_settings({}, lake_root=root)) as lake:
        for batch in batches:
            observe(lake, batch)
            update_series(lake, months={f"{row['event_start']:%Y-%m}" for row in batch})
        lake.table("observations").delete(f"month = '{month}' and dataset_id = '{gone}'", op="test")
        update_series(lake, months=[month])
        updated = table(lake)
        update_series(lake)
        same(updated, table(lake))
        left = [
            row
            for batch in batches
            for row in batch
            if not (f"{row['event_start']:%Y-%m}" == month and row["dataset_id"] == gone)
        ]
        same(updated, statistics(left, 0.25))


def test_a_full_run_in_many_chunks_equals_one_in_a_single_chunk(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [at(f"{2015 + i % 3}-{i % 12 + 1:02d}-{i % 28 + 1:02d}T10:00:00", float(i % 97)) for i in range(400)]
    observe(lake, rows)
    update_series(lake)
    whole = table(lake)
    monkeypatch.setattr(refresh, "ROWS_PER_CHUNK", 20)
    update_series(lake)
    same(table(lake), whole)
    same(whole, statistics(_filled(rows), 0.25))


def test_an_update_rewrites_only_the_partitions_its_months_touch(lake: Lake) -> None:
    observe(lake, [at(f"{year}-06-15T10:00:00") for year in (2014, 2015, 2016, 2017)])
    update_series(lake)
    before = {file.path for file in lake.table(NAME).files()}
    observe(lake, [at("2015-06-16T10:00:00", 3.0)])
    commit = update_series(lake, months=["2015-06"])
    assert {year for _, _, year in commit.partitions} == {"2015"}
    untouched = {path for path in before if "year=2015" not in path}
    assert untouched <= {file.path for file in lake.table(NAME).files()}


def test_a_month_at_new_year_rewrites_the_week_and_the_season_of_the_other_year(lake: Lake) -> None:
    observe(lake, [at("2018-12-31T10:00:00", 1.0)])
    update_series(lake)
    observe(lake, [at("2019-01-01T10:00:00", 3.0)])
    update_series(lake, months=["2019-01"])
    week = only(lake, time_window="weekly", layer="all")
    assert (week["window_label"], week["n"], week["year"]) == ("2019-W01", 2, "2018")
    season = only(lake, time_window="seasonal", layer="all")
    assert (season["window_label"], season["n"], season["year"]) == ("2019-DJF", 2, "2018")


def test_windows_whose_observations_vanished_lose_their_rows(lake: Lake) -> None:
    observe(lake, [at("2017-08-14T10:00:00", record_hash="gone"), at("2017-08-20T10:00:00", 2.0)])
    update_series(lake)
    lake.table("observations").delete("record_hash = 'gone'", op="test")
    update_series(lake, months=["2017-08"])
    assert ("daily", "2017-08-14") not in windows_of(lake)
    assert only(lake, time_window="monthly", layer="all")["n"] == 1
    lake.table("observations").delete("true", op="test")
    update_series(lake, months=["2017-08"])
    assert rows_of(lake, NAME) == []


def test_one_more_day_is_added_without_rewriting_the_other_days(lake: Lake) -> None:
    observe(lake, [at(f"2017-08-{day:02d}T10:00:00", float(day)) for day in range(1, 15)])
    update_series(lake)
    days = {file.path for file in lake.table(NAME).files() if file.partition["time_window"] == "daily"}
    late = [at("2017-08-15T10:00:00", 100.0), at("2017-08-15T23:00:00", 3.0)]
    observe(lake, late)
    update_series(lake, months=["2017-08-15"])
    assert days < {file.path for file in lake.table(NAME).files()}
    updated = table(lake)
    update_series(lake)
    same(updated, table(lake))


def test_updates_of_the_newest_day_rewrite_its_own_windows_and_not_those_of_the_whole_year(lake: Lake) -> None:
    observe(lake, [at(f"2017-{month:02d}-05T10:00:00") for month in (1, 2, 3)])
    update_series(lake)
    before = table(lake)
    update_series(lake, months=["2017-03-05"])
    again = update_series(lake, months=["2017-03-05"])
    assert again.rows_removed == again.rows_added == 8  # four windows, two layers
    assert table(lake) == before


def test_a_record_of_several_days_stays_in_its_month_when_one_day_of_it_is_updated(lake: Lake) -> None:
    observe(lake, [at("2017-08-02T00:00:00", 7.0, event_end=utc("2017-08-05T00:00:00"))])
    update_series(lake)
    observe(lake, [at("2017-08-10T10:00:00", 1.0)])
    update_series(lake, months=["2017-08-10"])
    row = only(lake, time_window="monthly", layer="all")
    assert (row["n"], row["max"]) == (2, 7.0)


def test_an_update_of_nothing_commits_nothing(lake: Lake) -> None:
    assert update_series(lake).version == 0
    observe(lake, [at("2017-06-15T10:00:00")])
    version = update_series(lake).version
    assert update_series(lake, months=[]).version == version
    assert update_series(lake, months=["1999-01"]).version == version
    assert lake.table(NAME).version() == version


def test_what_is_computed_has_the_columns_of_the_catalog_in_its_types(lake: Lake) -> None:
    observe(lake, [at("2020-01-15"), at("2020-01-16")])
    record(lake, [{"event_start": utc("2020-01-15"), "abundance": 2.0}])
    update_series(lake)
    update_series(lake, months=["2020-01-16"])
    update_biodiversity(lake)
    # What the statements read is still there.
    for name, text in ((NAME, "windows"), (NAME, "windows_touched"), ("biodiversity_statistics", "diversity")):
        found = lake.con.sql(f"select * from ({statement('retention_pipelines.series', text)})")
        types = {column: str(kind) for column, kind in zip(found.columns, found.types, strict=True)}
        assert types == dict(DATASETS[name].types)


def test_the_first_update_takes_all_months_whatever_it_is_told(lake: Lake) -> None:
    observe(lake, [at("2016-06-15T10:00:00"), at("2017-06-15T10:00:00")])
    update_series(lake, months=["2017-06"])
    assert {"2016-06", "2017-06"} <= {label for _, label in windows_of(lake)}


@pytest.mark.parametrize("change", [{"cell_deg": 1.0}, {"surface_limit_m": 20.0}])
def test_another_cell_size_or_surface_limit_recomputes_every_row(settings: Settings, change: dict[str, float]) -> None:
    with Lake(settings) as lake:
        observe(lake, [at("2016-06-15T10:00:00", depth_m=15.0), at("2017-06-15T10:00:00")])
        update_series(lake)
    with Lake(settings.model_copy(update=change)) as lake:
        update_series(lake, months=["2017-06"])
        rows = rows_of(lake, NAME)
        assert {row["window_label"] for row in rows} >= {"2016-06", "2017-06"}
        for name, value in change.items():
            assert {row[name] for row in rows} == {value}
        if "surface_limit_m" in change:
            assert ("2016-06", "surface") in {(row["window_label"], row["layer"]) for row in rows}


def test_only_the_windows_asked_for_are_computed(lake: Lake) -> None:
    observe(lake, [at("2017-06-15T10:00:00")])
    update_series(lake, windows=[TimeWindow.MONTHLY])
    assert {window for window, _ in windows_of(lake)} == {"monthly"}


def test_an_update_that_met_another_one_computes_again_from_the_newest_rows(settings: Settings) -> None:
    with Lake(settings) as first, Lake(settings) as second:
        observe(first, [at("2017-06-15T10:00:00", 1.0)])
        original = first.table(NAME).write_files
        met = []

        def write_while_another_commits(select: str, **more: Any) -> Any:
            if not met:
                met.append(True)
                observe(second, [at("2017-06-15T11:00:00", 5.0)])
                update_series(second)
            return original(select, **more)

        first.table(NAME).write_files = write_while_another_commits  # type: ignore[method-assign]
        update_series(first)
        assert only(first, time_window="daily", layer="all")["n"] == 2


def test_an_update_that_another_one_overtook_while_it_began_computes_from_the_newest_rows(settings: Settings) -> None:
    with Lake(settings) as first, Lake(settings) as second:
        observe(first, [at("2017-06-15T10:00:00", 1.0)])
        update_series(first)
        listing, opening = first.table("observations").files, first.table(NAME).delta
        listed = threading.Event()

        def list_files() -> Any:
            found = listing()
            listed.set()
            return found

        def open_after_another_landed() -> Any:
            if listed.wait(10) and not second.table(NAME).version() > 1:
                observe(second, [at("2017-06-15T11:00:00", 5.0)])
                update_series(second, months=["2017-06-15"])
            return opening()

        first.table("observations").files = list_files  # type: ignore[method-assign,assignment]
        first.table(NAME).delta = open_after_another_landed  # type: ignore[method-assign,assignment]
        update_series(first, months=["2017-06-15"])
        assert only(second, time_window="daily", layer="all")["n"] == 2


def test_a_record_of_several_days_stays_in_its_month_when_another_length_is_asked_for_later(lake: Lake) -> None:
    observe(
        lake,
        [
            at("2017-08-02T00:00:00", 7.0, event_end=utc("2017-08-05T00:00:00")),
            at("2017-08-10T10:00:00", 1.0),
        ],
    )
    update_series(lake, windows=[TimeWindow.DAILY, TimeWindow.MONTHLY])
    observe(lake, [at("2017-08-11T10:00:00", 2.0)])
    # The week has no row yet: its one day less must not make up for the month's record of several days.
    lengths = [TimeWindow.DAILY, TimeWindow.WEEKLY, TimeWindow.MONTHLY]
    update_series(lake, months=["2017-08-11"], windows=lengths)
    assert only(lake, time_window="monthly", layer="all")["n"] == 3


def test_every_series_of_a_lake_in_a_bucket_is_that_of_a_folder(settings: Settings, s3_settings: Settings) -> None:
    updates = (update_series, update_biodiversity, update_seasonal_patterns, update_trends, update_upwelling)
    found = []
    for place in (settings, s3_settings):
        with Lake(place) as lake:
            days = [utc("2014-12-01T10:00:00") + timedelta(days=31 * i) for i in range(25)]
            observe(lake, [{"event_start": day, "value": float(i % 7)} for i, day in enumerate(days)])
            record(lake, [{"event_start": day, "scientific_name": f"T {i % 3}"} for i, day in enumerate(days[:3])])
            for update in updates:
                update(lake)
            observe(lake, [at("2015-01-02T00:00:00", 9.0)])
            update_series(lake, months=["2015-01"])
            found.append({name: rows_of(lake, name) for name, entry in DATASETS.items() if entry.layer == "series"})
    # Means over rows in no order: the last digit may differ.
    for name, rows in found[0].items():
        assert found[1][name] == [
            {
                key: pytest.approx(value, rel=1e-12, abs=1e-12) if isinstance(value, float) else value
                for key, value in row.items()
            }
            for row in rows
        ]
    assert all(found[1].values())
