"""The same rows, a million, decided by DuckDB, by Postgres and row by row in Python: the three never differ.

The rows sit on the edges: thresholds and their neighbours, float32 images, NaN, null, infinities, -0.0, ages to the
microsecond, instants in the future and without end.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import psycopg
import pytest
from duckdb import ColumnExpression
from sqlalchemy import Boolean as SqlBoolean
from sqlalchemy import Column, DateTime, Double, MetaData, Table, Text, create_engine, func, select

from retention_pipelines.postgres.server import Server
from retention_pipelines.retention.filter.ast import Kind
from retention_pipelines.retention.filter.parse import parse
from retention_pipelines.retention.policies.compiled import duckdb_columns, postgres_columns
from retention_pipelines.retention.policies.decide import Protection, decide, in_order
from retention_pipelines.retention.policies.defaults import default_policies, read_policies
from retention_pipelines.retention.policies.policy import PolicySet

# A million in all; protections make Python twice as slow over the odd ones.
ROWS = {"default": 750_000, "odd": 250_000}
AS_OF = datetime(2026, 11, 22, 12, 0, 0, 1, tzinfo=UTC)
KINDS = {
    "quality_score": Kind.NUMBER,
    "access_count": Kind.NUMBER,
    "computed_at": Kind.INSTANT,
    "last_accessed_at": Kind.INSTANT,
    "feature_type": Kind.TEXT,
    "moved": Kind.BOOLEAN,
}
# Every operator and connective, every anchor a table of features has, and two thresholds an ulp apart.
ODD = """
feature_store:
- {id: odd_1, priority: 9, keep_seconds: 3600, reason: R, match: "not (quality_score <= 0.5 or moved = true)"}
- {id: odd_2, priority: 8, keep_days: 30, anchor: last_used, reason: R,
   match: "feature_type in ('species', 'sp''atial') and access_count != 5"}
- {id: odd_3, priority: 7, keep_seconds: 1, reason: R,
   match: "quality_score >= 0.5 and (moved is unknown or last_accessed_at is unknown)"}
- {id: odd_4, priority: 6, keep_days: 365, anchor: last_used, reason: R,
   match: "computed_at < '2026-01-01T00:00:00Z' or feature_type = ''"}
