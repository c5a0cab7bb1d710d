"""Planning over the lake: what the plan says is what deciding row by row says, and nothing is lost in counting."""

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest

from retention_pipelines.retention.filter.parse import parse
from retention_pipelines.retention.plans.lake_rows import READS_SCHEMA
from retention_pipelines.retention.plans.plan import is_intact
from retention_pipelines.retention.plans.select_lake import plan_lake
from retention_pipelines.retention.policies.decide import Protection, decide
from retention_pipelines.retention.policies.defaults import default_policies, read_policies
from retention_pipelines.retention.policies.governed import AGGREGATED_TIME_SERIES, FEATURE_STORE
from retention_pipelines.retention.policies.policy import PolicySet
from retention_pipelines.warehouse import Lake
from tests.unit.warehouse.rows import rows

AS_OF = datetime(2026, 11, 22, tzinfo=UTC)
DEFAULTS = PolicySet.of("feature_store", default_policies())
COUNT = 4_000
# Three types, ten months, one of old rows, one of mostly young ones; ages to 2.5 years, some on the edge, some ahead.
SELECT = rows(
    "feature_store",
    COUNT,
    feature_hash="'hash-' || i",
    feature_id="'study-' || (i % 900)",
    source_data_id="'study-' || (i % 900)",
    feature_type="['temporal', 'spatial', 'species'][1 + (i % 3)::int]",
    month="'2026-' || lpad((1 + i % 10)::varchar, 2, '0')",
    quality_score="(i * 37 % 1000) / 1000.0",
    computed_at="""case when i % 10 = 2 then timestamptz '2023-01-01 00:00:00+00'
        when i % 10 = 3 and i % 7 > 1 then timestamptz '2026-11-01 00:00:00+00'
        when i % 7 = 0 then timestamptz '2026-11-22 00:00:00+00' - to_days(90)
        else timestamptz '2026-11-22 00:00:00+00' - to_days(((i * 13) % 900)::int - 9) - to_microseconds(1) end""",
)


@pytest.fixture
def reads() -> pa.Table:
    """Every third study was read, up to ten times."""
    studies = range(0, 900, 3)
    return pa.table(
        {
            "key": [f"study-{number}" for number in studies],
            "hits": [number % 11 for number in studies],
            "last_accessed_at": [AS_OF - timedelta(days=number) for number in studies],
        },
        schema=READS_SCHEMA,
    )


def stored(lake: Lake, reads: pa.Table) -> list[dict[str, Any]]:
    """The rows with their reads, as plain Python."""
    counted = {row["key"]: row for row in reads.to_pylist()}
    listed = lake.con.sql(f"from {lake.table('feature_store').scan()}").to_arrow_table().to_pylist()
    for row in listed:
        found = counted.get(row["feature_id"], {"hits": 0, "last_accessed_at": None})
        row |= {"access_count": found["hits"], "last_accessed_at": found["last_accessed_at"]}
    return listed


def pin(match: str, kind: str = "pin") -> Protection:
    return Protection(kind=kind, label=f"{kind} 1", match=parse(match, FEATURE_STORE.fields))  # type: ignore[arg-type]


