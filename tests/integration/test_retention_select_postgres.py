"""Planning over Postgres: cached predictions, training sets and metrics, in their partitions by day."""

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import psycopg
import pytest
from sqlalchemy import Engine

from retention_pipelines.postgres.address import EVERY_TENANT
from retention_pipelines.postgres.engine import connect, open_engine
from retention_pipelines.postgres.partitions import add_day_partitions
from retention_pipelines.postgres.server import Server
from retention_pipelines.retention.filter.parse import parse
from retention_pipelines.retention.plans.plan import is_intact
from retention_pipelines.retention.plans.select_postgres import plan_postgres
from retention_pipelines.retention.policies.decide import Protection, decide
from retention_pipelines.retention.policies.defaults import default_policies, read_policies
from retention_pipelines.retention.policies.governed import INFERENCE_CACHE, PERFORMANCE_METRICS, TRAINING_CACHE
from retention_pipelines.retention.policies.policy import PolicySet

AS_OF = datetime(2026, 11, 22, 12, tzinfo=UTC)
DAY = timedelta(days=1)
DEFAULTS = PolicySet.of("inference_cache", default_policies())
INSERT = """
insert into ml_inference_cache
    (tenant, cache_key, model_id, model_type, model_version, payload, payload_codec, payload_mac, computed_at,
     expires_at, expires_on, confidence)
values (%s, %s, 'm', 't', '1', 'x', 'c', %s, %s, %s,
    coalesce((%s::timestamptz at time zone 'UTC')::date, 'infinity'), %s)
"""


@pytest.fixture
def engine(database: Server) -> Iterator[Engine]:
    """For work on behalf of no tenant in particular."""
    engine = open_engine(database, tenant=EVERY_TENANT)
    yield engine
    engine.dispose()


@pytest.fixture
def con(database: Server) -> Iterator[psycopg.Connection[Any]]:
    with connect(database, tenant=EVERY_TENANT, autocommit=True) as con:
        yield con


def predict(con: psycopg.Connection[Any], rows: list[dict[str, Any]]) -> None:
    """Store predictions of two tenants; reads are counted for those that name `hits`."""
    add_day_partitions(con, "ml_inference_cache", date(2026, 11, 1), date(2026, 11, 25))
    with con.cursor() as cursor:
        cursor.executemany(
            INSERT,
            [
                (row["tenant"], row["key"], bytes(32), row["computed_at"], row["expires_at"], row["expires_at"], 0.5)
                for row in rows
            ],
        )
        cursor.executemany(
            "insert into access_counts values (%s, 'ml_inference_cache', %s, %s, %s)",
            [(row["tenant"], row["key"], row["hits"], row["last_accessed_at"]) for row in rows if row.get("hits")],
        )


