"""Leak tests and a property test against a slow row-at-a-time oracle."""

import tempfile
from datetime import UTC, datetime, timedelta
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from retention_pipelines.catalog.features import FEATURE_COLUMNS
from retention_pipelines.errors import FeatureError
from retention_pipelines.features.asof import SECOND, Line, newest_at
from retention_pipelines.features.store import FeatureStore
from retention_pipelines.settings import load_settings
from retention_pipelines.warehouse import Lake
from tests.unit.features.conftest import append_rows

DAY_0 = datetime(2017, 8, 1, tzinfo=UTC)
TYPES = {"environmental": "temperature_degc", "species": "shannon"}


def at(days: float) -> datetime:
    return DAY_0 + timedelta(days=days)


def row(
    study: str = "s/1", *, event: float, value: float, kind: str = "environmental", known: float | None = None,
    computed: float = 100.0, version: int = 1, moved: bool = False, cell: str = "0.0_0.0",
) -> dict[str, Any]:  # fmt: skip
    return {
        "feature_id": f"{study}/{kind}",
        "feature_hash": f"{study}-{kind}-{version}-{value}",
        "feature_type": kind,
        "source_table": "occurrences",
        "source_data_id": study,
        "dataset_id": study.partition("/")[0],
        "event_time": at(event),
        "event_end": at(event + 1),
        "date_precision": "day",
        "known_at": at(event if known is None else known),
        "computed_at": at(computed),
        "version": version,
        "moved": moved,
        "temporal_window": "P14D",
        "spatial_resolution": "25km",
        "location_grid": cell,
        "cell_deg": 0.25,
        "quality_score": 0.5,
        "quality_completeness": 0.5,
        "quality_validity": 1.0,
        "quality_support": 1.0,
        "quality_precision": 1.0,
        "priority": "low",
        "code_version": "test",
        TYPES[kind]: value,
        "month": f"{at(event):%Y-%m}",
    }


def ask(lake: Lake, *asked: tuple[str, float], on: str = "source_data_id", **options: Any) -> list[float | None]:
    entities = [{on: key, "event_timestamp": at(days)} for key, days in asked]
    frame = FeatureStore(lake).training_frame(entities, ["environmental.temperature_degc"], on=on, **options)
    return frame["temperature_degc"].to_pylist()


def test_a_value_of_a_later_event_does_not_leak(lake):
    append_rows(lake, "feature_store", [row(event=3, value=15.0)])
    assert ask(lake, ("s/1", 2.999), ("s/1", 3)) == [None, 15.0]


def test_a_value_that_arrived_late_is_not_known_before_it_arrived(lake):
    append_rows(lake, "feature_store", [row("s/1", event=3, known=20, value=15.0)])
    assert ask(lake, ("s/1", 19), ("s/1", 20)) == [None, 15.0]


def test_a_late_value_does_not_hide_an_older_known_one(lake):
    rows = [row("s/1", event=3, known=20, value=15.0), row("s/2", event=1, value=11.0)]
    append_rows(lake, "feature_store", rows)
    assert ask(lake, ("0.0_0.0", 19), ("0.0_0.0", 20), on="location_grid") == [11.0, 15.0]


def test_a_value_computed_after_as_of_does_not_leak(lake):
    rows = [row(event=3, value=15.0, computed=50), row(event=3, value=16.0, computed=60, version=2)]
    append_rows(lake, "feature_store", rows)
    assert ask(lake, ("s/1", 10), as_of=at(49)) == [None]
    assert ask(lake, ("s/1", 10), as_of=at(50)) == [15.0]
    assert ask(lake, ("s/1", 10), as_of=at(59.999)) == [15.0]
    assert ask(lake, ("s/1", 10), as_of=at(60)) == [16.0]
    assert ask(lake, ("s/1", 10)) == [16.0]


