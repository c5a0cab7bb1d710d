"""Filters as text: what is read, what is refused and where the error points."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from retention_pipelines.errors import FilterError
from retention_pipelines.retention.filter.ast import (
    And,
    Compare,
    Everything,
    Filter,
    In,
    Kind,
    Not,
    Or,
    Unknown,
    depth,
    fields,
    nodes,
)
from retention_pipelines.retention.filter.parse import MAX_DEPTH, MAX_NODES, parse
from retention_pipelines.retention.filter.text import text

FIELDS = {"score": Kind.NUMBER, "reads": Kind.NUMBER, "name": Kind.TEXT, "used": Kind.BOOLEAN, "at": Kind.INSTANT}


def test_and_binds_closer_than_or_and_not_closest() -> None:
    assert parse("not used = true or score > 0.8 and reads > 5", FIELDS) == Or(
        (Not(Compare("used", "=", True)), And((Compare("score", ">", 0.8), Compare("reads", ">", 5.0))))
    )


def test_brackets_decide_against_the_order() -> None:
    assert parse("(score > 1 or score < 0) and name in ('a', 'b''c')", FIELDS) == And(
        (Or((Compare("score", ">", 1.0), Compare("score", "<", 0.0))), In("name", ("a", "b'c")))
    )


def test_known_and_not_in_are_the_opposites_of_unknown_and_in() -> None:
    assert parse("score is known and name not in ('x')", FIELDS) == And(
        (Not(Unknown("score")), Not(In("name", ("x",))))
    )


def test_an_instant_is_read_in_its_zone_and_kept_in_utc() -> None:
    assert parse("at < '2026-01-01T01:00:00+01:00'", FIELDS) == Compare("at", "<", datetime(2026, 1, 1, tzinfo=UTC))


@pytest.mark.parametrize(
    ("written", "at", "expected"),
    [
        ("", 0, "a field"),
        ("score", 5, "=, !=, <"),
        ("score >", 7, "a number"),
        ("score > 'x'", 8, "a number"),
        ("score > nan", 8, "a number"),
        ("score > 1e999", 8, "a finite number"),
        ("scores > 1", 0, "score"),
        ("score > 1 2", 10, "and, or, or the end"),
        ("(score > 1", 10, ")"),
        ("name > 'a'", 5, "=, != or in"),
        ("name = 'a", 7, "a closing quote"),
        ("name = a", 7, "a text in single quotes"),
        ("name in ()", 9, "a text in single quotes"),
        ("at > '2026-01-01'", 5, "with a zone"),
        ("at > 'soon'", 5, "an instant such as"),
        ("at > '0001-01-01T00:00:00+14:00'", 5, "between the years 1 and 9999"),
        ("used = 1", 7, "true or false"),
        ("score is nice", 9, "unknown or known"),
        ("score = 1; drop table x", 9, "a field, a number"),
        ("everything and score > 1", 11, "the end"),
        ("not everything", 4, "a field"),
        ("score = 1 and name = 'a\x00b'", 21, "without it"),
    ],
)
def test_an_error_points_at_the_character_and_says_what_would_do(written: str, at: int, expected: str) -> None:
    with pytest.raises(FilterError) as caught:
        parse(written, FIELDS)
    assert caught.value.at == at
    assert expected in str(caught.value.hint)
    shown, arrow = caught.value.message.split("\n")[1:3]
    assert arrow.index("^") - 2 == at
    assert shown.startswith("  ")


def test_a_filter_may_have_fifty_parts_and_no_more() -> None:
    fitting = " and ".join(["score > 1"] * (MAX_NODES - 1))
    assert nodes(parse(fitting, FIELDS)) == MAX_NODES
    with pytest.raises(FilterError, match="at most 50 parts"):
        parse(f"{fitting} and score > 1", FIELDS)
    with pytest.raises(FilterError, match="at most 50 parts"):
        parse(f"reads in ({', '.join(map(str, range(MAX_NODES)))})", FIELDS)


def test_a_filter_may_be_eight_deep_and_no_deeper() -> None:
    fitting = "not " * (MAX_DEPTH - 1) + "score > 1"
    assert depth(parse(fitting, FIELDS)) == MAX_DEPTH
    with pytest.raises(FilterError, match="nested at most 8 deep"):
        parse(f"not {fitting}", FIELDS)
    for endless in ("(" * 100_000, "not " * 100_000, "(" * 1_900 + "score > 1" + ")" * 1_900):
        with pytest.raises(FilterError):
            parse(endless, FIELDS)


_NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
_TEXTS = st.text(st.characters(exclude_characters="\x00", exclude_categories=("Cs",)), max_size=8)
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
_INSTANTS = st.integers(-(10**13), 10**14).map(lambda ticks: _EPOCH + timedelta(microseconds=ticks))
_LITERALS = {"score": _NUMBERS, "reads": _NUMBERS, "name": _TEXTS, "used": st.booleans(), "at": _INSTANTS}


@st.composite
def leaves(draw: st.DrawFn) -> Filter:
    """A test of one field."""
    name = draw(st.sampled_from(sorted(FIELDS)))
    kind = draw(st.sampled_from(["unknown", "in", "compare"]))
    if kind == "unknown":
        return Unknown(name)
    if kind == "in":
        return In(name, tuple(draw(st.lists(_LITERALS[name], min_size=1, max_size=3))))
    ordered = FIELDS[name] in (Kind.NUMBER, Kind.INSTANT)
    return Compare(
        name,
        draw(st.sampled_from(["=", "!=", "<", "<=", ">", ">="] if ordered else ["=", "!="])),
        draw(_LITERALS[name]),
    )


def filters() -> st.SearchStrategy[Filter]:
    """Trees that fit the bounds."""
    grown = st.recursive(
        leaves(),
        lambda inner: st.one_of(
            inner.map(Not),
            st.lists(inner, min_size=2, max_size=3).map(lambda terms: And(tuple(terms))),
            st.lists(inner, min_size=2, max_size=3).map(lambda terms: Or(tuple(terms))),
        ),
        max_leaves=10,
    )
    return grown.filter(lambda node: depth(node) <= MAX_DEPTH and nodes(node) <= MAX_NODES)


@settings(max_examples=400, derandomize=True, deadline=None)
@given(filters())
@example(Everything())
@example(Compare("score", "=", -0.0))
def test_what_is_printed_is_read_as_the_same_tree(node: Filter) -> None:
    again = parse(text(node), FIELDS)
    assert again == node
    assert str(again) == str(node)  # -0.0 equals 0.0, and yet is another literal


@settings(max_examples=1500, derandomize=True, deadline=None)
@given(
    st.one_of(
        st.text(max_size=60),
        st.lists(
            st.sampled_from(
                [*FIELDS, "and", "or", "not", "in", "is", "unknown", "(", ")", ",", "=", "<", "1", "'a'", "true"]
            ),
            max_size=14,
        ).map(" ".join),
    )
)
def test_any_text_is_a_tree_that_prints_back_or_an_error_that_points(written: str) -> None:
    try:
        node = parse(written, FIELDS)
    except FilterError as error:
        at = error.at
    else:
        at = None
        assert parse(text(node), FIELDS) == node
        assert fields(node) <= set(FIELDS)
    assert at is None or 0 <= at <= len(written)
