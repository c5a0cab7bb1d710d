"""Policies: their bounds, their order, and the defaults that ship."""

from dataclasses import replace

import pytest

from retention_pipelines.errors import PolicyError
from retention_pipelines.retention.filter.ast import Everything
from retention_pipelines.retention.filter.text import text
from retention_pipelines.retention.policies.defaults import default_policies, read_policies
from retention_pipelines.retention.policies.governed import GOVERNED
from retention_pipelines.retention.policies.policy import (
    MAX_SECONDS,
    Policy,
    PolicySet,
    describe,
    tolerance_of,
)

# retention.md's table, copied by hand: dataset, id, priority, match, days, anchor.
TABLE = [
    ("feature_store", "fs_high_quality", 400, "quality_score > 0.8 and access_count > 5", 730, "computed_at"),
    ("feature_store", "fs_medium_quality", 300, "quality_score > 0.6 and access_count > 2", 365, "computed_at"),
    ("feature_store", "fs_unknown_quality", 200, "quality_score is unknown", 365, "computed_at"),
    ("feature_store", "fs_low_quality", 100, "everything", 90, "computed_at"),
    ("training_cache", "tc_frequent", 300, "hit_count > 10", 182, "last_used"),
    ("training_cache", "tc_occasional", 200, "hit_count > 3", 90, "last_used"),
    ("training_cache", "tc_rare", 100, "everything", 30, "last_used"),
    ("inference_cache", "ic_expired", 200, "expires_at is known", 0, "expires_at"),
    ("inference_cache", "ic_old_unused", 100, "everything", 7, "last_used"),
    ("aggregated_time_series", "as_seasonal", 200, "time_window = 'seasonal'", 1825, "computed_at"),
    ("aggregated_time_series", "as_other", 100, "everything", 1825, "computed_at"),
    ("performance_metrics", "pm_raw", 100, "everything", 90, "computed_at"),
]


def policy(**changes: object) -> Policy:
    """A catch-all, changed."""
    base = Policy(
        policy_id="p",
        version=1,
        dataset="feature_store",
        match=Everything(),
        keep_seconds=60,
        priority=1,
        reason="Why.",
    )
    return replace(base, **changes)  # type: ignore[arg-type]


def test_the_defaults_are_the_table_of_the_design() -> None:
    assert [
        (p.dataset, p.policy_id, p.priority, text(p.match), p.keep_seconds // 86_400, p.anchor)
        for p in default_policies()
    ] == TABLE
    assert {p.dataset for p in default_policies()} == {name for name, one in GOVERNED.items() if not one.keeps_all}
    assert all(p.version == 1 and p.enabled and len(p.reason) > 20 for p in default_policies())


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"keep_seconds": 0}, "lets every row go at once"),
        ({"keep_seconds": -1}, "keep_seconds is -1"),
        ({"keep_seconds": 1.5}, "keep_seconds is 1.5"),
        ({"keep_seconds": True}, "keep_seconds is True"),
        ({"keep_seconds": MAX_SECONDS + 1}, "100 years"),
        ({"grace_seconds": -1}, "grace_seconds"),
        ({"reason": "  "}, "no reason"),
        ({"reason": 5}, "reason is 5"),
        ({"reason": "a\0b"}, "reason is 'a"),
        ({"policy_id": " "}, "has no id"),
        ({"priority": "high"}, "priority is 'high'"),
        ({"priority": 2**31}, "priority is 2147483648"),
        ({"enabled": "no"}, "enabled is 'no'"),
        ({"anchor": "created_at"}, "anchor is 'created_at'"),
        ({"action": "shred"}, "action is 'shred'"),
    ],
)
def test_a_policy_out_of_bounds_is_refused(changes: dict[str, object], said: str) -> None:
    with pytest.raises(PolicyError, match=said):
        policy(**changes)


def test_only_a_time_to_live_may_keep_for_no_time_at_all() -> None:
    """P8: `retention_days 0` from the last access let every live prediction go."""
    assert policy(keep_seconds=0, anchor="expires_at").keep_seconds == 0
    with pytest.raises(PolicyError, match="expires_at may keep for 0"):
        policy(keep_seconds=0, anchor="last_used")


