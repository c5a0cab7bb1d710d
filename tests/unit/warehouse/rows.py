"""Rows that fit the catalog, for tests of the lake: one observation per key."""

from collections.abc import Iterable

from retention_pipelines.catalog import DATASETS

_VALUES = {
    "VARCHAR": "'text'",
    "VARCHAR[]": "['a', 'b']",
    "DOUBLE": "1.5::double",
    "INTEGER": "1::integer",
    "BIGINT": "1::bigint",
    "BOOLEAN": "true",
    "TIMESTAMP WITH TIME ZONE": "timestamptz '2020-01-01 00:00:00+00'",
    "DATE": "date '2020-01-01'",
    "FLOAT[]": "[1.0, 2.0]::float[]",
}


def rows(dataset: str, count: int = 1, **columns: str) -> str:
    """A SELECT of `count` rows of a dataset; keyword arguments are SQL over the row number `i`."""
    parts = []
    for column in DATASETS[dataset].columns:
        value = columns.get(column.name)
        if value is None:
            value = f"'{column.allowed[0]}'" if column.allowed else _VALUES[column.type.value]
            if column.minimum is not None:
                value = f"{column.minimum}::{column.type.value}"
        parts.append(f'{value} as "{column.name}"')
    return f"select {', '.join(parts)} from range({count}) as numbers(i)"


def observations(keys: Iterable[str], month: str = "2020-01", value: float = 1.5) -> str:
    """A SELECT of one observation per key."""
    listed = ", ".join(f"'{key}'" for key in keys)
    source = rows("observations", record_hash="key", month=f"'{month}'", value=f"'{value}'::double")
    return source.replace("from range(1) as numbers(i)", f"from unnest([{listed}]::varchar[]) as given(key)")
