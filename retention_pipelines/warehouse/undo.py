"""Taking commits back: one (undo), all since a version (restore), those of a dead transaction (roll back).

Nothing is ever removed from the log: taking back is a commit that puts files back and removes others, so it is in the
history and can itself be undone. What does not belong here: several tables together (`lake.py`).
"""

import time
import uuid
from collections.abc import Sequence
from typing import TYPE_CHECKING

from deltalake.transaction import AddAction

from retention_pipelines.errors import CommitConflict, OutsideRestoreWindow
from retention_pipelines.warehouse.commit import COMPACT, TRIES, Commit, pause
from retention_pipelines.warehouse.duck import quote_name
from retention_pipelines.warehouse.listing import LakeFile
from retention_pipelines.warehouse.log import LogEntry
from retention_pipelines.warehouse.standing import RESTORE, restored_version, standing
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
        return table.commit(delta, [_put_back(file) for file in back], gone, op=f"{RESTORE}{version}")

    table.settle()
    return table.redo(once)


def roll_back(table: "Table", transaction: str, *, since: int) -> None:
    """Take back every commit of a dead transaction, newest first; safe to repeat."""
    for entry in reversed(standing(table.log.after(since), transaction)):
        _undo(table, entry)


def can_undo(table: "Table", entry: LogEntry) -> bool:
    """Whether a commit can be taken back alone: its files are there, or it only added rows and they were merged.

    Raises OutsideRestoreWindow where merged rows can no longer be told apart, as vacuum took the files they came in.
    """
    if {file.path for file in table.files()}.issuperset(entry.added):
        return True
    merged = None if entry.removed else _merged_into(table, entry)
    if merged:
        table.require_present(_added_by(table, entry), entry.version)
    return merged is not None


def came_again(table: "Table", entry: LogEntry) -> bool:
    """Whether taking back a commit would bring rows that are there by now, as they were delivered again."""
    gone = set(entry.removed)
    back = [file for file in table.files(version=entry.version - 1) if file.path in gone]
    table.require_present(back, entry.version - 1)
    places = {tuple(file.partition.values()) for file in back}
    staying = [file for file in table.files() if tuple(file.partition.values()) in places]
    staying = [file for file in staying if file.path not in {*entry.added, *entry.removed}]
    if not back or not staying:
        return False
    key = ", ".join(quote_name(name) for name in table.dataset.key)
    found = f"from {table.scan_files(back)} semi join {table.scan_files(staying)} using ({key}) limit 1"
    return bool(table.con.execute(found).fetchall())


def _added_by(table: "Table", entry: LogEntry) -> list[LakeFile]:
    return [file for file in table.files(version=entry.version) if file.path in set(entry.added)]


def _merged_into(table: "Table", entry: LogEntry) -> set[str] | None:
    """The files that hold the rows a commit added, after merges; None when anything else took its files out."""
    holding: set[str] | None = set(entry.added)
    held = {entry.version: holding}
    taken_back: dict[str | None, int] = {}
    for later in table.log.after(entry.version):
        back_to = restored_version(later)
        if back_to is not None:
            holding = held.get(back_to, set())
        elif later.undoes == entry.receipt:
            holding, taken_back[later.receipt] = None, later.version
        elif later.undoes in taken_back:
            holding = held[taken_back[later.undoes] - 1]
        elif holding and (gone := holding.intersection(later.removed)):
            # Taking another commit back, whose rows lay in the same file, writes this one's anew.
            if later.op != COMPACT and later.undoes is None:
                return None
            places = {path.rpartition("/")[0] for path in gone}
            holding = (holding - gone) | {path for path in later.added if path.rpartition("/")[0] in places}
        held[later.version] = holding
    return holding


def _without_rows_of(
    table: "Table", entry: LogEntry, merged: Sequence[LakeFile]
) -> tuple[list[AddAction], list[LakeFile]]:
    """New files for those merged ones that hold rows a commit added, without these rows; and the files they replace."""
    if not merged:
        return [], []
    first = _added_by(table, entry)
    table.require_present(first, entry.version)
    undone = f"_undone_{uuid.uuid4().hex}"
    key = ", ".join(quote_name(name) for name in table.dataset.key)
    table.con.execute(f"create temp table {undone} as select {key} from {table.scan_files(first)}")
    try:
        # A part of a key may be null: the row number of a file that could not be read row by row.
        same = " and ".join(f"u.{name} is not distinct from r.{name}" for name in map(quote_name, table.dataset.key))
        held = f"exists (select 1 from {undone} as u where {same})"
        files = [
            one
            for one in merged
            if table.con.execute(f"from {table.scan_files([one])} as r where {held} limit 1").fetchall()
        ]
        if not files:
            return [], []
        return table.write_files(f"select * from {table.scan_files(files)} as r where not {held}", frees=True), files
    finally:
        table.con.execute(f"drop table {undone}")


def _undo(table: "Table", entry: LogEntry) -> Commit:
    for attempt in range(TRIES):
        delta = table.delta()
        live = {file.path: file for file in table.live(delta)}
        adds: list[AddAction] = []
        removes = [live[path] for path in entry.added if path in live]
        if len(removes) < len(entry.added):
            merged = None if entry.removed else _merged_into(table, entry)
            if merged is None or not live.keys() >= merged:
                raise CommitConflict(
                    f"{table.name}: a later commit rewrote files that version {entry.version} added.",
                    hint=f"Use `retention lake restore {table.name} --version {entry.version - 1}`, "
                    "which also takes back what came later.",
                )
            adds, replaced = _without_rows_of(
                table, entry, [live[path] for path in sorted(merged.difference(entry.added))]
            )
            removes += replaced
        removed = set(entry.removed) - live.keys()
        back = [file for file in table.files(version=entry.version - 1) if file.path in removed] if removed else []
        table.require_present(back, entry.version - 1)
        # Raising the ids of the undone commit lets it be done again, and makes writers that saw it look again.
        try:
            return table.commit(
                delta,
                [*adds, *(_put_back(file) for file in back)],
                removes,
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
        # As old as it was: data whose age is that of its file must not be young again by going and coming back.
        modification_time=int(file.written_at.timestamp() * 1000 if file.written_at else time.time() * 1000),
        data_change=True,
        stats=restored_statistics(file.rows, file.minimum, file.maximum, file.nulls),
    )
