"""Rows of a lake dataset as policies see them: their fields, how often they were read, when their file was written.

What belongs here: putting fields together. What does not: deciding (`compiled.py`), planning (`select_lake.py`).
"""

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager

import duckdb
import pyarrow as pa
from duckdb import ColumnExpression

from retention_pipelines.retention.policies.governed import Governed
from retention_pipelines.warehouse import LakeFile
from retention_pipelines.warehouse.duck import bind, statement
from retention_pipelines.warehouse.files import scan_text
from retention_pipelines.warehouse.table import Table

READS_SCHEMA = pa.schema(
    [("key", pa.string()), ("hits", pa.int64()), ("last_accessed_at", pa.timestamp("us", tz="UTC"))]
)
_PACKAGE = "retention_pipelines.retention.plans"
_COUNTED = ("access_count", "last_accessed_at")
_WRITTEN_SCHEMA = pa.schema([("filename", pa.string()), ("written_at", pa.timestamp("us", tz="UTC"))])
_READS, _WRITTEN = "_retention_reads", "_retention_written"


def is_counted(dataset: Governed, fields: Collection[str]) -> bool:
    """Whether any of these fields comes from counting reads."""
    return any(dataset.sources.get(name, name) in _COUNTED for name in fields)


@contextmanager
def counted_reads(con: duckdb.DuckDBPyConnection, reads: pa.Table | None) -> Iterator[None]:
    """Let `rows_of` join these reads, of `READS_SCHEMA`, while the block runs."""
    con.register(_READS, reads if reads is not None else READS_SCHEMA.empty_table())
    try:
        yield
    finally:
        con.unregister(_READS)
        con.unregister(_WRITTEN)


def rows_of(
    con: duckdb.DuckDBPyConnection,
    table: Table,
    files: Sequence[LakeFile],
    dataset: Governed,
    *,
    fields: Collection[str],
    kept: Sequence[str] = (),
) -> duckdb.DuckDBPyRelation:
    """Rows of files: the columns `kept` and the fields, reads joined only where a field counts them.

    Among `kept` may be `filename` and `file_row_number`, which together say where a row lies. Call it within
    `counted_reads`; the next call's rows replace those of this one.
    """
    written = "written_at" in {dataset.sources.get(name) for name in fields}
    counted = {name for name in fields if dataset.sources.get(name, name) in _COUNTED}
    read = {*kept, *(dataset.sources.get(name, name) for name in set(fields) - counted)}
    read |= {dataset.read_key} if counted and dataset.read_key else set()
    _scan(con, table, files, read=read, written=written, placed="file_row_number" in kept)
    columns = [ColumnExpression(name) for name in kept]
    columns += [
        ColumnExpression(dataset.sources.get(name, name)).alias(name)
        for name in sorted(set(fields) - counted)
        if name not in kept
    ]
    if not counted or dataset.read_key is None:
        return con.table("_retention_scan").select(*columns)
    columns.append(ColumnExpression(dataset.read_key).alias("read_key"))
    con.table("_retention_scan").select(*columns).create_view("_retention_rows", replace=True)
    return con.sql(statement(_PACKAGE, "reads"))


def _scan(
    con: duckdb.DuckDBPyConnection,
    table: Table,
    files: Sequence[LakeFile],
    *,
    read: Collection[str],
    written: bool,
    placed: bool,
) -> None:
    """View `_retention_scan`: the rows of files, with `written_at` of each row's file and its place where wanted."""
    columns = {name: name for name in table.dataset.column_names if name in read}
    scanned = scan_text(
        table.dataset, table.root, files, named=written or placed, numbered=placed, columns=columns or None
    )
    if not written:
        bind(con, "_retention_scan", scanned)
        return
    bind(con, "_retention_named_scan", scanned)
    instants = {f"{table.root}/{file.path}": file.written_at for file in files}
    listed = pa.table({"filename": list(instants), "written_at": list(instants.values())}, schema=_WRITTEN_SCHEMA)
    con.register(_WRITTEN, listed)
    # A temporary view as above: a plain one of the same name would stay hidden behind the one of an earlier table.
    bind(con, "_retention_scan", f"({statement(_PACKAGE, 'written')})")
