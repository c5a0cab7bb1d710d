"""The result of a query as text or a file: table, csv, json or parquet.

JSON is an array of objects that every parser accepts: NaN and infinities become null, instants ISO 8601 in UTC with Z.
"""

import csv
import json
import math
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any, TextIO

import duckdb

from retention_pipelines.errors import QueryError
from retention_pipelines.warehouse.faults import storage_faults

_ROWS_AT_ONCE = 10_000
_ROWS_SHOWN = 200


class Format(StrEnum):
    """How a result is written."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"
    PARQUET = "parquet"


def write_text(con: duckdb.DuckDBPyConnection, sql: str, style: Format, out: TextIO) -> None:
    """Run a query and write its result to a text stream; raises QueryError with DuckDB's words."""
    try:
        if style is Format.TABLE:
            with redirect_stdout(out):
                con.sql(sql).show(max_width=max(shutil.get_terminal_size((120, 40)).columns, 80), max_rows=_ROWS_SHOWN)
            return
        con.execute(sql)
        names = [column[0] for column in con.description or []]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None and style is Format.JSON:
            raise QueryError(
                f"Two columns are called {twice!r}; a JSON object has room for one.",
                hint=f"Rename one: {twice} as another_name.",
            )
        if style is Format.CSV:
            writer = csv.writer(out, lineterminator="\n")
            writer.writerow(names)
            writer.writerows([_cell(value) for value in row] for row in _rows(con))
        else:
            out.write("[")
            for number, row in enumerate(_rows(con)):
                out.write(",\n" if number else "\n")
                record = {name: plain(value) for name, value in zip(names, row, strict=True)}
                out.write(json.dumps(record, ensure_ascii=False, allow_nan=False))
            out.write("\n]\n")
    except duckdb.Error as error:
        raise QueryError(str(error)) from None


def write_parquet_file(con: duckdb.DuckDBPyConnection, sql: str, path: str) -> None:
    """Run a query and write its result as one Parquet file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        reader = con.sql(sql).to_arrow_reader(_ROWS_AT_ONCE)
        with pq.ParquetWriter(path, reader.schema, compression="zstd") as writer:
            for batch in reader:
                writer.write_batch(batch)
    except duckdb.Error as error:
        raise QueryError(str(error)) from None
    except (pa.ArrowNotImplementedError, pa.ArrowInvalid) as error:
        raise QueryError(f"Parquet cannot hold this result: {error}.", hint="Cast the column, to text say.") from None


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path to write to that takes the place of `path` when all went well; until then an older file stays as it is.

    Devices and pipes are written to directly.
    """
    if path.exists() and not path.is_file() and not path.is_dir():
        yield path
        return
    draft = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        if path.is_dir():
            raise IsADirectoryError(f"{path} is a folder")
        with storage_faults(str(path)):
            yield draft
            draft.replace(path)
    except OSError as error:
        raise QueryError(f"Cannot write {path}: {error.strerror or error}.", hint="Name another file.") from error
    finally:
        draft.unlink(missing_ok=True)


def _rows(con: duckdb.DuckDBPyConnection) -> Iterator[tuple[Any, ...]]:
    while rows := con.fetchmany(_ROWS_AT_ONCE):
        yield from rows


def plain(value: Any) -> Any:
    """A value of DuckDB as JSON knows it."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z") if value.tzinfo else value.isoformat()
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value).hex()
    # Decimal, UUID and whatever else DuckDB may hand out read best as text.
    return str(value)


def _cell(value: Any) -> Any:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return value
    found = plain(value)
    return json.dumps(found, ensure_ascii=False) if isinstance(found, dict | list) else found
