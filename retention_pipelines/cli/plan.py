"""`retention plan` and `retention explain`: what retention would do, and why, without doing it.

Thin: each command opens the planner, calls one method and prints.
"""

import json
import sys
from dataclasses import asdict
from datetime import datetime
from itertools import groupby
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from retention_pipelines.retention.plans.explain import Explanation
from retention_pipelines.retention.plans.plan import Plan
from retention_pipelines.retention.plans.planning import planner
from retention_pipelines.retention.policies.policy import Policy
from retention_pipelines.retention.pressure.break_even import Balance
from retention_pipelines.retention.runs.lock import who_am_i
from retention_pipelines.retention.runs.run import runner
from retention_pipelines.settings import load_settings

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]


def plan(
    policy: Annotated[str | None, typer.Argument(help="Only this policy; every one by default.")] = None,
    as_json: AsJson = False,
) -> None:
    """Say what executing the policies now would remove, and why; nothing is removed."""
    settings = load_settings()
    with runner(settings) as opened:
        planning = opened.planner
        if policy is None:
            plans = planning.plan_all()
        else:
            one = planning.registry.get(policy)
            plans = ((one, planning.plan(one)),)
        balances = {found.sha256: planning.balance(one, found) for one, found in plans}
        if settings.mode == "full":
            # On record, so that `retention run HASH` can execute exactly what was read here.
            for _, found in plans:
                opened.store.save(found, created_by=who_am_i())
    if as_json:
        sys.stdout.write(
            json.dumps([_plain(one, found, balances[found.sha256]) for one, found in plans], indent=1) + "\n"
        )
        return
    for dataset, listed in groupby(plans, key=lambda pair: pair[0].dataset):
        group = list(listed)
        title = f"{dataset}, {group[0][1].total_rows:,} rows"
        table = Table("policy", "expired", "would go", "left for later", "plan", title=title, title_justify="left")
        for one, found in group:
            left = sum(partition.expired for partition in found.partitions if partition.fate in ("leave", "newest"))
            counts = (found.expired_rows, found.removed_rows, left)
            table.add_row(str(one), *(f"{count:,}" for count in counts), found.sha256[:12])
        Console().print(table)
    for one, found in plans:
        paid = balances[found.sha256]
        if paid is not None and found.expired_rows:
            sys.stdout.write(f"{one.policy_id}: of the rows that expired, {paid.sentence()}.\n")
    for dataset, ungoverned in {found.dataset: found.ungoverned_rows for _, found in plans}.items():
        if ungoverned:
            sys.stdout.write(f"{dataset}: {ungoverned:,} rows are governed by no policy and kept.\n")
    for one, found in plans:
        if found.newest_rows:
            sys.stdout.write(
                f"{one.policy_id}: {found.newest_rows:,} expired rows stay, as nothing else is left of the newest "
                f"partition of {found.dataset}.\n"
            )
    odd = {(found.dataset, count.anomaly): count.rows for _, found in plans for count in found.counts if count.anomaly}
    for (dataset, anomaly), rows in odd.items():
        said = "lie in the future" if anomaly == "in_future" else "have no instant to count their age from"
        sys.stdout.write(f"{dataset}: {rows:,} rows {said} and are kept.\n")


def explain(
    dataset: Annotated[str, typer.Argument(help="Dataset, for example feature_store.")],
    name: Annotated[str, typer.Argument(help="The row: a feature's hash, id or study; a cache entry's key.")],
    as_json: AsJson = False,
) -> None:
    """Say why a row is kept or goes, when it expires, and what would change that."""
    with planner(load_settings()) as planning:
        found = planning.explain(dataset, name)
    if as_json:
        sys.stdout.write(json.dumps([_explained(one) for one in found], indent=1, default=str) + "\n")
        return
    for one in found:
        _tell(one)


def _tell(one: Explanation) -> None:
    said = [one.reason[0].upper() + one.reason[1:] + "."]
    if one.decision.expires_at is not None:
        said.append(f"  expires      {_instant(one.decision.expires_at)}")
    said.append("  values       " + ", ".join(f"{key} {_value(value)}" for key, value in one.values.items()))
    if one.worth:
        said.append(f"  value        {one.worth}")
    if one.blocked_by:
        said.append(f"  blocked by   {one.blocked_by}: its policy would let it go")
    for other in one.alternatives:
        moved = f"{other.field} {_value(one.values.get(other.field))} -> {_value(other.value)}"
        policy = other.decision.policy.policy_id if other.decision.policy else "no policy"
        until = f", expires {_instant(other.decision.expires_at)}" if other.decision.expires_at else ""
        said.append(f"  would change {moved}: {policy}{until} ({other.decision.verdict})")
    sys.stdout.write("\n".join(said) + "\n")


def _instant(instant: datetime) -> str:
    return instant.isoformat(timespec="seconds").replace("+00:00", "Z")


def _value(value: object) -> str:
    if value is None:
        return "unknown"
    if isinstance(value, datetime):
        return _instant(value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def _plain(policy: Policy, found: Plan, paid: Balance | None) -> dict[str, Any]:
    return {
        "policy": policy.policy_id,
        "version": policy.version,
        "dataset": found.dataset,
        "action": found.action,
        "as_of": found.as_of.isoformat(),
        "sha256": found.sha256,
        "rows": found.total_rows,
        "expired_rows": found.expired_rows,
        "removed_rows": found.removed_rows,
        "ungoverned_rows": found.ungoverned_rows,
        "protections": list(found.protections),
        "break_even": asdict(paid) if paid else None,
        "counts": [{name: getattr(count, name) for name in count.__slots__} for count in found.counts],
        "partitions": [{name: getattr(one, name) for name in one.__slots__} for one in found.partitions],
    }


def _explained(one: Explanation) -> dict[str, Any]:
    decision = one.decision
    return {
        "verdict": decision.verdict,
        "reason": one.reason,
        "policy": str(decision.policy) if decision.policy else None,
        "anchored_at": decision.anchored_at,
        "expires_at": decision.expires_at,
        "anomaly": decision.anomaly,
        "blocked_by": one.blocked_by,
        "value": one.worth,
        "values": dict(one.values),
        "as_of": one.as_of,
        "alternatives": [
            {
                "field": other.field,
                "value": other.value,
                "policy": str(other.decision.policy) if other.decision.policy else None,
                "verdict": other.decision.verdict,
                "expires_at": other.decision.expires_at,
            }
            for other in one.alternatives
        ],
    }
