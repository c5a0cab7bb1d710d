"""Appending one day of observations to a table of two years, against a bare DuckDB COPY of the same rows."""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from retention_pipelines.catalog import dataset
from retention_pipelines.settings import load_settings
from retention_pipelines.warehouse import Lake

_VALUES = {
    "VARCHAR": "'text'",
    "VARCHAR[]": "null::varchar[]",
    "DOUBLE": "(random() * 10)::double",
    "BIGINT": "i + 1",
    "BOOLEAN": "true",
    "TIMESTAMP WITH TIME ZONE": "event",
}


def day_rows(start: str, days: int, per_day: int) -> str:
    """A SELECT of observations, `per_day` a day."""
    parts = []
    for column in dataset("observations").columns:
        value = _VALUES[column.type.value]
        if column.allowed:
            value = f"'{column.allowed[0]}'"
        if column.name == "record_hash":
            value = "md5(event::varchar || i)"
        if column.name == "month":
            value = "strftime(event, '%Y-%m')"
        parts.append(f'{value} as "{column.name}"')
    days_text = f"select timestamptz '{start}' + d * interval 1 day as event from range({days}) as days(d)"
    return f"select {', '.join(parts)} from ({days_text}), range({per_day}) as numbers(i)"


def median(work: Callable[[], object], rounds: int = 7) -> float:
    """Median seconds after one warm-up."""
    times = []
    for _ in range(rounds + 1):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:])


def run(per_day: int) -> list[str]:
    with tempfile.TemporaryDirectory() as folder:
        settings = load_settings({}, lake_root=f"{folder}/lake", state_dir=Path(folder) / "state")
        with Lake(settings) as lake:
            table = lake.table("observations")
            for month in range(24):
                table.append(day_rows(f"{2024 + month // 12}-{month % 12 + 1:02d}-01", 28, per_day))
            lake.con.execute(f"create temp table one_day as {day_rows('2025-12-29', 1, per_day)}")
            options = "format parquet, compression zstd, parquet_version v2, partition_by (month), append"
            copy = f"copy one_day to '{folder}/bare' ({options}, filename_pattern 'part-{{uuidv7}}')"
            bare = median(lambda: lake.con.execute(copy).fetchall())
            append = median(lambda: table.append("from one_day"))
            publish = median(lambda: (table.append("from one_day"), lake.publish())) - append
            found = table.con.execute(f"select count(*) from {table.scan()}").fetchall()[0][0]
    return [
        f"append a day of {per_day:,} rows to {found:,} rows: {append:.3f} s (target under 0.3 s)",
        f"  bare DuckDB COPY: {bare:.3f} s, ratio {append / bare:.1f}; publishing: {publish:.3f} s",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true")
    print(*run(1_000 if parser.parse_args().small else 11_000), sep="\n")


if __name__ == "__main__":
    main()
