"""One dataset of the lake: DuckDB writes and reads the Parquet files, the Delta log commits them.

What belongs here: commits and what they are made of. What does not: what readers see (`published.py`), which
datasets exist (the catalog). deltalake's own delete, merge and optimize are never used: they cost twice the CPU and
six times the memory, and mixed with our commits they duplicate rows (hazard H1).
"""

import json
import os
import random
import re
import time
import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import duckdb
import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, Transaction
from deltalake.exceptions import CommitFailedError, DeltaError
from deltalake.schema import Schema
from deltalake.transaction import AddAction, RemoveAction

from retention_pipelines.catalog import Dataset
from retention_pipelines.errors import CommitConflict, LakeError, PartitionValueError
from retention_pipelines.warehouse.duck import quote_name, quote_text, quote_texts
from retention_pipelines.warehouse.statistics import delta_statistics

_PARTITION_VALUE = re.compile(r"[A-Za-z0-9_.-]+")
_TRIES = 40
Keep = Callable[["LakeFile"], bool]


@dataclass(frozen=True, kw_only=True)
class LakeFile:
    """A live Parquet file of a table."""

    path: str
    bytes: int
    rows: int
    partition: Mapping[str, str]
    minimum: Mapping[str, Any] = field(default_factory=dict)
    maximum: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Commit:
    """What one commit did; `version` is unchanged where there was nothing to do."""

    version: int
    rows_added: int = 0
    rows_removed: int = 0
    bytes_added: int = 0
    bytes_removed: int = 0
    partitions: tuple[tuple[str, ...], ...] = ()


