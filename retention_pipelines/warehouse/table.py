"""One dataset of the lake: DuckDB writes and reads the Parquet files, the Delta log commits them.

What belongs here: what can be done to a table. What does not: how a commit lands (`commit.py`), what readers see
(`published.py`), several tables together (`lake.py`). deltalake's own delete, merge and optimize are never used: they
cost twice the CPU and six times the memory, and mixed with our commits they duplicate rows (hazard H1).
"""

import logging
import os
import uuid
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Protocol

import duckdb
from deltalake import DeltaTable
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError
from deltalake.schema import Schema
from deltalake.transaction import AddAction

from retention_pipelines.catalog import Dataset
from retention_pipelines.disk import require_space
from retention_pipelines.errors import CommitConflict, LakeError, OutsideRestoreWindow, ReadOnly
from retention_pipelines.warehouse.commit import COMPACT, TRIES, Change, Commit, pause, sync_log, try_commit
from retention_pipelines.warehouse.duck import beside, quote_name
from retention_pipelines.warehouse.faults import storage_faults
from retention_pipelines.warehouse.files import scan_text, write_parquet
from retention_pipelines.warehouse.layout import Layout
from retention_pipelines.warehouse.listing import Keep, LakeFile, keep_age, live_files
from retention_pipelines.warehouse.log import DeltaLog, LogEntry
from retention_pipelines.warehouse.objects import open_objects
from retention_pipelines.warehouse.reads import note_read
from retention_pipelines.warehouse.snapshot import Snapshot
from retention_pipelines.warehouse.standing import standing
from retention_pipelines.warehouse.undo import restore, roll_back, undo

_LOG = logging.getLogger(__name__)
RESTORE_WINDOW_HOURS = 7 * 24
# Versions whose files are remembered: the head, what is published, and what a rewrite or an undo reads beside them.
_LISTINGS = 4
# Files an entry of the log is long with: it costs 2 ms whenever the table is opened, until a checkpoint holds them.
_LONG_ENTRY = 50


class Bystanders(Protocol):
    """What a table needs to know of transactions over several tables."""

    def own(self, table: str, version: int) -> str | None:
        """The transaction this process is in, after noting that it is about to commit to a table."""

    def hidden(self, table: str) -> tuple[str, int] | None:
        """Someone else's unfinished transaction and the table's version before it."""

    def settle(self, table: str) -> None:
        """Wait until nobody else's transaction has the table in hand."""


