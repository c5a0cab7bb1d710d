"""Sealed plans: the fate of a partition on every edge, and a seal that any change breaks and no order does."""

import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retention_pipelines.retention.filter.ast import Compare
from retention_pipelines.retention.filter.text import text
from retention_pipelines.retention.plans.plan import (
    ROW_SCHEMA,
    Haste,
    PartitionPlan,
    Plan,
    VerdictCount,
    fate,
    hastened,
    is_intact,
    seal,
)
from retention_pipelines.retention.policies.defaults import default_policies
from retention_pipelines.retention.policies.policy import PolicySet

AS_OF = datetime(2026, 11, 22, 12, 0, 0, 1, tzinfo=UTC)
PARTITIONS = (
    PartitionPlan(partition="a", rows=10, expired=10, size_bytes=100, fate="drop"),
    PartitionPlan(partition="b", rows=10, expired=3, size_bytes=50, fate="rewrite"),
    PartitionPlan(partition="c", rows=10, expired=2, size_bytes=50, fate="leave"),
    PartitionPlan(partition="d", rows=7, expired=0, size_bytes=50, fate="keep"),
)
COUNTS = (
    VerdictCount(policy=None, verdict="keep", ruled_by=None, anomaly=None, rows=4, size_bytes=40),
    VerdictCount(policy="p v1", verdict="expire", ruled_by=None, anomaly=None, rows=15, size_bytes=150),
    VerdictCount(policy="p v1", verdict="keep", ruled_by=None, anomaly="in_future", rows=2, size_bytes=2),
    VerdictCount(policy="p v1", verdict="keep", ruled_by=None, anomaly="no_anchor", rows=2, size_bytes=2),
    VerdictCount(policy="p v1", verdict="keep", ruled_by="hold 1", anomaly=None, rows=6, size_bytes=60),
    VerdictCount(policy="p v1", verdict="keep", ruled_by="pin 1", anomaly=None, rows=8, size_bytes=60),
)


def table(*rows: tuple[Any, ...]) -> pa.Table:
    """Rows of a plan."""
    names = ROW_SCHEMA.names
    return pa.table({name: [row[place] for row in rows] for place, name in enumerate(names)}, schema=ROW_SCHEMA)


ROWS = table(
    ("b", "x", "p", 1, AS_OF),
    ("b", "y", "p", 1, AS_OF - timedelta(days=1)),
    ("b", "zé", None, None, None),
)


def sealed(**changes: Any) -> Plan:
    """A plan, changed before it is sealed."""
    content: dict[str, Any] = {
        "dataset": "feature_store",
        "action": "delete",
        "only": "p",
        "as_of": AS_OF,
        "policies": ["p v1", "q v2"],
        "protections": ["hold 1", "pin 1"],
        "store_version": 3,
        "partitions": PARTITIONS,
        "counts": COUNTS,
        "rows": ROWS,
    }
    return seal(**content | changes)


PLAN = sealed()


@pytest.mark.parametrize(
    ("rows", "expired", "newest", "expected"),
    [
        (10, 0, False, "keep"),
        (10, 0, True, "keep"),
        (0, 0, False, "keep"),
        (10, 1, False, "leave"),
        (10, 2, False, "leave"),
        (10, 3, False, "rewrite"),
        (10, 9, False, "rewrite"),
        (10, 10, False, "drop"),
        (10, 10, True, "newest"),
        (10, 9, True, "rewrite"),
        (1, 1, False, "drop"),
        (1, 1, True, "newest"),
        (1_000, 299, False, "leave"),
        (1_000, 300, True, "rewrite"),
    ],
)
def test_a_partition_is_dropped_rewritten_left_or_kept(rows: int, expired: int, newest: bool, expected: str) -> None:
    assert fate(rows=rows, expired=expired, newest=newest) == expected


def test_an_erasure_rewrites_for_a_single_row_and_the_share_can_be_chosen() -> None:
    assert fate(rows=1_000, expired=1, newest=False, erasing=True) == "rewrite"
    assert fate(rows=1_000, expired=0, newest=False, erasing=True) == "keep"
    assert fate(rows=1_000, expired=1_000, newest=False, erasing=True) == "drop"
    assert fate(rows=10, expired=5, newest=False, rewrite_share=0.6) == "leave"
    assert fate(rows=10, expired=6, newest=False, rewrite_share=0.6) == "rewrite"
    assert fate(rows=10, expired=10, newest=True, erasing=True) == "rewrite"


def test_what_is_no_partition_of_several_is_never_dropped_but_may_be_emptied() -> None:
    assert fate(rows=10, expired=10, newest=False, parted=False) == "rewrite"
    assert fate(rows=10, expired=10, newest=True, parted=False) == "rewrite"
    assert fate(rows=10, expired=1, newest=False, parted=False, rewrite_share=0.0) == "rewrite"


