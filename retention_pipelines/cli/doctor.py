"""`retention doctor`: the diagnosis, printed.

What belongs here: the command and its words on the screen. What does not: looking (`diagnosis.py`).
"""

import json
from contextlib import ExitStack
from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from retention_pipelines.cli.diagnosis import Finding, examine
from retention_pipelines.errors import RetentionError
from retention_pipelines.postgres.server import open_server
from retention_pipelines.settings import load_settings

_SIGNS: dict[str, str] = {"ok": "", "note": "note", "problem": "PROBLEM"}


def doctor(
    start: Annotated[bool, typer.Option("--start", help="Start an embedded Postgres for the time of looking.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for machines.")] = False,
) -> None:
    """Say what is in use, what is missing, and what to do about it; exit code 1 when something needs doing."""
    settings = load_settings()
    with ExitStack() as opened:
        failed = None
        if start:
            try:
                opened.enter_context(open_server(settings))
            except RetentionError as error:
                failed = Finding(
                    section="Postgres",
                    name="start",
                    value=False,
                    status="problem",
                    detail=error.message,
                    advice=error.hint,
                )
        findings = [*([failed] if failed else []), *examine(settings)]
    well = all(finding.status != "problem" for finding in findings)
    if as_json:
        typer.echo(json.dumps({"ok": well, "findings": [asdict(finding) for finding in findings]}, indent=1))
    else:
        _print(findings, well)
    if not well:
        raise typer.Exit(1)


def _print(findings: list[Finding], well: bool) -> None:
    console = Console()
    for section in dict.fromkeys(finding.section for finding in findings):
        grid = Table(title=section, title_justify="left", show_header=False, box=None, padding=(0, 2, 0, 0))
        grid.add_column(no_wrap=True)
        grid.add_column(overflow="fold")
        grid.add_column(no_wrap=True)
        for finding in findings:
            if finding.section == section:
                grid.add_row(finding.name, escape(_shown(finding)), _SIGNS[finding.status])
        console.print(grid)
        console.print()
    for finding in findings:
        if finding.advice:
            console.print(
                f"{finding.section}, {finding.name}: {finding.advice}", markup=False, highlight=False, soft_wrap=True
            )
    console.print("All is well." if well else "Something needs doing; see above.")


def _shown(finding: Finding) -> str:
    match finding.value:
        case None:
            value = "unknown"
        case bool():
            value = "yes" if finding.value else "no"
        case int():
            value = f"{finding.value:,}"
        case _:
            value = finding.value
    if finding.detail is None or finding.detail.startswith(value):
        return finding.detail or value
    return f"{value} ({finding.detail})"
