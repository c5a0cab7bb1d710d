"""Ingesting a 300,000-row CSV against the floor: a bare DuckDB read of the same file and one Parquet file.

24 months of positions, depths and three quantities; the same with one quantity, so that a row becomes one row; and
Darwin Core occurrences. The ingest reads text, hashes and compares every row, checks it, writes one row per value into
monthly files, commits, publishes; the floor does none of that. So a second line says what the rows of the first case
themselves cost: the same observations by bare statements written for this very file (bare_ingest.sql, bare_month.sql),
on all cores, without lake, ledger, quarantine, commits and publishing. And how long it takes to be told that the file
is known.
"""

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
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


_CASTS = """
select (date '2020-01-01' + (i * 730 // {rows})::integer)::varchar as date,
    round(-17 + 12 * random(), 4) as lat, round(8 + 6 * random(), 4) as lon,
    (i % 20) * 5 as depth, round(12 + 14 * random(), 3) as temp, round(34 + 2 * random(), 3) as sal,
    round(5 * random(), 3) as chl
from range({rows}) t(i)
"""
_OCCURRENCES = """
select 'bench:' || i as "occurrenceID", 'haul-' || i // 12 as "eventID",
    (date '2020-01-01' + (i * 730 // {rows})::integer)::varchar as "eventDate",
    round(-17 + hash(i // 12) % 120000 / 1e4, 4) as "decimalLatitude",
    round(8 + hash(i // 12, 1) % 60000 / 1e4, 4) as "decimalLongitude",
    'Genus species' || hash(i) % 400 as "scientificName", 1 + hash(i, 2) % 50 as "individualCount",
    (i // 12 % 20) * 5 as "minimumDepthInMeters", 'HumanObservation' as "basisOfRecord", 'present' as "occurrenceStatus"
from range({rows}) t(i)
"""


def simulate(path: Path, rows: int, query: str = _CASTS) -> None:
    with duckdb.connect() as con:
        con.execute("select setseed(0.42)")
        con.execute(f"copy ({query.format(rows=rows)}) to '{path}' (header)")


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


@dataclass(frozen=True, kw_only=True)
class Case:
    """A file to ingest; `values` is how many rows of the lake a raw row becomes."""

    name: str
    query: str
    values: int
    mapping: str | None = None
    bare: Callable[[Path, Path, int], tuple[float, float]] | None = None


CASES = (
    Case(name="casts of 3 quantities", query=_CASTS, values=3, mapping=MAPPING, bare=bare),
    Case(
        name="casts of 1 quantity",
        query=_CASTS.split("round(34", 1)[0].rstrip(", ") + " from range({rows}) t(i)",
        values=1,
        mapping=MAPPING.replace(", sal, chl]", "]").split("  - {column: sal", 1)[0],
    ),
    Case(name="occurrences", query=_OCCURRENCES, values=1),
)


def once(path: Path, mapping: Path | None, folder: Path, rows: int, values: int) -> list[tuple[float, float]]:
    """What the ingest of a new file takes, and of the same file again."""
    settings = load_settings({}, lake_root=str(folder / "lake"), state_dir=folder / "state")
    spent = []
    with Lake(settings) as lake:
        for accepted in (rows, 0):
            wall, cpu = time.perf_counter(), time.process_time()
            report = ingest(path, lake, now=datetime.now(UTC), mapping=str(mapping) if mapping else None)
            spent.append((time.perf_counter() - wall, time.process_time() - cpu))
            if (report.read, report.accepted, report.files[0].values) != (rows, accepted, values * accepted):
                raise SystemExit(f"the ingest is wrong: {report}")
    return spent


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true", help="30,000 rows")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    rows = 30_000 if arguments.small else 300_000
    for case in CASES:
        with tempfile.TemporaryDirectory() as name:
            run(case, Path(name), rows, arguments.rounds)
    return 0


def run(case: Case, folder: Path, rows: int, rounds: int) -> None:
    path, mapping = folder / "casts.csv", None
    if case.mapping is not None:
        mapping = folder / "bench.yaml"
        mapping.write_text(case.mapping)
    simulate(path, rows, case.query)
    taken: dict[str, list[tuple[float, float]]] = {"floor": [], "bare": [], "ingest": [], "known": []}
    for number in range(rounds + 1):
        round_folder = folder / f"round{number}"
        round_folder.mkdir()
        spent = {"floor": floor(path, round_folder)}
        if case.bare is not None:
            spent["bare"] = case.bare(path, round_folder / "bare", rows)
        spent["ingest"], spent["known"] = once(path, mapping, round_folder, rows, case.values)
        if number:  # the first is the warm-up
            for kind, one in spent.items():
                taken[kind].append(one)
        shutil.rmtree(round_folder)
    for index, kind in enumerate(("wall", "cpu")):
        base, whole, known = (median(one[index] for one in taken[name]) for name in ("floor", "ingest", "known"))
        verdict = f" (target {TARGET:.0f}x)" if kind == "wall" else ""
        ratio = f"ratio {whole / base:.1f}x{verdict}"
        print(f"{case.name}, {rows:,} rows, {kind}: floor {base:.3f} s, ingest {whole:.3f} s, {ratio}")
        if taken["bare"]:
            alone = median(one[index] for one in taken["bare"])
            print(f"  bare statements for the same observations: {alone:.3f} s, {alone / base:.1f}x the floor")
        print(f"  the same file again: {known:.3f} s")


if __name__ == "__main__":
    sys.exit(main())
