"""Online features: what is served from Postgres is what training read from the lake."""

import gc
import math
import os
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pyarrow as pa
import pytest

from retention_pipelines.catalog.features import FEATURE_COLUMNS, FEATURE_TYPES
from retention_pipelines.errors import DatabaseError, FeatureError
from retention_pipelines.features.compute import compute_features
from retention_pipelines.features.hot_rows import HotRowsLoad, load_hot_rows
from retention_pipelines.features.names import ROW_COLUMNS
from retention_pipelines.features.online import OnlineUnavailable
from retention_pipelines.features.store import FeatureStore
from retention_pipelines.postgres.engine import connect
from retention_pipelines.postgres.seal import Seal
from retention_pipelines.postgres.secret import load_secret
from retention_pipelines.postgres.server import Server
from retention_pipelines.settings import Settings, load_settings
from retention_pipelines.sources.ingest import ingest
from retention_pipelines.warehouse import Lake
from tests.fixtures.postgres import end_sessions, migrated_database
from tests.unit.defs.small_lake import fill
from tests.unit.features.conftest import append_rows
from tests.unit.features.test_store import at, row

NOW = datetime(2026, 1, 1, tzinfo=UTC)
EVERY_FEATURE = [f"{kind}.{column.name}" for kind, columns in FEATURE_COLUMNS.items() for column in columns]
EVERY_FEATURE += [f"{kind}.{name}" for kind in FEATURE_TYPES for name in ROW_COLUMNS]
TEMPERATURE = ["environmental.temperature_degc"]


def load(lake: Lake, server: Server, **options: Any) -> HotRowsLoad:
    seal = Seal(load_secret(lake.settings))
    return load_hot_rows(lake, server, tenant=lake.settings.tenant, seal=seal, **options)


def studies(lake: Lake) -> list[str]:
    rows = lake.con.sql(f"select distinct source_data_id from {lake.table('feature_store').scan()} order by all")
    return [name for (name,) in rows.fetchall()]


def offline(store: FeatureStore, ids: list[str], features: list[str], instant: datetime) -> pa.Table:
    asked = [{"source_data_id": one, "event_timestamp": instant} for one in ids]
    return store.training_frame(asked, features).drop_columns(["event_timestamp"])


def exactly(table: pa.Table) -> list[list[Any]]:
    """Rows with floats as text, so that NaN equals itself and -0.0 differs from 0.0."""
    return [[value.hex() if isinstance(value, float) else value for value in one.values()] for one in table.to_pylist()]


@pytest.fixture(params=["embedded", pytest.param("external", marks=pytest.mark.long)])
def database(request: pytest.FixtureRequest) -> Iterator[Server]:
    """As everywhere, on the external server with `--long`: nothing here depends on the kind of server."""
    with migrated_database(request) as opened:
        yield opened


@pytest.fixture
def lake(database_settings: Settings) -> Iterator[Lake]:
    patient = database_settings.model_copy(update={"cache_deadline_seconds": 20.0})
    with Lake(patient) as opened:
        yield opened


@pytest.fixture
def store(lake: Lake) -> Iterator[FeatureStore]:
    yield FeatureStore(lake)
    gc.collect()


def assert_no_skew(store: FeatureStore, ids: list[str]) -> None:
    found = store.online(ids, EVERY_FEATURE, lake=False)
    expected = offline(store, ids, EVERY_FEATURE, found.as_of)
    assert found.table.schema.equals(expected.schema)
    assert exactly(found.table) == exactly(expected)


def test_every_feature_of_every_study_is_the_same_online_and_offline(
    lake: Lake, store: FeatureStore, database: Server
) -> None:
    fill(lake)
    compute_features(lake, months=None, now=NOW)
    done = load(lake, database)
    ids = studies(lake)
    assert done.rows_held == sum(file.rows for file in lake.table("feature_store").files())
    assert_no_skew(store, [*ids, "unknown/study", ids[0]])
    for one in ids[:3]:
        assert_no_skew(store, [one])


@pytest.mark.real_data
@pytest.mark.parametrize("database", ["embedded"], indirect=True)
def test_every_feature_of_every_real_haul_is_the_same_online_and_offline(
    lake: Lake, store: FeatureStore, database: Server, real_data: Path
) -> None:
    names = ("rreas_catch.csv", "rreas_haul.csv", "rreas_species_codes.csv")
    ingest([str(real_data / "occurrences" / name) for name in names], lake, now=NOW)
    compute_features(lake, months=("2005-05", "2009-05", "2012-05"), now=NOW)
    load(lake, database)
    ids = studies(lake)
    assert len(ids) > 150
    assert_no_skew(store, ids)


