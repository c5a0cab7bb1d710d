"""Filters as SQL: DuckDB's is run over every odd value, Postgres's is read: text, and each literal bound by its kind.

That Postgres then decides like DuckDB and like Python is shown over a million rows in `test_retention_decisions.py`.
"""

import itertools
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import duckdb
import pytest
from sqlalchemy import Boolean, Column, DateTime, Double, MetaData, Table, Text
from sqlalchemy.dialects import postgresql

from retention_pipelines.retention.filter import duckdb as duckdb_filter
from retention_pipelines.retention.filter import postgres as postgres_filter
from retention_pipelines.retention.filter.ast import And, Compare, Everything, Filter, In, Kind, Not, Or, Unknown
from retention_pipelines.retention.filter.oracle import matches

AT = datetime(2026, 1, 1, tzinfo=UTC)
KINDS = {"score": Kind.NUMBER, "seen": Kind.INSTANT, "name": Kind.TEXT, "used": Kind.BOOLEAN}
OPERATORS = ("=", "!=", "<", "<=", ">", ">=")
FILTERS: list[Filter] = [
    Everything(),
    *(Compare("score", operator, 0.5) for operator in OPERATORS),
    *(Compare("seen", operator, AT) for operator in OPERATORS),
    Compare("name", "=", "it's"),
    Compare("name", "!=", "it's"),
    Compare("used", "=", True),
    Compare("used", "!=", False),
    In("score", (0.5, 2.0)),
    In("seen", (AT,)),
    In("name", ("it's", "b")),
    *(Unknown(name) for name in KINDS),
    *(Not(Unknown(name)) for name in KINDS),
    Not(Compare("score", ">", 0.5)),
    Not(In("name", ("b",))),
    And((Compare("score", ">", 0.1), Compare("used", "=", True))),
    And((Compare("score", ">", 0.1), Compare("used", "=", True), Compare("name", "=", "b"))),
    Or((Compare("score", ">", 0.6), Compare("used", "=", True))),
    Or((Unknown("score"), Unknown("seen"), Compare("name", "=", "b"))),
    Not(And((Unknown("score"), Compare("used", "=", False)))),
]


@pytest.fixture(scope="module")
def odd() -> Iterator[duckdb.DuckDBPyConnection]:
    """Every combination of odd values as the table `odd`."""
    con = duckdb.connect()
    con.execute("set timezone = 'UTC'")
    con.execute("""
        create table odd as
        from (select unnest([null, 'nan', 'inf', '-inf', '-0.0', '0.1', '0.5', '0.5000000000000001', '2']::double[])
            as score)
        cross join (select unnest([null, 'infinity', '-infinity', '2026-01-01 00:00:00+00',
            '2025-12-31 23:59:59.999999+00', '2026-01-01 00:00:00.000001+00']::timestamptz[]) as seen)
        cross join (select unnest([null, 'it''s', 'b', '']) as name)
        cross join (select unnest([null, true, false]) as used)
    """)
    yield con
    con.close()


@pytest.mark.parametrize("node", FILTERS, ids=str)
def test_duckdb_decides_every_odd_row_like_python(odd: duckdb.DuckDBPyConnection, node: Filter) -> None:
    rows = odd.table("odd")
    found = rows.select(
        duckdb.ColumnExpression("score"),
        # An infinite instant comes to Python as None.
        duckdb.SQLExpression("case when isfinite(seen) then seen end"),
        *map(duckdb.ColumnExpression, ("name", "used")),
        duckdb_filter.expression(node, KINDS).alias("matched"),
    ).fetchall()
    assert len(found) == 9 * 6 * 4 * 3
    for *values, matched in found:
        row = dict(zip(KINDS, values, strict=True))
        assert matched is matches(node, row), row


TABLE = Table(
    "t",
    MetaData(),
    Column("score", Double),
    Column("seen", DateTime(timezone=True)),
    Column("name", Text),
    Column("used", Boolean),
)
_SCORE = "nullif(CAST(t.score AS DOUBLE PRECISION), %({})s)"
_FINITE = "CASE WHEN isfinite(t.seen) THEN t.seen END"


