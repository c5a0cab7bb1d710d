"""`retention pressure` and `retention budgets …`: how short storage is, and what would go because of it.

Thin: each command opens a runner, calls one function and prints.
"""

import json
import re
import sys
from dataclasses import asdict
from decimal import Decimal
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from retention_pipelines.cli.tables import fitting
from retention_pipelines.errors import PolicyError
from retention_pipelines.retention.plans.plan import Plan
from retention_pipelines.retention.pressure.budgets import set_budget
from retention_pipelines.retention.pressure.plan import plan_relief, relieved_bytes
from retention_pipelines.retention.pressure.state import PressureState, measure_with
from retention_pipelines.retention.runs.lock import who_am_i
from retention_pipelines.retention.runs.run import runner
from retention_pipelines.settings import load_settings

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
_UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_SIZE = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([KMGT]?B?)\s*", re.IGNORECASE)


def pressure(as_json: AsJson = False) -> None:
    """Say how short storage is, and plan what would go early because of it; `retention run HASH` carries it out."""
    settings = load_settings()
    with runner(settings) as opened:
        state = measure_with(opened.planner.engine, opened.planner.lake, settings, every_row=True)
        plans = plan_relief(opened.planner, settings, state)
        if settings.mode == "full":
            for made in plans.values():
                opened.store.save(made, created_by=who_am_i())
        waiting = [
            (record.sha256, record.freed_file_bytes, record.grace_until)
            for record in opened.store.open()
            if record.state == "published" and record.grace_until is not None
        ]
    if as_json:
        _print_json(
            _plain(state)
            | {
                "plans": [_planned(name, plan) for name, plan in plans.items()],
                "in_grace": [
                    {"plan": sha256, "file_bytes": size, "grace_until": until} for sha256, size, until in waiting
                ],
            }
        )
        return
    sys.stdout.write(f"{state.reason}\n")
    for sha256, size, until in waiting:
        told = "bytes nobody measured" if size is None else f"{size:,} bytes"
        sys.stdout.write(f"In grace until {until:%Y-%m-%dT%H:%M:%SZ}: {told} of plan {sha256}.\n")
    for name in state.datasets:
        if name not in plans:
            sys.stdout.write(f"{name}: nothing may or need go.\n")
    if not plans:
        return
    table = fitting("dataset", "would go", "rows", "early", "grace", "plan", whole=("dataset", "plan"))
    for name, plan in plans.items():
        share = plan.haste.forward_share if plan.haste else 0.0
        seconds = plan.haste.grace_seconds if plan.haste else None
        grace = "by policy" if seconds is None else f"{seconds / 3600:g} h at most"
        early = f"by {share:.0%} at most" if share else "no"
        table.add_row(name, f"{relieved_bytes(plan):,}", f"{plan.removed_rows:,}", early, grace, plan.sha256[:12])
    Console().print(table)


def list_budgets(as_json: AsJson = False) -> None:
    """List every governed dataset with its size, its budget, and how much it is over it.

    A budget counts the bytes of files of the lake, of training sets as they are stored, and of rows in Postgres.
    """
    settings = load_settings()
    with runner(settings) as opened:
        state = measure_with(opened.planner.engine, opened.planner.lake, settings, every_row=True)
    if as_json:
        _print_json([asdict(one) for one in state.sizes])
        return
    table = Table("dataset", "bytes", "budget", "over")
    for one in state.sizes:
        budget = "none" if one.budget_bytes is None else f"{one.budget_bytes:,}"
        table.add_row(one.dataset, f"{one.size_bytes:,}", budget, f"{one.over_bytes:,}" if one.over_bytes else "")
    Console().print(table)


def set_size_budget(
    dataset: Annotated[str, typer.Argument(help="Dataset, for example feature_store.")],
    size: Annotated[str, typer.Argument(help="Bytes, or with a unit: 500MB, 20GB (powers of 1000); none removes it.")],
) -> None:
    """Set how many bytes a dataset may take before pressure acts on it, or remove that."""
    settings = load_settings()
    settings.require_full("Setting a budget")
    budget = None if size.strip().lower() == "none" else _bytes(size)
    with runner(settings) as opened:
        set_budget(opened.planner.engine, dataset, budget, actor=who_am_i())
    said = "has no budget now" if budget is None else f"may take {budget:,} bytes"
    sys.stdout.write(f"{dataset} {said}.\n")


def _bytes(written: str) -> int:
    found = _SIZE.fullmatch(written)
    if found is None:
        raise PolicyError(f"{written!r} is no size.", hint="For example 500MB, 20GB, 1000000 or none.")
    number, unit = found.groups()
    unit = unit.upper()
    return round(Decimal(number) * _UNITS[unit if unit in _UNITS else unit + "B"])


def _plain(state: PressureState) -> dict[str, Any]:
    return asdict(state)


def _planned(name: str, plan: Plan) -> dict[str, Any]:
    return {
        "dataset": name,
        "freed_bytes": relieved_bytes(plan),
        "rows": plan.removed_rows,
        "haste": asdict(plan.haste) if plan.haste else None,
        "plan": plan.sha256,
        "partitions": [asdict(one) for one in plan.partitions if one.fate in ("drop", "rewrite")],
    }


def _print_json(value: Any) -> None:
    sys.stdout.write(json.dumps(value, indent=1, default=str) + "\n")