def test_the_newest_version_that_was_not_moved_away_is_served(
    lake: Lake, store: FeatureStore, database: Server
) -> None:
    rows = [
        row("s/new", event=3, value=1.0, computed=50),
        row("s/new", event=3, value=2.0, computed=60, version=2),
        row("s/moved", event=9, value=3.0, computed=70),
        row("s/moved", event=3, value=4.0, computed=60, version=2, moved=True),
        row("s/replayed", event=3, value=5.0, computed=60),
        row("s/replayed", event=3, value=6.0, computed=50, version=2),
    ]
    append_rows(lake, "feature_store", rows)
    load(lake, database)
    found = store.online(["s/new", "s/moved", "s/replayed"], TEMPERATURE, lake=False)
    assert found.table["temperature_degc"].to_pylist() == [2.0, 4.0, 5.0]
    assert_no_skew(store, ["s/new", "s/moved", "s/replayed"])


def test_what_was_not_known_yet_is_not_served(lake: Lake, store: FeatureStore, database: Server) -> None:
    days = (datetime.now(UTC) - at(0)).days
    rows = [row("s/known", event=3, value=1.0), row("s/ahead", event=3, known=days + 2, value=2.0)]
    append_rows(lake, "feature_store", rows)
    load(lake, database)
    found = store.online(["s/known", "s/ahead"], TEMPERATURE, lake=False)
    assert found.table["temperature_degc"].to_pylist() == [1.0, None]
    assert found.origins["environmental"] == ["postgres", "missing"]


def test_an_older_version_stands_until_the_newest_can_be_known(
    lake: Lake, store: FeatureStore, database: Server
) -> None:
    days = (datetime.now(UTC) - at(0)).days
    rows = [row("s/1", event=3, value=1.0), row("s/1", event=3, known=days + 2, value=2.0, computed=200, version=2)]
    append_rows(lake, "feature_store", rows)
    load(lake, database)
    found = store.online(["s/1", "s/2"], TEMPERATURE)
    assert found.table["temperature_degc"].to_pylist() == [1.0, None]
    assert found.origins["environmental"] == ["lake", "missing"]
    assert offline(store, ["s/1"], TEMPERATURE, found.as_of)["temperature_degc"].to_pylist() == [1.0]
    assert store.online("s/1", TEMPERATURE, lake=False).origins["environmental"] == ["missing"]


