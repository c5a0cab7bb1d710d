"""Explaining a row: why, until when, and the nearest change that would move it."""

from datetime import UTC, datetime, timedelta

from retention_pipelines.retention.filter.ast import Everything
from retention_pipelines.retention.plans.explain import explain
from retention_pipelines.retention.policies.decide import Protection
from retention_pipelines.retention.policies.defaults import default_policies
from retention_pipelines.retention.policies.governed import FEATURE_STORE
from retention_pipelines.retention.policies.policy import PolicySet

AS_OF = datetime(2026, 11, 22, tzinfo=UTC)
FEATURES = PolicySet.of("feature_store", default_policies())
ROW = {"quality_score": 0.9, "access_count": 6, "computed_at": AS_OF - timedelta(days=356)}


def test_the_nearest_value_of_each_field_that_moves_a_row_is_named_with_its_date() -> None:
    """retention.md: access 6 -> 5 moves it to fs_medium_quality, expires 2026-12-01."""
    found = explain(ROW, FEATURE_STORE, FEATURES, (), AS_OF)
    moves = [
        (one.field, one.value, one.decision.policy and one.decision.policy.policy_id, one.decision.verdict)
        for one in found.alternatives
    ]
    assert ("access_count", 5.0, "fs_medium_quality", "keep") in moves
    assert ("access_count", 2.0, "fs_low_quality", "expire") in moves
    assert ("quality_score", 0.8, "fs_medium_quality", "keep") in moves
    assert ("quality_score", None, "fs_unknown_quality", "keep") in moves
    medium = next(one for one in found.alternatives if one.value == 5.0)
    assert medium.decision.expires_at == datetime(2026, 12, 1, tzinfo=UTC)
    assert found.values == ROW
    assert found.blocked_by is None


def test_an_alternative_is_true_when_it_is_tried() -> None:
    found = explain(ROW, FEATURE_STORE, FEATURES, (), AS_OF)
    for one in found.alternatives:
        tried = explain(ROW | {one.field: one.value}, FEATURE_STORE, FEATURES, (), AS_OF)
        assert tried.decision == one.decision
        assert tried.decision.policy != found.decision.policy


def test_what_blocks_a_row_is_named_only_where_it_would_go_without_it() -> None:
    pin = Protection(kind="pin", label="pin 4", match=Everything())
    old = ROW | {"computed_at": AS_OF - timedelta(days=999)}
    assert explain(old, FEATURE_STORE, FEATURES, [pin], AS_OF).blocked_by == "pin 4"
    assert explain(ROW, FEATURE_STORE, FEATURES, [pin], AS_OF).blocked_by is None
