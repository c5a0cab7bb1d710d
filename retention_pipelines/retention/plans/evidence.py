"""Measuring the facts that guards decide by: how much goes, what earlier runs took, clocks, space, reads and scores."""

import shutil
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from duckdb import ColumnExpression, FunctionExpression
from sqlalchemy import Engine, func, select

from retention_pipelines.postgres.tables import ACCESS_COUNTS, METADATA
from retention_pipelines.retention.filter.ast import fields
from retention_pipelines.retention.plans.guard import Evidence, Facts
from retention_pipelines.retention.plans.plan import Plan
from retention_pipelines.retention.plans.plan_store import PlanStore, now
from retention_pipelines.retention.plans.select_lake import table_of
from retention_pipelines.retention.plans.select_postgres import count_over
from retention_pipelines.retention.policies.decide import Protection
from retention_pipelines.retention.policies.governed import Governed
from retention_pipelines.retention.policies.policy import PolicySet
from retention_pipelines.warehouse import Lake
from retention_pipelines.warehouse.duck import bind

_RUNS = 8
_COUNTED = frozenset({"access_count", "hit_count", "last_accessed_at"})


def measure_facts(
    *,
    engine: Engine,
    lake: Lake,
    store: PlanStore,
    plan: Plan,
    dataset: Governed,
    policies: PolicySet,
    host_clock: Callable[[], datetime],
    confirmed: bool,
) -> Facts:
    """Everything the guards ask about a plan, now."""
    executed = [
        record
        for record in store.records(plan.dataset, limit=500)
        if record.sha256 != plan.sha256 and record.grace_until is not None and record.action == plan.action
    ]
    # A run that had nothing to do says nothing about how much is usual.
    earlier = [int(record.measured.get("guarded", 0)) for record in executed]
    last = max(executed, key=lambda record: record.as_of, default=None)
    before, host_now, after = now(engine), host_clock(), now(engine)
    return Facts(
        rows=plan.total_rows,
        removed=_guarded_rows(engine, plan, dataset, policies),
        earlier=tuple(rows for rows in earlier if rows)[:_RUNS],
        host_now=host_now,
        database_now=before + (after - before) / 2,
        as_of=plan.as_of,
        last_as_of=last.as_of if last else None,
        rewritten_bytes=_rewritten_bytes(plan, dataset),
        free_bytes=free_bytes(lake),
        evidence=measure_evidence(engine, lake, dataset, policies),
        last_evidence=_evidence(last.measured.get("evidence")) if last else None,
        confirmed=confirmed,
    )


def _guarded_rows(engine: Engine, plan: Plan, dataset: Governed, policies: PolicySet) -> int:
    """Rows that go and could still have been read: an entry whose own expiry is past is served to nobody."""
    own_expiry = [policy for policy in policies.policies if policy.anchor == "expires_at"]
    if plan.haste is None or not own_expiry:
        written = {str(policy) for policy in own_expiry}
        over = sum(count.rows for count in plan.counts if count.verdict == "expire" and count.policy in written)
    else:
        # Its counts are of all that might go; what goes is a choice among that.
        named = pc.is_in(plan.rows["policy_id"], pa.array([policy.policy_id for policy in own_expiry], pa.string()))
        dropped = [one.partition for one in plan.partitions if one.fate == "drop"]
        whole = count_over(engine, dataset, policies, plan.as_of) if dropped else {}
        over = (pc.sum(named).as_py() or 0) + sum(whole.get(name, 0) for name in dropped)
    return max(0, plan.removed_rows - over)


def measure_evidence(engine: Engine, lake: Lake, dataset: Governed, policies: PolicySet) -> Evidence:
    """How alive the reads and scores are that these policies look at."""
    asked = frozenset[str]().union(*(fields(policy.match) for policy in policies.policies))
    by_use = any(policy.anchor == "last_used" for policy in policies.policies)
    keys, last, scored, bad = None, None, None, None
    if dataset.read_key and (by_use or asked & _COUNTED):
        counts = select(func.count(), func.max(ACCESS_COUNTS.c.last_accessed_at)).where(
            ACCESS_COUNTS.c.dataset == dataset.table, ACCESS_COUNTS.c.hits > 0
        )
        with engine.connect() as con:
            keys, last = con.execute(counts).one()
    if "quality_score" in asked:
        scored, bad = _scores(engine, lake, dataset)
    return Evidence(keys_read=keys, last_read_at=last, scored=scored, bad=bad)


def _scores(engine: Engine, lake: Lake, dataset: Governed) -> tuple[int, int]:
    if dataset.store == "lake":
        table = table_of(lake, dataset)
        bind(lake.con, "_retention_scores", table.scan_files(table.files(), columns={"score": "quality_score"}))
        rows = lake.con.table("_retention_scores")
        score = ColumnExpression("score")
        bad = (score == 0) | FunctionExpression("isnan", score)
        counted = rows.aggregate([FunctionExpression("count", score), FunctionExpression("count_if", bad)]).fetchall()[
            0
        ]
        return int(counted[0] or 0), int(counted[1] or 0)  # without any row the sum is unknown
    score_column = METADATA.tables[dataset.table].c.quality_score
    with engine.connect() as con:
        row = con.execute(select(func.count(score_column), func.count().filter(score_column == 0))).one()
    return row[0], row[1]


def told(evidence: Evidence) -> Mapping[str, Any]:
    """Evidence as the record of a run keeps it."""
    return {
        "keys_read": evidence.keys_read,
        "last_read_at": evidence.last_read_at.isoformat() if evidence.last_read_at else None,
        "scored": evidence.scored,
        "bad": evidence.bad,
    }


def _evidence(said: Mapping[str, Any] | None) -> Evidence | None:
    if said is None:
        return None
    last = said.get("last_read_at")
    return Evidence(
        keys_read=said.get("keys_read"),
        last_read_at=datetime.fromisoformat(last) if last else None,
        scored=said.get("scored"),
        bad=said.get("bad"),
    )


def is_unchanged(engine: Engine, plan: Plan, dataset: Governed, protections: tuple[Protection, ...]) -> bool:
    """Whether nothing changed since a plan was made that its rows are decided by: protections, and reads."""
    if Counter(plan.protections) != Counter(one.label for one in protections):
        return False
    if dataset.read_key is None:
        return True
    since = select(
        select(ACCESS_COUNTS.c.key)
        .where(ACCESS_COUNTS.c.dataset == dataset.table, ACCESS_COUNTS.c.last_accessed_at >= plan.as_of)
        .exists()
    )
    with engine.connect() as con:
        return not con.scalar(since)


def free_bytes(lake: Lake) -> int | None:
    """Free bytes where the lake lies; None on an object store, which does not say."""
    if "://" in lake.root:
        return None
    folder = Path(lake.root)
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def _rewritten_bytes(plan: Plan, dataset: Governed) -> int:
    if dataset.store != "lake":
        return 0
    copied = ("rewrite", "drop") if plan.action == "archive" else ("rewrite",)
    return sum(one.size_bytes for one in plan.partitions if one.fate in copied)
