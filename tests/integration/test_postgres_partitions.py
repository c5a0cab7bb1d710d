"""Day partitions: made ahead, filled from the default one, dropped whole, never the newest."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import psycopg
import pytest

from retention_pipelines.errors import DatabaseError
from retention_pipelines.postgres.engine import connect
from retention_pipelines.postgres.partitions import (
    DAY_COLUMNS,
    add_day_partitions,
    day_partitions,
    drop_day_partitions,
)
from retention_pipelines.postgres.server import Server

DAY = date(2026, 3, 1)


def measure(con: "psycopg.Connection[Any]", day: date) -> None:
    at = datetime(day.year, day.month, day.day, 23, 59, 59, 999999, tzinfo=UTC)
    con.execute(
        "insert into ml_performance_metrics (recorded_at, recorded_on, metric, value) values (%s, %s, 'm', 1)",
        (at, day),
    )


def days(con: "psycopg.Connection[Any]") -> list[date]:
    return [one.first_day for one in day_partitions(con, "ml_performance_metrics")]


def test_the_service_makes_and_drops_partitions_of_every_hot_table(database: Server) -> None:
    for table in DAY_COLUMNS:
        make_and_drop(database, table)


def make_and_drop(database: Server, table: str) -> None:
    with connect(database) as con:
        assert add_day_partitions(con, table, DAY, DAY + timedelta(days=2)) == 3
        assert add_day_partitions(con, table, DAY, DAY + timedelta(days=3)) == 1
        dropped = drop_day_partitions(con, table, DAY + timedelta(days=2))
        assert [one.first_day for one in dropped] == [DAY, DAY + timedelta(days=1)]
        assert [one.first_day for one in day_partitions(con, table)] == [
            DAY + timedelta(days=2),
            DAY + timedelta(days=3),
        ]


def test_a_row_without_a_partition_is_kept_and_moves_when_its_partition_is_made(database: Server) -> None:
    with connect(database) as con:
        for offset in range(3):
            measure(con, DAY + timedelta(days=offset))
        add_day_partitions(con, "ml_performance_metrics", DAY, DAY + timedelta(days=1))
        rows = con.execute(
            "select tableoid::regclass::text, recorded_on from ml_performance_metrics order by 2"
        ).fetchall()
    assert rows == [
        ("retention_partitions.ml_performance_metrics_20260301", DAY),
        ("retention_partitions.ml_performance_metrics_20260302", DAY + timedelta(days=1)),
        ("retention_partitions.ml_performance_metrics_default", DAY + timedelta(days=2)),
    ]


def test_dropping_takes_only_days_that_ended_by_the_horizon(database: Server) -> None:
    with connect(database) as con:
        add_day_partitions(con, "ml_performance_metrics", DAY, DAY + timedelta(days=3))
        for offset in range(4):
            measure(con, DAY + timedelta(days=offset))
        assert drop_day_partitions(con, "ml_performance_metrics", DAY) == ()
        dropped = drop_day_partitions(con, "ml_performance_metrics", DAY + timedelta(days=1))
        assert [one.first_day for one in dropped] == [DAY]
        assert dropped[0].size_bytes > 0
        assert con.execute("select min(recorded_on), count(*) from ml_performance_metrics").fetchall() == [
            (DAY + timedelta(days=1), 3)
        ]


def test_the_newest_partition_and_the_default_one_always_stay(database: Server) -> None:
    with connect(database) as con:
        add_day_partitions(con, "ml_performance_metrics", DAY, DAY + timedelta(days=1))
        measure(con, date(2020, 1, 1))
        drop_day_partitions(con, "ml_performance_metrics", date(2030, 1, 1))
        assert days(con) == [DAY + timedelta(days=1)]
        assert con.execute("select count(*) from ml_performance_metrics").fetchall() == [(1,)]


def test_new_partitions_have_the_checks_and_indexes_of_their_table(database: Server) -> None:
    with connect(database, autocommit=True) as con:
        add_day_partitions(con, "ml_performance_metrics", DAY, DAY)
        with pytest.raises(psycopg.errors.CheckViolation):
            con.execute(
                "insert into ml_performance_metrics (recorded_at, recorded_on, metric, value)"
                " values ('2026-03-01T00:00Z', '2026-03-01', 'm', 'nan')"
            )
        indexes = con.execute(
            "select count(*) from pg_indexes where tablename = 'ml_performance_metrics_20260301'"
        ).fetchall()
        assert indexes == [(2,)]


def test_tenants_are_kept_apart_in_partitions_too(database: Server) -> None:
    with connect(database, autocommit=True) as con:
        add_day_partitions(con, "ml_inference_cache", DAY, DAY)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            con.execute("select * from retention_partitions.ml_inference_cache_20260301")


def test_a_table_without_day_partitions_is_refused(database: Server) -> None:
    with connect(database) as con:
        for call in (
            lambda name: add_day_partitions(con, name, DAY, DAY),
            lambda name: drop_day_partitions(con, name, DAY),
            lambda name: day_partitions(con, name),
        ):
            with pytest.raises(DatabaseError, match="no partitions by day"):
                call("audit; drop table audit")
        with pytest.raises(psycopg.errors.UndefinedTable):
            con.execute("select public.retention_add_day_partitions('audit', '2026-03-01', '2026-03-01')")


def test_a_long_reader_makes_it_give_up_and_leave_nothing_half_done(database: Server) -> None:
    with connect(database) as reader, connect(database, autocommit=True) as writer:
        measure(writer, DAY)
        reader.execute("select count(*) from ml_performance_metrics")
        writer.execute("set lock_timeout = '200ms'")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            add_day_partitions(writer, "ml_performance_metrics", DAY, DAY)
        assert days(writer) == []
        reader.rollback()
        assert add_day_partitions(writer, "ml_performance_metrics", DAY, DAY) == 1
        assert writer.execute("select count(*) from ml_performance_metrics").fetchall() == [(1,)]
