"""Taking commits back: one (undo), all since a version (restore), those of a dead transaction (roll back).

Nothing is ever removed from the log: taking back is a commit that puts files back and removes others, so it is in the
history and can itself be undone. What does not belong here: several tables together (`lake.py`).
"""

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from deltalake.transaction import AddAction

from retention_pipelines.errors import CommitConflict, OutsideRestoreWindow
from retention_pipelines.warehouse.commit import TRIES, Commit, pause
from retention_pipelines.warehouse.listing import LakeFile
from retention_pipelines.warehouse.log import LogEntry
from retention_pipelines.warehouse.statistics import restored_statistics

if TYPE_CHECKING:
    from retention_pipelines.warehouse.table import Table


def undo(table: "Table", version: int) -> Commit:
    """Take back one commit and keep everything committed after it."""
    entry = table.log.read(version) if version > 0 else None
    if entry is None:
        raise OutsideRestoreWindow(
            f"{table.name} has no commit {version} that can be undone.",
            hint="`retention lake history` lists the commits; entries are kept for 30 days.",
        )
    table.settle()
    return _undo(table, entry)


def restore(table: "Table", version: int) -> Commit:
    """Go back to an earlier version, as a new commit."""
    if not 0 <= version <= table.version():
        raise OutsideRestoreWindow(
            f"{table.name} has no version {version} to go back to.",
            hint=f"`retention lake history {table.name}` lists the versions; entries are kept for 30 days.",
        )

    def once() -> Commit:
        delta = table.delta()
        live = {file.path: file for file in table.live(delta)}
        then = {file.path: file for file in table.files(version=version)}
        back = [file for path, file in then.items() if path not in live]
        gone = [file for path, file in live.items() if path not in then]
        table.require_present(back, version)
        return table.commit(delta, [_put_back(file) for file in back], gone, op=f"restore:{version}")

    table.settle()
    return table.redo(once)


def roll_back(table: "Table", transaction: str, *, since: int) -> None:
    """Take back every commit of a dead transaction, newest first; safe to repeat."""
    for entry in reversed(standing(table.log.after(since), transaction)):
        _undo(table, entry)


def standing(entries: Sequence[LogEntry], transaction: str) -> list[LogEntry]:
    """Those commits of a transaction that were not taken back."""
    undone = {entry.undoes for entry in entries}
    return [
        entry
        for entry in entries
        if entry.transaction == transaction and entry.receipt not in undone and entry.undoes is None
    ]


def _undo(table: "Table", entry: LogEntry) -> Commit:
    for attempt in range(TRIES):
        delta = table.delta()
        live = {file.path: file for file in table.live(delta)}
        if not live.keys() >= set(entry.added):
            raise CommitConflict(
                f"{table.name}: a later commit rewrote files that version {entry.version} added.",
                hint=f"Use `retention lake restore {table.name} --version {entry.version - 1}`, "
                "which also takes back what came later.",
            )
        removed = set(entry.removed) - live.keys()
        back = [file for file in table.files(version=entry.version - 1) if file.path in removed] if removed else []
        table.require_present(back, entry.version - 1)
        # Raising the ids of the undone commit lets it be done again, and makes writers that saw it look again.
        try:
            return table.commit(
                delta,
                [_put_back(file) for file in back],
                [live[path] for path in entry.added],
                op=f"undo:{entry.version}",
                transactions=_ids_to_raise(entry),
                undoes=entry.receipt,
            )
        except CommitConflict:
            pause(attempt, 0.05)
    raise CommitConflict(f"{table.name}: gave up undoing version {entry.version}.", hint="Try again.")


def _ids_to_raise(entry: LogEntry) -> list[str]:
    values = {part.partition("=")[2] for path in entry.added for part in path.split("/")[:-1]}
    return sorted({*entry.ids, *(f"append:{value}" for value in values)})


def _put_back(file: LakeFile) -> AddAction:
    return AddAction(
        path=file.path,
        size=file.bytes,
        partition_values=dict(file.partition),
        modification_time=int(time.time() * 1000),
        data_change=True,
        stats=restored_statistics(file.rows, file.minimum, file.maximum, file.nulls),
    )
