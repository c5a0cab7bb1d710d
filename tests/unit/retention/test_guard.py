"""Guards: what refuses, what a person may overrule, and what nobody may."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retention_pipelines.retention.guard import Evidence, Facts, Limits, refusals

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
DAY = timedelta(days=1)
LIVE = Evidence(keys_read=100, last_read_at=NOW - timedelta(hours=1), scored=1_000, bad=10)
FINE = Facts(
    rows=1_000,
    removed=50,
    earlier=(40, 50, 60),
    host_now=NOW,
    database_now=NOW,
    as_of=NOW - timedelta(minutes=5),
    last_as_of=NOW - DAY,
    rewritten_bytes=1_000,
    free_bytes=1_100,
    evidence=LIVE,
    last_evidence=LIVE,
    confirmed=False,
)


def guards(**changes: Any) -> list[str]:
    return [one.guard for one in refusals(replace(FINE, **changes))]


def test_a_usual_run_with_live_evidence_is_let_through() -> None:
    assert guards() == []


@pytest.mark.parametrize(
    ("changes", "guard"),
    [
        ({"removed": 51}, "max_fraction"),
        ({"rows": 10**6, "removed": 251}, "median"),
        ({"as_of": NOW, "last_as_of": NOW - 366 * DAY - timedelta(seconds=1)}, "clock"),
        ({"evidence": replace(LIVE, keys_read=49)}, "evidence"),
        ({"evidence": replace(LIVE, last_read_at=NOW - 4 * DAY), "last_as_of": NOW - 2 * DAY}, "evidence"),
        ({"evidence": replace(LIVE, bad=211)}, "evidence"),
        ({"evidence": replace(LIVE, bad=501), "last_evidence": None}, "evidence"),
    ],
)
def test_what_a_person_may_know_better_is_refused_until_the_hash_is_named(changes: dict[str, Any], guard: str) -> None:
    assert guards(**changes) == [guard]
    assert guards(**changes, confirmed=True) == []
    (refusal,) = refusals(replace(FINE, **changes))
    assert refusal.reason.endswith((".", "?"))
    assert "hash" in refusal.hint


@pytest.mark.parametrize(
    ("changes", "guard"),
    [
        ({"host_now": NOW + timedelta(seconds=61)}, "clock"),
        ({"host_now": NOW - timedelta(seconds=61)}, "clock"),
        ({"as_of": NOW + timedelta(seconds=61)}, "clock"),
        ({"last_as_of": NOW + timedelta(seconds=61)}, "clock"),
        ({"as_of": NOW - 7 * DAY - timedelta(seconds=1)}, "age"),
        ({"free_bytes": 1_099}, "space"),
    ],
)
def test_clocks_age_and_space_are_overruled_by_nobody(changes: dict[str, Any], guard: str) -> None:
    assert guards(**changes) == [guard]
    assert guards(**changes, confirmed=True) == [guard]


@pytest.mark.parametrize(
    "changes",
    [
        {"removed": 50},
        {"rows": 10**6, "removed": 250},
        {"rows": 10**6, "removed": 40_000, "earlier": (10, 20)},
        {"host_now": NOW + timedelta(seconds=60)},
        {"as_of": NOW - 7 * DAY},
        {"as_of": NOW, "last_as_of": NOW - 366 * DAY},
        {"last_as_of": None, "last_evidence": None, "earlier": ()},
        {"free_bytes": None},
        {"rewritten_bytes": 0, "free_bytes": 0},
        {"evidence": replace(LIVE, keys_read=50)},
        {"evidence": Evidence()},
        {"evidence": replace(LIVE, keys_read=0), "last_evidence": replace(LIVE, keys_read=19)},
        {"evidence": replace(LIVE, bad=210)},
        {"evidence": replace(LIVE, bad=500), "last_evidence": None},
        {"evidence": replace(LIVE, scored=19, bad=19)},
        {"rows": 0, "removed": 0},
    ],
)
def test_what_lies_on_the_edge_is_let_through(changes: dict[str, Any]) -> None:
    assert guards(**changes) == []


def test_a_table_of_any_size_is_measured_by_its_share() -> None:
    """P1: over 1000 rows were refused, whatever the table's size."""
    assert guards(rows=10_000_000, removed=500_000, earlier=(400_000, 400_000, 400_000)) == []
    assert guards(rows=10, removed=1, earlier=()) == ["max_fraction"]


def test_what_nobody_may_overrule_is_told_first() -> None:
    assert guards(removed=1_000, free_bytes=0) == ["space", "max_fraction", "median"]


@given(st.integers(0, 10**6), st.integers(0, 10**6), st.booleans())
def test_more_removed_never_passes_where_less_was_refused(removed: int, more: int, confirmed: bool) -> None:
    facts = replace(FINE, rows=2 * 10**6, removed=removed, confirmed=confirmed)
    fewer = {one.guard for one in refusals(facts)}
    assert fewer <= {one.guard for one in refusals(replace(facts, removed=removed + more))}


def test_limits_can_be_set() -> None:
    strict = Limits(max_fraction=0.01, times_median=1.0)
    assert [one.guard for one in refusals(replace(FINE, removed=51), strict)] == ["max_fraction", "median"]