def test_as_of_also_bounds_what_had_happened_for_entities_in_its_future(lake):
    append_rows(
        lake, "feature_store", [row("s/1", event=3, value=15.0, computed=3), row("s/2", event=9, value=9.0, computed=4)]
    )
    assert ask(lake, ("0.0_0.0", 30), as_of=at(5), on="location_grid") == [15.0]


def test_ttl_counts_from_the_event_and_its_end_is_inclusive(lake):
    append_rows(lake, "feature_store", [row(event=3, value=15.0)])
    week = timedelta(days=7)
    assert ask(lake, ("s/1", 10), ttl=week) == [15.0]
    one_microsecond = 1 / 86_400_000_000
    assert ask(lake, ("s/1", 10 + one_microsecond), ttl=week) == [None]
    assert ask(lake, ("s/1", 3), ttl=timedelta(0)) == [15.0]


def test_a_study_moved_by_a_correction_is_not_found_at_its_old_time_or_cell(lake):
    rows = [
        row(event=8, value=1.0, computed=50, cell="1.0_1.0"),
        row(event=3, value=2.0, computed=60, version=2, moved=True, cell="2.0_2.0"),
    ]
    append_rows(lake, "feature_store", rows)
    assert ask(lake, ("s/1", 10)) == [2.0]
    assert ask(lake, ("s/1", 10), as_of=at(55)) == [1.0]
    assert ask(lake, ("1.0_1.0", 10), ("2.0_2.0", 10), on="location_grid") == [None, 2.0]


def test_of_studies_at_one_time_in_one_cell_the_latest_computed_then_the_greatest_name_wins(lake):
    append_rows(lake, "feature_store", [row("s/1", event=3, value=1.0), row("s/2", event=3, value=2.0)])
    assert ask(lake, ("0.0_0.0", 4), on="location_grid") == [2.0]
    append_rows(lake, "feature_store", [row("s/1", event=3, value=3.0, computed=101, version=2)])
    assert ask(lake, ("0.0_0.0", 4), on="location_grid") == [3.0]


def test_rows_duplicates_order_and_columns_of_the_entities_are_kept(lake):
    append_rows(lake, "feature_store", [row("s/1", event=3, value=1.0), row("s/2", event=3, value=2.0, kind="species")])
    entities = pa.table(
        {
            "label": [3, 1, 3, 2],
            "source_data_id": ["s/2", "s/1", "s/2", None],
            "event_timestamp": pa.array([at(4), at(4), at(4), at(4)], pa.timestamp("ns", tz="Europe/Lisbon")),
        }
    )
    frame = FeatureStore(lake).training_frame(entities, ["shannon", "environmental.temperature_degc"])
    assert frame.select(entities.column_names).equals(entities)
    assert frame.column_names == [*entities.column_names, "shannon", "temperature_degc"]
    assert frame["shannon"].to_pylist() == [2.0, None, 2.0, None]
    assert frame["temperature_degc"].to_pylist() == [None, 1.0, None, None]


@pytest.mark.parametrize("convert", [pa.Table.from_pylist, pl.DataFrame, pd.DataFrame, list])
def test_entities_may_come_from_arrow_polars_pandas_or_lists(lake, convert):
    append_rows(lake, "feature_store", [row(event=3, value=15.0)])
    entities = convert([{"source_data_id": "s/1", "event_timestamp": at(4)}])
    frame = FeatureStore(lake).training_frame(entities, ["temperature_degc"])
    assert frame["temperature_degc"].to_pylist() == [15.0]


def test_entities_may_be_a_duckdb_relation(lake):
    append_rows(lake, "feature_store", [row(event=3, value=15.0)])
    entities = lake.con.sql("select 's/1' as source_data_id, timestamptz '2017-08-05' as event_timestamp")
    assert FeatureStore(lake).training_frame(entities, ["temperature_degc"])["temperature_degc"].to_pylist() == [15.0]


