"""From arrays to staging tables: what the NetCDF formats share.

What belongs here: columns as numpy arrays of one length become an Arrow table, and that a staging table with its list
of measurements; telling NetCDF by its first bytes. What does not: what the arrays mean (`argo.py`, `gridded.py`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
from scipy.io import netcdf_file

from retention_pipelines.sources.staging import fresh_name, record_hash
from retention_pipelines.warehouse.duck import bind, quote_name, statement

Array = np.ndarray[Any, np.dtype[Any]]
_MAGIC = (b"CDF\x01", b"CDF\x02", b"CDF\x05", b"\x89HDF\r\n\x1a\n")


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One variable over the rows of a staging table; flags are text, values are NaN where missing."""

    variable: str
    standard_name: str
    value: Array
    qc_good: Array
    adjusted: Array | None = None
    raw_value: Array | None = None
    qc_flag: Array | None = None
    raw_qc_flag: Array | None = None
    qc_scale: str = "none"


@dataclass(frozen=True, kw_only=True)
class StagedArrays:
    """Names of the staging table and of the table of raw columns as text."""

    relation: str
    raw: str


def is_netcdf(head: bytes) -> bool:
    """Whether these are the first bytes of a NetCDF file (classic or HDF5)."""
    return head.startswith(_MAGIC)


def check_whole(path: Path) -> None:
    """Raise ValueError where a classic NetCDF file is shorter than its header says.

    The NetCDF library reads what is cut off as zeros; HDF5 notices by itself.
    """
    with path.open("rb") as file:
        if file.read(4) not in _MAGIC[:2]:
            return
    try:
        with netcdf_file(path, "r", mmap=True):
            pass
    except (ValueError, TypeError) as error:
        raise ValueError("it is shorter than its header says") from error


def texts(values: Array) -> pa.Array:
    """Text column; blank and None become null."""
    stripped = np.char.strip(values.astype(str)) if values.dtype.kind in "SU" else values
    return pa.array([value or None for value in stripped.tolist()], type=pa.string())


def numbers(values: Array) -> pa.Array:
    """Number column of its own width; NaN becomes null."""
    return pa.array(values, from_pandas=True)


def _interleaved(parts: Sequence[Array | None], rows: int, kind: str) -> Array:
    """One array that holds the first row of every part, then the second row of every part, and so on."""
    out = np.full((rows, len(parts)), None if kind == "O" else np.nan, dtype=kind)
    for number, part in enumerate(parts):
        if part is not None:
            out[:, number] = part
    return out.ravel()


def measurement_list(measured: Sequence[Measured], rows: int) -> pa.Array:
    """The column `measurements` before values that are neither there nor flagged are left out."""
    width = len(measured)

    def constant(values: Sequence[str]) -> pa.Array:
        indices = pa.array(np.tile(np.arange(width, dtype="int32"), rows))
        return pa.DictionaryArray.from_arrays(indices, pa.array(values, type=pa.string())).cast(pa.string())

    def flags(parts: Sequence[Array | None]) -> pa.Array:
        if all(part is None for part in parts):
            return pa.nulls(rows * width, pa.string())
        return texts(_interleaved(parts, rows, "O"))

    adjusted = np.zeros((rows, width), dtype=bool)
    good = np.zeros((rows, width), dtype=bool)
    for number, one in enumerate(measured):
        adjusted[:, number] = False if one.adjusted is None else one.adjusted
        good[:, number] = one.qc_good
    kinds = pa.DictionaryArray.from_arrays(
        pa.array(adjusted.ravel().astype("int8")), pa.array(["raw", "adjusted"])
    ).cast(pa.string())
    struct = pa.StructArray.from_arrays(
        [
            constant([one.variable for one in measured]),
            constant([one.standard_name for one in measured]),
            pa.array(_interleaved([one.value for one in measured], rows, "f8"), from_pandas=True),
            kinds,
            pa.array(_interleaved([one.raw_value for one in measured], rows, "f8"), from_pandas=True),
            flags([one.qc_flag for one in measured]),
            flags([one.raw_qc_flag for one in measured]),
            constant([one.qc_scale for one in measured]),
            pa.array(good.ravel()),
        ],
        names=[
            "variable",
            "standard_name",
            "value",
            "value_kind",
            "raw_value",
            "qc_flag",
            "raw_qc_flag",
            "qc_scale",
            "qc_good",
        ],
    )
    return pa.ListArray.from_arrays(pa.array(np.arange(rows + 1, dtype="int32") * width), struct)


def stage_arrays(
    con: duckdb.DuckDBPyConnection,
    *,
    dataset_id: str,
    source_row: Array,
    raw: Mapping[str, pa.Array],
    columns: Mapping[str, pa.Array],
    measured: Sequence[Measured],
) -> StagedArrays:
    """Make the staging table of rows given as columns; `raw` are the columns as the file has them."""
    rows = len(source_row)
    names = StagedArrays(relation=fresh_name("arrays"), raw=fresh_name("arrays_raw"))
    native = fresh_name("arrays_native")
    con.register(native, pa.table({"source_row": pa.array(source_row.astype("int64")), **raw}))
    as_text = [duckdb.ColumnExpression(name).cast("VARCHAR").alias(name) for name in raw]
    con.table(native).select(duckdb.ColumnExpression("source_row"), *as_text).create(names.raw)
    con.unregister(native)
    table = pa.table(
        {
            "source_row": pa.array(source_row.astype("int64")),
            **columns,
            "measurements": measurement_list(measured, rows),
        }
    )
    con.register(native, table)
    try:
        hashes = con.table(names.raw).select(duckdb.ColumnExpression("source_row"), record_hash(dataset_id, raw))
        hashes.create_view("array_hashes", replace=True)
        bind(con, "array_columns", quote_name(native))
        con.sql(statement("retention_pipelines.sources", "arrays")).create(names.relation)
    finally:
        con.unregister(native)
    return names
