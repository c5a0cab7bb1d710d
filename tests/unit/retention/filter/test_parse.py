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


@pytest.mark.parametrize(
    ("written", "message", "hint"),
    [
        (
            "score",
            "The end is out of place at character 6 of the filter.\n  score\n       ^",
            "=, !=, <, <=, >, >=, in or is",
        ),
        (
            "scores > 1",
            "'scores' is not a field here at character 1 of the filter.\n  scores > 1\n  ^",
            "score",
        ),
        (
            "elephant > 1",
            "'elephant' is not a field here at character 1 of the filter.\n  elephant > 1\n  ^",
            "one of at, name, reads, score, used",
        ),
        (
            "score\n>\t'x'",
            "'x' cannot be compared with score at character 9 of the filter.\n  score > 'x'\n          ^",
            "a number",
        ),
        ("score in (1, 'b')", "'b' cannot be compared with score at character 14 of the filter.", "a number"),
        ("score in ('b')", "'b' cannot be compared with score at character 11 of the filter.", "a number"),
        ("name > 'a'", "'>' does not order a text field at character 6 of the filter.", "=, != or in"),
        ("used < true", "'<' does not order a boolean field at character 6 of the filter.", "=, != or in"),
        ("used = 'true'", "'true' cannot be compared with used at character 8", "true or false"),
        ("name = 'a", '"\'" opens a text that does not end at character 8', "a closing quote"),
        ("score ; 1", "';' is out of place at character 7", "a field, a number, a 'text' or a sign"),
        ("score = 1e999", "'1e999' is out of place at character 9", "a finite number"),
        ("at = 'soon'", "'soon' is out of place at character 6", "an instant such as '2026-01-01T00:00:00Z'"),
        (
            "at = '2026-01-01'",
            "'2026-01-01' is out of place at character 6",
            "an instant with a zone, such as '2026-01-01T00:00:00Z'",
        ),
        (
            "at > '0001-01-01T00:00:00+14:00'",
            "'0001-01-01T00:00:00+14:00' is out of place at character 6",
            "an instant between the years 1 and 9999",
        ),
        ("at = 5", "'5' cannot be compared with at at character 6", "an instant such as '2026-01-01T00:00:00Z'"),
        ("name = 5", "'5' cannot be compared with name at character 8", "a text in single quotes"),
        ("and", "'and' is out of place at character 1", "a field, not or ("),
        ("score > 1 score", "'score' is out of place at character 11", "and, or, or the end"),
        ("name not = 'a'", "'=' is out of place at character 10", "in"),
        ("score is", "The end is out of place at character 9", "unknown or known"),
        ("name = 'a\x00b'", "a zero byte is out of place at character 8", "a text without it"),
        ("(score > 1", "The end is out of place at character 11", ")"),
        ("name in 'a'", "'a' is out of place at character 9", "("),
        ("not " * 33 + "score > 1", "'not' is out of place at character 129", "at most 8 levels"),
    ],
)
def test_an_error_is_said_in_full(written: str, message: str, hint: str) -> None:
    with pytest.raises(FilterError) as caught:
        parse(written, FIELDS)
    assert caught.value.message.startswith(message)
    assert caught.value.hint == f"Expected {hint}."


def test_the_bounds_of_a_filter_are_said_with_what_it_has() -> None:
    for written, said in (
        ("x" * 4_001, "A filter has at most 4000 characters; this one has 4001."),
        (" and ".join(["score > 1"] * 50), "A filter has at most 50 parts; this one has 51."),
        ("not " * 8 + "score > 1", "A filter is nested at most 8 deep; this one is 9 deep."),
    ):
        with pytest.raises(FilterError) as caught:
            parse(written, FIELDS)
        assert caught.value.message == said
    assert parse("score > 1" + " " * (4_000 - 9), FIELDS) == Compare("score", ">", 1.0)


def test_brackets_are_counted_while_they_are_open_only() -> None:
    beside = " and ".join(["(score > 1)"] * 40)
    assert nodes(parse(beside, FIELDS)) == 41
    assert parse("(" * 31 + "score > 1" + ")" * 31, FIELDS) == Compare("score", ">", 1.0)
    with pytest.raises(FilterError, match="is out of place"):
        parse("(" * 32 + "score > 1" + ")" * 32, FIELDS)


@pytest.mark.parametrize(
    ("written", "number"),
    [("1", 1.0), ("+1.5", 1.5), ("-.5", -0.5), ("2.", 2.0), ("1e3", 1000.0), ("1E-3", 0.001), ("1.5e+2", 150.0)],
)
def test_numbers_are_read_in_every_usual_form(written: str, number: float) -> None:
    assert parse(f"score = {written}", FIELDS) == Compare("score", "=", number)


@pytest.mark.parametrize(
    "written", ["score = 1x", "score = 1.2.3", "score = 0x1", "Score = 1", "score = 1 AND reads = 2"]
)
def test_what_only_looks_like_a_number_or_a_word_is_refused(written: str) -> None:
    with pytest.raises(FilterError):
        parse(written, FIELDS)


def test_the_fields_of_a_filter_are_those_of_all_its_terms() -> None:
    assert fields(parse("everything", FIELDS)) == frozenset()
    assert fields(parse("not (score > 1 and name in ('a')) or at is known", FIELDS)) == {"score", "name", "at"}


def test_brackets_that_were_closed_neither_use_up_nor_add_to_what_may_be_open() -> None:
    deep = "(" * 31 + "score > 1" + ")" * 31
    one = Compare("score", ">", 1.0)
    assert parse(f"{deep} and {deep}", FIELDS) == And((one, one))
    with pytest.raises(FilterError, match="is out of place"):
        parse("(score > 1) and " * 20 + f"(({deep}))", FIELDS)


def test_a_word_that_is_no_truth_value_is_refused_and_a_field_that_is_half_right_is_recognised() -> None:
    with pytest.raises(FilterError, match="'maybe' cannot be compared with used"):
        parse("used = maybe", FIELDS)
    with pytest.raises(FilterError) as caught:
        parse("name_of_it = 'a'", FIELDS)
    assert caught.value.hint == "Expected name."
