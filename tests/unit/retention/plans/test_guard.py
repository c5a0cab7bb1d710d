"""Guards: what refuses, what a person may overrule, and what nobody may."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retention_pipelines.retention.plans.guard import Evidence, Facts, Limits, Refusal, refusals

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


_BY_HASH = "confirm the plan by its hash."
SAID: list[tuple[dict[str, Any], Refusal]] = [
    (
        {"host_now": NOW + 3 * DAY},
        Refusal(
            guard="clock",
            reason="This machine and the database differ by 3 days.",
            hint="Set the clocks right, then plan again.",
            can_confirm=False,
        ),
    ),
    (
        {"last_as_of": NOW + timedelta(seconds=119)},
        Refusal(
            guard="clock",
            reason="The database's clock is 119 seconds behind an earlier plan or run.",
            hint="Set the clock right, then plan again.",
            can_confirm=False,
        ),
    ),
    (
        {"as_of": NOW - 8 * DAY},
        Refusal(
            guard="age",
            reason="The plan is 8 days old.",
            hint="Make a new one: `retention plan`.",
            can_confirm=False,
        ),
    ),
    (
        {"rewritten_bytes": 10_000, "free_bytes": 10_999},
        Refusal(
            guard="space",
            reason="Rewriting needs about 11,000 bytes, 10,999 are free.",
            hint="Free some space; policies whose partitions go whole need none.",
            can_confirm=False,
        ),
    ),
    (
        {"as_of": NOW, "last_as_of": NOW - 400 * DAY},
        Refusal(
            guard="clock",
            reason="The last run was 400 days ago: either nothing ran for that long, or a clock leapt.",
            hint=f"If the clock is right, {_BY_HASH}",
            can_confirm=True,
        ),
    ),
    (
        {"rows": 20_000, "removed": 2_000, "earlier": ()},
        Refusal(
            guard="max_fraction",
            reason="2,000 of 20,000 rows would go, 10.0% of the dataset; more than 5% needs a person.",
            hint="Read the plan, then confirm it by its hash.",
            can_confirm=True,
        ),
    ),
    (
        {"rows": 10**6, "removed": 5_001, "earlier": (900, 1_000, 1_000)},
        Refusal(
            guard="median",
            reason="5,001 rows would go; the last 3 runs took 1,000 (median).",
            hint="More than 5 times as many needs a person: read the plan, confirm it by its hash.",
            can_confirm=True,
        ),
    ),
    (
        {"last_evidence": replace(LIVE, keys_read=3_000), "evidence": replace(LIVE, keys_read=1_499)},
        Refusal(
            guard="evidence",
            reason="Counted reads fell from 3,000 entries to 1,499 since the last run. Policies decide by reads: "
            "either nobody reads, or counting broke.",
            hint=f"See whether reads are counted (`retention doctor`); if nobody reads, {_BY_HASH}",
            can_confirm=True,
        ),
    ),
    (
        {"evidence": replace(LIVE, last_read_at=NOW - 4 * DAY), "last_as_of": NOW - 2 * DAY},
        Refusal(
            guard="evidence",
            reason="Nothing was read since 2026-11-18, before the last run. Policies decide by reads: either nobody "
            "reads, or counting broke.",
            hint=f"See whether reads are counted (`retention doctor`); if nobody reads, {_BY_HASH}",
            can_confirm=True,
        ),
    ),
    (
        {"evidence": replace(LIVE, bad=300)},
        Refusal(
            guard="evidence",
            reason="30% of the quality scores are 0 or NaN, 1% at the last run: scoring may have broken.",
            hint=f"Look at the newest scores; if they are right, {_BY_HASH}",
            can_confirm=True,
        ),
    ),
    (
        {"evidence": replace(LIVE, scored=20, bad=20), "last_evidence": None},
        Refusal(
            guard="evidence",
            reason="100% of the quality scores are 0 or NaN: scoring may have broken.",
            hint=f"Look at the newest scores; if they are right, {_BY_HASH}",
            can_confirm=True,
        ),
    ),
]


@pytest.mark.parametrize(("changes", "refusal"), SAID, ids=lambda one: getattr(one, "guard", ""))
def test_a_refusal_says_what_was_measured_what_to_do_and_who_may_overrule_it(
    changes: dict[str, Any], refusal: Refusal
) -> None:
    assert refusals(replace(FINE, **changes)) == (refusal,)


@pytest.mark.parametrize(
    ("span", "said"),
    [
        (timedelta(seconds=61.4), "61 seconds"),
        (timedelta(minutes=2) - timedelta(seconds=1), "119 seconds"),
        (timedelta(minutes=2), "2 minutes"),
        (timedelta(minutes=119), "119 minutes"),
        (timedelta(hours=2), "2 hours"),
        (timedelta(hours=47), "47 hours"),
        (timedelta(hours=48), "2 days"),
        (timedelta(days=2, hours=13), "3 days"),
    ],
)
def test_a_span_is_said_in_the_largest_unit_that_it_holds_twice(span: timedelta, said: str) -> None:
    (refusal,) = refusals(replace(FINE, host_now=NOW + span))
    assert refusal.reason == f"This machine and the database differ by {said}."


@pytest.mark.parametrize(
    "changes",
    [
        {"last_as_of": NOW + timedelta(seconds=60)},
        {"as_of": NOW + timedelta(seconds=60), "last_as_of": None},
        {"evidence": replace(LIVE, scored=None)},
        {"evidence": replace(LIVE, bad=None)},
        {"evidence": replace(LIVE, last_read_at=None)},
        {"last_evidence": replace(LIVE, keys_read=None), "evidence": replace(LIVE, keys_read=0)},
        # The last run was less than a day before this plan: nobody need have read anything since.
        {
            "as_of": NOW - timedelta(minutes=5),
            "last_as_of": NOW - DAY - timedelta(minutes=5) + timedelta(seconds=1),
            "evidence": replace(LIVE, last_read_at=NOW - 9 * DAY),
        },
        # The last read was just a day before the last run.
        {"last_as_of": NOW - 2 * DAY, "evidence": replace(LIVE, last_read_at=NOW - 3 * DAY)},
    ],
)
def test_what_lies_on_an_edge_or_is_unknown_is_let_through(changes: dict[str, Any]) -> None:
    assert guards(**changes) == []


@pytest.mark.parametrize(
    ("changes", "guard"),
    [
        # Twenty live keys and twenty scores are just enough to be believed.
        ({"last_evidence": replace(LIVE, keys_read=20), "evidence": replace(LIVE, keys_read=9)}, "evidence"),
        ({"evidence": replace(LIVE, scored=20, bad=5), "last_evidence": replace(LIVE, scored=20, bad=0)}, "evidence"),
        # A whole day between the runs.
        ({"last_as_of": FINE.as_of - DAY, "evidence": replace(LIVE, last_read_at=NOW - 9 * DAY)}, "evidence"),
        ({"rows": 10**6, "removed": 251, "earlier": (50, 50, 50)}, "median"),
    ],
)
def test_just_enough_to_be_believed_is_refused(changes: dict[str, Any], guard: str) -> None:
    assert guards(**changes) == [guard]


def test_an_earlier_run_without_scores_is_no_measure_for_scores() -> None:
    for before in (Evidence(keys_read=100), replace(LIVE, scored=0, bad=0), replace(LIVE, bad=None)):
        assert guards(last_evidence=before, evidence=replace(LIVE, bad=500)) == []
        assert guards(last_evidence=before, evidence=replace(LIVE, bad=501)) == ["evidence"]


def test_the_numbers_of_the_guards_are_those_of_the_design() -> None:
    limits = Limits()
    assert (limits.max_fraction, limits.times_median, limits.min_runs) == (0.05, 5.0, 3)
    assert (limits.clock_slack, limits.longest_gap, limits.plan_life) == (timedelta(seconds=60), 366 * DAY, 7 * DAY)
    assert (limits.lost_share, limits.bad_scores, limits.scratch_factor) == (0.5, 0.2, 1.1)
