"""`retention materialize`: the assets of Dagster in one process, without a daemon.

What belongs here: starting that process, showing its progress and its result. What does not: Dagster, which only
`retention_pipelines.defs` imports; hence the process of its own.
"""

import json
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from retention_pipelines.errors import PipelineError, RetentionError
from retention_pipelines.postgres.migrate import upgrade_server
from retention_pipelines.postgres.server import open_server
from retention_pipelines.settings import load_settings

MODULE = "retention_pipelines.defs.run"


@dataclass(frozen=True, kw_only=True)
class Materialized:
    """What one run left in a dataset; `rows` and `bytes` are those of the whole dataset."""

    asset: str
    partitions: int
    rows: int
    bytes: int
    seconds: float


@dataclass(kw_only=True)
class Outcome:
    """What is known of the process so far."""

    done: list[Materialized] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    hint: str | None = "`retention up` shows the runs with their logs."
    success: bool | None = None
    seconds: float = 0.0

    def take(self, line: dict[str, Any]) -> str | None:
        """Take in one line of progress; returns what to show of it."""
        match line["event"]:
            case "run":
                span = f", {line['first']} to {line['last']}" if "first" in line else ""
                return f"Run {line['job']}{span}"
            case "step":
                return f"  {line['step']} ..."
            case "asset":
                self._add(line)
            case "check_failed":
                self.reasons.append(f"The check {line['check']} of {line['asset']} failed: {line['error']}")
            case "failure":
                # A failed blocking check fails its step too; what the check says is the reason.
                if not self.reasons:
                    self.reasons.append(f"{line['step']} failed: {line['error']}")
            case "end":
                self.success = line["success"]
                if "error" in line:
                    self.reasons, self.hint = [line["error"]], line["hint"]
        return None

    def _add(self, line: dict[str, Any]) -> None:
        """One row per dataset: several runs over ranges of months add up, the size is the last one's."""
        name = line["asset"]
        before = next((item for item in self.done if item.asset == name), None)
        now = Materialized(
            asset=name,
            partitions=line["partitions"] + (before.partitions if before else 0),
            rows=line["rows"] or 0,
            bytes=line["bytes"] or 0,
            seconds=round(line["seconds"] + (before.seconds if before else 0.0), 3),
        )
        if before:
            self.done[self.done.index(before)] = now
        else:
            self.done.append(now)


def parse_line(text: str) -> dict[str, Any] | str:
    """A line of progress as an object, anything else as it is."""
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    return found if isinstance(found, dict) and "event" in found else text.rstrip("\n")


def run_pipeline(arguments: list[str], console: Console) -> Outcome:
    """Run the assets in a process of their own; raises PipelineError only when it dies without a last word."""
    outcome = Outcome()
    started = time.monotonic()
    with open_server(load_settings()) as server, tempfile.TemporaryFile("w+", encoding="utf-8") as complaints:
        upgrade_server(server)
        command = [sys.executable, "-m", MODULE, *arguments]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=complaints, text=True) as process:
            assert process.stdout is not None  # noqa: S101 - it is a pipe
            for line in map(parse_line, process.stdout):
                shown = outcome.take(line) if isinstance(line, dict) else line
                if shown:
                    console.print(shown, highlight=False, markup=False)
        outcome.seconds = round(time.monotonic() - started, 3)
        if outcome.success is None:
            complaints.seek(0)
            last = complaints.read().strip().split("\n")[-1] or f"it ended with code {process.returncode}"
            raise PipelineError(f"The process of the pipeline stopped early: {last}.")
    return outcome


def _table(outcome: Outcome) -> Table:
    table = Table(title=f"Materialized in {outcome.seconds:.1f} s")
    table.add_column("dataset")
    for name in ("months", "rows", "bytes", "seconds"):
        table.add_column(name, justify="right")
    for item in outcome.done:
        table.add_row(
            item.asset, str(item.partitions or "-"), f"{item.rows:,}", f"{item.bytes:,}", f"{item.seconds:.2f}"
        )
    return table


def materialize(
    select: Annotated[
        str | None, typer.Option(help="Datasets to compute, separated by commas. Default: all, from landing to trends.")
    ] = None,
    months: Annotated[
        str | None, typer.Option(help="Event months to compute, for example 2017-08,2017-09. Default: all there are.")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="All event months; the same as leaving out --months.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Ingest what lies in the landing folder, then compute features and series; the Dagster page shows the runs.

    With --json, a run that failed has the same object as others: success is false, reasons and hint say why.
    """
    load_settings().require_full("retention materialize")
    if every and months is not None:
        raise RetentionError("--all and --months exclude each other.", hint="Leave one of them out.")
    arguments = [*(("--select", select) if select else ()), *(("--months", months) if months is not None else ())]
    outcome = run_pipeline(arguments, Console(stderr=True, quiet=as_json))
    if as_json:
        result = {
            "success": outcome.success,
            "seconds": outcome.seconds,
            "reasons": outcome.reasons,
            "hint": outcome.hint,
        }
        typer.echo(json.dumps(result | {"materialized": [asdict(item) for item in outcome.done]}))
    elif outcome.done:
        Console().print(_table(outcome))
    if not outcome.success:
        reason = outcome.reasons[0] if outcome.reasons else "A run failed."
        if as_json:
            sys.stderr.write(f"Error: {reason}\n")
            raise typer.Exit(2)  # the object has been printed
        raise PipelineError(reason, hint=outcome.hint)
