"""Parquet files of a table: reading them, and writing new ones.

A file nobody has committed is invisible; a crash leaves such orphans behind and vacuum collects them.
"""

import os
import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import duckdb
from deltalake.transaction import AddAction

from retention_pipelines.catalog import Dataset
from retention_pipelines.errors import PartitionValueError, SchemaError
from retention_pipelines.warehouse.duck import quote_name, quote_text, quote_texts
from retention_pipelines.warehouse.faults import storage_faults
from retention_pipelines.warehouse.listing import LakeFile
from retention_pipelines.warehouse.objects import sync_path
from retention_pipelines.warehouse.schema import check_statistics, select_list
from retention_pipelines.warehouse.statistics import delta_statistics

# Every reader can open these: a space, '/' or '%' is encoded twice by some and not found (hazard H7).
_SAFE = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-")


def scan_text(dataset: Dataset, root: str, files: Iterable[LakeFile], *, named: bool = False) -> str:
    """FROM-clause text over files; no rows but the right columns when there are none (hazard H10).

    `named` adds the column `filename`.
    """
    paths = quote_texts(f"{root}/{file.path}" for file in files)
    if not paths:
        types = dataset.types | ({"filename": "VARCHAR"} if named else {})
        columns = ", ".join(f"null::{kind} as {quote_name(name)}" for name, kind in types.items())
        return f"(select {columns} limit 0)"
    # union_by_name: files of an older schema lack newer columns.
    options = "hive_partitioning = true, hive_types_autocast = false, union_by_name = true"
    columns = ", ".join(quote_name(name) for name in dataset.column_names)
    if named:
        return f"(select {columns}, filename from read_parquet([{paths}], {options}, filename = true))"
    return f"(select {columns} from read_parquet([{paths}], {options}))"


def write_parquet(con: duckdb.DuckDBPyConnection, dataset: Dataset, root: str, select: str) -> list[AddAction]:
    """Write the rows of a query as sorted Parquet files under `root`, one or few per partition, durably.

    Rows are checked against the catalog first; files that do not pass are removed again.
    """
    described = con.execute(f"describe select * from ({select})").fetchall()
    columns = select_list(dataset, {row[0]: row[1] for row in described})
    # Partition first: each partition's rows come together, so few files are open at a time and few are written.
    order = ", ".join(quote_name(name) for name in (*dataset.partition_by, *dataset.order))
    query = f"select {columns} from ({select})" + (f" order by {order}" if order else "")
    options = "FORMAT parquet, COMPRESSION zstd, PARQUET_VERSION v2, RETURN_STATS"
    if dataset.partition_by:
        keys = ", ".join(quote_name(key) for key in dataset.partition_by)
        target = quote_text(root)
        options += f", PARTITION_BY ({keys}), APPEND, FILENAME_PATTERN 'part-{{uuidv7}}'"
    else:
        target = quote_text(f"{root}/part-{uuid.uuid4()}.parquet")
    local = "://" not in root
    with storage_faults(root):
        written = con.execute(f"COPY ({query}) TO {target} ({options})").fetchall()
        try:
            for row in written:
                check_statistics(dataset, row[4])
                _check_partition(dataset, row[5] or {})
        except (SchemaError, PartitionValueError):
            if local:
                for row in written:
                    os.unlink(row[0])
            raise
        if local:
            _make_durable(root, [row[0] for row in written])
    now = int(time.time() * 1000)
    return [
        AddAction(
            path=name[len(root) + 1 :],
            size=size,
            partition_values=dict(keys or {}),
            modification_time=now,
            data_change=True,
            stats=delta_statistics(rows, statistics, dataset.types),
        )
        for name, rows, size, _, statistics, keys, *_ in written
        if rows > 0
    ]


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
    with ThreadPoolExecutor(max_workers=8) as pool:
        list(pool.map(sync_path, [*paths, *folders]))
