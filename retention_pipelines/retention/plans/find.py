"""Rows by the names people use, with the fields that policies look at.

An infinite instant comes back as None: Python has none, and to policies it is unknown.
"""

from collections.abc import Mapping
from functools import reduce

import duckdb
import pyarrow as pa
from duckdb import CaseExpression, ColumnExpression, ConstantExpression, FunctionExpression
from sqlalchemy import Engine, Text, case, cast, func, literal_column, or_, select

from retention_pipelines.postgres.tables import METADATA
from retention_pipelines.retention.filter.ast import Kind
from retention_pipelines.retention.filter.oracle import Value
from retention_pipelines.retention.plans.lake_rows import counted_reads, rows_of
from retention_pipelines.retention.plans.select_lake import table_of
from retention_pipelines.retention.plans.select_postgres import with_reads
from retention_pipelines.retention.policies.governed import Governed
from retention_pipelines.warehouse import Lake

MOST_ROWS = 20


def find_in_lake(lake: Lake, dataset: Governed, name: str, reads: pa.Table) -> list[Mapping[str, Value]]:
    """The first rows of a lake dataset that have this name, with their mean size."""
    table, con = table_of(lake, dataset), lake.con
    files = table.files()
    rows_in_all = sum(file.rows for file in files)
    mean = sum(file.bytes for file in files) / rows_in_all if rows_in_all else 0.0
    wanted = ConstantExpression(name)
    named = [ColumnExpression(column).cast("VARCHAR") == wanted for column in dataset.names]
    with counted_reads(con, reads):
        rows = rows_of(con, table, files, dataset, fields=dataset.fields, kept=dataset.names)
        found = rows.filter(reduce(lambda one, other: one | other, named)).limit(MOST_ROWS)
        plain = found.select(*(_finite(field, kind) for field, kind in dataset.fields.items()))
        return [{**row, "size_bytes": mean} for row in plain.to_arrow_table().to_pylist()]


def _finite(field: str, kind: Kind) -> duckdb.Expression:
    column = ColumnExpression(field)
    if kind is Kind.INSTANT:
        return CaseExpression(FunctionExpression("isfinite", column), column).alias(field)
    return column


def find_in_postgres(engine: Engine, dataset: Governed, name: str) -> list[Mapping[str, Value]]:
    """The first rows of a table that have this name, with their size."""
    source, fields = with_reads(dataset)
    table = METADATA.tables[dataset.table]
    finite = [
        (case((func.isfinite(column), column)) if dataset.fields[field] is Kind.INSTANT else column).label(field)
        for field, column in fields.items()
    ]
    if "size_bytes" not in fields:
        finite.append(func.pg_column_size(literal_column(f"{table.name}.*")).label("size_bytes"))
    wanted = or_(*(cast(table.c[column], Text) == name for column in dataset.names))
    with engine.connect() as con:
        rows = con.execute(select(*finite).select_from(source).where(wanted).limit(MOST_ROWS))
        return [dict(row) for row in rows.mappings()]
