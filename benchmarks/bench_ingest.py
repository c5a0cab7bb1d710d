"""Ingesting a 300,000-row CSV against the floor: a bare DuckDB read of the same file and one Parquet file.

24 months of positions, depths and three quantities. The ingest reads text, hashes and compares every row, checks it,
writes one row per value into monthly files, commits, publishes; the floor does none of that. So a second line says what
the rows themselves cost: the same observations by bare statements written for this very file (bare_ingest.sql,
bare_month.sql), on all cores, without lake, ledger, quarantine, commits and publishing.
"""

import argparse
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

import duckdb

from retention_pipelines.settings import load_settings
from retention_pipelines.sources.ingest import ingest
from retention_pipelines.warehouse import Lake

TARGET = 4.0
MAPPING = """
name: bench
title: simulated casts
dataset_id: bench
target: observations
source_type: cast
recognise: {columns: [date, lat, lon, depth, temp, sal, chl]}
date: {column: date}
columns:
  decimal_latitude: lat
  decimal_longitude: lon
  depth_m: {column: depth, unit: m}
  event_id: {template: "{date}_{lat}_{lon}"}
variables:
  - {column: temp, variable: temperature_degc, unit: degree_Celsius}
  - {column: sal, variable: salinity_psu, unit: "1"}
  - {column: chl, variable: chlorophyll_mg_m3, unit: mg m-3}
"""


def simulate(path: Path, rows: int) -> None:
    with duckdb.connect() as con:
        con.execute("select setseed(0.42)")
        con.execute(
            f"""copy (
                select (date '2020-01-01' + (i * 730 // {rows})::integer)::varchar as date,
                       round(-17 + 12 * random(), 4) as lat, round(8 + 6 * random(), 4) as lon,
                       (i % 20) * 5 as depth, round(12 + 14 * random(), 3) as temp, round(34 + 2 * random(), 3) as sal,
                       round(5 * random(), 3) as chl
                from range({rows}) t(i)) to '{path}' (header)"""
        )


def floor(path: Path, folder: Path) -> tuple[float, float]:
    with duckdb.connect() as con:
        wall, cpu = time.perf_counter(), time.process_time()
        con.execute(f"copy (from read_csv('{path}')) to '{folder}/floor.parquet' (format parquet, compression zstd)")
        return time.perf_counter() - wall, time.process_time() - cpu


def bare(path: Path, folder: Path, rows: int) -> tuple[float, float]:
    here = Path(__file__).parent
    month_text = (here / "bare_month.sql").read_text(encoding="utf-8")
    with duckdb.connect() as con, ThreadPoolExecutor() as pool:
        con.execute("set timezone = 'UTC'")
        con.execute(f"set variable path = '{path}'")
        wall, cpu = time.perf_counter(), time.process_time()
        con.execute((here / "bare_ingest.sql").read_text(encoding="utf-8"))
        months = [row[0] for row in con.execute("select distinct month from checked").fetchall()]

        def write(month: str) -> int:
            target = folder / f"month={month}" / "part.parquet"
            target.parent.mkdir(parents=True)
            options = "format parquet, parquet_version v2, compression zstd, compression_level 1"
            with con.cursor() as own:
                query = month_text.replace("{month}", month)
                found: int = own.execute(f"copy ({query}) to '{target}' ({options})").fetchall()[0][0]
                return found

        written = sum(pool.map(write, months))
        spent = time.perf_counter() - wall, time.process_time() - cpu
    if written != 3 * rows:
        raise SystemExit(f"the bare statements are wrong: {written} values")
    return spent


def once(path: Path, mapping: Path, folder: Path, rows: int) -> tuple[float, float]:
    settings = load_settings({}, lake_root=str(folder / "lake"), state_dir=folder / "state")
    with Lake(settings) as lake:
        wall, cpu = time.perf_counter(), time.process_time()
        report = ingest(path, lake, now=datetime.now(UTC), mapping=str(mapping))
        spent = time.perf_counter() - wall, time.process_time() - cpu
    if (report.read, report.accepted, report.files[0].values) != (rows, rows, 3 * rows):
        raise SystemExit(f"the ingest is wrong: {report}")
    return spent


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true", help="30,000 rows")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    rows = 30_000 if arguments.small else 300_000
    floors, bares, ingests = [], [], []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path, mapping = folder / "casts.csv", folder / "bench.yaml"
        mapping.write_text(MAPPING)
        simulate(path, rows)
        for number in range(arguments.rounds + 1):
            round_folder = folder / f"round{number}"
            round_folder.mkdir()
            one_floor = floor(path, round_folder)
            one_bare = bare(path, round_folder / "bare", rows)
            one_ingest = once(path, mapping, round_folder, rows)
            if number:  # the first is the warm-up
                floors.append(one_floor)
                bares.append(one_bare)
                ingests.append(one_ingest)
    for index, kind in enumerate(("wall", "cpu")):
        base, taken = median(one[index] for one in floors), median(one[index] for one in ingests)
        verdict = f" (target {TARGET:.0f}x)" if kind == "wall" else ""
        ratio = f"ratio {taken / base:.1f}x{verdict}"
        print(f"ingest {rows:,} rows, {kind}: floor {base:.3f} s, ingest {taken:.3f} s, {ratio}")
        rows_alone = median(one[index] for one in bares)
        print(f"  bare statements for the same observations: {rows_alone:.3f} s, {rows_alone / base:.1f}x the floor")
    return 0


if __name__ == "__main__":
    sys.exit(main())