@pytest.mark.parametrize("protections", [(), (pin("source_data_id in ('study-7', 'study-8') or access_count > 8"),)])
def test_a_plan_says_of_every_row_what_deciding_it_says(
    lake: Lake, reads: pa.Table, protections: tuple[Protection, ...]
) -> None:
    lake.table("feature_store").append(SELECT)
    plan = plan_lake(lake, FEATURE_STORE, DEFAULTS, as_of=AS_OF, reads=reads, protections=protections)
    verdicts: Counter[tuple[object, ...]] = Counter()
    partitions: dict[str, list[dict[str, Any]]] = {}
    gone: set[str] = set()
    for row in stored(lake, reads):
        decision = decide(row, DEFAULTS, protections, AS_OF)
        label = decision.ruled_by.label if decision.ruled_by else None
        verdicts[str(decision.policy), decision.verdict, label, decision.anomaly] += 1
        name = f"feature_type={row['feature_type']}/month={row['month']}"
        partitions.setdefault(name, []).append(row)
        if decision.verdict == "expire":
            gone.add(row["feature_hash"])
    assert {(one.policy, one.verdict, one.ruled_by, one.anomaly): one.rows for one in plan.counts} == verdicts
    assert plan.total_rows == COUNT
    assert plan.expired_rows == len(gone)
    fates = Counter(one.fate for one in plan.partitions)
    assert fates["rewrite"] > 0
    assert fates["leave"] > 0
    # The pins save a row of one of the three partitions that would go whole.
    assert fates["drop"] == (2 if protections else 3)
    for one in plan.partitions:
        listed = partitions[one.partition]
        expired = [row for row in listed if row["feature_hash"] in gone]
        assert (one.rows, one.expired) == (len(listed), len(expired))
        if not expired:
            expected = "keep"
        elif len(expired) == len(listed):
            expected = "newest" if one.partition.endswith("month=2026-10") else "drop"
        else:
            expected = "rewrite" if len(expired) >= 0.3 * len(listed) else "leave"
        assert one.fate == expected
        if one.fate == "rewrite":
            named = {row["row_id"] for row in plan.rows.to_pylist() if row["partition"] == one.partition}
            assert named == {row["feature_hash"] for row in expired}
    assert set(plan.rows["row_id"].to_pylist()) <= gone
    assert is_intact(plan)


def test_bytes_are_those_of_the_files_and_add_up(lake: Lake, reads: pa.Table) -> None:
    table = lake.table("feature_store")
    table.append(SELECT)
    plan = plan_lake(lake, FEATURE_STORE, DEFAULTS, as_of=AS_OF, reads=reads)
    total = sum(file.bytes for file in table.files())
    assert sum(one.size_bytes for one in plan.partitions) == total
    assert abs(sum(one.size_bytes for one in plan.counts) - total) <= len(plan.counts)


def test_a_partition_whose_rows_may_all_go_is_dropped_whole_but_never_the_newest(lake: Lake) -> None:
    old = "timestamptz '2020-01-01 00:00:00+00'"
    month = "'2026-0' || (1 + i % 3)"
    lake.table("feature_store").append(
        rows("feature_store", 30, feature_hash="'h' || i", month=month, computed_at=old, quality_score="0.1::double")
    )
    plan = plan_lake(lake, FEATURE_STORE, DEFAULTS, as_of=AS_OF)
    assert [one.fate for one in plan.partitions] == ["drop", "drop", "newest"]
    # Whole partitions need no list of their rows, and rewriting the newest without any would be dropping it.
    assert (plan.removed_rows, plan.newest_rows, plan.rows.num_rows) == (20, 10, 0)
    assert {(one.verdict, one.ruled_by): one.rows for one in plan.counts} == {
        ("expire", None): 20,
        ("keep", "newest_partition"): 10,
    }


def test_the_newest_partition_is_rewritten_while_something_of_it_stays_and_erased_whole(lake: Lake) -> None:
    old, young = "timestamptz '2020-01-01 00:00:00+00'", "timestamptz '2026-11-01 00:00:00+00'"
    table = lake.table("feature_store")
    table.append(rows("feature_store", 10, feature_hash="'h' || i", computed_at=old, quality_score="0.1::double"))
    order = pin("version >= 0", "erasure")
    erased = plan_lake(lake, FEATURE_STORE, DEFAULTS, as_of=AS_OF, protections=[order])
    assert (erased.partitions[0].fate, erased.removed_rows) == ("rewrite", 10)
    table.append(rows("feature_store", 1, feature_hash="'young'", computed_at=young))
    kept = plan_lake(lake, FEATURE_STORE, DEFAULTS, as_of=AS_OF)
    assert (kept.partitions[0].fate, kept.removed_rows, kept.newest_rows) == ("rewrite", 10, 0)


