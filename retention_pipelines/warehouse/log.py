"""Entries of a table's Delta log, read one by one.

deltalake's `history()` reads many entries and hides which files a commit added; undo, rollback and receipts need
exactly that. Works the same in a folder and in an object store.
"""

import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from retention_pipelines.warehouse.objects import Objects

# A checkpoint alone is a state, too: old entries are cleaned up.
_ENTRY = re.compile(r"(\d{20})\.(?:json|checkpoint\.parquet)$")


@dataclass(frozen=True, kw_only=True)
class LogEntry:
    """One commit.

    `op` is what this package called it, `receipt` the id it looks for after an error, `undoes` the receipt of the
    commit it takes back, `transaction` the transaction over several tables it is part of, `ids` the ids it held.
    """

    version: int
    op: str | None
    committed_at: datetime
    receipt: str | None = None
    undoes: str | None = None
    transaction: str | None = None
    ids: tuple[str, ...] = ()
    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()


class DeltaLog:
    """The log of one table; `objects` are those under the table's root."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects

    def newest(self) -> int:
        """Number of the last commit; -1 where there is none. Lists names only: opening a table costs a hundredfold."""
        return max(
            (int(found[1]) for found in map(_ENTRY.match, self._objects.names("_delta_log")) if found), default=-1
        )

    def read(self, version: int) -> LogEntry | None:
        """The entry of a version; None where there is none (not yet, or cleaned up after 30 days)."""
        content = self._objects.read(f"_delta_log/{version:020d}.json")
        if content is None:
            return None
        info: dict[str, Any] = {}
        added, removed, ids = [], [], []
        for line in content.splitlines():
            action = json.loads(line)
            if "commitInfo" in action:
                info = action["commitInfo"]
            elif "add" in action:
                added.append(action["add"]["path"])
            elif "txn" in action:
                ids.append(action["txn"]["appId"])
            elif "remove" in action:
                removed.append(action["remove"]["path"])
        return LogEntry(
            version=version,
            op=info.get("fs_op") or info.get("operation"),
            committed_at=datetime.fromtimestamp(info.get("timestamp", 0) / 1000, tz=UTC),
            receipt=info.get("fs_commit"),
            undoes=info.get("fs_undoes"),
            transaction=info.get("fs_transaction"),
            ids=tuple(ids),
            added=tuple(added),
            removed=tuple(removed),
        )

    def after(self, version: int) -> list[LogEntry]:
        """Entries newer than a version, oldest first."""
        entries: list[LogEntry] = []
        while (entry := self.read(version + len(entries) + 1)) is not None:
            entries.append(entry)
        return entries

    def find(self, receipt: str, *, after: int) -> int | None:
        """Version of the commit with a receipt, if it landed after a version (hazard H4)."""
        version = after + 1
        while (entry := self.read(version)) is not None:
            if entry.receipt == receipt:
                return version
            version += 1
        return None
