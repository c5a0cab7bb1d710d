"""The decision on a row: examples with every edge, and relations that must hold between decisions."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retention_pipelines.retention.filter.ast import Compare, Everything
from retention_pipelines.retention.filter.oracle import Value
from retention_pipelines.retention.policies.decide import Decision, Protection, decide, reason
from retention_pipelines.retention.policies.defaults import default_policies, read_policies
from retention_pipelines.retention.policies.policy import Policy, PolicySet

AS_OF = datetime(2026, 11, 22, tzinfo=UTC)
DAY, TICK = timedelta(days=1), timedelta(microseconds=1)
FEATURES = PolicySet.of("feature_store", default_policies())
TRAINING = PolicySet.of("training_cache", default_policies())
PREDICTIONS = PolicySet.of("inference_cache", default_policies())


def feature(quality: float | None, reads: int, age: timedelta | None) -> Decision:
    row = {
        "quality_score": quality,
        "access_count": reads,
        "computed_at": None if age is None else AS_OF - age,
    }
    return decide(row, FEATURES, (), AS_OF)


@pytest.mark.parametrize(
    ("quality", "reads", "policy", "days"),
    [
        (0.81, 6, "fs_high_quality", 730),
        (0.8, 6, "fs_medium_quality", 365),
        (0.81, 5, "fs_medium_quality", 365),
        (1.0, 1_000, "fs_high_quality", 730),
        (0.61, 3, "fs_medium_quality", 365),
        (0.6, 3, "fs_low_quality", 90),
        (0.99, 2, "fs_low_quality", 90),
        (None, 1_000, "fs_unknown_quality", 365),
        (float("nan"), 0, "fs_unknown_quality", 365),
        (0.0, 0, "fs_low_quality", 90),
    ],
)
def test_the_first_policy_that_matches_governs_and_its_time_is_exact(
    quality: float | None, reads: int, policy: str, days: int
) -> None:
    """P5: a complete feature, quality 1.0, is governed like any other."""
    kept, gone = feature(quality, reads, days * DAY), feature(quality, reads, days * DAY + TICK)
    assert kept.policy is not None
    assert kept.policy.policy_id == policy
    assert (kept.verdict, gone.verdict) == ("keep", "expire")
    assert kept.expires_at == AS_OF


def test_a_score_an_ulp_above_the_threshold_is_above_it() -> None:
    above = feature(0.8000000000000002, 6, DAY)
    image = feature(0.800000011920929, 6, DAY)  # 0.8 as a 32-bit float
    assert above.policy == image.policy == FEATURES.policies[0]
    assert feature(0.7999999999999999, 6, DAY).policy == FEATURES.policies[1]


def test_rows_in_the_future_or_without_an_anchor_are_kept_and_said_to_be_odd() -> None:
    assert feature(0.1, 0, -TICK).anomaly == "in_future"
    assert feature(0.1, 0, timedelta(0)).anomaly is None
    odd = feature(0.1, 0, None)
    assert (odd.verdict, odd.anomaly, odd.expires_at) == ("keep", "no_anchor", None)
    assert "computed_at is unknown" in reason(odd, AS_OF)
    assert "in the future" in reason(feature(0.1, 0, -DAY), AS_OF)


def test_an_empty_set_of_policies_keeps_everything_as_ungoverned() -> None:
    decision = decide({"computed_at": AS_OF - 9999 * DAY}, PolicySet.of("feature_store", []), (), AS_OF)
    assert (decision.verdict, decision.policy) == ("keep", None)
    assert reason(decision, AS_OF) == "kept: no policy matches (ungoverned)"


def test_last_used_counts_from_the_later_of_computing_and_reading() -> None:
    old, read = AS_OF - 40 * DAY, AS_OF - 30 * DAY
    rows: list[tuple[dict[str, Value], str]] = [
        ({"hit_count": 1, "computed_at": old, "last_accessed_at": read}, "keep"),
        ({"hit_count": 1, "computed_at": read, "last_accessed_at": old}, "keep"),
        ({"hit_count": 1, "computed_at": old, "last_accessed_at": None}, "expire"),
        ({"hit_count": 1, "computed_at": None, "last_accessed_at": old}, "expire"),
        ({"hit_count": 1, "computed_at": None, "last_accessed_at": None}, "keep"),
    ]
    assert [decide(row, TRAINING, (), AS_OF).verdict for row, _ in rows] == [verdict for _, verdict in rows]


def test_a_prediction_goes_after_its_time_to_live_however_often_it_is_read() -> None:
    """P8: the first system's branch would have deleted every live prediction."""
    live: dict[str, Value] = {"expires_at": AS_OF, "computed_at": AS_OF - DAY, "last_accessed_at": AS_OF}
    assert decide(live, PREDICTIONS, (), AS_OF).verdict == "keep"
    assert decide(live, PREDICTIONS, (), AS_OF + TICK).verdict == "expire"
    later = decide(live | {"expires_at": AS_OF + DAY}, PREDICTIONS, (), AS_OF)
    assert (later.verdict, later.anomaly) == ("keep", None)
    unbounded: dict[str, Value] = {
        "expires_at": None,
        "computed_at": AS_OF - 9 * DAY,
        "last_accessed_at": AS_OF - 7 * DAY,
    }
    assert decide(unbounded, PREDICTIONS, (), AS_OF).verdict == "keep"
    assert decide(unbounded, PREDICTIONS, (), AS_OF + TICK).verdict == "expire"