def test_little_is_left_for_a_later_run_unless_an_order_erases_it(lake: Lake) -> None:
    young, old = "timestamptz '2026-11-01 00:00:00+00'", "timestamptz '2020-01-01 00:00:00+00'"
    lake.table("feature_store").append(
        rows("feature_store", 10, feature_hash="'h' || i", computed_at=f"case when i < 2 then {old} else {young} end")
    )
    left = plan_lake(lake, FEATURE_STORE, DEFAULTS, as_of=AS_OF)
    assert [(one.fate, one.expired) for one in left.partitions] == [("leave", 2)]
    assert (left.removed_rows, left.rows.num_rows) == (0, 0)
    order = pin("version >= 0 and computed_at > '2026-10-01T00:00:00Z'", "erasure")
    erased = plan_lake(lake, FEATURE_STORE, DEFAULTS, as_of=AS_OF, protections=[order])
    assert erased.partitions[0].fate == "rewrite"
    assert erased.rows.num_rows == 10


def test_the_seal_changes_with_anything_the_plan_says_and_with_nothing_else(lake: Lake, reads: pa.Table) -> None:
    lake.table("feature_store").append(SELECT)
    plan = plan_lake(lake, FEATURE_STORE, DEFAULTS, as_of=AS_OF, reads=reads)
    again = plan_lake(lake, FEATURE_STORE, DEFAULTS, as_of=AS_OF, reads=reads.take(list(range(len(reads)))[::-1]))
    assert again.sha256 == plan.sha256
    later = plan_lake(lake, FEATURE_STORE, DEFAULTS, as_of=AS_OF + timedelta(microseconds=1), reads=reads)
    assert later.sha256 != plan.sha256
    assert not is_intact(replace(plan, rows=plan.rows.slice(1)))
    assert not is_intact(replace(plan, partitions=plan.partitions[1:]))
    assert not is_intact(replace(plan, policies=(*plan.policies, "mine v1")))
    swapped = plan.rows.set_column(1, "row_id", plan.rows["row_id"].combine_chunks()[::-1])
    assert not is_intact(replace(plan, rows=swapped))


def test_rows_without_a_policy_or_under_another_action_are_kept_by_a_plan(lake: Lake) -> None:
    old = "timestamptz '2020-01-01 00:00:00+00'"
    lake.table("feature_store").append(
        rows("feature_store", 9, feature_hash="'h' || i", computed_at=old, version="(1 + i % 3)::integer")
    )
    written = """
    feature_store:
    - {id: one, priority: 9, match: version = 2, keep_days: 1, reason: R, action: archive}
    - {id: two, priority: 8, match: version = 3, keep_days: 1, reason: R}
    """
    chosen = PolicySet.of("feature_store", read_policies(written))
    deleting = plan_lake(lake, FEATURE_STORE, chosen, as_of=AS_OF)
    archiving = plan_lake(lake, FEATURE_STORE, chosen, as_of=AS_OF, action="archive")
    assert set(deleting.rows["policy_id"].to_pylist()) == {"two"}
    assert set(archiving.rows["policy_id"].to_pylist()) == {"one"}
    assert deleting.ungoverned_rows == archiving.ungoverned_rows == 3


def test_plans_of_tables_that_are_planned_after_one_another_do_not_mix(lake: Lake, reads: pa.Table) -> None:
    """The later table's rows were hidden behind the earlier one's: pressure over features and series failed."""
    lake.table("aggregated_time_series").append(rows("aggregated_time_series", 50))
    series = PolicySet.of("aggregated_time_series", default_policies())
    later = datetime.now(UTC) + timedelta(days=3_000)

    def plan_series() -> str:
        return plan_lake(lake, AGGREGATED_TIME_SERIES, series, as_of=later).sha256

    alone = plan_series()
    before = plan_lake(lake, FEATURE_STORE, DEFAULTS, as_of=AS_OF, reads=reads).sha256
    assert plan_series() == alone
    assert plan_lake(lake, FEATURE_STORE, DEFAULTS, as_of=AS_OF, reads=reads).sha256 == before
    assert plan_lake(lake, AGGREGATED_TIME_SERIES, series, as_of=later).expired_rows == 50


def test_an_empty_dataset_has_an_empty_plan(lake: Lake) -> None:
    plan = plan_lake(lake, FEATURE_STORE, DEFAULTS, as_of=AS_OF)
    assert (plan.total_rows, plan.removed_rows, plan.partitions, plan.counts) == (0, 0, (), ())
    assert is_intact(plan)
