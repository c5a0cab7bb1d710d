"""Which months of a raw table lack rows that were taken out: what is computed from them must not be computed again.

A note per executed plan lies beside the lake, written before the plan's commit. It counts while that commit stands,
by the id the table remembers for good: a plan that never landed, or was taken back, leaves nothing incomplete. The
table's log tells the same, but for 30 days only. Rows that a person moved (`retention lake archive`) need no note:
their months are those the archive holds. What does not belong here: removing (`retention`), refusing (whoever
computes).
"""

import json
from collections.abc import Collection, Mapping
from typing import Any

from retention_pipelines.warehouse.lake import Lake
from retention_pipelines.warehouse.objects import Objects, open_objects

FOLDER = "_removed"
# Datasets that others are computed from, so that a removal makes those incomplete.
RAW = ("occurrences", "observations")
_ARCHIVE = "archive of "


def note_removal(lake: Lake, name: str, *, transaction: str, partitions: Collection[str]) -> None:
    """Note that the commit with this id takes rows out of partitions; for raw tables only, and before it lands."""
    if name not in RAW:
        return
    parts = {part for one in partitions for part in one.split("/")}
    months = sorted(part.removeprefix("month=") for part in parts if part.startswith("month="))
    content = {"transaction": transaction, "months": months}
    _objects(lake).write(_note(name, transaction), json.dumps(content).encode())


def forget_removal(lake: Lake, name: str, *, transaction: str) -> None:
    """Take the note back: every row that the commit with this id took out is there again."""
    if name in RAW:
        _objects(lake).delete(_note(name, transaction))


def removed_months(lake: Lake, *names: str) -> Mapping[str, str]:
    """Months of raw tables that lack rows, each with the plan of a commit that took them out, or their archive."""
    objects = _objects(lake)
    found: dict[str, str] = {}
    for name in names:
        table, archive = lake.table(name), lake.archive_table(name)
        if archive.version() >= 0:
            found |= dict.fromkeys((file.partition["month"] for file in archive.files()), f"{_ARCHIVE}{name}")
        notes = [note for note in sorted(objects.names(name)) if note.endswith(".json")]
        delta = table.delta() if notes and table.version() >= 0 else None
        for content in (objects.read(f"{name}/{note}") for note in notes if delta is not None):
            said: dict[str, Any] = json.loads(content or b"{}")
            if said and table.has_done(said["transaction"], delta):
                found |= dict.fromkeys(said["months"], str(said["transaction"]).partition(":")[2])
    return found


def how_to_bring_back(month: str, by: str) -> str:
    """What to do about a month of `removed_months`: `by` is what that says of it."""
    if by.startswith(_ARCHIVE):
        name = by.removeprefix(_ARCHIVE)
        return f"`retention lake archive {name} --back --where \"month = '{month}'\" --run NAME` brings the rows back."
    return f"`retention restore --plan {by}` brings the rows back while their grace lasts."


def _note(name: str, transaction: str) -> str:
    return f"{name}/{transaction.replace(':', '-')}.json"


def _objects(lake: Lake) -> Objects:
    return open_objects(f"{lake.root}/{FOLDER}", lake.settings.storage_options)