class Table:
    """A dataset's Delta table. SQL given to its methods runs on `con`, so it may read anything registered there."""

    def __init__(
        self,
        dataset: Dataset,
        root: str,
        con: duckdb.DuckDBPyConnection,
        storage_options: dict[str, str] | None = None,
        *,
        transactions: Bystanders | None = None,
        read_only: bool = False,
        stop_share: float = 1.0,
    ) -> None:
        self.dataset = dataset
        self.name = dataset.name
        self.root = root.rstrip("/")
        self.con = con
        self._storage_options = storage_options
        self._transactions = transactions
        self._read_only = read_only
        self._stop_share = stop_share
        self._local = "://" not in self.root
        self._objects = open_objects(self.root, storage_options)
        self.log = DeltaLog(self._objects)
        self._reader: DeltaTable | None = None
        self._reader_is_pinned = False
        self._listings: dict[int, list[LakeFile]] = {}
        self._snapshot = Snapshot(con, self._objects, self.root, dataset)

    # -- reading ------------------------------------------------------------------------------------------------

    def delta(self, version: int | None = None) -> DeltaTable:
        """The Delta table at its head or at an older version; created empty if it is not there yet.

        Nobody moves the handle: what is committed with it is checked against the version it was given at.
        """
        if version is None:
            head = self._head()
            if head is None:
                self._require_writable()
                self._create()
                head = self._open()
                self._reader = head
            self._reader_is_pinned = True
            return head
        try:
            return self._open(version)
        except TableNotFoundError:
            self._require_writable()
            self._create()
            return self._open(version)
        except DeltaError as error:
            raise OutsideRestoreWindow(
                f"{self.name} has no version {version} in its log.",
                hint="`retention lake history` lists the versions; entries are kept for 30 days.",
            ) from error

    def _open(self, version: int | None = None) -> DeltaTable:
        return DeltaTable(self.root, version=version, storage_options=self._storage_options)

    def _create(self) -> None:
        require_space(self.root, self._stop_share)
        columns = ", ".join(f"null::{kind} as {quote_name(name)}" for name, kind in self.dataset.types.items())
        with beside(self.con) as con:
            schema = con.sql(f"select {columns} limit 0").to_arrow_table().schema
        with storage_faults(self.root):
            if self._local:
                os.makedirs(self.root, exist_ok=True)
            DeltaTable.create(
                self.root,
                schema=Schema.from_arrow(schema),
                partition_by=list(self.dataset.partition_by),
                mode="ignore",
                storage_options=self._storage_options,
                configuration={
                    "delta.deletedFileRetentionDuration": "interval 7 days",
                    "delta.logRetentionDuration": "interval 30 days",
                    # Each entry behind the checkpoint costs 0.4 ms whenever the table is opened.
                    "delta.checkpointInterval": "10",
                },
            )

    def _head(self) -> DeltaTable | None:
        """A handle at the head, kept while nothing is committed; brought up to date unless `delta()` gave it away."""
        newest = self.version()
        if newest < 0:
            return None
        at = -1 if self._reader is None else self._reader.version()
        if self._reader is None or newest < at or (newest > at and self._reader_is_pinned):
            if newest < at:
                self._listings.clear()  # another table, made anew in the place of the one that was read
            self._reader, self._reader_is_pinned = self._open(), False
        elif newest > at:
            self._reader.update_incremental()
        return self._reader

    def version(self) -> int:
        """Number of the last commit; -1 while the table has never been written."""
        return self.log.newest()

    def version_at(self, instant: datetime) -> int:
        """The version that was the newest at an instant; -1 before the first."""
        if instant.tzinfo is None:
            raise LakeError("An instant needs a time zone.", hint="For example 2026-09-01T00:00:00Z.")
        older = [entry.version for entry in self.history() if entry.committed_at <= instant]
        return older[0] if older else -1

    def files(self, keep: Keep = lambda _: True, *, version: int | None = None) -> list[LakeFile]:
        """Live files with their statistics, for those `keep` accepts.

        Without `version` the newest state, without what someone else's unfinished transaction did to it.
        """
        if version is not None:
            return [file for file in self._files_at(version) if keep(file)]
        if self._transactions is not None:  # an archive has the name of the table whose rows it holds
            note_read(self.name, self.version)
        while True:
            before = self._transactions and self._transactions.hidden(self.name)
            live = self._newest_files()
            after = self._transactions and self._transactions.hidden(self.name)
            if before == after:
                return [file for file in (self._without(live, *after) if after else live) if keep(file)]

    def _files_at(self, version: int) -> list[LakeFile]:
        if version < 0:
            return []
        if version in self._listings:
            return self._listings[version]
        if version == self.version():
            return self._newest_files()
        head = self._head()  # usually the version asked for, and open already
        return self.live(head if head is not None and head.version() == version else self.delta(version))

    def _newest_files(self) -> list[LakeFile]:
        """Every file of the newest version, without opening the table where that can be spared."""
        newest = self.version()
        if self._listings and newest < max(self._listings):
            self._listings.clear()  # another table, made anew in the place of the one that was read
        if newest >= 0 and newest not in self._listings and self._local and self._reader is None:
            found = self._snapshot.at(newest)
            if found is not None:
                self._remember(newest, found)
        if newest in self._listings:
            return self._listings[newest]
        head = self._head()
        return [] if head is None else self.live(head)

    def live(self, delta: DeltaTable) -> list[LakeFile]:
        """Every file of the version a handle is at."""
        version = delta.version()
        if version not in self._listings:
            self._remember(version, live_files(delta, self.dataset.partition_by))
        return self._listings[version]

    def _remember(self, version: int, files: list[LakeFile]) -> None:
        while len(self._listings) >= _LISTINGS:
            del self._listings[next(iter(self._listings))]
        self._listings[version] = files

    def _without(self, live: Sequence[LakeFile], transaction: str, version: int) -> list[LakeFile]:
        entries = standing(self.log.after(version), transaction)
        added = {path for entry in entries for path in entry.added}
        removed = {path for entry in entries for path in entry.removed}
        kept = [file for file in live if file.path not in added]
        if removed:
            kept += [file for file in self.files(version=version) if file.path in removed]
        return kept

    def scan(self, *, version: int | None = None, keep: Keep | None = None) -> str:
        """FROM-clause text that reads one version, pinned; with `keep` only those files."""
        files = self.files(keep or (lambda _: True), version=version)
        if version is not None and self._local:
            self.require_present(files, version)
        return self.scan_files(files)

    def scan_files(self, files: Iterable[LakeFile], *, columns: Mapping[str, str] | None = None) -> str:
        """FROM-clause text over given files; no rows but the right columns when there are none.

        `columns` reads only some, each under the name it is mapped from; that binds faster than all of them.
        """
        return scan_text(self.dataset, self.root, files, columns=columns)

    def history(self, limit: int | None = None) -> list[LogEntry]:
        """Commits, newest first, as far back as the log is kept (30 days)."""
        entries: list[LogEntry] = []
        version = self.version()
        while len(entries) != limit and (entry := self.log.read(version)) is not None:
            entries.append(entry)
            version -= 1
        return entries

    # -- writing ------------------------------------------------------------------------------------------------

    def write_files(
        self,
        select: str,
        *,
        partitions: Collection[str] | None = None,
        frees: bool = False,
        layout: Layout | None = None,
        as_declared: bool = False,
    ) -> list[AddAction]:
        """Write rows as files that nobody sees until they are committed; a crash leaves orphans for vacuum.

        `partitions`: see `append`. `frees` says that less remains than was there, so that no full disk refuses it.
        `layout`: another order and packing than the catalog's and the writer's own. `as_declared`: the query is known
        to give all columns in the catalog's types.
        """
        self._require_writable()
        if not frees:
            require_space(self.root, self._stop_share)
        if self._local:
            os.makedirs(self.root, exist_ok=True)
        return write_parquet(
            self.con,
            self.dataset,
            self.root,
            select,
            partitions=partitions,
            layout=layout,
            as_declared=as_declared,
        )

    def commit(
        self,
        delta: DeltaTable,
        adds: Sequence[AddAction],
        removes: Sequence[LakeFile] = (),
        *,
        op: str,
        transactions: Sequence[str] = (),
        undoes: str | None = None,
        still: Callable[[DeltaTable], bool] = lambda _: False,
    ) -> Commit:
        """Commit files against the state `delta` was opened at.

        `transactions` are ids of which no two open commits may hold the same: an optimistic lock. Raises
        CommitConflict when another commit held one of them or the files to remove are gone; the caller reads again and
        redoes its work. With `transactions`, any commit in between counts, unless `still` says of the newer state that
        the work would come out the same.
        """
        if not adds and not removes and not transactions:
            return Commit(version=delta.version())
        self._require_writable()
        metadata = {"fs_op": op} | ({"fs_undoes": undoes} if undoes else {})
        if self._transactions:
            if removes:
                self._transactions.settle(self.name)
            own = self._transactions.own(self.name, delta.version())
            metadata |= {"fs_transaction": own} if own else {}
        change = Change(
            adds=adds,
            removes=removes,
            metadata=metadata,
            transactions=transactions,
            partition_by=self.dataset.partition_by,
        )
        needed = {file.path for file in removes}
        for attempt in range(TRIES):
            landed = try_commit(delta, self.log, change)
            if landed is not None:
                if self._local:
                    sync_log(self.root, landed)
                if len(adds) + len(removes) >= _LONG_ENTRY:
                    self._sum_up(landed)
                return change.describe(landed)
            delta = self.delta()
            if not needed <= {file.path for file in self.live(delta)} or (transactions and not still(delta)):
                raise CommitConflict(f"{self.name}: another writer committed first ({op}).", hint="Run it again.")
            # The inputs are still there (hazard H2: deltalake refuses more than it must): the same files again.
            pause(attempt, 0.02)
        raise CommitConflict(f"{self.name}: gave up after {TRIES} tries ({op}).", hint="Try again with fewer writers.")

    def _sum_up(self, version: int) -> None:
        """Write a checkpoint, so that nobody who opens the table reads a long entry of its log again."""
        try:
            self._open(version).create_checkpoint()
            if self._local:
                sync_log(self.root, version)
        except (DeltaError, OSError) as error:
            _LOG.warning("%s opens slower for want of a checkpoint: %s", self.name, str(error).partition("\n")[0])

    def redo(self, work: Callable[[], Commit]) -> Commit:
        """Do work that reads and commits, again when another writer committed first."""
        self._require_writable()
        for attempt in range(TRIES):
            try:
                return work()
            except CommitConflict:
                pause(attempt, 0.05)
        raise CommitConflict(f"{self.name}: gave up after {TRIES} tries.", hint="Try again with fewer writers.")

    def append(
        self,
        select: str,
        *,
        op: str = "append",
        transaction: str | None = None,
        partitions: Collection[str] | None = None,
    ) -> Commit:
        """Add the rows of a query. With `transaction`, a second append of the same id adds nothing.

        `partitions`: every value of the only partition column, where the caller knows them and the query is cheap to
        run once for each. The rows are then written fast and unsorted; rows of other partitions are left out.
        """
        adds: list[AddAction] | None = None

        def once() -> Commit:
            nonlocal adds
            delta = self.delta()
            if transaction is not None and self.has_done(transaction, delta):
                return Commit(version=delta.version())
            adds = self.write_files(select, partitions=partitions) if adds is None else adds
            return self.commit(delta, adds, op=op, transactions=[transaction] if transaction else [])

        return self.redo(once)

    def has_done(self, transaction: str, delta: DeltaTable | None = None) -> bool:
        """Whether a commit with that id landed and was not taken back: taking back raises its number by one."""
        return ((delta or self.delta()).transaction_version(transaction) or 0) % 2 == 1

    def append_new(self, select: str, *, key: str | Sequence[str], within: str, op: str = "append_new") -> Commit:
        """Add the rows whose `key` is not in the table yet, exactly once with any number of writers.

        `within` is the partition column inside which keys are compared: equal keys must have equal `within`. `key` is
        one column or several.
        """
        batch = f"_batch_{uuid.uuid4().hex}"
        identity = ", ".join(quote_name(name) for name in ([key] if isinstance(key, str) else key))
        place = quote_name(within)
        self.con.execute(f"create temp table {batch} as select distinct on ({identity}) * from ({select})")
        try:
            places = {row[0] for row in self.con.execute(f"select distinct {place} from {batch}").fetchall()}
            ids = [f"append:{value}" for value in sorted(places)]

            def once() -> Commit:
                self.settle()
                delta = self.delta()
                seen = self.scan_files(file for file in self.live(delta) if file.partition[within] in places)
                adds = self.write_files(
                    f"select * from {batch} anti join (select {identity} from {seen}) using ({identity})"
                )
                if adds:
                    return self.commit(delta, adds, op=op, transactions=ids)
                head = self.delta()
                if any(head.transaction_version(i) != delta.transaction_version(i) for i in ids):
                    # What made these rows known may have been taken back meanwhile.
                    raise CommitConflict(f"{self.name}: another writer committed first ({op}).")
                return Commit(version=delta.version())

            return self.redo(once) if places else Commit(version=self.version())
        finally:
            self.con.execute(f"drop table if exists {batch}")

    def rewrite(
        self,
        transform: Callable[[str], str],
        *,
        keep: Keep = lambda _: True,
        op: str,
        min_files: int = 1,
        transactions: Sequence[str] = (),
    ) -> Commit:
        """Replace the files `keep` accepts, partition by partition, by a query over them.

        `transform` maps FROM text to a SELECT. Partitions with fewer than `min_files` such files stay as they are.
        """

        def once() -> Commit:
            delta = self.delta()
            groups: dict[tuple[str, ...], list[LakeFile]] = {}
            for file in filter(keep, self.live(delta)):
                groups.setdefault(tuple(file.partition.values()), []).append(file)
            chosen = [files for files in groups.values() if len(files) >= min_files]
            adds = [add for files in chosen for add in self.write_files(transform(self.scan_files(files)))]
            if op == COMPACT:
                keep_age(adds, [file for files in chosen for file in files])
            removes = [file for files in chosen for file in files]
            return self.commit(delta, adds, removes, op=op, transactions=transactions)

        return self.redo(once)

    def replace(self, select: str, *, where: str, partitions: Collection[tuple[str, ...]], op: str) -> Commit:
        """In the given partitions, replace the rows that match `where` by the rows of `select`, in one commit.

        Rows of `select` may also open new partitions; they must all lie in `partitions`.
        """
        wanted = set(partitions)

        def once() -> Commit:
            delta = self.delta()
            files = [file for file in self.live(delta) if tuple(file.partition.values()) in wanted]
            kept = f"select * from {self.scan_files(files)} where not coalesce({where}, false)"
            adds = self.write_files(f"{kept} union all by name ({select})")
            return self.commit(delta, adds, files, op=op)

        return self.redo(once)

    def matching_files(self, where: str, files: Sequence[LakeFile]) -> list[LakeFile]:
        """Those files that hold a row that matches."""
        return self._files_of(
            f"{scan_text(self.dataset, self.root, files, named=True)} where coalesce({where}, false)", files
        )

    def files_with(self, keys: str, identity: str, files: Sequence[LakeFile]) -> list[LakeFile]:
        """Those files that hold a row whose `identity` columns are in the table `keys`."""
        rows = scan_text(self.dataset, self.root, files, named=True)
        return self._files_of(f"{rows} semi join {keys} using ({identity})", files)

    def _files_of(self, rows: str, files: Sequence[LakeFile]) -> list[LakeFile]:
        found = self.con.execute(f"select distinct filename from {rows}").fetchall()
        paths = {row[0][len(self.root) + 1 :] for row in found}
        return [file for file in files if file.path in paths]

    def delete(self, where: str, *, keep: Keep = lambda _: True, op: str) -> Commit:
        """Remove the rows that match; only files `keep` accepts are looked at, only files with a match rewritten."""

        def once() -> Commit:
            delta = self.delta()
            files = self.matching_files(where, [file for file in self.live(delta) if keep(file)])
            kept = f"select * from {self.scan_files(files)} where not coalesce({where}, false)"
            return self.commit(delta, self.write_files(kept, frees=True) if files else [], files, op=op)

        return self.redo(once)

    def drop_partitions(self, keep: Keep, *, op: str) -> Commit:
        """Remove whole files that `keep` accepts, as a metadata commit."""

        def once() -> Commit:
            delta = self.delta()
            return self.commit(delta, [], [file for file in self.live(delta) if keep(file)], op=op)

        return self.redo(once)

    def compact(self, *, min_files: int = 8, below_bytes: int = 256_000_000) -> Commit:
        """Merge files smaller than `below_bytes` of partitions with at least `min_files` of them, sorted."""
        if self.version() < 0:
            return Commit(version=-1)
        return self.rewrite(
            lambda rows: f"select * from {rows}",
            keep=lambda file: file.bytes < below_bytes,
            op=COMPACT,
            min_files=min_files,
        )

    # -- taking back (undo.py) ----------------------------------------------------------------------------------

    def undo(self, version: int) -> Commit:
        """Take back one commit and keep everything committed after it (a restore would not)."""
        self._require_writable()
        return undo(self, version)

    def restore(self, version: int) -> Commit:
        """Go back to an earlier version, as a new commit; what came after it is taken back with it."""
        self._require_writable()
        return restore(self, version)

    def roll_back(self, transaction: str, *, since: int) -> None:
        """Take back every commit of a dead transaction, newest first; safe to repeat."""
        roll_back(self, transaction, since=since)

    # -- cleaning up --------------------------------------------------------------------------------------------

    def vacuum(self, *, keep_versions: Collection[int] = (), older_than_hours: int = RESTORE_WINDOW_HOURS) -> list[str]:
        """Delete files that no version of the last 7 days, and none of `keep_versions`, needs; returns their paths.

        A shorter time than the restore window is refused: it would delete files of writers in flight (hazard H5).
        """
        self._require_writable()
        if older_than_hours < RESTORE_WINDOW_HOURS:
            raise LakeError(
                f"Vacuum keeps at least {RESTORE_WINDOW_HOURS} hours, {older_than_hours} is too short.",
                hint="Readers, writers and undo rely on files of the last 7 days.",
            )
        if self.version() < 0:
            return []
        keep = sorted(version for version in set(keep_versions) if version >= 0)
        deleted: list[str] = self._open().vacuum(
            retention_hours=older_than_hours, dry_run=False, full=True, keep_versions=keep or None
        )
        return deleted

    def discard(self, path: str) -> None:
        """Delete a file that this process has written and nobody has committed."""
        self._require_writable()
        self._objects.delete(path)

    def remove_unneeded(self, paths: Collection[str], *, keep_versions: Collection[int]) -> list[str]:
        """Delete files that a commit took out, but for those that the newest state or `keep_versions` need.

        Unlike vacuum at once: for files nobody may go back to any more. Readers of an older state that are at it right
        now get a clean error, so the commit should be some time ago.
        """
        self._require_writable()
        needed = {file.path for file in self.files(version=self.version())}
        for version in keep_versions:
            needed |= {file.path for file in self.files(version=version)}
        gone = sorted(path for path in set(paths) - needed if self._objects.exists(path))
        for path in gone:
            self._objects.delete(path)
        return gone

    def keep_log(self, days: int) -> None:
        """Keep entries of the log at least so long: files can only be put back while it tells of them."""
        self._require_writable()
        for attempt in range(TRIES):
            delta = self._open() if self.version() >= 0 else self.delta()
            said = str((delta.metadata().configuration or {}).get("delta.logRetentionDuration", "interval 30 days"))
            if said.endswith("days") and days <= int("".join(filter(str.isdigit, said)) or 0):
                return
            try:
                delta.alter.set_table_properties({"delta.logRetentionDuration": f"interval {days} days"})
            except (CommitFailedError, DeltaError):
                pause(attempt, 0.05)  # another writer committed first
                continue
            return
        raise CommitConflict(f"{self.name}: gave up after {TRIES} tries.", hint="Run it again with fewer writers.")

    # -- guards -------------------------------------------------------------------------------------------------

    def _require_writable(self) -> None:
        if self._read_only:
            raise ReadOnly(f"{self.name} cannot be written: the mode is read_only.", hint="Set RETENTION_MODE=full.")

    def require_present(self, files: Iterable[LakeFile], version: int) -> None:
        """Raise OutsideRestoreWindow, which names the file, unless all of a version's files are there."""
        gone = next((file for file in files if not self._objects.exists(file.path)), None)
        if gone is not None:
            raise OutsideRestoreWindow(
                f"{self.name} cannot be read at version {version}: {self.root}/{gone.path} is gone.",
                hint=f"Vacuum deletes files {RESTORE_WINDOW_HOURS // 24} days after they were replaced. Other files "
                "belong to the newest state: bring them back from a backup.",
            )

    def settle(self) -> None:
        """Wait until nobody else's transaction has this table in hand."""
        if self._transactions:
            self._transactions.settle(self.name)


__all__ = ["Commit", "LakeError", "LakeFile", "Table"]