def protection(kind: str, field: str = "quality_score") -> Protection:
    return Protection(kind=kind, label=f"{kind} 1", match=Compare(field, ">", 0.5))  # type: ignore[arg-type]


def test_authority_goes_from_hold_to_erasure_to_pin_to_root_to_lease_to_policy() -> None:
    old: dict[str, Value] = {"quality_score": 0.9, "access_count": 9, "computed_at": AS_OF - 999 * DAY}
    young = old | {"computed_at": AS_OF - DAY}
    kinds = ["lease", "root", "pin", "erasure", "hold"]
    for highest in range(len(kinds)):
        standing = [protection(kind) for kind in kinds[: highest + 1]]
        for row in (old, young):
            decision = decide(row, FEATURES, standing, AS_OF)
            assert decision.ruled_by == standing[-1]
            assert decision.verdict == ("expire" if kinds[highest] == "erasure" else "keep")
    assert reason(decide(young, FEATURES, [protection("erasure")], AS_OF), AS_OF) == "erased by order erasure 1"
    assert reason(decide(old, FEATURES, [protection("pin")], AS_OF), AS_OF) == "kept by the pin pin 1"


@pytest.mark.parametrize("kind", ["hold", "pin", "root", "lease"])
def test_in_doubt_a_protection_keeps_and_an_erasure_order_does_not_erase(kind: str) -> None:
    old: dict[str, Value] = {"quality_score": None, "access_count": 9, "computed_at": AS_OF - 999 * DAY}
    assert decide(old, FEATURES, [protection(kind)], AS_OF).verdict == "keep"
    young = old | {"computed_at": AS_OF}
    assert decide(young, FEATURES, [protection("erasure")], AS_OF).verdict == "keep"


def test_a_decision_says_its_age_its_policy_and_its_time() -> None:
    said = reason(feature(0.9, 6, 731 * DAY), AS_OF)
    assert said == "expired: computed_at 2024-11-21T00:00:00Z is 731 d ago, fs_high_quality v1 keeps 730 d"
    assert reason(feature(0.9, 6, 1 * DAY), AS_OF).startswith("kept: computed_at 2026-11-21T00:00:00Z is 1 d ago")


_SCORES = st.one_of(
    st.none(), st.sampled_from([0.6, 0.8, 0.8000000000000002, 1.0]), st.floats(0, 1), st.just(float("nan"))
)
_EDGES = [days * DAY + beside for days in (90, 365, 730) for beside in (-TICK, 0 * TICK, TICK)]
_AGES = st.one_of(
    st.none(),
    st.sampled_from(_EDGES),
    st.timedeltas(-5 * DAY, 1500 * DAY),
)
_ROWS = st.fixed_dictionaries(
    {
        "quality_score": _SCORES,
        "access_count": st.integers(0, 9),
        "computed_at": _AGES.map(lambda age: None if age is None else AS_OF - age),
        "last_accessed_at": _AGES.map(lambda age: None if age is None else AS_OF - age),
    }
)
_LAST_USED = PolicySet.of("feature_store", [replace(policy, anchor="last_used") for policy in FEATURES.policies])
_THREE = [protection(kind) for kind in ("hold", "erasure", "pin")]
_FAST = settings(max_examples=300, derandomize=True, deadline=None)


