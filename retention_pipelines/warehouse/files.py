"""Parquet files of a table: reading them, and writing new ones.

A file nobody has committed is invisible; a crash leaves such orphans behind and vacuum collects them.
"""

import os
import time
import uuid
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import duckdb
from deltalake.transaction import AddAction

from retention_pipelines.catalog import Dataset
from retention_pipelines.errors import PartitionValueError
from retention_pipelines.warehouse.duck import beside, quote_name, quote_text, quote_texts
from retention_pipelines.warehouse.faults import storage_faults
from retention_pipelines.warehouse.layout import PACKED, Layout
from retention_pipelines.warehouse.listing import LakeFile
from retention_pipelines.warehouse.objects import sync_path
from retention_pipelines.warehouse.schema import check_statistics, select_list
from retention_pipelines.warehouse.statistics import delta_statistics

# Every reader can open these: a space, '/' or '%' is encoded twice by some and not found (hazard H7).
_SAFE = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-")
_FORMAT = "FORMAT parquet, PARQUET_VERSION v2, RETURN_STATS"
# A query each costs some milliseconds; with more partitions than this one copy that parts the rows costs less.
_MOST_SINGLE_PARTITIONS = 240
# From so many files on, threads that flush them cost less than they spare.
_MANY_FILES = 4


def scan_text(
    dataset: Dataset,
    root: str,
    files: Iterable[LakeFile],
    *,
    named: bool = False,
    numbered: bool = False,
    columns: Mapping[str, str] | None = None,
) -> str:
    """FROM-clause text over files; no rows but the right columns when there are none (hazard H10).

    `named` adds the column `filename`, `numbered` the row's place in it, `file_row_number`. `columns` reads only some,
    each under the name it is mapped from.
    """
    chosen = dict(columns) if columns is not None else {name: name for name in dataset.column_names}
    listed = list(files)
    if not listed:
        types = {name: dataset.types[column] for name, column in chosen.items()}
        types |= {"filename": "VARCHAR"} if named else {}
        types |= {"file_row_number": "BIGINT"} if numbered else {}
        nothing = ", ".join(f"null::{kind} as {quote_name(name)}" for name, kind in types.items())
        return f"(select {nothing} limit 0)"
    items = [f"{quote_name(column)} as {quote_name(name)}" for name, column in chosen.items()]
    options = "hive_partitioning = true, hive_types_autocast = false"
    # Files of an older schema lack newer columns. Asking every file costs three times the binding of a query.
    if columns is None or not _all_hold(dataset, listed, columns.values()):
        options += ", union_by_name = true"
    if named:
        options, items = f"{options}, filename = true", [*items, "filename"]
    if numbered:
        options, items = f"{options}, file_row_number = true", [*items, "file_row_number"]
    paths = quote_texts(f"{root}/{file.path}" for file in listed)
    return f"(select {', '.join(items)} from read_parquet([{paths}], {options}))"


def refusing_text(dataset: Dataset, reason: str) -> str:
    """FROM-clause text with a dataset's columns that fails with a reason as soon as any row is asked for."""
    # An error in every column and in the filter: a null instead could be folded into an empty answer.
    failure = f"error({quote_text(reason)})"
    columns = ", ".join(f"{failure}::{kind} as {quote_name(name)}" for name, kind in dataset.types.items())
    return f"(select {columns} from (select 1) as nothing(here) where {failure} is null)"


def _all_hold(dataset: Dataset, files: Iterable[LakeFile], columns: Iterable[str]) -> bool:
    """Whether every file has these columns for sure: the log counts the nulls of those that a file was written with."""
    stored = [name for name in columns if name not in dataset.partition_by]
    return all(file.nulls.get(name) is not None for file in files for name in stored)


def write_parquet(
    con: duckdb.DuckDBPyConnection,
    dataset: Dataset,
    root: str,
    select: str,
    *,
    partitions: Collection[str] | None = None,
    layout: Layout | None = None,
    as_declared: bool = False,
) -> list[AddAction]:
    """Write the rows of a query as Parquet files under `root`, one or few per partition, sorted, durably.

    Rows are checked against the catalog first. Where they do not pass, or writing fails, no file of this call is left:
    on a full disk it would take the space that is needed to get out of there. `partitions` names the values
    of the only partition column of all rows, where the caller knows them and the query reads tables in memory that
    every connection sees (no temporary ones, no variables): then each is written by a query of its own, several at a
    time, unsorted and lightly packed, for a quarter of the work. Compaction sorts. With `layout` the rows are written
    as it says, and the files are named packed. `as_declared` says that the query gives all columns in the catalog's
    types, so that it is not bound before just to look: for few rows, that takes a tenth of the time.
    """
    found, single = dict(dataset.types), dict[str, str]()
    if not as_declared:
        relation = con.sql(f"select * from ({select})")
        found = {name: str(kind) for name, kind in zip(relation.columns, relation.types, strict=True)}
        single = _single_values(relation)
    columns = select_list(dataset, found)
    local = "://" not in root
    written: list[tuple[Any, ...]] = []
    call = str(uuid.uuid4())  # in the name of each of its files
    with storage_faults(root):
        try:
            copies = list(_copies(dataset, root, call, select, columns, partitions, layout))
            for target, _, _, keys in copies:
                if local and keys:
                    os.makedirs(os.path.dirname(target), exist_ok=True)
            texts = [f"COPY ({query}) TO {quote_text(target)} ({options})" for target, query, options, _ in copies]
            for (*_, keys), copied in zip(copies, _run_side_by_side(con, texts), strict=True):
                written += [(*row[:5], keys or dict(row[5] or {})) for row in copied]
            for _, rows, _, _, statistics, keys in written:
                for name, value in single.items():
                    _complete_statistics(statistics.get(quote_name(name)), value, rows)
                check_statistics(dataset, statistics)
                _check_partition(dataset, keys)
            if local:
                _make_durable(root, [row[0] for row in written])
        except BaseException:
            if local:
                _remove_files_of(root, call)
            raise
    now = int(time.time() * 1000)
    return [
        AddAction(
            path=name[len(root) + 1 :],
            size=size,
            partition_values=keys,
            modification_time=now,
            data_change=True,
            stats=delta_statistics(rows, statistics, dataset.types),
        )
        for name, rows, size, _, statistics, keys in written
        if rows > 0
    ]


