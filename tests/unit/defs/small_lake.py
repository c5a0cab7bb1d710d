"""A small lake with what the assets read: two years, a few cells and taxa, and a ledger that adds up."""

from datetime import UTC, datetime

import pyarrow as pa

from retention_pipelines.catalog import dataset
from retention_pipelines.warehouse import Lake
from tests.unit.series.raw_rows import observe, record

INGESTED_AT = datetime(2026, 1, 1, tzinfo=UTC)
TAXA = ("Sardinella aurita", "Trachurus capensis", "Dentex macrophthalmus")
MONTHS = tuple(f"{year}-{month:02d}" for year in (2016, 2017) for month in range(1, 13))


def fill(lake: Lake, months: tuple[str, ...] = MONTHS) -> None:
    """Three surface temperatures and three species records per month; one delivered row is in quarantine."""
    observations = [
        {
            "event_start": datetime(int(month[:4]), int(month[5:]), day, 6, tzinfo=UTC),
            "value": 15.0 + 3 * (int(month[5:]) % 6) + day / 10,
            "decimal_latitude": latitude,
            "source_sha256": "aa",
        }
        for month in months
        for day, latitude in ((3, -12.1), (14, -12.1), (25, -9.6))
    ]
    occurrences = [
        {
            "event_start": datetime(int(month[:4]), int(month[5:]), 14, tzinfo=UTC),
            "event_end": datetime(int(month[:4]), int(month[5:]), 15, tzinfo=UTC),
            "date_precision": "day",
            "event_id": f"haul-{month}",
            "scientific_name": taxon,
            "abundance": 5.0 + number,
            "source_sha256": "bb",
        }
        for month in months
        for number, taxon in enumerate(TAXA)
    ]
    observe(lake, observations)
    record(lake, occurrences)
    _ledger(lake, "aa", len(observations), quarantined=0)
    _ledger(lake, "bb", len(occurrences), quarantined=1)
    append(
        lake,
        "quarantine",
        {
            "record_hash": "q1",
            "dataset_id": "d",
            "source_file": "bb.csv",
            "source_sha256": "bb",
            "source_row": 99,
            "ingested_at": INGESTED_AT,
            "reason": "invalid_position",
            "detail": "latitude 95 is above 90",
            "raw_record": "{}",
        },
    )
    lake.publish()


def _ledger(lake: Lake, sha256: str, accepted: int, *, quarantined: int) -> None:
    append(
        lake,
        "ingested_files",
        {
            "path": f"{sha256}.csv",
            "sha256": sha256,
            "bytes": 1000,
            "role": "records",
            "status": "ingested",
            "read": accepted + quarantined,
            "accepted": accepted,
            "quarantined": quarantined,
            "duplicates": 0,
            "values": accepted,
            "reasons": "{}",
            "ingested_at": INGESTED_AT,
        },
    )


def append(lake: Lake, name: str, row: dict[str, object]) -> None:
    """Append one row; columns that are not given are null."""
    schema = lake.con.sql(f"select * from {lake.table(name).scan()} limit 0").to_arrow_table().schema
    batch = pa.Table.from_pylist([dict.fromkeys(dataset(name).types) | row], schema=schema)
    lake.con.register("one_row", batch)
    lake.table(name).append("select * from one_row")
    lake.con.unregister("one_row")