@settings(max_examples=200, derandomize=True, deadline=None)
@given(st.integers(0, 50), st.integers(0, 50), st.booleans(), st.booleans())
def test_only_what_has_expired_whole_and_is_not_the_newest_is_dropped(
    rows: int, more: int, newest: bool, erasing: bool
) -> None:
    what = fate(rows=rows + more, expired=rows, newest=newest, erasing=erasing)
    assert (what == "drop") == (rows > 0 and not more and not newest)
    assert (what == "newest") == (rows > 0 and not more and newest and not erasing)
    assert (what == "keep") == (rows == 0)


def test_a_plan_counts_what_is_there_what_expired_and_what_goes() -> None:
    assert (PLAN.total_rows, PLAN.expired_rows, PLAN.removed_rows, PLAN.ungoverned_rows) == (37, 15, 13, 4)


def test_a_plan_holds_everything_it_was_sealed_with_sorted() -> None:
    plan = sealed(
        partitions=PARTITIONS[::-1],
        counts=COUNTS[::-1],
        protections=["pin 1", "hold 1"],
        rows=ROWS.take([2, 0, 1]),
    )
    assert (plan.partitions, plan.counts) == (PARTITIONS, COUNTS)
    assert plan.rows.equals(ROWS)
    assert (plan.dataset, plan.action, plan.only, plan.as_of) == ("feature_store", "delete", "p", AS_OF)
    assert (plan.policies, plan.protections, plan.store_version) == (("p v1", "q v2"), ("hold 1", "pin 1"), 3)
    assert plan.sha256 == PLAN.sha256


def test_rows_are_sorted_by_partition_and_then_by_name() -> None:
    listed = [("b", "x"), ("a", "z"), ("b", "a"), ("a", "b")]
    two = sealed(rows=table(("b", "x", "p", 1, AS_OF), ("a", "z", "p", 1, AS_OF)))
    assert two.rows["partition"].to_pylist() == ["a", "b"]
    plan = sealed(rows=table(*((partition, name, "p", 1, AS_OF) for partition, name in listed)))
    assert list(zip(*plan.rows.select(["partition", "row_id"]).to_pydict().values(), strict=True)) == sorted(listed)


def test_the_seal_is_the_same_in_every_version_of_this_code() -> None:
    """Plans on record are checked against their hash: changing how it is computed makes them all invalid."""
    assert PLAN.sha256 == SEALED
    assert sealed(rows=ROWS.slice(0, 0)).sha256 == SEALED_EMPTY
    assert sealed(partitions=(replace(PARTITIONS[0], told=-7),)).sha256 == SEALED_TOLD
    assert sealed(partitions=(replace(PARTITIONS[0], seen="5/7"),)).sha256 == SEALED_SEEN


def test_neither_the_zone_of_the_instant_nor_the_chunks_of_the_rows_change_the_seal() -> None:
    assert sealed(as_of=AS_OF.astimezone(timezone(timedelta(hours=5)))).sha256 == PLAN.sha256
    assert sealed(rows=pa.concat_tables([ROWS.slice(0, 1), ROWS.slice(1, 2)])).sha256 == PLAN.sha256
    large = ROWS.set_column(1, "row_id", ROWS["row_id"].cast(pa.large_string()))
    assert sealed(rows=large.append_column("more", ROWS["row_id"])).sha256 == PLAN.sha256
    offset = pa.concat_tables([table(("a", "dropped", "p", 1, AS_OF)), ROWS]).slice(1)
    assert sealed(rows=offset).sha256 == PLAN.sha256