def _run_side_by_side(con: duckdb.DuckDBPyConnection, texts: Sequence[str]) -> list[list[tuple[Any, ...]]]:
    """Rows of each statement; several run at a time on connections of their own, as small ones use one thread each."""
    if len(texts) == 1:
        return [con.execute(texts[0]).fetchall()]
    workers = min(len(texts), con.execute("select current_setting('threads')").fetchall()[0][0])
    idle: SimpleQueue[duckdb.DuckDBPyConnection] = SimpleQueue()
    for _ in range(workers):
        idle.put(beside(con))

    def run(text: str) -> list[tuple[Any, ...]]:
        own = idle.get()
        try:
            return own.execute(text).fetchall()
        finally:
            idle.put(own)

    try:
        with ThreadPoolExecutor(max_workers=workers) as pool:
            return list(pool.map(run, texts))
    finally:
        while not idle.empty():
            idle.get().close()


def _copies(
    dataset: Dataset,
    root: str,
    call: str,
    select: str,
    columns: Mapping[str, str],
    partitions: Collection[str] | None,
    layout: Layout | None,
) -> Iterator[tuple[str, str, str, dict[str, str | None]]]:
    """What to copy: target, query, options, and the partition where it is one."""
    options = f"{_FORMAT}, {layout.options if layout else 'COMPRESSION zstd'}"
    prefix = PACKED if layout else "part-"
    if partitions is not None and len(partitions) <= _MOST_SINGLE_PARTITIONS:
        (key,) = dataset.partition_by
        kept = ", ".join(text for name, text in columns.items() if name != key)
        for value in sorted(partitions):
            _check_partition(dataset, {key: value})
            query = f"select {kept} from ({select}) where {quote_name(key)} = {quote_text(value)}"
            target = f"{root}/{key}={value}/part-{call}.parquet"
            yield target, query, f"{options}, COMPRESSION_LEVEL 1", {key: value}
        return
    # Partition first: each partition's rows come together, so few files are open at a time and few are written.
    inside = layout.order if layout else dataset.order
    order = ", ".join(quote_name(name) for name in (*dataset.partition_by, *inside))
    query = f"select {', '.join(columns.values())} from ({select})" + (f" order by {order}" if order else "")
    if dataset.partition_by:
        by = ", ".join(quote_name(key) for key in dataset.partition_by)
        yield root, query, f"{options}, PARTITION_BY ({by}), APPEND, FILENAME_PATTERN '{prefix}{{uuidv7}}-{call}'", {}
    else:
        yield f"{root}/{prefix}{call}.parquet", query, options, {}


def _remove_files_of(root: str, call: str) -> None:
    """Remove what one call has written, also a file that DuckDB had begun under a name of its own (`tmp_…`)."""
    for path in Path(root).rglob(f"*{call}*"):
        path.unlink(missing_ok=True)


def _single_values(relation: duckdb.DuckDBPyRelation) -> dict[str, str]:
    """Columns that can hold one text only: an ENUM of one value. DuckDB gives no smallest and largest of an ENUM."""
    found: dict[str, str] = {}
    for name, kind in zip(relation.columns, relation.types, strict=True):
        if kind.id == "enum":
            values: Any = dict(kind.children)["values"]
            if len(values) == 1:
                found[name] = values[0]
    return found


def _complete_statistics(measured: dict[str, str] | None, value: str, rows: int) -> None:
    if measured is not None and int(measured.get("null_count", "0")) < rows:
        measured |= {"min": value, "max": value, "min_is_exact": "true", "max_is_exact": "true"}


def _check_partition(dataset: Dataset, keys: Mapping[str, str | None]) -> None:
    for key, value in keys.items():
        if not value or not _SAFE.issuperset(value):
            raise PartitionValueError(
                f"{value!r} cannot be a value of the partition column {key!r} of {dataset.name}.",
                hint="Use only letters, digits, '_', '.' and '-'.",
            )


def _make_durable(root: str, paths: Sequence[str]) -> None:
    """Flush files and the folders that name them."""
    folders = {root}
    for path in paths:
        folder = os.path.dirname(path)
        while len(folder) > len(root):
            folders.add(folder)
            folder = os.path.dirname(folder)
    if len(paths) < _MANY_FILES:
        for path in (*paths, *folders):
            sync_path(path)
        return
    with ThreadPoolExecutor(max_workers=8) as pool:
        list(pool.map(sync_path, [*paths, *folders]))