def some_rows() -> list[dict[str, Any]]:
    rows = []
    for number in range(400):
        computed = AS_OF - timedelta(hours=number)
        expires = None if number % 4 == 0 else min(computed + timedelta(hours=6 + number % 5), AS_OF + 2 * DAY)
        rows.append(
            {
                "tenant": "ab"[number % 2],
                "key": f"k{number // 2}",  # both tenants have the same keys
                "computed_at": computed,
                "expires_at": expires,
                "hits": number % 3,
                "last_accessed_at": AS_OF - timedelta(hours=number // 2) if number % 3 else None,
            }
        )
    return rows


def test_a_plan_over_postgres_says_of_every_row_what_deciding_it_says(
    engine: Engine, con: psycopg.Connection[Any]
) -> None:
    rows = some_rows()
    predict(con, rows)
    plan = plan_postgres(engine, INFERENCE_CACHE, DEFAULTS, as_of=AS_OF)
    decisions = [decide(row | {"hit_count": row["hits"]}, DEFAULTS, (), AS_OF) for row in rows]
    verdicts = Counter((str(one.policy), one.verdict, one.anomaly) for one in decisions)
    assert {(one.policy, one.verdict, one.anomaly): one.rows for one in plan.counts} == verdicts
    assert plan.total_rows == len(rows)
    assert plan.expired_rows == plan.removed_rows == sum(one.verdict == "expire" for one in decisions)
    fates = {one.partition.rpartition("_")[2]: one.fate for one in plan.partitions}
    assert fates["20261110"] == "drop"
    assert fates["20261122"] == "rewrite"
    assert fates["default"] == "rewrite"
    listed = {row["row_id"] for row in plan.rows.to_pylist()}
    expected = set()
    for row, one in zip(rows, decisions, strict=True):
        day = "infinity" if row["expires_at"] is None else f"{row['expires_at']:%Y-%m-%d}"
        if one.verdict == "expire" and (day == "infinity" or day == "2026-11-22"):
            expected.add(f'["{row["tenant"]}", "{row["key"]}", "{day}"]')
    assert listed == expected
    assert is_intact(plan)
    assert all(one.size_bytes > 0 for one in plan.partitions)


def test_the_newest_day_is_never_dropped_nor_emptied(engine: Engine, con: psycopg.Connection[Any]) -> None:
    old, newest = AS_OF - 5 * DAY, AS_OF + 3 * DAY - timedelta(hours=1)
    predict(con, [{"tenant": "a", "key": "k", "computed_at": old, "expires_at": newest}])
    plan = plan_postgres(engine, INFERENCE_CACHE, DEFAULTS, as_of=AS_OF + 30 * DAY)
    assert [(one.fate, one.expired) for one in plan.partitions] == [("newest", 1)]
    assert (plan.removed_rows, plan.newest_rows, plan.rows.num_rows) == (0, 1, 0)
    assert [(one.verdict, one.ruled_by, one.rows) for one in plan.counts] == [("keep", "newest_partition", 1)]
    # Where something of it stays, single rows go.
    predict(con, [{"tenant": "a", "key": "held", "computed_at": old, "expires_at": newest}])
    hold = Protection(kind="hold", label="hold 1", match=parse("hit_count > 0", INFERENCE_CACHE.fields))
    con.execute("insert into access_counts values ('a', 'ml_inference_cache', 'held', 1, now())")
    plan = plan_postgres(engine, INFERENCE_CACHE, DEFAULTS, as_of=AS_OF + 30 * DAY, protections=[hold])
    assert [(one.fate, one.expired) for one in plan.partitions] == [("rewrite", 1)]


def test_a_protection_holds_in_postgres_too(engine: Engine, con: psycopg.Connection[Any]) -> None:
    predict(con, some_rows())
    hold = Protection(kind="hold", label="hold 1", match=parse("model_id = 'm'", INFERENCE_CACHE.fields))
    plan = plan_postgres(engine, INFERENCE_CACHE, DEFAULTS, as_of=AS_OF, protections=[hold])
    assert (plan.removed_rows, {one.ruled_by for one in plan.counts}) == (0, {"hold 1"})


def test_a_session_of_one_tenant_plans_over_its_own_rows_only(database: Server, con: psycopg.Connection[Any]) -> None:
    predict(con, some_rows())
    engine = open_engine(database, tenant="a")
    plan = plan_postgres(engine, INFERENCE_CACHE, DEFAULTS, as_of=AS_OF)
    engine.dispose()
    assert plan.total_rows == 200


def test_metrics_and_training_sets_are_planned_by_the_same_rules(engine: Engine, con: psycopg.Connection[Any]) -> None:
    """P4: the first system's policies on metrics and series named columns that were not there."""
    for days in (1, 90, 91, 400):
        at = AS_OF - days * DAY - timedelta(seconds=1)
        con.execute(
            "insert into ml_performance_metrics (recorded_at, recorded_on, metric, value, labels)"
            " values (%s, (%s::timestamptz at time zone 'UTC')::date, 'hit_seconds', 1, '{}')",
            (at, at),
        )
        con.execute(
            "insert into ml_training_cache"
            " (tenant, cache_key, model_type, files, content_sha256, size_bytes, computed_at)"
            " values ('a', %s, 'sdm', 'f', %s, 10, %s)",
            (str(days), bytes(32), at),
        )
    metrics = plan_postgres(
        engine,
        PERFORMANCE_METRICS,
        PolicySet.of("performance_metrics", default_policies()),
        as_of=AS_OF,
        action="downsample",
    )
    assert (metrics.total_rows, metrics.removed_rows) == (4, 3)
    sets = plan_postgres(engine, TRAINING_CACHE, PolicySet.of("training_cache", default_policies()), as_of=AS_OF)
    assert (sets.total_rows, sets.removed_rows) == (4, 3)
    assert {row["policy_id"] for row in sets.rows.to_pylist()} == {"tc_rare"}


def test_every_field_of_a_dataset_in_postgres_can_be_asked_for(engine: Engine) -> None:
    for dataset in (INFERENCE_CACHE, TRAINING_CACHE, PERFORMANCE_METRICS):
        match = " or ".join(f"{name} is unknown" for name in dataset.fields)
        rule = f"{{id: p, priority: 1, match: {match}, keep_days: 1, reason: R, action: {dataset.actions[0]}}}"
        written = f"{dataset.name}: [{rule}]"
        plan = plan_postgres(engine, dataset, PolicySet.of(dataset.name, read_policies(written)), as_of=AS_OF)
        assert plan.total_rows == 0