def test_no_entities_and_an_empty_store_give_empty_answers_with_the_right_types(lake):
    nobody = pa.table(
        {"source_data_id": pa.array([], pa.string()), "event_timestamp": pa.array([], pa.timestamp("us", "UTC"))}
    )
    frame = FeatureStore(lake).training_frame(nobody, ["temperature_degc", "year"], ttl=timedelta(days=1), as_of=at(0))
    assert (frame.num_rows, frame.schema.field("temperature_degc").type) == (0, pa.float64())
    assert ask(lake, ("s/1", 4)) == [None]


@pytest.mark.parametrize(
    ("entities", "options", "message"),
    [
        ([{"source_data_id": "a", "event_timestamp": datetime(2017, 1, 1)}], {}, "no time zone.*Attach one"),  # noqa: DTZ001
        ([{"source_data_id": "a", "event_timestamp": "2017-01-01"}], {}, "type string.*Convert"),
        ([{"source_data_id": "a"}], {}, "no column 'event_timestamp'"),
        ([{"event_timestamp": DAY_0}], {}, "no column 'source_data_id'"),
        ([{"source_data_id": 7, "event_timestamp": DAY_0}], {}, "must be text"),
        ([{"source_data_id": "a", "event_timestamp": None}, {"event_timestamp": DAY_0}], {}, "null in 1 rows"),
        ([{"source_data_id": "a", "event_timestamp": DAY_0, "shannon": 1}], {}, "already have a column 'shannon'"),
        ([{"source_data_id": "a", "event_timestamp": DAY_0}], {"as_of": datetime(2017, 1, 1)}, "as_of has no"),  # noqa: DTZ001
        ([{"source_data_id": "a", "event_timestamp": DAY_0}], {"as_of": "2017-01-01"}, "as_of has no"),
        ([{"source_data_id": "a", "event_timestamp": DAY_0}], {"ttl": timedelta(-1)}, "ttl is negative"),
        ([{"source_data_id": "a", "event_timestamp": DAY_0}], {"ttl": 7}, "Pass a timedelta"),
        ([{"source_data_id": "a", "event_timestamp": DAY_0}], {"on": "haul"}, "cannot be joined on 'haul'"),
        (42, {}, "type int cannot be read"),
        ([("a", DAY_0)], {}, "list of dicts"),
        ([{"source_data_id": n, "event_timestamp": DAY_0} for n in ("a", 3)], {}, "one type per column"),
        (pl.Series([1]), {}, "cannot be read as a table"),
        (pa.table([["a"], ["b"], [DAY_0]], names=["source_data_id"] * 2 + ["event_timestamp"]), {}, "several columns"),
        (pd.DataFrame([["a", DAY_0, 1, 2]], columns=["source_data_id", "event_timestamp", "x", "x"]), {}, "Duplicate"),
        (
            pa.table({"source_data_id": ["a"], "event_timestamp": pa.array([2**55], pa.timestamp("s", tz="UTC"))}),
            {},
            "out of range",
        ),
    ],
)
def test_questions_that_cannot_be_answered_are_refused_with_what_to_do(lake, entities, options, message):
    with pytest.raises(FeatureError, match=message):
        FeatureStore(lake).training_frame(entities, ["shannon"], **options)


@pytest.mark.parametrize("convert", [list, lambda rows: pd.DataFrame(rows).astype({"event_timestamp": object})])
def test_a_naive_instant_among_aware_ones_is_refused_and_not_taken_as_utc(lake, convert):
    rows = [{"source_data_id": "a", "event_timestamp": instant} for instant in (DAY_0, DAY_0.replace(tzinfo=None))]
    for entities in (rows, rows[::-1]):
        with pytest.raises(FeatureError, match="time zone"):
            FeatureStore(lake).training_frame(convert(entities), ["shannon"])


