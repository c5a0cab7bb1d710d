"""Rows for feature tests: a test names what matters, the rest is plain."""

from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest

from retention_pipelines.warehouse import Lake

Rows = Iterable[dict[str, Any]]
AUGUST_14 = datetime(2017, 8, 14, tzinfo=UTC)
_LENGTH = {
    "time": timedelta(seconds=1),
    "day": timedelta(days=1),
    "month": timedelta(days=31),
    "year": timedelta(days=365),
}


def _dated(row: dict[str, Any]) -> dict[str, Any]:
    start = row.get("event_start", AUGUST_14)
    precision = row.get("date_precision", "day")
    defaults = {
        "dataset_id": "survey",
        "event_id": "haul-1",
        "source_file": "made-up.csv",
        "source_sha256": "0" * 64,
        "source_row": 1,
        "ingested_at": datetime(2020, 1, 1, tzinfo=UTC),
        "source_type": "survey",
        "event_date": "as written",
        "event_start": start,
        "event_end": start + _LENGTH.get(precision, timedelta(days=1)),
        "date_precision": precision,
        "decimal_latitude": -12.1,
        "decimal_longitude": 13.2,
        "month": f"{start:%Y-%m}",
    }
    return defaults | row


def append_rows(lake: Lake, name: str, rows: Rows) -> None:
    table = lake.table(name)
    schema = lake.con.sql(f"from {table.scan_files([])}").to_arrow_table().schema
    filled = [{"record_hash": f"{id(row):x}-{i}", **row} for i, row in enumerate(rows)]
    lake.con.register("_test_rows", pa.Table.from_pylist(filled, schema=schema))
    table.append("from _test_rows")
    lake.con.unregister("_test_rows")


@pytest.fixture
def add_occurrences(lake: Lake) -> Callable[..., None]:
    """Append occurrences; each argument is a row of which only the columns that matter are named."""

    def add(*rows: dict[str, Any]) -> None:
        plain = {"scientific_name": "Sardinops sagax", "occurrence_status": "present", "is_subtotal": False}
        append_rows(lake, "occurrences", [plain | _dated(row) for row in rows])

    return add


@pytest.fixture
def add_observations(lake: Lake) -> Callable[..., None]:
    """Append observations in the same way."""

    def add(*rows: dict[str, Any]) -> None:
        plain = {
            "dataset_id": "casts",
            "event_id": "cast-1",
            "source_type": "cast",
            "depth_m": 5.0,
            "variable": "temperature_degc",
            "value": 15.0,
            "value_kind": "raw",
            "qc_scale": "none",
            "qc_good": True,
        }
        append_rows(lake, "observations", [_dated(plain | row) for row in rows])

    return add


@pytest.fixture
def stored(lake: Lake) -> Callable[[str], list[dict[str, Any]]]:
    """All stored rows of a feature type, oldest version first."""

    def read(feature_type: str) -> list[dict[str, Any]]:
        rows = lake.con.sql(f"from {lake.table('feature_store').scan()}").to_arrow_table().to_pylist()
        return sorted(
            (row for row in rows if row["feature_type"] == feature_type),
            key=lambda row: (row["source_data_id"], row["version"]),
        )

    return read
