"""What the tables refuse and accept, on both kinds of server."""

import math
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import psycopg
import pytest

from retention_pipelines.postgres.engine import connect
from retention_pipelines.postgres.server import Server

NOW = datetime(2026, 3, 5, 12, tzinfo=UTC)
FEATURE: dict[str, Any] = {
    "tenant": "north",
    "cache_key": "k1",
    "feature_type": "species",
    "source_table": "occurrences",
    "source_data_id": "obis/event-1",
    "quality_score": 0.9,
    "priority": "high",
    "feature_hash": "same",
    "payload": b"\x00\xff",
    "payload_codec": "json-1",
    "payload_mac": bytes(32),
    "computed_at": NOW,
    "expires_at": NOW + timedelta(days=1),
    "expires_on": date(2026, 3, 6),
}
WINDOW: dict[str, Any] = {
    "source_type": "survey",
    "dataset_id": "obis",
    "variable": "temperature_degc",
    "layer": "surface",
    "location_grid": "-9.25_13.00",
    "cell_deg": 0.25,
    "center_lat": -9.125,
    "center_lon": 13.125,
    "time_window": "monthly",
    "window_label": "2017-08",
    "window_start": datetime(2017, 8, 1, tzinfo=UTC),
    "window_end": datetime(2017, 9, 1, tzinfo=UTC),
    "n": 1,
    "mean": 20.0,
    "std": None,
    "min": 20.0,
    "max": 20.0,
    "surface_limit_m": 10.0,
    "refreshed_at": NOW,
}
POLICY: dict[str, Any] = {
    "policy_id": "fs_low_quality",
    "version": 1,
    "dataset": "feature_store",
    "match": "true",
    "keep_seconds": 90 * 86400,
    "priority": 100,
    "reason": "catch-all",
    "created_by": "test",
}


def insert(con: "psycopg.Connection[Any]", table: str, row: dict[str, Any]) -> None:
    names = psycopg.sql.SQL(", ").join(map(psycopg.sql.Identifier, row))
    places = psycopg.sql.SQL(", ").join(psycopg.sql.Placeholder() * len(row))
    statement = psycopg.sql.SQL("insert into {} ({}) values ({})")
    # In a savepoint: the test goes on after a refusal.
    with con.transaction():
        con.execute(statement.format(psycopg.sql.Identifier(table), names, places), list(row.values()))


@pytest.fixture
def con(migrated_server: Server) -> Iterator[Any]:
    """A session of the service for the tenant north, taken back at the end of the test."""
    opened = connect(migrated_server, role="service", tenant="north", autocommit=True)
    with opened, opened.transaction(force_rollback=True):
        yield opened


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, -0.0001, 1.0001])
def test_a_score_outside_zero_to_one_or_not_finite_is_refused(con: Any, bad: float) -> None:
    with pytest.raises(psycopg.errors.CheckViolation, match="quality_score"):
        insert(con, "ml_feature_store", FEATURE | {"quality_score": bad})


@pytest.mark.parametrize("good", [0.0, 1.0, 0.5, None, 5e-324])
def test_a_score_in_bounds_or_unknown_is_kept_exactly(con: Any, good: float | None) -> None:
    insert(con, "ml_feature_store", FEATURE | {"quality_score": good})
    assert con.execute("select quality_score from ml_feature_store").fetchall() == [(good,)]


@pytest.mark.parametrize(
    ("column", "bad"),
    [
        ("mean", math.nan),
        ("min", math.inf),
        ("max", -math.inf),
        ("std", math.nan),
        ("std", -1.0),
        ("cell_deg", math.nan),
    ],
)
def test_a_statistic_that_is_not_a_number_is_refused(con: Any, column: str, bad: float) -> None:
    with pytest.raises(psycopg.errors.CheckViolation):
        insert(con, "aggregated_time_series", WINDOW | {column: bad})


@pytest.mark.parametrize(
    ("table", "row", "change"),
    [
        ("aggregated_time_series", WINDOW, {"window_end": WINDOW["window_start"]}),
        ("aggregated_time_series", WINDOW, {"window_start": datetime(2018, 1, 1, tzinfo=UTC)}),
        ("ml_feature_store", FEATURE, {"expires_at": NOW - timedelta(seconds=1), "expires_on": date(2026, 3, 5)}),
        ("ml_retention_policies", POLICY, {"created_at": NOW, "superseded_at": NOW - timedelta(days=1)}),
        ("api_keys", {}, {"key_id": "a", "key_sha256": bytes(32), "tenant": "t", "label": "l", "scopes": ["read"],
                          "created_at": NOW, "expires_at": NOW - timedelta(days=1)}),
    ],
)  # fmt: skip
def test_times_out_of_order_are_refused(con: Any, table: str, row: dict[str, Any], change: dict[str, Any]) -> None:
    with pytest.raises(psycopg.errors.CheckViolation, match="before"):
        insert(con, table, row | change)


def test_an_infinite_time_is_refused(con: Any) -> None:
    training = {"tenant": "north", "cache_key": "k", "model_type": "m", "n_rows": 1, "n_features": 1}
    files = {"files": "f", "content_sha256": bytes(32), "size_bytes": 1}
    insert(con, "ml_training_cache", {**training, **files, "computed_at": NOW})
    with pytest.raises(psycopg.errors.CheckViolation, match="computed_at"):
        insert(con, "ml_training_cache", {**training, **files, "cache_key": "l", "computed_at": "infinity"})


