"""`retention lake …`: what is in the lake, and looking after it.

Thin: each command opens the lake, calls one method and says what it did.
"""

import json
import sys
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table as Grid

from retention_pipelines.catalog import DATASETS
from retention_pipelines.errors import LakeError
from retention_pipelines.settings import load_settings
from retention_pipelines.sources.rests import to_deliver_again
from retention_pipelines.warehouse import Commit, Lake

Name = Annotated[str, typer.Argument(help="Dataset, for example observations.")]
_SHOWN = 20
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]


def _open() -> Lake:
    return Lake(load_settings())


def _print(columns: list[str], rows: list[list[object]], as_json: bool) -> None:
    if as_json:
        sys.stdout.write(json.dumps([dict(zip(columns, row, strict=True)) for row in rows], indent=1) + "\n")
        return
    grid = Grid(*columns)
    for row in rows:
        grid.add_row(
            *("" if value is None else f"{value:,}" if isinstance(value, int) else str(value) for value in row)
        )
    Console().print(grid)


def _say(lake: Lake, name: str, commit: Commit) -> None:
    lake.publish()
    if not commit.partitions:
        sys.stdout.write(f"{name}: version {commit.version}; there was nothing to do\n")
        return
    sys.stdout.write(
        f"{name}: version {commit.version}; {commit.rows_added:,} rows written, {commit.rows_removed:,} replaced; "
        f"undo with: retention lake undo {name} {commit.version}\n"
    )


def _say_what_to_deliver_again(lake: Lake) -> None:
    paths = to_deliver_again(lake)
    if not paths:
        return
    several = f"{len(paths):,} deliveries" if len(paths) > 1 else "A delivery"
    shown = ", ".join(paths[:_SHOWN]) + (f" and {len(paths) - _SHOWN:,} more" if len(paths) > _SHOWN else "")
    sys.stdout.write(
        f"{several} counted rows of what was taken back as duplicates. Deliver again what should be there, with "
        f"`retention ingest`; rows that are there are not taken twice: {shown}\n"
    )


def size(as_json: AsJson = False) -> None:
    """Rows, files and bytes of every dataset."""
    with _open() as lake:
        shown = lake.published().versions
        rows: list[list[object]] = []
        for name in DATASETS:
            files = lake.table(name).files()
            total = [sum(file.rows for file in files), len(files), sum(file.bytes for file in files)]
            rows.append([name, *total, lake.table(name).version(), shown.get(name)])
        for name, table in lake.tiers().items():
            files = table.files()
            total = [sum(file.rows for file in files), len(files), sum(file.bytes for file in files)]
            rows.append([name, *total, table.version(), None])
        _print(["dataset", "rows", "files", "bytes", "version", "published"], rows, as_json)


def files(name: Name, as_json: AsJson = False) -> None:
    """Live files of a dataset."""
    with _open() as lake:
        found = lake.table(name).files()
        _print(["path", "rows", "bytes"], [[file.path, file.rows, file.bytes] for file in found], as_json)


def history(
    name: Name,
    limit: Annotated[int, typer.Option(min=1, help="How many commits.")] = 20,
    as_json: AsJson = False,
) -> None:
    """Commits of a dataset, newest first."""
    with _open() as lake:
        rows: list[list[object]] = [
            [entry.version, f"{entry.committed_at:%Y-%m-%dT%H:%M:%SZ}", entry.op, len(entry.added), len(entry.removed)]
            for entry in lake.table(name).history(limit)
        ]
        _print(["version", "committed_at", "op", "files_added", "files_removed"], rows, as_json)


def publish() -> None:
    """Show the current state of every dataset to readers."""
    with _open() as lake:
        for name, version in lake.publish().items():
            sys.stdout.write(f"{name}: version {version}\n")
        if not lake.published().trees:
            sys.stdout.write(
                "This file system has no links, so there are no folders to glob: "
                "read with retention query, connect() or catalog.duckdb.\n"
            )


def undo(name: Name, version: Annotated[int, typer.Argument(help="Commit to take back; see history.")]) -> None:
    """Take back one commit and keep what came after it; of an ingest, its rows in every dataset and its ledger line."""
    with _open() as lake:
        for table, commit in lake.undo(name, version):
            _say(lake, table, commit)
        _say_what_to_deliver_again(lake)


def restore(
    name: Name,
    version: Annotated[int | None, typer.Option(help="Version to go back to; see history.")] = None,
    at: Annotated[datetime | None, typer.Option(help="Or an instant, UTC, for example 2026-09-01T12:00:00.")] = None,
) -> None:
    """Go back to an earlier version of a dataset; what came after it is taken back, of an ingest in every dataset."""
    with _open() as lake:
        lake.settings.require_full("retention lake restore")
        table = lake.table(name)
        if version is None and at is not None:
            version = table.version_at(at if at.tzinfo else at.replace(tzinfo=UTC))
            if version < 0:
                raise LakeError(
                    f"{name} held nothing at {at:%Y-%m-%d %H:%M}, or its history does not reach back so far.",
                    hint=f"`retention lake history {name}` lists the versions.",
                )
        if version is None:
            raise LakeError("Say where to go back to.", hint="Give --version or --at.")
        for touched, commit in lake.restore(name, version):
            _say(lake, touched, commit)
        _say_what_to_deliver_again(lake)


def compact(
    names: Annotated[list[str] | None, typer.Argument(help="Datasets; all without.")] = None,
    min_files: Annotated[int, typer.Option(min=2, help="Partitions with at least so many small files.")] = 8,
) -> None:
    """Merge small files."""
    with _open() as lake:
        lake.settings.require_full("retention lake compact")
        for name in names or DATASETS:
            commit = lake.table(name).compact(min_files=min_files)
            freed = commit.bytes_removed - commit.bytes_added
            sys.stdout.write(f"{name}: {len(commit.partitions)} partitions merged, {freed:,} bytes smaller\n")
        lake.publish()


def archive(
    name: Name,
    where: Annotated[str, typer.Option(help="SQL condition on the dataset's columns.")],
    run: Annotated[str, typer.Option(help="Name of this move; repeating it with the same name is harmless.")],
    back: Annotated[bool, typer.Option("--back", help="Move rows from the archive back.")] = False,
) -> None:
    """Move rows of a dataset into its archive, or back."""
    with _open() as lake:
        lake.settings.require_full("retention lake archive")
        move = lake.unarchive if back else lake.archive
        _say(lake, name, move(name, where, run=run))


def vacuum(names: Annotated[list[str] | None, typer.Argument(help="Datasets; all without.")] = None) -> None:
    """Free the space of files that no version of the last 7 days needs."""
    with _open() as lake:
        for name in names or DATASETS:
            sys.stdout.write(f"{name}: {len(lake.vacuum(name)):,} files deleted\n")
