"""Versions of the lake tables that training sets are built from.

A set remembers the version each table had when its preparation began, so what was committed meanwhile makes it invalid,
too. Commits that move rows without changing any (compaction, vacuum) don't.
"""

import os
import threading
import time
from collections.abc import Iterable, Mapping
from typing import Any

from retention_pipelines.settings import Settings
from retention_pipelines.warehouse.log import DeltaLog
from retention_pipelines.warehouse.objects import open_objects

_CHANGES_NO_ROW = frozenset({"compact", "VACUUM START", "VACUUM END"})
_REMEMBERED_SECONDS = 1.0


class LakeVersions:
    """Reads versions without opening the lake; an answer is at most a second old. Safe for threads."""

    def __init__(self, settings: Settings) -> None:
        root = os.path.abspath(settings.lake_root) if settings.lake_is_local else settings.lake_root
        self._root = f"{root}/_lake"
        self._options = settings.storage_options
        self._local = settings.lake_is_local
        self._lock = threading.Lock()
        self._heads: dict[str, tuple[float, int]] = {}
        self._logs: dict[str, DeltaLog] = {}
        self._remote: dict[str, Any] = {}

    def now(self, names: Iterable[str]) -> dict[str, int]:
        """The newest version of each table, read at this moment; -1 for one that was never written."""
        return {name: self._head(name, remembered_seconds=0.0) for name in names}

    def changed(self, versions: Mapping[str, int]) -> str | None:
        """A table with rows that changed since the given version; None when there is none."""
        return next((name for name, version in versions.items() if self._changed(name, version)), None)

    def _changed(self, name: str, version: int) -> bool:
        head = self._head(name, remembered_seconds=_REMEMBERED_SECONDS)
        if head <= version:
            return head < version
        log = self._log(name)
        for later in range(version + 1, head + 1):
            entry = log.read(later)
            # An entry that was cleaned up is one nobody knows to be harmless.
            if entry is None or entry.op not in _CHANGES_NO_ROW:
                return True
        return False

    def _head(self, name: str, *, remembered_seconds: float) -> int:
        with self._lock:
            read_at, head = self._heads.get(name, (float("-inf"), -1))
            if time.monotonic() - read_at >= remembered_seconds:
                read_at, head = time.monotonic(), self._read_head(name)
                self._heads[name] = (read_at, head)
            return head

    def _read_head(self, name: str) -> int:
        root = f"{self._root}/{name}"
        if not self._local:
            return self._read_remote_head(name, root)
        try:
            with os.scandir(f"{root}/_delta_log") as entries:
                numbers = (entry.name.removesuffix(".json") for entry in entries if entry.name.endswith(".json"))
                return max((int(number) for number in numbers if number.isdigit()), default=-1)
        except FileNotFoundError:
            return -1

    def _read_remote_head(self, name: str, root: str) -> int:
        from deltalake import DeltaTable
        from deltalake.exceptions import TableNotFoundError

        if name in self._remote:
            self._remote[name].update_incremental()
        else:
            try:
                self._remote[name] = DeltaTable(root, storage_options=self._options)
            except TableNotFoundError:
                return -1
        return int(self._remote[name].version())

    def _log(self, name: str) -> DeltaLog:
        with self._lock:
            if name not in self._logs:
                self._logs[name] = DeltaLog(open_objects(f"{self._root}/{name}", self._options))
            return self._logs[name]
