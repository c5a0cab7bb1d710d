"""`retention run`, `sweep`, `restore` and `history`: carrying out plans, taking them back, and what became of each.

Thin: each command opens a runner, calls one function and prints.
"""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.console import Console

from retention_pipelines.cli.tables import fitting
from retention_pipelines.errors import PolicyError
from retention_pipelines.retention.policies.governed import governed
from retention_pipelines.retention.recovery.restore import restore_dataset, restore_plan, restore_rows
from retention_pipelines.retention.runs.lock import who_am_i
from retention_pipelines.retention.runs.run import Outcome, Runner, runner
from retention_pipelines.settings import load_settings

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]


@contextmanager
def _running(what: str) -> Iterator[Runner]:
    """A runner that shows on stderr, to people only, what it is at."""
    console = Console(stderr=True)
    with console.status(what) as status:
        counts: dict[str, int] = {}

        def step(name: str) -> None:
            counts[name] = counts.get(name, 0) + 1
            status.update(f"{what}: {name} ({counts[name]:,})")

        with runner(load_settings(), step=step) as opened:
            yield opened


def run(
    target: Annotated[str, typer.Argument(help="A plan's hash, its first 8 or more characters, or a policy's name.")],
    confirm: Annotated[
        str | None, typer.Option(help="The plan's whole hash: you read it and overrule the guards that you may.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Execute a plan, or plan and execute a policy; after a crash, the same call goes on where it ended.

    Exit codes: 0 done; 2 a mistake; 3 a guard refused, nothing was removed; 4 another run has the dataset in hand.
    With --json, the object of a refusal also has plan_sha256 and can_confirm.
    """
    with _running("Running") as opened:
        policies = {policy.policy_id: policy for policy in opened.planner.registry.current()}
        if target in policies or set(target) - set("0123456789abcdef"):
            # A name that is no policy's: the registry names those there are.
            policies.setdefault(target, opened.planner.registry.get(target))
            outcome = opened.execute_policy(policies[target], confirm=confirm, actor=who_am_i())
        else:
            outcome = opened.execute(target, confirm=confirm, actor=who_am_i())
    _tell([outcome], as_json)


def sweep(
    dataset: Annotated[str | None, typer.Argument(help="Only of this dataset.")] = None,
    early: Annotated[
        str | None, typer.Option(help="A plan's whole hash: end its grace now; it cannot be taken back then.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Let go for good of what runs removed, where the grace is over."""
    with _running("Sweeping") as opened:
        swept = opened.sweep(governed(dataset).name if dataset else None, early=early, actor=who_am_i())
    _tell(list(swept), as_json)


def restore(
    plan: Annotated[str | None, typer.Option(help="Hash of the plan to take back, or its beginning.")] = None,
    dataset: Annotated[str | None, typer.Option(help="Dataset to take back, or to look for rows in.")] = None,
    row: Annotated[list[str] | None, typer.Option(help="A row of the dataset by its name; may be repeated.")] = None,
    as_json: AsJson = False,
) -> None:
    """Bring back what a run removed, while its grace lasts: a plan, all of a dataset, or single rows.

    Exit codes: 0 done, whatever came back; 2 a mistake, or the grace is over; 4 a run has the dataset in hand.
    """
    if (plan is None) == (dataset is None) or (row and dataset is None):
        raise PolicyError(
            "Say what to bring back.", hint="--plan HASH, or --dataset NAME, or --dataset NAME --row ID [--row ID]."
        )
    with _running("Restoring") as opened:
        if plan is not None:
            found = [restore_plan(opened, plan, actor=who_am_i())]
        elif row:
            found = [*restore_rows(opened, str(dataset), row, actor=who_am_i())]
        else:
            found = [*restore_dataset(opened, str(dataset), actor=who_am_i())]
    if as_json:
        _print_json([asdict(one) for one in found])
        return
    for one in found:
        sys.stdout.write(f"{one.dataset}: {one.rows:,} rows came back from plan {one.plan_sha256[:12]}.\n")
    if not found:
        sys.stdout.write("Nothing to bring back: no plan in its grace removed it.\n")


def history(
    dataset: Annotated[str | None, typer.Argument(help="Only of this dataset.")] = None,
    limit: Annotated[int, typer.Option(help="How many plans at most.")] = 20,
    as_json: AsJson = False,
) -> None:
    """List plans, newest first: what became of each, and of those that were refused or failed, why."""
    with runner(load_settings()) as opened:
        records = opened.store.records(governed(dataset).name if dataset else None, limit=limit)
        outcomes = {record.sha256: opened.outcome(record.sha256) for record in records}
    if as_json:
        _print_json(
            [
                asdict(outcomes[record.sha256])
                | {"as_of": record.as_of, "created_by": record.created_by, "refused_because": record.refused_because}
                for record in records
            ]
        )
        return
    if not records:
        sys.stdout.write("There are no plans on record.\n")
        return
    names = ("plan", "dataset", "action", "as of", "state", "removed")
    table = fitting(*names, whole=tuple(name for name in names if name != "dataset"))
    for record in records:
        table.add_row(
            record.sha256[:12],
            record.dataset,
            record.action,
            f"{record.as_of:%m-%d %H:%M}",
            record.state,
            "not run" if record.state == "planned" else f"{outcomes[record.sha256].removed:,}",
        )
    Console().print(table)
    for record in records:
        if record.refused_because:
            sys.stdout.write(f"{record.sha256[:12]} {record.refused_because}\n")


def _tell(outcomes: list[Outcome], as_json: bool) -> None:
    if as_json:
        _print_json([asdict(one) for one in outcomes])
        return
    for one in outcomes:
        said = [f"{one.dataset}: plan {one.plan_sha256[:12]} is {one.state}; {one.removed:,} rows were removed."]
        if one.rewritten:
            said.append(f"  packed       {one.rewritten:,} rows, none of which went")
        if one.said:
            said.append(f"  note         {one.said}")
        if one.archived:
            said.append(f"  archived     {one.archived:,} rows, copied before")
        if one.kept or one.missing:
            said.append(f"  stayed       {one.kept:,} that may not go any more; {one.missing:,} had gone already")
        said.append(f"  logical      {_bytes(one.logical_bytes)}")
        said.append(f"  files        {_bytes(one.file_bytes)}")
        said.append(f"  file system  {_bytes(one.disk_bytes)}")
        if one.grace_until:
            said.append(f"  grace until  {one.grace_until:%Y-%m-%dT%H:%M:%SZ}")
        sys.stdout.write("\n".join(said) + "\n")
    if not outcomes:
        sys.stdout.write("Nothing is due.\n")


def _bytes(count: int | None) -> str:
    return "unknown" if count is None else f"{count:,} bytes"


def _print_json(value: Any) -> None:
    sys.stdout.write(json.dumps(value, indent=1, default=str) + "\n")