@pytest.mark.parametrize("features", [None, [], [3], ["species", "shannon"]])
def test_features_that_are_no_names_are_refused(lake, features):
    with pytest.raises(FeatureError):
        FeatureStore(lake).training_frame([{"source_data_id": "a", "event_timestamp": DAY_0}], features)


def test_instants_and_ages_at_the_ends_of_time_are_answered(lake):
    append_rows(lake, "feature_store", [row(event=3, value=15.0)])
    first, last = datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)
    entities = [{"source_data_id": "s/1", "event_timestamp": instant} for instant in (first, last, at(4))]
    for ttl, answers in (
        (None, [None, 15.0, 15.0]),
        (timedelta.max, [None, 15.0, 15.0]),
        (timedelta(days=1500 * 365), [None, None, 15.0]),
        (timedelta(days=1), [None, None, 15.0]),
    ):
        for asked, expected in ((entities, answers), (entities[2:], answers[2:])):
            frame = FeatureStore(lake).training_frame(asked, ["temperature_degc"], ttl=ttl)
            assert frame["temperature_degc"].to_pylist() == expected, ttl
    assert ask(lake, ("s/1", 4), as_of=first) == [None]


def test_rows_within_one_second_are_told_apart(lake):
    second = 1 / 86_400
    append_rows(
        lake,
        "feature_store",
        [row(f"s/{i}", event=3 + part * second, value=float(i)) for i, part in enumerate((0, 0.25, 0.5), start=1)]
        + [row("s/4", event=40 + 0.5 * second, value=4.0)],
    )
    asked = (3 - second, 3.0, 3 + 0.3 * second, 3 + 0.75 * second, 3 + second, 39, 40 + 0.4 * second, 41)
    entities = [{"location_grid": "0.0_0.0", "event_timestamp": at(day)} for day in asked]
    frame = FeatureStore(lake).training_frame(entities, ["temperature_degc"], on="location_grid")
    assert frame["temperature_degc"].to_pylist() == [None, 1.0, 2.0, 3.0, 3.0, 3.0, 3.0, 4.0]


def test_a_nanosecond_before_an_event_its_value_is_not_there(lake):
    append_rows(lake, "feature_store", [row(event=3, value=15.0), row("s/2", event=-20_000, value=1.0)])
    for study, days in (("s/1", 3), ("s/2", -20_000)):
        before = int(at(days).timestamp()) * 10**9 - 1
        instants = pa.array([before, before + 1], pa.timestamp("ns", tz="UTC"))
        entities = pa.table({"source_data_id": [study] * 2, "event_timestamp": instants})
        frame = FeatureStore(lake).training_frame(entities, ["temperature_degc"])
        assert [value is None for value in frame["temperature_degc"].to_pylist()] == [True, False]


def test_keys_may_be_categories(lake):
    append_rows(lake, "feature_store", [row(event=3, value=15.0)])
    plain = pl.DataFrame({"source_data_id": ["s/1", None, "s/9"], "event_timestamp": [at(4)] * 3})
    category = plain.with_columns(pl.col("source_data_id").cast(pl.Categorical))
    for entities in (category, category.to_pandas()):
        frame = FeatureStore(lake).training_frame(entities, ["temperature_degc"])
        assert frame["temperature_degc"].to_pylist() == [15.0, None, None]


def test_every_feature_can_be_asked_for_at_once(lake):
    append_rows(lake, "feature_store", [row(event=3, value=15.0), row(event=3, value=0.7, kind="species")])
    every = [f"{kind}.{column.name}" for kind, columns in FEATURE_COLUMNS.items() for column in columns]
    entities = [{"source_data_id": "s/1", "event_timestamp": at(4), "ask": 1, "key": 2, "instant": 3, "value 0": 4}]
    frame = FeatureStore(lake).training_frame(entities, every)
    assert frame.num_columns == 6 + len(every)
    (answer,) = frame.to_pylist()
    assert (answer["temperature_degc"], answer["shannon"], answer["richness"]) == (15.0, 0.7, None)
    assert (answer["ask"], answer["key"], answer["instant"], answer["value 0"]) == (1, 2, 3, 4)