def compiled(node: Filter) -> tuple[str, dict[str, Any]]:
    """Text and parameters for Postgres."""
    columns = {name: TABLE.c[name] for name in KINDS}
    built = postgres_filter.expression(node, columns, KINDS).compile(dialect=postgresql.dialect())
    return " ".join(str(built).split()), dict(built.params)


def test_a_number_is_unknown_to_postgres_where_it_is_nan_and_its_threshold_is_a_double() -> None:
    written, values = compiled(Compare("score", ">", 0.5))
    nan, threshold = values
    assert written == f"{_SCORE.format(nan)} > CAST(%({threshold})s AS DOUBLE PRECISION)"
    assert str(values[nan]) == "nan"
    assert values[threshold] == 0.5


@pytest.mark.parametrize(
    ("node", "written", "bound"),
    [
        (Everything(), "true", []),
        (
            Compare("seen", "<=", AT),
            f"{_FINITE} <= CAST(%s::TIMESTAMP WITH TIME ZONE AS TIMESTAMP WITH TIME ZONE)",
            [AT],
        ),
        (Compare("name", "=", "it's"), "t.name = CAST(%s::VARCHAR AS TEXT)", ["it's"]),
        (Compare("used", "!=", True), "t.used != CAST(%s AS BOOLEAN)", [True]),
        (In("name", ("a", "b")), "t.name IN (CAST(%s::VARCHAR AS TEXT), CAST(%s::VARCHAR AS TEXT))", ["a", "b"]),
        (Unknown("name"), "t.name IS NULL", []),
        (Unknown("seen"), f"{_FINITE} IS NULL", []),
        (Not(Unknown("name")), "t.name IS NOT NULL", []),
        (Not(Compare("name", "=", "a")), "t.name != CAST(%s::VARCHAR AS TEXT)", ["a"]),
        (And((Unknown("name"), Unknown("used"))), "t.name IS NULL AND t.used IS NULL", []),
        (Or((Unknown("name"), Unknown("used"))), "t.name IS NULL OR t.used IS NULL", []),
        (
            Not(And((Unknown("name"), Or((Unknown("used"), Compare("used", "=", False)))))),
            "NOT (t.name IS NULL AND (t.used IS NULL OR t.used = CAST(%s AS BOOLEAN)))",
            [False],
        ),
    ],
)
def test_a_filter_becomes_one_text_with_every_literal_bound(node: Filter, written: str, bound: list[Any]) -> None:
    """P11: filter names were pasted into the SQL text."""
    found, values = compiled(node)
    for name in values:
        found = found.replace(f"%({name})s", "%s")
    assert found == written
    assert list(values.values()) == bound


def test_a_number_among_others_is_unknown_to_postgres_where_it_is_nan() -> None:
    written, values = compiled(In("score", (0.5, 1.0)))
    nan, *thresholds = values
    listed = ", ".join(f"CAST(%({name})s AS DOUBLE PRECISION)" for name in thresholds)
    assert written == f"{_SCORE.format(nan)} IN ({listed})"
    assert [values[name] for name in thresholds] == [0.5, 1.0]


@pytest.mark.parametrize(("operator", "kind"), list(itertools.product(OPERATORS, ("score", "seen"))))
def test_every_operator_is_the_same_sign_in_postgres(operator: str, kind: str) -> None:
    value = 0.5 if kind == "score" else AT
    written, _ = compiled(Compare(kind, operator, value))  # type: ignore[arg-type]
    assert f" {operator} CAST(" in written


def test_a_field_may_be_any_expression() -> None:
    columns = {"score": TABLE.c.used, "name": TABLE.c.name}
    built = postgres_filter.expression(Unknown("score"), columns, KINDS).compile(dialect=postgresql.dialect())
    assert "t.used" in str(built)