def test_policies_are_in_order_of_priority_and_two_of_the_same_are_refused() -> None:
    low, high = policy(policy_id="low", priority=1), policy(policy_id="high", priority=2)
    off = policy(policy_id="off", priority=2, enabled=False)
    other = policy(policy_id="other", priority=2, dataset="training_cache")
    assert PolicySet.of("feature_store", [low, other, off, high]).policies == (high, low)
    with pytest.raises(PolicyError, match="both have the priority 2"):
        PolicySet.of("feature_store", [high, policy(policy_id="twin", priority=2)])


def test_only_a_last_policy_that_matches_everything_is_a_catch_all() -> None:
    catch_all = policy(priority=1)
    assert PolicySet.of("feature_store", [catch_all]).catch_all == catch_all
    assert PolicySet.of("feature_store", []).catch_all is None
    partial = read_policies("feature_store: [{id: a, priority: 1, match: moved = true, keep_days: 1, reason: R}]")
    assert PolicySet.of("feature_store", partial).catch_all is None


def one(**changes: object) -> str:
    """A policy file with one policy, changed; None takes a line away."""
    lines = {"id": "a", "priority": 1, "match": "everything", "keep_days": 1, "reason": "R"} | changes
    return "feature_store:\n- " + "\n  ".join(f"{key}: {value}" for key, value in lines.items() if value is not None)


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("[", "not YAML"),
        ("- a", "not a map"),
        ("feature_store: 5", "no list of policies"),
        ("feature_store: [5]", "5 is not a policy"),
        (one().replace("feature_store", "feature_stor"), "'feature_store'"),
        (one(keep=1), "'keep' is not known"),
        (one(priority=None), "'priority' is missing"),
        (one(keep_days=None), "either keep_days or keep_seconds"),
        (one(keep_seconds=5), "either keep_days or keep_seconds"),
        (one(priority=1.5), "priority is 1.5"),
        (one(enabled=3), "enabled is 3"),
        (one(anchor="expires_at"), "no anchor 'expires_at'"),
        (one(match="hits > 1"), "is not a field"),
        (one() + one(priority=2).removeprefix("feature_store:"), "there twice"),
    ],
)
def test_a_policy_file_with_a_mistake_is_refused_with_its_place(written: str, said: str) -> None:
    with pytest.raises(PolicyError, match=said):
        read_policies(written)


def test_a_rule_is_described_in_one_line() -> None:
    assert describe(default_policies()[0]) == (
        "fs_high_quality v1: keep 730 d from computed_at if quality_score > 0.8 and access_count > 5, then delete"
    )
    assert describe(policy(keep_seconds=90)) == "p v1: keep 90 s from computed_at if everything, then delete"


@pytest.mark.parametrize(
    ("changes", "said", "hint"),
    [
        (
            {"anchor": "created_at"},
            "p: anchor is 'created_at'.",
            "One of computed_at, last_used, expires_at.",
        ),
        (
            {"action": "shred"},
            "p: action is 'shred'.",
            "One of delete, archive, compress, downsample, migrate.",
        ),
        (
            {"keep_seconds": -1},
            "p: keep_seconds is -1.",
            f"Whole seconds from 0 to {MAX_SECONDS} (100 years of 365 days).",
        ),
        (
            {"grace_seconds": True},
            "p: grace_seconds is True.",
            f"Whole seconds from 0 to {MAX_SECONDS} (100 years of 365 days).",
        ),
        (
            {"keep_seconds": 0},
            "p: keeping for 0 seconds lets every row go at once.",
            "Only a policy anchored at expires_at may keep for 0 seconds.",
        ),
        ({"reason": " "}, "p: no reason is given.", "Say in a sentence why this number."),
        ({"policy_id": " "}, "A policy has no id.", "Give each its own, as fs_low_quality."),
        ({"reason": 5}, "'p': reason is 5.", "Give a text."),
        ({"priority": True}, "p: priority is True.", "Give a whole number, as 250."),
        ({"enabled": 1}, "p: enabled is 1.", "Give true or false."),
        (
            {"tolerance": (("depth", 0.1),)},
            "p: a tolerance is for compressing, and the action is delete.",
            "Set action to compress, or leave the tolerance out.",
        ),
    ],
)
def test_a_refusal_of_a_policy_says_what_would_do(changes: dict[str, object], said: str, hint: str) -> None:
    with pytest.raises(PolicyError) as caught:
        policy(**changes)
    assert (caught.value.message, caught.value.hint) == (said, hint)


