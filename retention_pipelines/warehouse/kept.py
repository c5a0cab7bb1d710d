"""Versions of tables whose files vacuum must keep although no reader is shown them: those a plan can be taken back to.

One small object per keeper, so that nobody has to agree with anybody on a list. It lies in the lake and not in
Postgres: whoever vacuums sees it. What does not belong here: what vacuum deletes (`table.py`).
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from retention_pipelines.warehouse.objects import Objects

_FOLDER = "_lake/kept"


@dataclass(frozen=True, kw_only=True)
class Kept:
    """What a keeper needs, and until when; `tables` maps a table to its versions."""

    keeper: str
    tables: Mapping[str, tuple[int, ...]]
    until: datetime


def keep(objects: Objects, kept: Kept) -> None:
    """Let vacuum keep these versions; a second time replaces what the same keeper said before."""
    content = {"tables": {name: list(versions) for name, versions in kept.tables.items()}, "until": str(kept.until)}
    objects.write(f"{_FOLDER}/{kept.keeper}.json", json.dumps(content).encode())


def release(objects: Objects, keeper: str) -> None:
    """Let vacuum take what only this keeper needed."""
    objects.delete(f"{_FOLDER}/{keeper}.json")


def kept_now(objects: Objects, *, now: datetime | None = None) -> Iterable[Kept]:
    """What is needed at an instant (by default of this machine's clock)."""
    instant = now or datetime.now(UTC)
    for name in objects.names(_FOLDER):
        content = objects.read(f"{_FOLDER}/{name}") if name.endswith(".json") else None
        if content is None:
            continue
        said = json.loads(content)
        until = datetime.fromisoformat(said["until"])
        if until >= instant:
            tables = {table: tuple(versions) for table, versions in said["tables"].items()}
            yield Kept(keeper=name.removesuffix(".json"), tables=tables, until=until)