class Table:
    """A dataset's Delta table. SQL given to its methods runs on `con`, so it may read anything registered there."""

    def __init__(
        self,
        dataset: Dataset,
        root: str,
        con: duckdb.DuckDBPyConnection,
        storage_options: dict[str, str] | None = None,
    ) -> None:
        self.dataset = dataset
        self.name = dataset.name
        self.root = root.rstrip("/")
        self.con = con
        self._storage_options = storage_options
        self._local = "://" not in self.root
        if self._local:
            os.makedirs(self.root, exist_ok=True)
        if not DeltaTable.is_deltatable(self.root, storage_options=storage_options):
            self._create()

    def _create(self) -> None:
        columns = ", ".join(f"null::{kind} as {quote_name(name)}" for name, kind in self.dataset.types.items())
        schema = self.con.sql(f"select {columns} limit 0").to_arrow_table().schema
        DeltaTable.create(
            self.root,
            schema=Schema.from_arrow(schema),
            partition_by=list(self.dataset.partition_by),
            mode="ignore",
            storage_options=self._storage_options,
            configuration={
                "delta.deletedFileRetentionDuration": "interval 7 days",
                "delta.logRetentionDuration": "interval 30 days",
                "delta.checkpointInterval": "50",
            },
        )

    # -- reading ------------------------------------------------------------------------------------------------

    def delta(self, version: int | None = None) -> DeltaTable:
        """The Delta table at its head or at an older version."""
        return DeltaTable(self.root, version=version, storage_options=self._storage_options)

    def version(self) -> int:
        """Number of the last commit."""
        return self.delta().version()

    def files(self, keep: Keep = lambda _: True, *, version: int | None = None) -> list[LakeFile]:
        """Live files with their statistics, for those `keep` accepts."""
        return self._files(self.delta(version), keep)

    def _files(self, delta: DeltaTable, keep: Keep = lambda _: True) -> list[LakeFile]:
        rows = pa.table(delta.get_add_actions(flatten=True)).to_pylist()
        found = []
        for row in rows:
            file = LakeFile(
                path=row["path"],
                bytes=row["size_bytes"],
                rows=row["num_records"],
                partition={key: row[f"partition.{key}"] for key in self.dataset.partition_by},
                minimum={key[4:]: value for key, value in row.items() if key.startswith("min.")},
                maximum={key[4:]: value for key, value in row.items() if key.startswith("max.")},
            )
            if keep(file):
                found.append(file)
        return found

    def scan(self, *, version: int | None = None, keep: Keep | None = None) -> str:
        """FROM-clause text that reads one version, pinned; with `keep` only those files."""
        return self.scan_files(self.files(keep or (lambda _: True), version=version))

    def scan_files(self, files: Sequence[LakeFile]) -> str:
        """FROM-clause text over given files; no rows but the right columns when there are none."""
        if not files:
            columns = ", ".join(f"null::{kind} as {quote_name(name)}" for name, kind in self.dataset.types.items())
            return f"(select {columns} limit 0)"
        paths = quote_texts(f"{self.root}/{file.path}" for file in files)
        options = "hive_partitioning = true, hive_types_autocast = false, union_by_name = true"
        columns = ", ".join(quote_name(name) for name in self.dataset.column_names)
        return f"(select {columns} from read_parquet([{paths}], {options}))"

    def history(self) -> list[dict[str, Any]]:
        """Commits, newest first, with `fs_op` where this package made them."""
        return self.delta().history()

    # -- writing ------------------------------------------------------------------------------------------------

    def write_files(self, select: str) -> list[AddAction]:
        """Write rows as files that nobody sees until they are committed; a crash leaves orphans that vacuum collects."""
        types = self.dataset.types
        columns = ", ".join(f"{quote_name(name)}::{kind} as {quote_name(name)}" for name, kind in types.items())
        order = ", ".join(quote_name(name) for name in self.dataset.order)
        query = f"select {columns} from ({select})" + (f" order by {order}" if order else "")
        options = "FORMAT parquet, COMPRESSION zstd, PARQUET_VERSION v2, RETURN_STATS"
        if self.dataset.partition_by:
            keys = ", ".join(quote_name(key) for key in self.dataset.partition_by)
            target = quote_text(self.root)
            options += f", PARTITION_BY ({keys}), APPEND, FILENAME_PATTERN 'part-{{uuidv7}}'"
        else:
            target = quote_text(f"{self.root}/part-{uuid.uuid4()}.parquet")
        written = self.con.execute(f"COPY ({query}) TO {target} ({options})").fetchall()
        actions = []
        for name, rows, size, _, statistics, keys, *_ in written:
            if rows == 0:
                continue
            for key, value in (keys or {}).items():
                if value is None or not _PARTITION_VALUE.fullmatch(value):
                    raise PartitionValueError(
                        f"{value!r} cannot be a value of the partition column {key} of {self.name}.",
                        hint="Use only letters, digits, '_', '.' and '-'.",
                    )
            if self._local:
                _fsync(name)
            actions.append(
                AddAction(
                    path=name[len(self.root) + 1 :],
                    size=size,
                    partition_values=dict(keys or {}),
                    modification_time=int(time.time() * 1000),
                    data_change=True,
                    stats=delta_statistics(rows, statistics, types),
                )
            )
        return actions

    def commit(
        self,
        delta: DeltaTable,
        adds: Sequence[AddAction],
        removes: Sequence[LakeFile] = (),
        *,
        op: str,
        transactions: Sequence[str] = (),
    ) -> Commit:
        """Commit files against the state `delta` was opened at.

        `transactions` are ids of which no two open commits may hold the same: an optimistic lock. A commit with
        removes holds "rewrite", so two rewrites never both land (hazard H1). Raises CommitConflict when the inputs
        are gone; the caller reads again and redoes its work.
        """
        if not adds and not removes and not transactions:
            return Commit(version=delta.version())
        now = int(time.time() * 1000)
        needed = {file.path for file in removes}
        keys = [*transactions, "rewrite"] if removes else list(transactions)
        actions = [
            *adds,
            *(
                RemoveAction(
                    path=file.path,
                    data_change=True,
                    deletion_timestamp=now,
                    size=file.bytes,
                    partition_values=dict(file.partition),
                )
                for file in removes
            ),
        ]
        receipt = uuid.uuid4().hex
        error: Exception | None = None
        for attempt in range(_TRIES):
            try:
                delta.create_write_transaction(
                    actions,
                    mode="append",
                    schema=delta.schema(),
                    partition_by=list(self.dataset.partition_by),
                    commit_properties=CommitProperties(
                        custom_metadata={"fs_op": op, "fs_commit": receipt},
                        app_transactions=[Transaction(key, (delta.transaction_version(key) or 0) + 1) for key in keys]
                        or None,
                    ),
                )
            except (CommitFailedError, DeltaError) as failure:
                error = failure
            landed, head = self._landed(delta, receipt)
            if landed is not None:
                if self._local:
                    _fsync(f"{self.root}/_delta_log/{landed:020d}.json")
                    _fsync(f"{self.root}/_delta_log")
                return self._describe(landed, adds, removes)
            delta = head
            if transactions or not needed <= {file.path for file in self._files(delta)}:
                raise CommitConflict(f"{self.name}: another writer committed first ({op}).") from error
            time.sleep(random.uniform(0, 0.02 * (attempt + 1)))  # noqa: S311 - jitter
        raise CommitConflict(f"{self.name}: gave up after {_TRIES} tries ({op}).") from error

    def _landed(self, delta: DeltaTable, receipt: str) -> tuple[int | None, DeltaTable]:
        """Version of our commit, if it is in the log: an error does not mean it did not land (hazard H4)."""
        head = self.delta()
        recent = head.history(head.version() - delta.version() + 1)
        return next((entry["version"] for entry in recent if entry.get("fs_commit") == receipt), None), head

    def _describe(self, version: int, adds: Sequence[AddAction], removes: Sequence[LakeFile]) -> Commit:
        keys = self.dataset.partition_by
        partitions = {tuple(add.partition_values.get(key) or "" for key in keys) for add in adds}
        partitions |= {tuple(file.partition[key] for key in keys) for file in removes}
        return Commit(
            version=version,
            rows_added=sum(json.loads(add.stats)["numRecords"] for add in adds),
            rows_removed=sum(file.rows for file in removes),
            bytes_added=sum(add.size for add in adds),
            bytes_removed=sum(file.bytes for file in removes),
            partitions=tuple(sorted(partitions)),
        )

    def _redo(self, work: Callable[[], Commit]) -> Commit:
        for attempt in range(_TRIES):
            try:
                return work()
            except CommitConflict:
                time.sleep(random.uniform(0, 0.05 * (attempt + 1)))  # noqa: S311 - jitter
        raise CommitConflict(
            f"{self.name}: gave up after {_TRIES} tries.", hint="Try again when fewer writers are busy."
        )

    def append(self, select: str, *, op: str = "append", transaction: str | None = None) -> Commit:
        """Add the rows of a query. With `transaction`, a second append of the same id adds nothing."""
        delta = self.delta()
        if transaction is not None and delta.transaction_version(transaction):
            return Commit(version=delta.version())
        return self.commit(delta, self.write_files(select), op=op, transactions=[transaction] if transaction else [])

    def append_new(self, select: str, *, key: str, within: str, op: str = "append_new") -> Commit:
        """Add the rows whose `key` is not in the table yet, exactly once with any number of writers.

        `within` is the partition column inside which keys are compared: equal keys must have equal `within`.
        """
        batch = f"_batch_{uuid.uuid4().hex}"
        identity, place = quote_name(key), quote_name(within)
        self.con.execute(f"create temp table {batch} as select distinct on ({identity}) * from ({select})")
        try:
            places = {row[0] for row in self.con.execute(f"select distinct {place} from {batch}").fetchall()}

            def once() -> Commit:
                delta = self.delta()
                files = self._files(delta, lambda file: file.partition[within] in places)
                fresh = f"select * from {batch} anti join (select {identity} from {self.scan_files(files)}) using ({identity})"
                adds = self.write_files(fresh)
                if not adds:
                    return Commit(version=delta.version())
                return self.commit(delta, adds, op=op, transactions=[f"append:{value}" for value in sorted(places)])

            return self._redo(once) if places else Commit(version=self.version())
        finally:
            self.con.execute(f"drop table if exists {batch}")

    def rewrite(
        self, transform: Callable[[str], str], *, keep: Keep = lambda _: True, op: str, min_files: int = 1
    ) -> Commit:
        """Replace each partition by a query over it; `transform` maps FROM text to a SELECT."""

        def once() -> Commit:
            delta = self.delta()
            groups: dict[tuple[str, ...], list[LakeFile]] = {}
            for file in self._files(delta, keep):
                groups.setdefault(tuple(file.partition.values()), []).append(file)
            chosen = [files for files in groups.values() if len(files) >= min_files]
            adds = [add for files in chosen for add in self.write_files(transform(self.scan_files(files)))]
            return self.commit(delta, adds, [file for files in chosen for file in files], op=op)

        return self._redo(once)

    def replace(self, select: str, *, where: str, partitions: Collection[tuple[str, ...]], op: str) -> Commit:
        """In the given partitions, replace the rows that match `where` by the rows of `select`, in one commit.

        Rows of `select` may also open new partitions; they must all lie in `partitions`.
        """
        wanted = set(partitions)

        def once() -> Commit:
            delta = self.delta()
            files = self._files(delta, lambda file: tuple(file.partition.values()) in wanted)
            kept = f"select * from {self.scan_files(files)} where not coalesce({where}, false)"
            return self.commit(delta, self.write_files(f"{kept} union all by name ({select})"), files, op=op)

        return self._redo(once)

    def delete(self, where: str, *, keep: Keep = lambda _: True, op: str) -> Commit:
        """Remove the rows that match; only files `keep` accepts are looked at."""
        return self.rewrite(lambda rows: f"select * from {rows} where not coalesce({where}, false)", keep=keep, op=op)

    def drop_partitions(self, keep: Keep, *, op: str) -> Commit:
        """Remove whole files that `keep` accepts, as a metadata commit."""

        def once() -> Commit:
            delta = self.delta()
            return self.commit(delta, [], self._files(delta, keep), op=op)

        return self._redo(once)

    def compact(self, *, min_files: int = 8) -> Commit:
        """Merge partitions of at least `min_files` files into one sorted file each."""
        return self.rewrite(lambda rows: f"select * from {rows}", op="compact", min_files=min_files)

    def undo_operation(self, op: str, *, since: int) -> None:
        """Take back the files that commits of `op` added after version `since`."""
        delta = self.delta()
        recent = delta.history(delta.version() - since) if delta.version() > since else []
        added = set()
        for entry in recent:
            if entry.get("fs_op") == op:
                with open(f"{self.root}/_delta_log/{entry['version']:020d}.json", encoding="utf-8") as log:
                    added |= {action["add"]["path"] for action in map(json.loads, log) if "add" in action}
        if added:
            self.drop_partitions(lambda file: file.path in added, op=f"undo:{op}")


def _fsync(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


__all__ = ["Commit", "LakeError", "LakeFile", "Table"]
