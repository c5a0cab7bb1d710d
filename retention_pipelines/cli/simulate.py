"""`retention simulate`: what other policies would have done over the recorded reads.

Thin: reads the file, opens the planner, calls one function and prints.
"""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn
from rich.table import Table

from retention_pipelines.errors import PolicyError
from retention_pipelines.retention.plans.planning import planner
from retention_pipelines.retention.policies.defaults import read_policies
from retention_pipelines.retention.policies.policy import Policy
from retention_pipelines.retention.simulation.simulate import Comparison
from retention_pipelines.retention.simulation.simulate import Progress as Told
from retention_pipelines.retention.simulation.simulate import simulate as replay
from retention_pipelines.settings import load_settings

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]


def simulate(
    file: Annotated[Path, typer.Argument(help="Policies as YAML, like policies.yaml of the package.")],
    days: Annotated[int, typer.Option(help="Days to replay, up to today.", min=1, max=3650)] = 30,
    by_day: Annotated[bool, typer.Option("--by-day", help="Show every day.")] = False,
    as_json: AsJson = False,
) -> None:
    """Replay the recorded reads under the policies of a file and under those in force; nothing is changed.

    The file's policies replace all policies of each dataset it names; others are left out.
    """
    policies = policies_of(file)
    with planner(load_settings()) as planning, progress_bar() as told:
        found = replay(planning, policies, days=days, progress=told)
    if as_json:
        sys.stdout.write(json.dumps([_plain(one) for one in found], indent=1, default=str) + "\n")
        return
    for one in found:
        _tell(one, by_day=by_day)


def policies_of(file: Path) -> tuple[Policy, ...]:
    """The policies of a file; raises PolicyError for one that cannot be read."""
    try:
        return read_policies(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise PolicyError(f"{file} cannot be read: {error}.", hint="Give a YAML file of policies.") from None


@contextmanager
def progress_bar() -> Iterator[Told]:
    """A bar on stderr, for people only, that a replay moves."""
    console = Console(stderr=True)
    with Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), console=console, transient=True
    ) as bar:
        tasks: dict[str, TaskID] = {}

        def told(dataset: str, done: int, days: int) -> None:
            if dataset not in tasks:
                tasks[dataset] = bar.add_task(f"Replaying {dataset}", total=days)
            bar.update(tasks[dataset], completed=done)

        yield told


def _tell(one: Comparison, *, by_day: bool) -> None:
    title = f"{one.dataset}, {one.current.rows:,} rows, {one.first_day} to {one.last_day}"
    table = Table("", "in force", "proposed", title=title, title_justify="left")
    for label, name in (
        ("rows gone at the end", "gone"),
        ("bytes freed", "freed_bytes"),
        ("regrets", "regrets"),
        ("of them not measured", "unmeasured_regrets"),
    ):
        table.add_row(label, *(f"{getattr(side, name):,}" for side in (one.current, one.proposed)))
    table.add_row("seconds paid again", *(f"{side.recompute_seconds:,.1f}" for side in (one.current, one.proposed)))
    console = Console()
    console.print(table)
    if by_day:
        listed = Table("day", "gone", "bytes", "regrets", "seconds", "gone", "bytes", "regrets", "seconds")
        for mine, other in zip(one.current.days, one.proposed.days, strict=True):
            cells = [
                cell
                for side in (mine, other)
                for cell in (
                    f"{side.removed:,}",
                    f"{side.freed_bytes:,}",
                    f"{side.regrets:,}",
                    f"{side.recompute_seconds:,.1f}",
                )
            ]
            listed.add_row(str(mine.day), *cells)
        console.print(listed)
    sys.stdout.write(f"{one.sentence()}\n")


def _plain(one: Comparison) -> dict[str, object]:
    return asdict(one) | {"sentence": one.sentence()}