def test_many_studies_are_asked_for_in_questions_that_each_keep_the_deadline(
    lake: Lake, store: FeatureStore, database: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("retention_pipelines.features.online_reader.STUDIES_AT_ONCE", 3)
    append_rows(lake, "feature_store", [row(f"s/{n}", event=3, value=float(n)) for n in range(10)])
    load(lake, database)
    asked = [f"s/{n}" for n in (9, 2, 2, 77, *range(10))]
    found = store.online(asked, TEMPERATURE, lake=False)
    assert found.table["temperature_degc"].to_pylist() == [9.0, 2.0, 2.0, None, *map(float, range(10))]


def test_a_null_is_told_from_a_missing_row_and_ages_are_said(lake: Lake, store: FeatureStore, database: Server) -> None:
    append_rows(lake, "feature_store", [row("s/1", event=3, value=None)])  # type: ignore[arg-type]
    load(lake, database)
    found = store.online(["s/1", "s/2"], TEMPERATURE)
    assert found.table["temperature_degc"].to_pylist() == [None, None]
    assert found.origins["environmental"] == ["postgres", "missing"]
    age, none = found.ages("environmental")
    assert age == found.as_of - at(100)
    assert none is None


def test_only_unknown_studies_are_all_missing(lake: Lake, store: FeatureStore, database: Server) -> None:
    load(lake, database)
    for asked in (["s/1"], ["s/1", "s/2"]):
        found = store.online(asked, TEMPERATURE, lake=False)
        assert found.origins["environmental"] == ["missing"] * len(asked)
        assert abs(datetime.now(UTC) - found.as_of) < timedelta(hours=1)


def test_ids_of_any_length_and_doubles_of_any_kind_are_served(
    lake: Lake, store: FeatureStore, database: Server
) -> None:
    long = "é" * 5_000
    values = {long: -0.0, "s/nan": math.nan, "s/tiny": 5e-324}
    append_rows(lake, "feature_store", [row(one, event=3, value=value) for one, value in values.items()])
    load(lake, database)
    assert_no_skew(store, [*values, long])


def test_only_what_changed_is_loaded_again(lake: Lake, store: FeatureStore, database: Server) -> None:
    append_rows(lake, "feature_store", [row(f"s/{i}", event=i, value=float(i)) for i in range(40)])
    assert [one.how for one in load(lake, database).types] == ["everything"] * 4
    assert load(lake, database).rows_written == 0
    append_rows(lake, "feature_store", [row("s/3", event=3, value=33.0, version=2, computed=101)])
    again = {one.feature_type: one for one in load(lake, database).types}
    assert (again["environmental"].how, again["environmental"].rows_read) == ("changed", 1)
    assert again["species"].how == "unchanged"
    assert store.online("s/3", TEMPERATURE, lake=False).values == [[33.0]]
    # Rewritten rows are the same rows.
    lake.table("feature_store").compact(min_files=2)
    rewritten = {one.feature_type: one for one in load(lake, database).types}["environmental"]
    assert (rewritten.how, rewritten.rows_read, rewritten.rows_written, rewritten.rows_held) == ("changed", 0, 0, 40)
    assert load(lake, database, full=True).rows_written == 0


def test_rows_removed_from_the_lake_are_removed_from_postgres(
    lake: Lake, store: FeatureStore, database: Server
) -> None:
    append_rows(lake, "feature_store", [row(f"s/{i}", event=3, value=float(i)) for i in range(4)])
    append_rows(lake, "feature_store", [row("s/1", event=3, value=11.0, version=2, computed=101)])
    load(lake, database)
    lake.table("feature_store").delete("source_data_id = 's/2' or version = 2", op="test")
    done = {one.feature_type: one for one in load(lake, database).types}["environmental"]
    assert (done.rows_removed, done.rows_written, done.rows_held) == (1, 1, 3)
    found = store.online(["s/1", "s/2"], TEMPERATURE, lake=False)
    assert (found.values, found.origins["environmental"]) == ([[1.0], [None]], ["postgres", "missing"])


def test_without_a_load_the_lake_answers_or_the_call_is_refused(
    lake: Lake, store: FeatureStore, database: Server
) -> None:
    append_rows(lake, "feature_store", [row("s/1", event=3, value=1.0)])
    found = store.online(["s/1", "s/2"], TEMPERATURE)
    assert found.table["temperature_degc"].to_pylist() == [1.0, None]
    assert found.origins["environmental"] == ["lake", "missing"]
    assert found.ages("environmental")[0] == found.as_of - at(100)
    with pytest.raises(OnlineUnavailable, match="no environmental features were loaded"):
        store.online("s/1", TEMPERATURE, lake=False)


@pytest.mark.parametrize("fault", ["payload", "copied", "foreign"])
def test_a_damaged_copied_or_foreign_row_is_never_served(
    lake: Lake, store: FeatureStore, database: Server, fault: str
) -> None:
    append_rows(lake, "feature_store", [row(f"s/{i}", event=3, value=float(i)) for i in (1, 2)])
    load(lake, database)
    with connect(database, role="service", tenant="local", autocommit=True) as con:
        if fault == "payload":
            con.execute("update online_features set payload = set_byte(payload, 20, get_byte(payload, 20) # 1)")
        elif fault == "copied":
            con.execute(
                "update online_features mine set payload = other.payload, payload_mac = other.payload_mac"
                " from online_features other where other.entity <> mine.entity"
            )
    if fault == "foreign":
        load_hot_rows(lake, database, tenant="local", seal=Seal(b"another secret of ours"), full=True)
    found = store.online(["s/1", "s/2"], TEMPERATURE)
    assert found.table["temperature_degc"].to_pylist() == [1.0, 2.0]
    assert found.origins["environmental"] == ["lake", "lake"]
    with pytest.raises(OnlineUnavailable, match="damaged"):
        store.online(["s/1"], TEMPERATURE, lake=False)


def test_a_tenant_sees_no_hot_rows_of_another(lake: Lake, store: FeatureStore, database: Server) -> None:
    append_rows(lake, "feature_store", [row("s/1", event=3, value=1.0)])
    load_hot_rows(lake, database, tenant="north", seal=Seal(load_secret(lake.settings)))
    with pytest.raises(OnlineUnavailable):
        store.online("s/1", TEMPERATURE, lake=False)
    with connect(database, role="service", tenant="local", autocommit=True) as con:
        assert con.execute("select * from online_features").fetchall() == []
        assert con.execute("select * from online_loads").fetchall() == []
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            con.execute("insert into online_loads values ('north', 'species', 't', 1, 'l', 1, now())")


def test_an_unreachable_database_costs_a_bounded_wait_and_the_lake_answers(tmp_path: Path) -> None:
    settings = load_settings(
        {},
        database_url="postgresql://nobody@127.0.0.1:1/none",
        lake_root=str(tmp_path / "warehouse"),
        state_dir=tmp_path / "state",
    )
    with Lake(settings) as lake:
        append_rows(lake, "feature_store", [row("s/1", event=3, value=1.0)])
        store = FeatureStore(lake)
        for _ in range(3):
            assert store.online("s/1", TEMPERATURE).origins["environmental"] == ["lake"]
        with pytest.raises(OnlineUnavailable):
            store.online("s/1", TEMPERATURE, lake=False)


def test_a_lost_connection_is_replaced(lake: Lake, store: FeatureStore, database: Server) -> None:
    append_rows(lake, "feature_store", [row("s/1", event=3, value=1.0)])
    load(lake, database)
    assert store.online("s/1", TEMPERATURE, lake=False).values == [[1.0]]
    end_sessions(database)
    assert store.online("s/1", TEMPERATURE).values == [[1.0]]
    ends = time.monotonic() + 10
    while store.online("s/1", TEMPERATURE).origins["environmental"] != ["postgres"]:
        assert time.monotonic() < ends
        time.sleep(0.05)


def test_a_load_whose_server_goes_away_half_way_says_so_and_leaves_nothing_half_done(
    lake: Lake, store: FeatureStore, database: Server
) -> None:
    rows = [row(f"{kind}/{i}", event=3, value=1.0, kind=kind) for kind in ("environmental", "species") for i in (1, 2)]
    append_rows(lake, "feature_store", rows)
    failed: list[BaseException] = []

    def work() -> None:
        try:
            with Lake(lake.settings) as own:
                load(own, database)
        except (psycopg.Error, DatabaseError) as error:
            failed.append(error)

    blocking = connect(database, role="owner")
    blocking.execute("lock table online_features in share mode")
    loading = threading.Thread(target=work)
    loading.start()
    ends, waiting = time.monotonic() + 20, False
    while not waiting and time.monotonic() < ends:
        with connect(database, tenant="*") as other:
            locks = "select from pg_locks where relation = 'online_features'::regclass and not granted"
            waiting = other.execute(locks.encode()).rowcount > 0
    end_sessions(database)
    loading.join(20)
    blocking.close()
    assert waiting
    assert [type(error) for error in failed] == [DatabaseError]
    assert "went away" in str(failed[0])
    with connect(database, tenant=lake.settings.tenant) as con:
        assert con.execute("select count(*) from online_features").fetchall() == [(0,)]
    assert load(lake, database).rows_written == 4


def test_a_reader_sees_the_state_before_or_after_a_load_never_between(
    lake: Lake, store: FeatureStore, database: Server
) -> None:
    ids = [f"s/{i}" for i in range(50)]
    append_rows(lake, "feature_store", [row(one, event=3, value=0.0) for one in ids])
    load(lake, database)
    stop = threading.Event()
    seen: list[set[float]] = []

    def look() -> None:
        with Lake(lake.settings) as own:
            mine = FeatureStore(own)
            while not stop.is_set():
                seen.append(set(mine.online(ids, TEMPERATURE, lake=False).table["temperature_degc"].to_pylist()))
            del mine
            gc.collect()

    looking = threading.Thread(target=look)
    looking.start()
    for version in range(2, 8):
        rows = [row(one, event=3, value=float(version), version=version, computed=100.0 + version) for one in ids]
        append_rows(lake, "feature_store", rows)
        load(lake, database)
    stop.set()
    looking.join()
    assert all(len(values) == 1 for values in seen)
    assert {value for values in seen for value in values} > {0.0}


def test_a_forked_process_opens_its_own_connections(lake: Lake, store: FeatureStore, database: Server) -> None:
    append_rows(lake, "feature_store", [row("s/1", event=3, value=1.0)])
    load(lake, database)
    assert store.online("s/1", TEMPERATURE, lake=False).values == [[1.0]]
    child = os.fork()
    if child == 0:
        served = 1
        try:
            served = int(store.online("s/1", TEMPERATURE, lake=False).values != [[1.0]])
        finally:
            os._exit(served)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert store.online("s/1", TEMPERATURE, lake=False).values == [[1.0]]


def test_what_is_asked_wrongly_is_said_with_what_to_do(lake: Lake, store: FeatureStore, database: Server) -> None:
    load(lake, database)
    with pytest.raises(FeatureError, match="Did you mean"):
        store.online("s/1", ["environmental.temperature"])
    with pytest.raises(FeatureError, match="is no study"):
        store.online([1], TEMPERATURE)  # type: ignore[list-item]
    nobody = store.online([], TEMPERATURE)
    assert nobody.table.num_rows == 0
    assert timedelta(0) <= datetime.now(UTC) - nobody.as_of < timedelta(hours=1)