@_FAST
@given(_ROWS)
def test_a_row_that_was_never_read_never_expires_later_than_the_same_row_read(row: dict[str, Value]) -> None:
    read = row | {"last_accessed_at": AS_OF}
    if decide(read, _LAST_USED, (), AS_OF).verdict == "expire":
        assert decide(row | {"last_accessed_at": None}, _LAST_USED, (), AS_OF).verdict == "expire"


@_FAST
@given(_ROWS, st.integers(0, 9), st.integers(0, 9))
def test_more_reads_never_make_a_default_feature_go_earlier(row: dict[str, Value], fewer: int, more: int) -> None:
    fewer, more = sorted((fewer, more))
    if decide(row | {"access_count": more}, FEATURES, (), AS_OF).verdict == "expire":
        assert decide(row | {"access_count": fewer}, FEATURES, (), AS_OF).verdict == "expire"


@_FAST
@given(_ROWS, st.integers(0, 3), st.integers(0, 1000 * 86_400))
def test_a_longer_retention_never_deletes_more(row: dict[str, Value], place: int, longer: int) -> None:
    policies = list(FEATURES.policies)
    policies[place] = replace(policies[place], keep_seconds=policies[place].keep_seconds + longer)
    if decide(row, PolicySet.of("feature_store", policies), (), AS_OF).verdict == "expire":
        assert decide(row, FEATURES, (), AS_OF).verdict == "expire"


@_FAST
@given(_ROWS, st.sampled_from(["hold", "pin", "root", "lease"]), st.booleans())
def test_a_protection_never_deletes_more(row: dict[str, Value], kind: str, everything: bool) -> None:
    one = protection(kind)
    one = replace(one, match=Everything()) if everything else one
    if decide(row, FEATURES, [one], AS_OF).verdict == "expire":
        assert decide(row, FEATURES, (), AS_OF).verdict == "expire"
        assert not everything


@_FAST
@given(
    _ROWS,
    st.permutations(list(FEATURES.policies)),
    st.permutations([protection(k) for k in ("hold", "erasure", "pin")]),
)
def test_the_order_in_which_rules_are_listed_does_not_matter(
    row: dict[str, Value], policies: list[Policy], protections: list[Protection]
) -> None:
    listed = decide(row, FEATURES, _THREE, AS_OF)
    assert decide(row, PolicySet.of("feature_store", policies), protections, AS_OF) == listed


@_FAST
@given(_ROWS, st.timedeltas(timedelta(0), 999 * DAY))
def test_what_has_expired_stays_expired_as_time_goes_on(row: dict[str, Value], later: timedelta) -> None:
    if decide(row, FEATURES, (), AS_OF).verdict == "expire":
        assert decide(row, FEATURES, (), AS_OF + later).verdict == "expire"


def test_a_policy_read_from_a_file_decides_like_one_made_in_code() -> None:
    read = read_policies("feature_store: [{id: a, priority: 1, match: everything, keep_seconds: 60, reason: R}]")
    made = Policy(
        policy_id="a", version=1, dataset="feature_store", match=Everything(), keep_seconds=60, priority=1, reason="R"
    )
    assert read == (made,)


def test_an_anchor_that_is_no_instant_is_none() -> None:
    decision = decide({"quality_score": 0.1, "access_count": 0, "computed_at": "2020-01-01"}, FEATURES, (), AS_OF)
    assert (decision.anchored_at, decision.anomaly, decision.verdict) == (None, "no_anchor", "keep")


def test_a_row_that_lives_past_the_calendar_has_no_last_instant() -> None:
    far = datetime(9999, 12, 1, tzinfo=UTC)
    decision = decide({"quality_score": 0.9, "access_count": 9, "computed_at": far}, FEATURES, (), AS_OF)
    assert (decision.expires_at, decision.anomaly) == (None, "in_future")
