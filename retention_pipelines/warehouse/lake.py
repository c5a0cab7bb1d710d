"""The lake as a whole: its tables, transactions over several of them, and the state that readers see."""

import logging
import os
import re
import tempfile
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Self

import duckdb
from deltalake.exceptions import DeltaError
from obstore.exceptions import BaseError

from retention_pipelines.catalog import DATASETS, dataset
from retention_pipelines.disk import require_space
from retention_pipelines.errors import LakeError, OutsideRestoreWindow
from retention_pipelines.settings import Settings
from retention_pipelines.warehouse.archive import move_rows
from retention_pipelines.warehouse.deliveries import restore_whole, undo_whole
from retention_pipelines.warehouse.duck import open_connection, quote_name, remove_spill_of_the_dead
from retention_pipelines.warehouse.faults import storage_faults
from retention_pipelines.warehouse.journal import Journal
from retention_pipelines.warehouse.kept import Kept, keep, kept_now, release
from retention_pipelines.warehouse.objects import StoreObjects, open_objects, store_options
from retention_pipelines.warehouse.published import (
    MANIFEST,
    Folder,
    Manifest,
    parse_manifest,
    publish_to_store,
    view_text,
)
from retention_pipelines.warehouse.table import Commit, Table
from retention_pipelines.warehouse.transactions import Transactions

_LOG = logging.getLogger(__name__)
# deltalake decodes these in a path; DuckDB takes the others for patterns.
_MISREAD = re.compile(r"%[0-9A-Fa-f]{2}|[*?\[\\]")