@pytest.mark.parametrize("most", [0, -0.1, 1e-100, 1e100, float("inf"), float("nan"), True, "0.1", None])
def test_a_tolerance_is_a_positive_number_that_can_be_counted_in(most: object) -> None:
    with pytest.raises(PolicyError) as caught:
        tolerance_of("p", {"depth": 0.1, "height": most})
    assert caught.value.message == f"p: the tolerance of height is {most!r}."
    assert caught.value.hint == "Write by how much a value may change at most, in the column's unit, as 0.001."


def test_a_tolerance_is_written_by_column_and_kept_in_their_order() -> None:
    assert tolerance_of("p", {"height": 2, "depth": 1e-99}) == (("depth", 1e-99), ("height", 2.0))
    assert tolerance_of("p", {}) == ()
    with pytest.raises(PolicyError) as caught:
        tolerance_of("p", 0.1)
    assert caught.value.message == "p: tolerance is 0.1."
    assert caught.value.hint == "Write a map, as {temperature_degc: 0.001}."
    compressing = policy(action="compress", tolerance=(("depth", 0.5), ("height", 2.0)))
    said = "p v1: keep 60 s from computed_at if everything, then compress (depth within 0.5, height within 2)"
    assert describe(compressing) == said


def test_the_longest_and_the_shortest_times_are_allowed() -> None:
    assert MAX_SECONDS == 100 * 365 * 86_400
    assert policy(keep_seconds=MAX_SECONDS, grace_seconds=MAX_SECONDS).keep_seconds == MAX_SECONDS
    assert (policy(keep_seconds=1, grace_seconds=0).grace_seconds, policy().grace_seconds) == (0, 7 * 86_400)
    assert str(policy(version=3)) == "p v3"


def test_two_policies_of_one_priority_are_refused_by_name() -> None:
    with pytest.raises(PolicyError) as caught:
        PolicySet.of("feature_store", [policy(policy_id="a"), policy(policy_id="b")])
    assert caught.value.message == "a and b both have the priority 1 in feature_store."
    assert caught.value.hint == "Give each its own priority, so that one of them governs."
    assert PolicySet.of("feature_store", [policy()]).dataset == "feature_store"


def test_places_are_those_of_the_policies_with_an_action() -> None:
    first = policy(policy_id="first", priority=3, action="archive")
    second, third = policy(policy_id="second", priority=2), policy(policy_id="third", priority=1, action="archive")
    policies = PolicySet.of("feature_store", [third, second, first])
    assert policies.places("archive") == [0, 2]
    assert policies.places("delete") == [1]
    assert policies.places("compress") == []
    assert policies.places("archive", "third") == [2]
    assert policies.places("delete", "third") == []
    with pytest.raises(PolicyError, match=r"^'fourth' is no enabled policy of feature_store\.$"):
        policies.places("archive", "fourth")


@pytest.mark.parametrize(
    ("dataset", "column", "most", "said"),
    [
        ("feature_store", "quality_score", 0.1, "cannot be rounded"),
        ("feature_store", "latitude", 0.1, "cannot be rounded"),
        ("feature_store", "feature_hash", 0.1, "cannot be rounded"),
        ("aggregated_time_series", "mean", 0.1, "cannot be rounded"),
        ("observations", "raw_value", 0.1, "cannot be rounded"),
        ("feature_store", "temperature_degc", 0, "the tolerance of temperature_degc is 0"),
        ("feature_store", "temperature_degc", float("nan"), "the tolerance of temperature_degc is nan"),
    ],
)
def test_a_tolerance_that_makes_no_sense_is_refused(dataset: str, column: str, most: float, said: str) -> None:
    written = f"{dataset}: [{{id: one, priority: 1, match: everything, keep_days: 1, reason: R, action: compress, "
    with pytest.raises(PolicyError, match=said):
        read_policies(written + f"tolerance: {{{column}: {most if most == most else '.nan'}}}}}]")
    with pytest.raises(PolicyError, match="is for compressing"):
        replace(read_policies(written + "}]")[0], action="delete", tolerance=(("temperature_degc", 0.1),))
