"""Rows of the raw datasets for tests: what a test doesn't name gets a plain value."""

import itertools
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

import pyarrow as pa

from retention_pipelines.catalog import dataset
from retention_pipelines.warehouse import Lake

_number = itertools.count(1)
_COMMON = {
    "dataset_id": "d",
    "source_file": "f.csv",
    "source_sha256": "00",
    "ingested_at": datetime.fromisoformat("2026-01-01T00:00:00+00:00"),
    "event_date": "as written",
    "date_precision": "time",
    "decimal_latitude": -12.1,
    "decimal_longitude": 13.3,
}
_OBSERVATION = {
    "source_type": "cast",
    "variable": "temperature_degc",
    "value_kind": "raw",
    "qc_scale": "none",
    "qc_good": True,
    "depth_m": 0.0,
}
_OCCURRENCE = {
    "source_type": "survey",
    "scientific_name": "Sardinella aurita",
    "occurrence_status": "present",
    "is_subtotal": False,
}


def utc(text: str) -> datetime:
    """An instant from ISO text without a zone."""
    return datetime.fromisoformat(f"{text}+00:00")


def _append(lake: Lake, name: str, defaults: Mapping[str, Any], rows: Iterable[Mapping[str, Any]]) -> None:
    columns = dataset(name).types
    filled = []
    for given in rows:
        row = dict.fromkeys(columns) | _COMMON | dict(defaults) | dict(given)
        number = next(_number)
        row["record_hash"] = row["record_hash"] or f"{number:032x}"
        row["source_row"] = number
        row["event_id"] = row["event_id"] or f"e{number}"
        row["event_end"] = row["event_end"] or row["event_start"] + timedelta(seconds=1)
        row["month"] = row["event_start"].isoformat()[:7]
        filled.append(row)
    if not filled:
        return
    schema = lake.con.sql(f"select * from {lake.table(name).scan()} limit 0").to_arrow_table().schema
    lake.con.register("rows_of_a_test", pa.Table.from_pylist(filled, schema=schema))
    lake.table(name).append("select * from rows_of_a_test")
    lake.con.unregister("rows_of_a_test")


def observe(lake: Lake, rows: Iterable[Mapping[str, Any]]) -> None:
    """Append observations."""
    _append(lake, "observations", _OBSERVATION, rows)


def record(lake: Lake, rows: Iterable[Mapping[str, Any]]) -> None:
    """Append occurrences."""
    _append(lake, "occurrences", _OCCURRENCE, rows)


def rows_of(lake: Lake, name: str, where: str = "true") -> list[dict[str, Any]]:
    """Rows of a dataset as dictionaries, in order of the dataset's key."""
    keys = ", ".join(f'"{key}"' for key in dataset(name).key)
    found = lake.con.sql(f"select * from {lake.table(name).scan()} where {where} order by {keys}").to_arrow_table()
    return found.to_pylist()