- {id: odd_5, priority: 5, keep_days: 36500, reason: R, match: "not moved != false"}
"""
PROTECTIONS = {
    "lease": "quality_score > 0.9999",
    "erasure": "feature_type = 'temporal' and not moved = true",
    "pin": "access_count >= 1000 and moved is known",
    "hold": "feature_type = 'species' and quality_score > 0.95",
    "root": "last_accessed_at > '2026-11-22T11:00:00Z'",
}


def _scores(random: np.random.Generator, count: int) -> np.ndarray[Any, Any]:
    edges = [edge for at in (0.5, 0.6, 0.8, 0.95, 0.9999) for edge in (np.nextafter(at, 0), at, np.nextafter(at, 1))]
    images = [float(np.float32(at)) for at in (0.6, 0.8, 0.95)]
    odd = [np.nan, np.inf, -np.inf, -0.0, 0.0, 1.0, 5e-324]
    picked = random.choice([*edges, *images, *odd, 99.0], count)
    return np.where(picked == 99.0, random.random(count), picked)


def _instants(random: np.random.Generator, count: int) -> np.ndarray[Any, Any]:
    """Microseconds since 1970, on and beside the edges of every age that a policy names."""
    now = int((AS_OF - datetime(1970, 1, 1, tzinfo=UTC)) / timedelta(microseconds=1))
    ages = [seconds * 10**6 for seconds in (0, 1, 3600, 30 * 86400, 90 * 86400, 365 * 86400, 730 * 86400)]
    edges = [now - age + beside for age in ages for beside in (-1, 0, 1)]
    new_year = int(datetime(2026, 1, 1, tzinfo=UTC).timestamp()) * 10**6
    picked = random.choice([*edges, new_year - 1, new_year, now + 10**12, 0], count)
    return np.where(picked == 0, random.integers(-2 * 10**15, now, count), picked)


@pytest.fixture(scope="module", params=["default", "odd"])
def rules(request: pytest.FixtureRequest) -> str:
    """Which policies decide: those that ship, or odd ones under protections."""
    return str(request.param)


@pytest.fixture(scope="module")
def rows(rules: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[duckdb.DuckDBPyConnection, Path]]:
    """The table `r` in DuckDB, and the same as CSV."""
    random, count = np.random.default_rng([20261122, len(rules)]), ROWS[rules]
    raw = {
        "id": np.arange(count),
        "score": _scores(random, count),
        "score_known": random.random(count) < 0.95,
        "access_count": random.choice([0, 1, 2, 3, 5, 6, 999, 1000], count),
        "computed": _instants(random, count),
        "computed_is": random.choice([0, 1, 2, 3], count, p=[0.94, 0.02, 0.02, 0.02]),
        "accessed": _instants(random, count),
        "accessed_is": random.choice([0, 1, 2, 3], count, p=[0.56, 0.4, 0.02, 0.02]),
        "type": random.choice([0, 1, 2, 3, 4, 5], count),
        "moved": random.choice([0, 1, 2], count),
    }
    con = duckdb.connect()
    con.execute("set timezone = 'UTC'")
    con.register("raw", raw)
    con.execute("""
        create table r as select
            id,
            case when score_known then score end as quality_score,
            access_count,
            case computed_is when 0 then make_timestamptz(computed) when 2 then timestamptz 'infinity'
                when 3 then timestamptz '-infinity' end as computed_at,
            case accessed_is when 0 then make_timestamptz(accessed) when 2 then timestamptz 'infinity'
                when 3 then timestamptz '-infinity' end as last_accessed_at,
            ['species', 'temporal', 'sp''atial', '', 'Species', null][type + 1] as feature_type,
            [true, false, null][moved + 1] as moved
        from raw order by id
    """)
    csv = tmp_path_factory.mktemp("rows") / "rows.csv"
    con.table("r").write_csv(str(csv), header=False, na_rep="\\N", quotechar='"')
    yield con, csv
    con.close()


@pytest.fixture(scope="module")
def table(rows: tuple[duckdb.DuckDBPyConnection, Path], embedded_server: Server) -> Iterator[tuple[Any, Table]]:
    """The same rows in Postgres."""
    url = embedded_server.url(database="postgres")
    table = Table(
        "decided_rows",
        MetaData(),
        Column("id", Double),
        Column("quality_score", Double),
        Column("access_count", Double),
        Column("computed_at", DateTime(timezone=True)),
        Column("last_accessed_at", DateTime(timezone=True)),
        Column("feature_type", Text),
        Column("moved", SqlBoolean),
    )
    engine = create_engine(url)
    table.create(engine)
    with engine.connect() as con:
        driver = con.connection.driver_connection
        assert isinstance(driver, psycopg.Connection)
        with driver.cursor().copy("copy decided_rows from stdin (format csv, null '\\N')") as copy:
            copy.write(rows[1].read_bytes())
        driver.commit()
    yield engine, table
    table.drop(engine)
    engine.dispose()


def test_a_million_rows_are_decided_alike_by_duckdb_postgres_and_python(
    rows: tuple[duckdb.DuckDBPyConnection, Path], table: tuple[Any, Table], rules: str
) -> None:
    con = rows[0]
    listed = default_policies() if rules == "default" else read_policies(ODD)
    chosen = PolicySet.of("feature_store", listed)
    protections = tuple(
        Protection(kind=kind, label=kind, match=parse(match, KINDS))  # type: ignore[arg-type]
        for kind, match in PROTECTIONS.items()
        if rules == "odd"
    )

    by_duckdb = duckdb_columns(KINDS, chosen, protections, AS_OF).named()
    decided = (
        con.table("r")
        .order("id")
        .select(*(by_duckdb[name].alias(name) for name in by_duckdb))
        .select(
            ColumnExpression("policy"),
            ColumnExpression("ruled_by"),
            duckdb.SQLExpression("epoch_us(anchored_at)"),
            ColumnExpression("anomaly"),
            ColumnExpression("expired"),
        )
        .fetchall()
    )

    engine, rows_table = table
    by_postgres = postgres_columns(dict(rows_table.columns), KINDS, chosen, protections, AS_OF)
    microseconds = func.extract("epoch", by_postgres.anchored_at) * 1_000_000
    statement = select(
        by_postgres.policy, by_postgres.ruled_by, microseconds, by_postgres.anomaly, by_postgres.expired
    ).order_by(rows_table.c.id)
    with engine.connect() as connection:
        in_postgres = [
            (policy, ruled_by, None if at is None else int(at), anomaly, expired)
            for policy, ruled_by, at, anomaly, expired in connection.execute(statement)
        ]
    assert len(decided) == len(in_postgres) == ROWS[rules]
    assert [pair for pair in zip(decided, in_postgres, strict=True) if pair[0] != pair[1]][:3] == []

    ordered = in_order(protections)
    place = {policy.policy_id: number for number, policy in enumerate(chosen.policies)}
    differing = []
    for (key, *values), answer in zip(_plain(con), decided, strict=True):
        row = dict(zip(KINDS, values, strict=True))
        decision = decide(row, chosen, protections, AS_OF)
        at = decision.anchored_at
        expected = (
            None if decision.policy is None else place[decision.policy.policy_id],
            None if decision.ruled_by is None else ordered.index(decision.ruled_by),
            None if at is None else (at - _EPOCH) // _TICK,
            decision.anomaly,
            decision.verdict == "expire",
        )
        if expected != answer:
            differing.append((key, row, expected, answer))
    assert differing[:3] == []
    # Every answer occurs: a comparison of constants would prove nothing.
    assert {answer[4] for answer in decided} == {True, False}
    assert {answer[3] for answer in decided} == {None, "no_anchor", "in_future"}
    assert {answer[0] for answer in decided} >= set(range(len(chosen.policies)))
    assert {answer[1] for answer in decided} == {None, *range(len(ordered))}


_EPOCH, _TICK = datetime(1970, 1, 1, tzinfo=UTC), timedelta(microseconds=1)


def _plain(con: duckdb.DuckDBPyConnection) -> Iterator[tuple[Any, ...]]:
    """The rows as Python holds them, an infinite instant as None: Python has none."""
    cursor = con.cursor()
    cursor.execute("set timezone = 'UTC'")
    cursor.execute("""
        select id, quality_score, access_count,
            case when isfinite(computed_at) then epoch_us(computed_at) end,
            case when isfinite(last_accessed_at) then epoch_us(last_accessed_at) end,
            feature_type, moved
        from r order by id
    """)
    while batch := cursor.fetchmany(50_000):
        for key, score, count, computed, accessed, kind, moved in batch:
            yield (key, score, count, _instant(computed), _instant(accessed), kind, moved)
    cursor.close()


def _instant(microseconds: int | None) -> datetime | None:
    return None if microseconds is None else _EPOCH + microseconds * _TICK