def test_s13_ids_of_any_length_are_stored(con: Any) -> None:
    long = "é" * 10_000
    query = "select source_data_id from ml_feature_store where source_data_id = %s"
    insert(con, "ml_feature_store", FEATURE | {"source_data_id": long, "cache_key": "k" * 2_000})
    assert con.execute(query, (long,)).fetchall() == [(long,)]


def test_s18_a_value_computed_again_after_its_expiry_is_stored(con: Any) -> None:
    insert(con, "ml_feature_store", FEATURE)
    again = NOW + timedelta(days=2)
    later = {"computed_at": again, "expires_at": again + timedelta(days=1), "expires_on": date(2026, 3, 8)}
    insert(con, "ml_feature_store", FEATURE | later | {"payload": b"new"})
    newest = "select payload from ml_feature_store where cache_key = 'k1' order by computed_at desc limit 1"
    assert con.execute(newest).fetchall() == [(b"new",)]


def test_s19_two_keys_with_equal_content_are_both_stored(con: Any) -> None:
    insert(con, "ml_feature_store", FEATURE)
    insert(con, "ml_feature_store", FEATURE | {"cache_key": "k2"})
    assert con.execute("select count(*) from ml_feature_store").fetchall() == [(2,)]


def test_s22_times_come_back_as_instants_in_utc_whatever_the_session_says(con: Any) -> None:
    insert(con, "ml_feature_store", FEATURE)
    con.execute("set timezone = 'Africa/Luanda'")
    found = con.execute("select computed_at from ml_feature_store").fetchall()[0][0]
    assert found == NOW
    naive = con.execute(
        "select table_name, column_name from information_schema.columns"
        " where table_schema = 'public' and data_type = 'timestamp without time zone'"
    ).fetchall()
    assert naive == []


def test_r9_p12_no_trigger_touches_a_row_that_is_read_or_updated(con: Any) -> None:
    triggers = con.execute(
        "select distinct event_object_table from information_schema.triggers where trigger_schema = 'public'"
    ).fetchall()
    assert {name for (name,) in triggers} <= {"audit", "invalidation_log"}
    columns = con.execute(
        "select column_name from information_schema.columns"
        " where table_name in ('ml_feature_store', 'ml_inference_cache', 'ml_training_cache')"
    ).fetchall()
    assert not {name for (name,) in columns} & {"hit_count", "access_count", "last_accessed", "last_accessed_at"}


def test_the_partition_day_must_be_the_day_of_expiry(con: Any) -> None:
    with pytest.raises(psycopg.errors.CheckViolation, match="expires_on"):
        insert(con, "ml_feature_store", FEATURE | {"expires_on": date(2026, 3, 7)})
    insert(con, "ml_feature_store", FEATURE | {"expires_at": None, "expires_on": "infinity"})


def test_a_dataset_has_one_current_version_of_a_policy_and_one_policy_per_priority(con: Any) -> None:
    insert(con, "ml_retention_policies", POLICY)
    with pytest.raises(psycopg.errors.UniqueViolation, match="current"):
        insert(con, "ml_retention_policies", POLICY | {"version": 2})
    with pytest.raises(psycopg.errors.UniqueViolation, match="priority"):
        insert(con, "ml_retention_policies", POLICY | {"policy_id": "other"})
    con.execute("update ml_retention_policies set superseded_at = now()")
    insert(con, "ml_retention_policies", POLICY | {"version": 2})


@pytest.mark.parametrize("change", [{"keep_seconds": -1}, {"action": "shred"}, {"anchor": "never"}, {"reason": ""}])
def test_a_policy_that_makes_no_sense_is_refused(con: Any, change: dict[str, Any]) -> None:
    with pytest.raises(psycopg.errors.CheckViolation):
        insert(con, "ml_retention_policies", POLICY | change)


def test_numbers_of_the_invalidation_log_follow_the_order_of_commits(database: Server) -> None:
    statement = "insert into invalidation_log (scope, target) values ('key', %s) returning seq"
    with connect(database) as first, connect(database, autocommit=True) as second:
        first.execute(statement, ("slow",))
        second.execute("set lock_timeout = '100ms'")
        # The second cannot take a number before the first has committed: nobody can see 2 and miss 1.
        with pytest.raises(psycopg.errors.LockNotAvailable):
            second.execute(statement, ("fast",))
        first.commit()
        second.execute(statement, ("fast",))
        rows = second.execute("select target from invalidation_log order by seq").fetchall()
    assert rows == [("slow",), ("fast",)]


def test_every_table_and_column_says_what_it_is(con: Any) -> None:
    silent = con.execute(
        "select c.relname, a.attname from pg_class c join pg_attribute a on a.attrelid = c.oid and a.attnum >= 0"
        " where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p') and not a.attisdropped"
        " and c.relname <> 'retention_migrations'"
        " and (col_description(c.oid, a.attnum) is null or obj_description(c.oid) is null)"
    ).fetchall()
    assert silent == []