class Lake:
    """All datasets under one root; `con` is the DuckDB connection its tables write and read with.

    Not for several threads at once: open one per thread. Opening takes back what a process that died in a transaction
    left; in the mode read_only nothing is written. On a disk that is too full nobody writes but who frees space, which
    `frees_space` says of all that is done with this one.
    """

    def __init__(self, settings: Settings, *, frees_space: bool = False) -> None:
        self.settings = settings
        self._stop_share = 1.0 if frees_space else settings.disk_stop_share
        self.root = self.address(settings)
        spill_dir = _spill_dir(settings)
        remove_spill_of_the_dead(spill_dir)
        self.con = open_connection(spill_dir=spill_dir, memory_limit_mb=settings.memory_limit_mb)
        register_store(self.con, settings)
        self._objects = open_objects(self.root, settings.storage_options)
        self._transactions = Transactions(Journal(self.root, self._objects), self._roll_back)
        self._tables: dict[str, Table] = {}
        if settings.mode == "full":
            self._transactions.recover()

    @staticmethod
    def address(settings: Settings) -> str:
        """Where the lake is: an absolute path or an s3:// address."""
        if not settings.lake_is_local:
            return settings.lake_root
        root = str(Path(settings.lake_root).absolute())
        if found := _MISREAD.search(root):
            raise LakeError(
                f"The lake cannot lie in {root}: some readers take {found.group()} in a path for something else.",
                hint="Set RETENTION_LAKE_ROOT to a folder without it.",
            )
        return root

    def table(self, name: str) -> Table:
        """The table of a dataset; it is created by its first write."""
        return self._open(name, f"{self.root}/_lake/{name}", name)

    def archive_table(self, name: str) -> Table:
        """The table that holds a dataset's archived rows."""
        return self._open(name, f"{self.root}/_archive/{name}", f"archive of {name}")

    def cold_table(self, name: str) -> Table:
        """The table that holds the rows of a dataset that migrated to the other root."""
        return self._open(name, f"{self.cold_root}/{name}", f"cold {name}")

    def tier(self, name: str) -> Table:
        """The table of a dataset, of its archive (`…_archive`) or of what migrated (`…_cold`)."""
        for ending, tier in (("_archive", self.archive_table), ("_cold", self.cold_table)):
            if name.removesuffix(ending) in DATASETS.keys() - {name}:
                return tier(name.removesuffix(ending))
        return self.table(name)

    @property
    def cold_root(self) -> str:
        """Where rows migrate to: an absolute path or an s3:// address."""
        root = self.settings.cold_root
        if root is None:
            raise LakeError("There is no other root to migrate rows to.", hint="Set RETENTION_COLD_ROOT.")
        found = root if "://" in root else str(Path(root).absolute())
        if found == self.root or found.startswith(f"{self.root}/") or self.root.startswith(f"{found}/"):
            raise LakeError(
                f"{found} and the lake are one inside the other.", hint="RETENTION_COLD_ROOT must lie outside of it."
            )
        return found

    def tiers(self) -> dict[str, Table]:
        """Tables beside the live ones: `<dataset>_archive`, and `<dataset>_cold` on the other root."""
        known = set(self._objects.folders("_archive"))
        found = {f"{name}_archive": self.archive_table(name) for name in DATASETS if name in known}
        if self.settings.cold_root is not None:
            known = set(open_objects(self.cold_root, self.settings.cold_storage_options).folders(""))
            found |= {f"{name}_cold": self.cold_table(name) for name in DATASETS if name in known}
        return {name: table for name, table in found.items() if table.version() >= 0}

    def _open(self, name: str, root: str, key: str) -> Table:
        if key not in self._tables:
            self._tables[key] = Table(
                dataset(name),
                root,
                self.con,
                self.settings.cold_storage_options if key.startswith("cold ") else self.settings.storage_options,
                transactions=self._transactions if key == name else None,
                read_only=self.settings.mode == "read_only",
                stop_share=self._stop_share,
            )
        return self._tables[key]

    # -- writing over several tables ------------------------------------------------------------------------------

    def transaction(self, name: str) -> AbstractContextManager[str]:
        """Several commits over several tables that are seen together or not at all.

        Yields the `op` to give to every commit inside: `with lake.transaction("ingest:<sha>") as op:`. An exception, or
        the death of this process, takes every commit back; success publishes. One transaction at a time per lake,
        others wait: read and parse before it, look for duplicates inside it.
        """
        self.settings.require_full("A transaction")
        require_space(self.root, self._stop_share)
        return self._transactions.run(name, self.publish)

    def _roll_back(self, table: str, transaction: str, version: int) -> None:
        self.table(table).roll_back(transaction, since=version)

    def archive(self, name: str, where: str, *, run: str) -> Commit:
        """Move the rows that match into the dataset's archive; safe to repeat with the same `run` after a crash.

        The order of the two commits is what makes it safe: rows are in both for a moment, never in none.
        """
        return move_rows(self.table(name), self.archive_table(name), where, run=f"archive:{run}")

    def unarchive(self, name: str, where: str, *, run: str) -> Commit:
        """Move rows back from the archive; the inverse of `archive`."""
        return move_rows(self.archive_table(name), self.table(name), where, run=f"unarchive:{run}")

    def undo(self, name: str, version: int) -> list[tuple[str, Commit]]:
        """Take back one commit and keep what came after it; of a transaction (an ingest), its commits to all tables.

        Otherwise the ledger would claim rows that are gone, and refuse the file when it comes again. All of it or, also
        when this process dies, nothing is taken back.
        """
        return undo_whole(self, name, version)

    def restore(self, name: str, version: int) -> list[tuple[str, Commit]]:
        """Go back to an earlier version of a dataset, as a new commit.

        What ingests did to it since is taken back in the other tables, too, as far as nobody rewrote it there; the
        ledger forgets them in any case. Those that were in effect then and are not now come back.
        """
        return restore_whole(self, name, version)

    def taking_back(self, name: str) -> AbstractContextManager[str]:
        """A transaction that asks for no space: it must be possible on a full disk."""
        self.settings.require_full("Taking back")
        return self._transactions.run(name, self.publish)

    def vacuum(self, name: str) -> list[str]:
        """Delete files that neither the last 7 days, nor the published state, nor a keeper need; returns their paths.

        Published trees are hard links, so the space is free when the generations that show a file are rotated away.
        """
        return self.tier(name).vacuum(keep_versions=self.needed_versions(name))

    def keep(self, keeper: str, tables: Mapping[str, tuple[int, ...]], *, until: datetime) -> None:
        """Let vacuum keep the files of these versions of tables until an instant, or until `release`."""
        self.settings.require_full("Keeping files")
        keep(self._objects, Kept(keeper=keeper, tables=tables, until=until))

    def release(self, keeper: str) -> None:
        """Let vacuum take what only this keeper needed."""
        self.settings.require_full("Releasing files")
        release(self._objects, keeper)

    def free_past(self, *, older_than: timedelta) -> None:
        """Remove what was shown before the newest state, when that has been shown for so long: its links hold space."""
        shown = f"{self.root}/.published/current"
        if isinstance(self._objects, StoreObjects) or not os.path.exists(shown):
            return
        if time.time() - os.stat(shown).st_mtime > older_than.total_seconds():
            Folder(self.root, {name: self.table(name) for name in DATASETS}).forget_past()

    def needed_versions(self, name: str) -> list[int]:
        """Older versions of a table whose files must stay: what readers are shown, and what keepers need."""
        wanted = {self.published().versions.get(name, -1)}
        for kept in kept_now(self._objects):
            wanted |= set(kept.tables.get(name, ()))
        return sorted(version for version in wanted if version >= 0 and self._is_known(name, version))

    def _is_known(self, name: str, version: int) -> bool:
        try:
            self.tier(name).files(version=version)
        except OutsideRestoreWindow:
            return False
        return True

    # -- what readers see -------------------------------------------------------------------------------------------

    def publish(self) -> dict[str, int]:
        """Show the current state of every table to readers, all at once; returns the version of each.

        Tables that an unfinished transaction has touched stay at what was shown before; its end publishes them.
        """
        self.settings.require_full("Publishing")
        self._transactions.recover()
        versions = self._versions_fit_to_show()
        if isinstance(self._objects, StoreObjects):
            manifest = publish_to_store(self._objects, versions)
        else:
            manifest = Folder(self.root, {name: self.table(name) for name in DATASETS}).publish(versions)
        return dict(manifest.versions)

    def _versions_fit_to_show(self) -> Mapping[str, int]:
        while True:
            before = self._transactions.unfinished()
            heads = {name: self.table(name).version() for name in DATASETS}
            after = self._transactions.unfinished()
            # A version read before a table appears in the marker holds nothing of that transaction.
            if (before and before.op) == (after and after.op):
                touched = after.tables if after else {}
                return {name: version for name, version in heads.items() if version >= 0 and name not in touched}

    def published(self) -> Manifest:
        """The versions readers see."""
        content = self._objects.read(MANIFEST)
        if content is None and os.path.islink(f"{self.root}/{MANIFEST}"):
            raise LakeError(
                f"What was published in {self.root}/.published is gone; the data in _lake is not.",
                hint="`retention lake publish` shows it again.",
            )
        return parse_manifest(content)

    def create_views(self, con: duckdb.DuckDBPyConnection | None = None) -> None:
        """Views of every dataset, pinned to what is published, on a connection (this lake's own by default).

        A dataset that was never published is an empty view. One of which a file is gone is a view that fails with that
        file's name; the others can be read.
        """
        target = con or self.con
        manifest = self.published()
        for name in DATASETS:
            rows = view_text(self.table(name), manifest.versions.get(name, -1))
            target.execute(f"create or replace temp view {quote_name(name)} as select * from {rows}")
        try:
            beside_them = {name: table.scan() for name, table in self.tiers().items()}
        except (OSError, DeltaError, BaseError) as error:
            # Another root that cannot be reached keeps nobody from reading what is here.
            _LOG.warning(
                "The archive or the root %s cannot be read: %s", self.settings.cold_root, str(error).partition("\n")[0]
            )
            return
        for name, rows in beside_them.items():
            target.execute(f"create or replace temp view {quote_name(name)} as select * from {rows}")

    def close(self) -> None:
        """Close the connection."""
        self.con.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _spill_dir(settings: Settings) -> str:
    """Where sorts that do not fit into memory go; who may only read leaves no folder behind in the state folder."""
    if settings.mode == "read_only":
        return tempfile.gettempdir()
    folder = settings.state_dir.absolute() / "spill"
    with storage_faults(str(folder)):
        folder.mkdir(parents=True, exist_ok=True)
    return str(folder)


def register_store(con: duckdb.DuckDBPyConnection, settings: Settings) -> None:
    """Let DuckDB read and write the lake's object store through obstore; no extension needed."""
    options = settings.storage_options or settings.cold_storage_options
    if options is not None:
        from obstore.fsspec import FsspecStore  # a tenth of a second, which a lake in a folder does not need

        con.register_filesystem(FsspecStore("s3", **store_options(options)))
