"""What is said about a set of policies before anybody runs it."""

from collections.abc import Iterable

import pytest

from retention_pipelines.retention.policies.defaults import default_policies, read_policies
from retention_pipelines.retention.policies.governed import FEATURE_STORE, GOVERNED
from retention_pipelines.retention.policies.lint import Finding, lint
from retention_pipelines.retention.policies.policy import PolicySet


def findings(*rules: tuple[str, int]) -> dict[str, Finding]:
    """What lint says of rules `(match, days)`, the first of the highest priority."""
    written = "feature_store:\n" + "".join(
        f'- {{id: p{place}, priority: {99 - place}, keep_days: {days}, reason: R, match: "{match}"}}\n'
        for place, (match, days) in enumerate(rules)
    )
    return {found.code: found for found in lint(FEATURE_STORE, PolicySet.of("feature_store", read_policies(written)))}


@pytest.mark.parametrize("name", sorted(GOVERNED))
def test_the_defaults_give_no_cause_for_a_warning(name: str) -> None:
    assert lint(GOVERNED[name], PolicySet.of(name, default_policies())) == ()


def test_a_set_without_policies_or_without_a_catch_all_is_an_error() -> None:
    assert [found.code for found in lint(FEATURE_STORE, PolicySet.of("feature_store", []))] == ["no_policies"]
    found = findings(("quality_score > 0.5", 9), ("quality_score is unknown", 9))
    assert found["no_catch_all"].severity == "error"
    assert set(found) == {"no_catch_all"}


@pytest.mark.parametrize(
    "rules",
    [
        [("everything", 9), ("access_count > 1", 9)],
        [("access_count > 1", 9), ("access_count > 2", 9), ("everything", 1)],
        [("access_count > 1", 9), ("access_count <= 1", 8), ("moved = true", 7), ("everything", 1)],
        [("priority in ('high', 'low')", 9), ("priority = 'low'", 9), ("everything", 1)],
        [("event_time < '2026-01-01T00:00:00Z'", 9), ("event_time < '2025-01-01T00:00:00Z'", 9), ("everything", 1)],
        [("access_count > 0", 9), ("access_count > 0.5 and access_count < 1", 9), ("everything", 1)],
        [("access_count >= 3 and access_count < 3", 9), ("everything", 1)],
    ],
)
def test_a_policy_that_can_never_govern_is_an_error(rules: Iterable[tuple[str, int]]) -> None:
    assert findings(*rules)["unreachable"].severity == "error"


@pytest.mark.parametrize(
    "rules",
    [
        [("access_count > 2", 9), ("access_count > 1", 8), ("everything", 1)],
        [("access_count > 1", 9), ("access_count >= 1", 8), ("everything", 1)],
        [("version > 1", 9), ("version >= 1", 8), ("version is unknown", 5), ("everything", 1)],
        [
            ("quality_score > 0.8", 9),
            ("quality_score > 0.7999999999999999", 8),
            ("quality_score is unknown", 5),
            ("everything", 1),
        ],
        [("event_time < '2026-01-01T00:00:00Z'", 9), ("event_time <= '2026-01-01T00:00:00Z'", 8), ("everything", 1)],
        [("moved = true", 9), ("not moved = true", 8), ("moved is unknown", 5), ("everything", 1)],
    ],
)
def test_a_policy_that_governs_a_single_point_is_reachable(rules: list[tuple[str, int]]) -> None:
    unreachable = findings(*rules).get("unreachable")
    # With `moved` split three ways nothing is left for the catch-all, which is what lint then says.
    assert unreachable is None or unreachable.policies == (f"p{len(rules) - 1}",)
    assert (unreachable is None) == (not rules[0][0].startswith("moved"))


def test_a_field_that_can_be_unknown_wants_a_policy_that_says_so() -> None:
    found = findings(("quality_score > 0.5", 9), ("everything", 1))["unknown_hole"]
    assert found.row == {"quality_score": None}
    assert "fall to p1" in found.message
    assert "unknown_hole" not in findings(
        ("quality_score > 0.5", 9), ("quality_score is unknown", 9), ("everything", 1)
    )
    assert "unknown_hole" not in findings(("access_count > 5", 9), ("everything", 1))
    assert "unknown_hole" not in findings(("feature_type = 'species'", 9), ("everything", 1))  # never null


def test_a_first_match_that_keeps_shorter_than_another_match_is_shown_with_a_row() -> None:
    found = findings(("access_count > 1", 5), ("access_count > 5", 90), ("everything", 1))
    assert found["unreachable"].policies == ("p1",)
    assert found["not_the_longest"].policies == ("p0", "p1")
    row = found["not_the_longest"].row
    assert row is not None
    assert row["access_count"] == 6


def test_more_combinations_than_can_be_tried_are_said_to_be_unchecked() -> None:
    fields = [
        "quality_score",
        "quality_completeness",
        "quality_validity",
        "quality_support",
        "quality_precision",
        "version",
    ]
    wide = " or ".join(f"{field} > 0.{digit}" for field in fields for digit in range(1, 5))
    found = findings((wide, 9), ("everything", 1))
    assert found["unchecked"].severity == "warning"
    assert "unreachable" not in found