def test_an_unknown_feature_is_refused_with_the_nearest_name(lake):
    entities = [{"source_data_id": "a", "event_timestamp": DAY_0}]
    with pytest.raises(FeatureError, match=r"Did you mean 'environmental\.temperature_degc'"):
        FeatureStore(lake).training_frame(entities, ["environmental.temperatur_degc"])
    with pytest.raises(FeatureError, match="twice"):
        FeatureStore(lake).training_frame(entities, ["shannon", "species.shannon"])


def test_the_columns_every_row_has_are_asked_for_by_type(lake):
    append_rows(lake, "feature_store", [row(event=3, value=15.0)])
    frame = FeatureStore(lake).training_frame(
        [{"source_data_id": "s/1", "event_timestamp": at(4)}],
        ["environmental.event_time", "environmental.quality_score"],
    )
    assert frame["environmental_event_time"].to_pylist() == [at(3)]
    assert frame["environmental_quality_score"].to_pylist() == [0.5]


def test_get_returns_the_latest_version_of_each_type(lake):
    append_rows(
        lake,
        "feature_store",
        [
            row(event=3, value=15.0, computed=50),
            row(event=3, value=16.0, computed=60, version=2),
            row(event=3, value=0.7, kind="species"),
            row("s/2", event=3, value=99.0),
        ],
    )
    found = FeatureStore(lake).get("s/1")
    assert found.environmental is not None
    assert (found.environmental.values["temperature_degc"], found.environmental.version) == (16.0, 2)
    assert found.species is not None
    assert found.species.values["shannon"] == 0.7
    assert found.temporal is None
    earlier = FeatureStore(lake).get("s/1", as_of=at(55))
    assert earlier.environmental is not None
    assert earlier.environmental.values["temperature_degc"] == 15.0
    with pytest.raises(FeatureError, match="as of 2017-08-02"):
        FeatureStore(lake).get("s/1", as_of=at(1))
    for nothing in ("s/3", 3, None):
        with pytest.raises(FeatureError, match="<dataset_id>/<event_id>"):
            FeatureStore(lake).get(nothing)
    with pytest.raises(FeatureError, match="as_of has no time zone"):
        FeatureStore(lake).get("s/1", as_of="2017-08-02")


# -- property: the same answers as reading one row at a time -----------------------------------------------------------

STUDIES, CELLS = ("s/1", "s/2", "t/1"), ("0.0_0.0", "0.25_0.0")
hours = st.integers(0, 40).map(lambda hour: hour / 4)
drawn_rows = st.lists(
    st.tuples(
        st.sampled_from(STUDIES),
        st.sampled_from(sorted(TYPES)),
        hours,
        st.sampled_from([0, 0, 0, 0.25, 3, 20]),
        st.integers(0, 6),
        st.sampled_from(CELLS),
    ),
    max_size=25,
)


def with_versions(drawn: list[tuple[Any, ...]]) -> list[dict[str, Any]]:
    """Rows as the writer makes them: versions count up, a changed place is marked."""
    rows: list[dict[str, Any]] = []
    latest: dict[tuple[str, str], dict[str, Any]] = {}
    for number, (study, kind, event, delay, computed, cell) in enumerate(drawn):
        before = latest.get((study, kind))
        made = row(
            study, event=event, value=float(number), kind=kind, known=event + delay, computed=computed, cell=cell,
            version=1 if before is None else before["version"] + 1,
        )  # fmt: skip
        place = ("event_time", "known_at", "location_grid")
        made["moved"] = before is not None and any(made[name] != before[name] for name in place)
        latest[study, kind] = made
        rows.append(made)
    return rows


