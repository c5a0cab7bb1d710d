"""The oracle row by row: three-valued logic by its truth tables, every operator at its edge."""

import itertools
from datetime import UTC, datetime, timedelta

import pytest

from retention_pipelines.retention.filter.ast import (
    And,
    Compare,
    Everything,
    Filter,
    In,
    Not,
    Or,
    Unknown,
    depth,
    nodes,
)
from retention_pipelines.retention.filter.oracle import known, matches
from retention_pipelines.retention.filter.text import text

NAN = float("nan")
AT = datetime(2026, 1, 1, tzinfo=UTC)
TRUE, FALSE, UNKNOWN = Compare("one", "=", 1.0), Compare("one", "=", 2.0), Compare("none", "=", 1.0)
ROW = {"one": 1, "none": None, "nan": NAN, "name": "a", "used": True, "at": AT}
VALUES: dict[Filter, bool | None] = {TRUE: True, FALSE: False, UNKNOWN: None}


@pytest.mark.parametrize(
    ("operator", "below", "equal", "above"),
    [
        ("=", False, True, False),
        ("!=", True, False, True),
        ("<", True, False, False),
        ("<=", True, True, False),
        (">", False, False, True),
        (">=", False, True, True),
    ],
)
def test_every_operator_compares_as_it_reads(operator: str, below: bool, equal: bool, above: bool) -> None:
    for value, expected in ((0.5, below), (1, equal), (1.5, above)):
        assert matches(Compare("x", operator, 1.0), {"x": value}) is expected  # type: ignore[arg-type]
    for shift, expected in ((-1, below), (0, equal), (1, above)):
        row = {"x": AT + timedelta(microseconds=shift)}
        assert matches(Compare("x", operator, AT), row) is expected  # type: ignore[arg-type]


def test_an_operator_that_is_none_is_no_comparison() -> None:
    with pytest.raises(ValueError, match="like"):
        matches(Compare("one", "like", 1.0), ROW)  # type: ignore[arg-type]


@pytest.mark.parametrize("field", ["none", "nan", "missing"])
def test_null_nan_and_a_missing_field_are_unknown_to_every_test(field: str) -> None:
    for operator in ("=", "!=", "<", "<=", ">", ">="):
        assert matches(Compare(field, operator, 1.0), ROW) is None  # type: ignore[arg-type]
    assert matches(In(field, (1.0,)), ROW) is None
    assert matches(Not(In(field, (1.0,))), ROW) is None
    assert matches(Unknown(field), ROW) is True
    assert matches(Not(Unknown(field)), ROW) is False


def test_a_value_is_among_others_where_it_equals_one_of_them() -> None:
    assert matches(In("one", (3.0, 1.0)), ROW) is True
    assert matches(In("one", (3.0, 2.0)), ROW) is False
    assert matches(In("name", ("b", "a")), ROW) is True
    assert matches(In("used", (False,)), ROW) is False
    assert matches(Unknown("one"), ROW) is False
    assert matches(Everything(), {}) is True


def test_not_and_or_follow_their_truth_tables() -> None:
    for node, value in VALUES.items():
        assert matches(Not(node), ROW) is (None if value is None else not value)
    for left, right in itertools.product(VALUES, repeat=2):
        one, other = VALUES[left], VALUES[right]
        both = False if False in (one, other) else None if None in (one, other) else True
        either = True if True in (one, other) else None if None in (one, other) else False
        assert matches(And((left, right)), ROW) is both
        assert matches(Or((left, right)), ROW) is either


def test_whole_numbers_are_compared_as_the_doubles_they_are_bound_as() -> None:
    assert isinstance(known(3), float)
    assert (known(True), known("3"), known(AT), known(None), known(NAN)) == (True, "3", AT, None, None)
    assert matches(Compare("x", "=", float(2**53)), {"x": 2**53 + 1}) is True


def test_parts_and_depth_are_counted_literal_by_literal_and_level_by_level() -> None:
    among, negated = In("one", (1.0, 2.0, 3.0)), Not(TRUE)
    assert (nodes(among), nodes(negated), nodes(Everything()), nodes(TRUE)) == (4, 2, 1, 1)
    assert nodes(And((among, negated))) == 7
    assert nodes(Not(among)) == 5
    assert nodes(Or((TRUE, And((TRUE, FALSE))))) == 5
    assert (depth(TRUE), depth(among), depth(negated), depth(Not(negated))) == (1, 1, 2, 3)
    assert depth(And((TRUE, negated))) == 3
    assert depth(Or((negated, And((Not(negated), TRUE))))) == 5


@pytest.mark.parametrize(
    ("node", "written"),
    [
        (Compare("x", "=", 5.0), "x = 5"),
        (Compare("x", "=", -0.0), "x = -0.0"),
        (Compare("x", "=", 0.0), "x = 0"),
        (Compare("x", "=", 0.25), "x = 0.25"),
        (Compare("x", "=", 999_999_999_999_999.0), "x = 999999999999999"),
        (Compare("x", "=", 1e15), "x = 1000000000000000.0"),
        (Compare("x", "=", -1e15), "x = -1000000000000000.0"),
        (Compare("x", "=", True), "x = true"),
        (Compare("x", "=", False), "x = false"),
        (Compare("x", "=", "it's"), "x = 'it''s'"),
        (Compare("x", "<", AT), "x < '2026-01-01T00:00:00Z'"),
        (Compare("x", "<", AT.astimezone(tz=None)), "x < '2026-01-01T00:00:00Z'"),
        (In("x", ("a", "b")), "x in ('a', 'b')"),
        (Not(In("x", (1.0, 2.0))), "x not in (1, 2)"),
        (Not(Unknown("x")), "x is known"),
        (Unknown("x"), "x is unknown"),
        (Not(Compare("x", "=", 1.0)), "not x = 1"),
        (Not(And((Unknown("x"), Unknown("y")))), "not (x is unknown and y is unknown)"),
        (Or((And((Unknown("x"), Unknown("y"))), Unknown("z"))), "(x is unknown and y is unknown) or z is unknown"),
        (Everything(), "everything"),
    ],
)
def test_a_filter_is_written_in_one_way(node: Filter, written: str) -> None:
    assert text(node) == written


def test_an_instant_of_another_zone_is_written_in_utc() -> None:
    from zoneinfo import ZoneInfo

    berlin = datetime(2026, 7, 1, 2, tzinfo=ZoneInfo("Europe/Berlin"))
    assert text(Compare("x", "<", berlin)) == "x < '2026-07-01T00:00:00Z'"
