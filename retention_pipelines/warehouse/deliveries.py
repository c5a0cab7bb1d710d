"""Taking deliveries back whole: their commits to every table, in one transaction of its own.

What a transaction wrote is told by its name in the log; what of it is in effect, by `standing.py`. What does not belong
here: one table's commit (`undo.py`), which deliveries counted rows of another (`sources/rests.py`).
"""

import logging
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

from retention_pipelines.catalog import DATASETS
from retention_pipelines.errors import CommitConflict, OutsideRestoreWindow
from retention_pipelines.warehouse.commit import Commit
from retention_pipelines.warehouse.duck import quote_texts
from retention_pipelines.warehouse.log import LogEntry
from retention_pipelines.warehouse.standing import in_effect, is_delivery, standing
from retention_pipelines.warehouse.transactions import delivery_id
from retention_pipelines.warehouse.undo import came_again, can_undo

if TYPE_CHECKING:
    from retention_pipelines.warehouse.lake import Lake

LEDGER = "ingested_files"
_LOG = logging.getLogger(__name__)
#: Commits to undo, by table, newest first.
Commits = Mapping[str, Sequence[LogEntry]]


def undo_whole(lake: "Lake", name: str, version: int) -> list[tuple[str, Commit]]:
    """Take back a commit, with all others of its transaction."""
    history = lake.table(name).history()
    entry = next((one for one in history if one.version == version), None)
    if entry is None or not _is_of_several(entry, history):
        return [(name, lake.table(name).undo(version))]
    # What is in effect is looked up when nobody else can take it back or bring it.
    with lake.taking_back(f"undo:{name}:{version}"):
        commits = _standing(lake, {entry.transaction}) if entry.transaction else {}
        if entry not in commits.get(name, ()):
            raise CommitConflict(
                f"{name}: version {version} was taken back already, or took back what was never whole; "
                "nothing was done.",
                hint="Deliveries that are not there come again with `retention ingest`.",
            )
        for table, entries in commits.items():
            if not all(can_undo(lake.table(table), one) for one in entries):
                raise CommitConflict(
                    f"{table}: a later commit rewrote files that the same transaction added; nothing was taken back.",
                    hint=f"`retention lake restore` goes back to an earlier version of {', '.join(commits)}, "
                    "and takes back what came later, too.",
                )
        before = _where_deliveries_stand(lake)
        done = _undo_all(lake, commits)
        _require_whole(lake, before)
        return done


def restore_whole(lake: "Lake", name: str, version: int) -> list[tuple[str, Commit]]:
    """Go back to a version of a table, and let the others follow in what deliveries did."""
    table = lake.table(name)
    with lake.taking_back(f"restore:{name}:{version}") as op:
        history = table.history()
        states = in_effect(history)
        now, then = states.get(table.version(), frozenset()), states.get(version, frozenset())
        own = {one.receipt: str(one.transaction) for one in history if is_delivery(one)}
        ceased = {transaction for receipt, transaction in own.items() if receipt in now - then}
        came = {transaction for receipt, transaction in own.items() if receipt in then - now}
        before = _where_deliveries_stand(lake)
        done = [(name, table.restore(version))]
        if not ceased and not came:
            return done
        done += _undo_all(lake, _undoable(lake, _standing(lake, ceased, but=name)))
        done += _undo_all(lake, _taking_back(lake, came, but=name))
        _require_whole(lake, before, but=ceased)
        return done + (_forget(lake, ceased, op) if name != LEDGER else [])


def _undo_all(lake: "Lake", commits: Commits) -> list[tuple[str, Commit]]:
    done = []
    for name, entries in commits.items():
        for one in entries:
            if one.removed and came_again(lake.table(name), one):
                raise CommitConflict(
                    f"{name}: rows that version {one.version} took back came again since; nothing was done.",
                    hint="They are there, from the later delivery.",
                )
            done.append((name, lake.table(name).undo(one.version)))
    return done


def _is_of_several(entry: LogEntry, history: Sequence[LogEntry]) -> bool:
    """Whether a commit is one of a transaction, or the end of one that was left or died."""
    return any(one.transaction for one in history if one is entry or (entry.undoes and one.receipt == entry.undoes))


def _where_deliveries_stand(lake: "Lake") -> dict[str, dict[str, bool]]:
    """Whether each delivery is in effect, by table it wrote to; and in the ledger, where one that died has no line."""
    found: dict[str, dict[str, bool]] = {}
    for name in DATASETS:
        history = lake.table(name).history()
        now = {one.receipt for one in standing(history)}
        for one in history:
            if is_delivery(one):
                tables = found.setdefault(str(one.transaction), {LEDGER: False})
                tables[name] = tables.get(name, False) or one.receipt in now
    return found


def _require_whole(lake: "Lake", before: dict[str, dict[str, bool]], *, but: Collection[str] = ()) -> None:
    """Refuse to leave a delivery in effect in some of its tables only, as restores of single tables may have it."""
    for transaction, tables in _where_deliveries_stand(lake).items():
        if transaction not in but and tables != before.get(transaction) and len(set(tables.values())) > 1:
            there, missing = (", ".join(name for name, stands in tables.items() if stands is s) for s in (True, False))
            raise CommitConflict(
                f"A delivery ({transaction[:19]}) would be in {there}, but not in {missing}: it was never whole, or "
                "a restore took it out there; nothing was done.",
                hint=f"Undo a restore of {missing} first, or deliver the file again.",
            )


def _standing(lake: "Lake", transactions: Collection[str], *, but: str | None = None) -> Commits:
    """Commits of transactions that are in effect; the ledger last."""
    found: dict[str, list[LogEntry]] = {}
    for name in sorted(DATASETS.keys() - {but}, key=lambda one: (one == LEDGER, one)):
        if mine := [one for one in standing(lake.table(name).history()) if one.transaction in transactions]:
            found[name] = mine
    return found


def _undoable(lake: "Lake", commits: Commits) -> Commits:
    found: dict[str, list[LogEntry]] = {}
    for name, entries in commits.items():
        for one in entries:
            try:
                possible = can_undo(lake.table(name), one)
            except OutsideRestoreWindow:
                possible = False
            if possible:
                found.setdefault(name, []).append(one)
            else:
                _LOG.warning("%s: what version %d added stays, as later commits rewrote it", name, one.version)
    return found


def _taking_back(lake: "Lake", transactions: Collection[str], *, but: str) -> Commits:
    """Commits in effect that took back those of transactions."""
    found: dict[str, list[LogEntry]] = {}
    for name in sorted(DATASETS.keys() - {but}):
        history = lake.table(name).history()
        theirs = {one.receipt for one in history if one.transaction in transactions and is_delivery(one)}
        if mine := [one for one in standing(history) if one.undoes in theirs]:
            found[name] = mine
    return found


def _forget(lake: "Lake", transactions: Collection[str], op: str) -> list[tuple[str, Commit]]:
    """Remove what lines the ledger still has of deliveries; a line names its transaction in its fingerprint."""
    table = lake.table(LEDGER)
    if table.version() < 0:
        return []
    marks = quote_texts(delivery_id(transaction) for transaction in transactions)
    commit = table.delete(f"split_part(fingerprint, ':', 3) in ({marks})", op=op)
    return [(LEDGER, commit)] if commit.rows_removed else []