def oracle(
    rows: list[dict[str, Any]], kind: str, on: str, key: str, t: datetime, as_of: datetime | None, ttl: timedelta | None
) -> float | None:
    visible = [r for r in rows if r["feature_type"] == kind and (as_of is None or r["computed_at"] <= as_of)]
    best = None
    for r in visible:
        if r[on] != key or r["event_time"] > t or r["known_at"] > t:
            continue
        if as_of is not None and (r["event_time"] > as_of or r["known_at"] > as_of):
            continue
        if any(m["feature_id"] == r["feature_id"] and m["moved"] and m["version"] > r["version"] for m in visible):
            continue
        rank = (r["event_time"], r["computed_at"], r["source_data_id"], r["version"])
        if best is None or rank > best[0]:
            best = (rank, r)
    if best is None or (ttl is not None and t - best[1]["event_time"] > ttl):
        return None
    return float(best[1][TYPES[kind]])


@hypothesis_settings(max_examples=25, derandomize=True, deadline=None)
@given(
    drawn=drawn_rows,
    asked=st.lists(
        st.tuples(st.sampled_from([*STUDIES, "u/9"]), st.sampled_from(CELLS), hours), min_size=1, max_size=12
    ),
    as_of=st.none() | st.integers(0, 8),
    ttl=st.none() | st.sampled_from([0, 0.25, 2]),
    on=st.sampled_from(["source_data_id", "location_grid"]),
)
def test_training_frames_equal_an_oracle_that_reads_one_row_at_a_time(drawn, asked, as_of, ttl, on):
    rows = with_versions(drawn)
    limit = None if as_of is None else at(as_of)
    oldest = None if ttl is None else timedelta(days=ttl)
    entities = [{"source_data_id": s, "location_grid": c, "event_timestamp": at(t)} for s, c, t in asked]
    with tempfile.TemporaryDirectory() as folder, Lake(load_settings({}, lake_root=folder)) as lake:
        append_rows(lake, "feature_store", rows)
        frame = (
            FeatureStore(lake)
            .training_frame(entities, ["temperature_degc", "shannon"], as_of=limit, ttl=oldest, on=on)
            .to_pylist()
        )
    for entity, answer in zip(entities, frame, strict=True):
        for kind, column in TYPES.items():
            expected = oracle(rows, kind, on, entity[on], entity["event_timestamp"], limit, oldest)
            assert answer[column] == expected, (entity, kind)


@hypothesis_settings(max_examples=60, derandomize=True, deadline=None)
@given(
    rows=st.lists(st.tuples(st.integers(0, 3), st.integers(-5, 5)), max_size=20),
    asks=st.lists(st.tuples(st.integers(0, 4), st.integers(-7, 7)), max_size=8),
    unit=st.sampled_from([1, 1_000_000, 2**58]),
)
def test_bisecting_finds_the_last_row_at_any_scale_of_time_unless_its_second_leaves_a_doubt(rows, asks, unit):
    import numpy as np

    key, time = (np.array([r[i] for r in rows], dtype=np.int64) for i in (0, 1))
    ask_key, instant = (np.array([a[i] for a in asks], dtype=np.int64) for i in (0, 1))
    times = time * unit
    line = Line.of_times(int(times.min()), int(times.max())) if rows else Line.of_times(0, 0)
    picks = newest_at(
        place=key * line.span + (times - line.first) // SECOND,
        event_time=times,
        late=np.zeros(0, dtype=np.int64),
        line=line,
        ask_key=ask_key,
        instant=instant * unit,
    )

    def second(moment):
        return (moment * unit - line.first) // SECOND

    for i, (k, t) in enumerate(asks):
        in_time = [when for row_key, when in rows if row_key == k and second(when) <= second(t)]
        newest = [when for when in in_time if second(when) == second(max(in_time))]
        assert picks.contested[i] == (len(newest) > 1 or any(when > t for when in newest))
        if not picks.contested[i]:
            assert picks.row[i] == -1 if not newest else rows[picks.row[i]] == (k, newest[0])
