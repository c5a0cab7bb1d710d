"""The landing folder: what lies in it complete, and putting aside what was ingested.

An entry is a file or a folder at the top of the landing folder. Hidden names and names of unfinished copies are
ignored; an entry is complete when neither its files nor their sizes and times change any more. Nothing is deleted but
what holds something that was erased by order: entries move to `.done/<instant>/`, those with a refused file to
`.refused/<instant>/`.
"""

import hashlib
import os
import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

PARTIAL = (".part", ".partial", ".tmp", ".temp", ".crdownload", ".filepart", ".download", ".swp", "~")


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A file or folder in the landing folder; `signature` changes whenever a file in it does."""

    path: Path
    signature: str
    changed_at: float
    partial: bool


def _is_partial(name: str) -> bool:
    return name.lower().endswith(PARTIAL)


def _entry(path: Path) -> Entry | None:
    found = sorted(item for item in path.rglob("*") if item.is_file()) if path.is_dir() else [path]
    found = [item for item in found if not any(part.startswith(".") for part in item.relative_to(path.parent).parts)]
    if not found:
        return None
    stats = [(item, item.stat()) for item in found]
    text = "\n".join(f"{item.relative_to(path.parent)}\t{stat.st_size}\t{stat.st_mtime_ns}" for item, stat in stats)
    return Entry(
        path=path,
        signature=hashlib.sha256(text.encode()).hexdigest()[:32],
        changed_at=max(stat.st_mtime for _, stat in stats),
        partial=any(_is_partial(item.name) for item in found),
    )


def entries(folder: Path) -> dict[str, Entry]:
    """What lies in the folder, by name; without hidden and partial entries, empty when there is no folder."""
    found = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.name.startswith(".") or _is_partial(path.name):
            continue
        try:
            entry = _entry(path)
        except FileNotFoundError:
            continue  # it was moved or renamed while it was looked at: not complete, the next look decides
        if entry is not None and not entry.partial:
            found[path.name] = entry
    return found


def complete_entries(before: Mapping[str, str], current: Mapping[str, Entry]) -> dict[str, Entry]:
    """Entries whose signature is the one seen `before`."""
    return {name: entry for name, entry in current.items() if before.get(name) == entry.signature}


def settled_entries(folder: Path, *, settle_seconds: float) -> dict[str, Entry]:
    """Entries that do not change for `settle_seconds`; waits only when one changed that recently."""
    first = entries(folder)
    if not first or max(entry.changed_at for entry in first.values()) < time.time() - settle_seconds:
        return first
    time.sleep(settle_seconds)
    return complete_entries({name: entry.signature for name, entry in first.items()}, entries(folder))


def remove_erased(folder: Path, paths: Iterable[Path]) -> None:
    """Remove raw files that hold what was erased by order: nothing may keep a copy. Of a zip's member the whole zip."""
    for path in paths:
        place = next((one for one in (path, *path.parents) if one.is_file()), None)
        if place is not None and place.absolute().is_relative_to(folder.absolute()):
            place.unlink(missing_ok=True)


def put_aside(folder: Path, done: Mapping[str, Entry], *, refused: Collection[str], at: datetime) -> tuple[Path, ...]:
    """Move ingested entries out of the way; one that changed meanwhile stays, to be ingested again."""
    moved = []
    for name, entry in done.items():
        if complete_entries({name: entry.signature}, entries(folder)) == {}:
            continue
        target = folder / (".refused" if name in refused else ".done") / f"{at:%Y%m%dT%H%M%S.%fZ}" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        os.rename(entry.path, target)
        moved.append(target)
    return tuple(moved)