CHANGES: list[dict[str, Any]] = [
    {"dataset": "training_cache"},
    {"action": "archive"},
    {"only": None},
    {"as_of": AS_OF + timedelta(microseconds=1)},
    {"policies": ["q v2", "p v1"]},
    {"policies": ["p v2", "q v2"]},
    {"protections": ["hold 1"]},
    {"protections": ["hold 2", "pin 1"]},
    {"store_version": 4},
    {"store_version": None},
    {"partitions": PARTITIONS[1:]},
    {"partitions": (replace(PARTITIONS[0], told=7), *PARTITIONS[1:])},
    {"partitions": (replace(PARTITIONS[0], told=8), *PARTITIONS[1:])},
    {"partitions": (replace(PARTITIONS[0], seen="5/7"), *PARTITIONS[1:])},
    {"partitions": (replace(PARTITIONS[0], seen="5/8"), *PARTITIONS[1:])},
    *({"partitions": (replace(PARTITIONS[0], **{name: value}), *PARTITIONS[1:])} for name, value in (
        ("partition", "e"), ("rows", 11), ("expired", 9), ("size_bytes", 99), ("fate", "rewrite"))),
    {"counts": COUNTS[1:]},
    *({"counts": (*COUNTS[:-1], replace(COUNTS[-1], **{name: value}))} for name, value in (
        ("policy", None), ("verdict", "expire"), ("ruled_by", None), ("anomaly", "no_anchor"), ("rows", 7),
        ("size_bytes", 7))),
    {"rows": ROWS.slice(0, 2)},
    {"rows": ROWS.slice(0, 0)},
    *({"rows": table(*listed)} for listed in (
        [("c", "x", "p", 1, AS_OF), ("b", "y", "p", 1, AS_OF - timedelta(days=1)), ("b", "zé", None, None, None)],
        [("b", "x", "q", 1, AS_OF), ("b", "y", "p", 1, AS_OF - timedelta(days=1)), ("b", "zé", None, None, None)],
        [("b", "x", "p", 2, AS_OF), ("b", "y", "p", 1, AS_OF - timedelta(days=1)), ("b", "zé", None, None, None)],
        [("b", "x", "p", 1, None), ("b", "y", "p", 1, AS_OF - timedelta(days=1)), ("b", "zé", None, None, None)],
        # The same bytes, cut elsewhere; null against empty and against 0.
        [("b", "", "p", 1, AS_OF), ("b", "xy", "p", 1, AS_OF - timedelta(days=1)), ("b", "zé", None, None, None)],
        [("b", "x", "p", 1, AS_OF), ("b", "y", "p", 1, AS_OF - timedelta(days=1)), ("b", "zé", "", None, None)],
        [("b", "x", "p", 1, AS_OF), ("b", "y", "p", 1, AS_OF - timedelta(days=1)), ("b", "zé", None, 0, None)],
    )),
]  # fmt: skip


@pytest.mark.parametrize("changes", CHANGES, ids=lambda one: next(iter(one)))
def test_a_change_of_anything_breaks_the_seal(changes: dict[str, Any]) -> None:
    other = sealed(**changes)
    assert other.sha256 != PLAN.sha256
    assert is_intact(other)
    assert not is_intact(replace(other, sha256=PLAN.sha256))


def test_every_change_has_a_seal_of_its_own() -> None:
    assert len({sealed(**changes).sha256 for changes in CHANGES}) == len(CHANGES)


HASTE = Haste(level="high", forward_share=0.25, bytes_to_free=100, grace_seconds=None)


def test_a_hastened_plan_is_sealed_with_its_haste() -> None:
    plan = sealed(haste=HASTE)
    assert plan.haste == HASTE
    assert is_intact(plan)
    changed = [{"level": "full"}, {"forward_share": 0.3}, {"bytes_to_free": 99}, {"grace_seconds": 0}]
    others = {sealed(haste=replace(HASTE, **one)).sha256 for one in changed}
    assert len({PLAN.sha256, plan.sha256, *others}) == 6
    assert not is_intact(replace(plan, haste=None))
    assert not is_intact(replace(plan, haste=replace(HASTE, level="full")))
    assert plan.sha256 == SEALED_HASTE


def test_pressure_shortens_every_time_but_an_entry_s_own() -> None:
    features = PolicySet.of("feature_store", default_policies())
    assert hastened(features, None) is features
    assert hastened(features, replace(HASTE, forward_share=0.0)) is features
    shorter = hastened(features, HASTE)
    assert shorter.dataset == "feature_store"
    assert [one.keep_seconds for one in shorter.policies] == [one.keep_seconds * 3 // 4 for one in features.policies]
    assert [replace(one, keep_seconds=1) for one in shorter.policies] == [
        replace(one, keep_seconds=1) for one in features.policies
    ]
    entries = PolicySet.of("inference_cache", default_policies())
    assert [one.keep_seconds for one in hastened(entries, HASTE).policies] == [0, 7 * 86_400 * 3 // 4]
    # Rounded up, and never to nothing.
    odd = PolicySet("feature_store", (replace(features.policies[0], keep_seconds=10),))
    assert hastened(odd, HASTE).policies[0].keep_seconds == 8
    assert hastened(odd, replace(HASTE, forward_share=1.0)).policies[0].keep_seconds == 1


def test_the_seal_and_the_written_filter_do_not_depend_on_the_zone_of_the_machine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        assert sealed().sha256 == SEALED
        assert text(Compare("x", "<", AS_OF)) == "x < '2026-11-22T12:00:00.000001Z'"
    finally:
        monkeypatch.undo()
        time.tzset()


SEALED_TOLD = "d30196819cf1ee0584859014773a58abf34c8f6e60d79cd4d4eb3d09b0197dfb"
SEALED_SEEN = "5ba8bdcfdd0c8bd3745b03087a28604608a89d5bd0c51c9b464f22775bd6bb9f"
SEALED_HASTE = "92a6e0fbf44e2912731d5cc82d1acdd43cacceac146dbbb4ccb3df700811f1fe"
SEALED = "0f728b01cfabca9b93bd7ebaa0a3915adfbd19f20d5d01b81414620dc5a484ab"
SEALED_EMPTY = "7b9d4ec7bde2c3108a3edbddcf7350d5b40f105ea51e6216c01e02934ae6b4b1"
