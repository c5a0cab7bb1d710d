"""Removing from a lake table while others append: no work is done twice for them, and what changed is decided anew."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from retention_pipelines.retention.actions.act_lake import remove_rows
from retention_pipelines.retention.filter.parse import parse
from retention_pipelines.retention.plans.lake_rows import READS_SCHEMA
from retention_pipelines.retention.plans.plan import Plan
from retention_pipelines.retention.plans.select_lake import Rules, plan_lake
from retention_pipelines.retention.policies.decide import Protection
from retention_pipelines.retention.policies.defaults import read_policies
from retention_pipelines.retention.policies.governed import FEATURE_STORE
from retention_pipelines.retention.policies.policy import PolicySet
from retention_pipelines.settings import Settings
from retention_pipelines.warehouse import Lake
from retention_pipelines.warehouse.table import Commit, Table
from tests.unit.warehouse.rows import rows

AS_OF = datetime(2026, 11, 22, tzinfo=UTC)
POLICIES = PolicySet.of(
    "feature_store",
    read_policies(
        """
        feature_store:
        - {id: read, priority: 2, match: access_count > 5, keep_days: 36000, reason: R}
        - {id: old, priority: 1, match: everything, keep_days: 1, reason: R}
        """
    ),
)
COUNT, GONE = 400, 200
YOUNG = "now() + to_days(9000)"
OLD = {
    "feature_hash": "'old-' || i",
    "feature_id": "'study-' || i",
    "source_data_id": "'study-' || i",
    "month": "'2026-' || lpad((1 + i % 8)::varchar, 2, '0')",
    "computed_at": "case when i % 16 < 8 then timestamptz '2026-01-01 00:00:00+00' else " + YOUNG + " end",
}
RULES = Rules(dataset=FEATURE_STORE, policies=POLICIES, protections=(), as_of=AS_OF, action="delete", only=None)
NO_READS = READS_SCHEMA.empty_table()
HOLD = Protection(kind="hold", label="hold 1", match=parse("source_data_id = 'study-0'", FEATURE_STORE.fields))


@dataclass
class Now:
    """What rows are decided by now; `asked` counts how often somebody committed first."""

    protections: tuple[Protection, ...] = ()
    read: pa.Table = field(default_factory=lambda: NO_READS)
    asked: int = 0

    def rules(self) -> Rules:
        self.asked += 1
        return replace(RULES, protections=self.protections)

    def reads(self) -> pa.Table:
        return self.read

    def newer_reads(self, known: pa.Table) -> pa.Table:
        return self.read

    def are_as_planned(self, rules: Rules) -> bool:
        return False


@pytest.fixture
def meeting(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Somebody else rewrites another partition, and adds to one of the plan's, right before a removal commits."""
    met: list[str] = []
    commit = Table.commit
    with Lake(settings) as other:

        def later(table: Table, *given: Any, **named: Any) -> Commit:
            if named["op"].startswith("delete") and not met:
                met.append(named["op"])
                theirs = other.table("feature_store")
                theirs.append(rows("feature_store", 1, feature_hash="'new'", computed_at=YOUNG, month="'2026-01'"))
                one = rows("feature_store", 1, feature_hash="'other'", computed_at=YOUNG, month="'2025-01'")
                theirs.replace(one, where="true", partitions=[("temporal", "2025-01")], op="replaced")
            return commit(table, *given, **named)

        monkeypatch.setattr(Table, "commit", later)
        yield met


def planned(lake: Lake) -> tuple[Table, Plan]:
    table = lake.table("feature_store")
    table.append(rows("feature_store", COUNT, **OLD))
    table.append(rows("feature_store", 1, feature_hash="'other'", computed_at=YOUNG, month="'2025-01'"))
    plan = plan_lake(lake, FEATURE_STORE, POLICIES, as_of=AS_OF, reads=NO_READS)
    assert (plan.removed_rows, {one.fate for one in plan.partitions}) == (GONE, {"rewrite", "keep"})
    return table, plan


def hashes(table: Table) -> list[str]:
    return [row[0] for row in table.con.execute(f"select feature_hash from {table.scan()} order by 1").fetchall()]


def orphans(table: Table) -> int:
    """Files that were written and never committed: each time the work was done anew."""
    entries = table.history()
    known = {path for entry in entries for path in entry.added}
    written = {str(path.relative_to(table.root)) for path in Path(table.root).rglob("*.parquet")}
    return len({path for path in written if not path.startswith("_delta_log")} - known)


def test_other_commits_beside_a_removal_cost_it_no_second_decision(lake: Lake, meeting: list[str]) -> None:
    table, plan = planned(lake)
    now = Now()
    found = remove_rows(lake, plan, RULES, NO_READS, unchanged=False, inputs=now)
    assert (found.rows, len(meeting)) == (GONE, 1)
    assert now.asked > 0
    assert len(hashes(table)) == len(set(hashes(table))) == COUNT - GONE + 2
    assert orphans(table) == 0


@pytest.mark.parametrize(
    "changed",
    [
        Now(protections=(HOLD,)),
        Now(read=pa.table({"key": ["study-0"], "hits": [6], "last_accessed_at": [AS_OF]}, schema=READS_SCHEMA)),
    ],
    ids=["held", "read"],
)
def test_what_is_protected_while_a_removal_meets_others_stays(lake: Lake, meeting: list[str], changed: Now) -> None:
    table, plan = planned(lake)
    assert remove_rows(lake, plan, RULES, NO_READS, unchanged=False, inputs=changed).rows == GONE - 1
    assert "old-0" in hashes(table)
    assert len(hashes(table)) == COUNT - GONE + 1 + 2


def test_a_read_of_a_row_that_stays_anyway_changes_nothing(lake: Lake, meeting: list[str]) -> None:
    table, plan = planned(lake)
    read = pa.table({"key": ["study-8"], "hits": [6], "last_accessed_at": [AS_OF]}, schema=READS_SCHEMA)
    assert remove_rows(lake, plan, RULES, NO_READS, unchanged=False, inputs=Now(read=read)).rows == GONE
    assert orphans(table) == 0


def test_a_removal_beside_a_writer_that_never_stops_ends_and_adds_up(lake: Lake, settings: Settings) -> None:
    table, plan = planned(lake)
    done: list[int] = []
    over = threading.Event()

    def write() -> None:
        with Lake(settings) as other:
            while not over.is_set():
                new = rows("feature_store", 1, feature_hash=f"'new-{len(done)}'", computed_at=YOUNG, month="'2025-01'")
                other.table("feature_store").replace(
                    new, where="false", partitions=[("temporal", "2025-01")], op="replaced"
                )
                done.append(1)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        found = remove_rows(lake, plan, RULES, NO_READS, unchanged=False, inputs=Now())
    finally:
        over.set()
        writer.join(60)
    assert found.rows == GONE
    assert len(hashes(table)) == len(set(hashes(table))) == COUNT - GONE + 1 + len(done)
