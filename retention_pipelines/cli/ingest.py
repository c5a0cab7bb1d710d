"""`retention ingest` and `retention mappings`: raw files in, with a line of counts per file.

What belongs here: arguments, the progress bar, the table, exit codes. What does not: what is done with a file
(`sources.ingest`). Exit code 0 means every file was taken, 3 that at least one was refused, 2 a wrong call.
"""

import json
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from retention_pipelines.errors import MappingError
from retention_pipelines.settings import load_settings
from retention_pipelines.sources.discovery import discover
from retention_pipelines.sources.draft import draft
from retention_pipelines.sources.ingest import ingest as ingest_files
from retention_pipelines.sources.mapping import Mappings
from retention_pipelines.sources.report import FileReport, IngestReport
from retention_pipelines.warehouse.lake import Lake

REFUSED = 3


def ingest(
    paths: Annotated[list[str], typer.Argument(help="Files, folders or globs.")],
    mapping: Annotated[
        str | None, typer.Option(help="A packaged mapping's name or a YAML file, for the delimited files it fits.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of the table.")] = False,
) -> None:
    """Read raw files into the lake; every row is accepted, quarantined with a reason, or an exact duplicate."""
    settings = load_settings()
    settings.require_full("retention ingest")
    console = Console(stderr=True)
    with Lake(settings) as lake, _bar(console) as bar:
        task = bar.add_task("", total=None)

        def progress(path: str, done: int, total: int) -> None:
            bar.update(task, completed=done, total=total, description=Path(path).name or "done")

        report = ingest_files(paths, lake, now=datetime.now(UTC), mapping=mapping, progress=progress)
    if as_json:
        sys.stdout.write(json.dumps(_as_object(report), default=str) + "\n")
    else:
        _print(report, Console())
    if report.refused:
        raise typer.Exit(REFUSED)


def list_mappings() -> None:
    """List the packaged mappings."""
    table = Table("name", "target", "source type", "what", box=None)
    for mapping in Mappings.packaged().known:
        table.add_row(mapping.name, mapping.target, mapping.source_type, mapping.title)
    Console().print(table)


def show_mapping(name: Annotated[str, typer.Argument(help="Name of a packaged mapping.")]) -> None:
    """Print a mapping as it is packaged, to copy and edit."""
    sys.stdout.write(Mappings.text_of(name))


def draft_mapping(file: Annotated[str, typer.Argument(help="A delimited file nobody has described yet.")]) -> None:
    """Draft a mapping from the header of a file; look at every line marked EDIT."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        found = discover([file], Path(folder))
        text = draft(found.files[0]) if found.files else None
    if text is None:
        why = found.unreadable[0].why if found.unreadable else "It has no header of several columns."
        raise MappingError(f"No mapping can be drafted for {file}. {why}")
    sys.stdout.write(text)


def _bar(console: Console) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=console, transient=True)


def _as_object(report: IngestReport) -> dict[str, object]:
    return {
        "files": [asdict(file) for file in report.files],
        "ignored": [asdict(one) for one in report.ignored],
        "read": report.read,
        "accepted": report.accepted,
        "quarantined": report.quarantined,
        "duplicates": report.duplicates,
        "reasons": report.reasons,
    }


def _print(report: IngestReport, console: Console) -> None:
    table = Table(box=None)
    for name in ("file", "dataset", "status"):
        table.add_column(name, overflow="fold")
    for name in ("read", "accepted", "quarantined", "duplicates"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("why", overflow="fold")
    for file in report.files:
        counts = (file.read, file.accepted, file.quarantined, file.duplicates)
        table.add_row(
            Path(file.path).name, file.dataset_id or "", _status(file), *(f"{n:,}" for n in counts), _why(file)
        )
    if len(report.files) > 1:
        totals = (report.read, report.accepted, report.quarantined, report.duplicates)
        table.add_section()
        table.add_row("total", "", "", *(f"{n:,}" for n in totals), "")
    console.print(table)
    for ignored in report.ignored:
        console.print(f"left alone: {ignored.path} ({ignored.why})", highlight=False, markup=False)
    for file in report.files:
        for note in file.notes:
            console.print(f"note: {Path(file.path).name}: {note}", highlight=False, markup=False)
    for file in report.refused:
        console.print(f"refused: {file.path}: {file.error}", highlight=False, markup=False)
        if file.kept_aside:
            console.print(f"  a copy is in {file.kept_aside}", highlight=False, markup=False)


def _status(file: FileReport) -> str:
    return f"{file.role}, {file.status}" if file.role != "records" else file.status


def _why(file: FileReport) -> str:
    return ", ".join(f"{reason} {rows:,}" for reason, rows in file.reasons.items())
