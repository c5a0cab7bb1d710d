"""Point-in-time training frames against a bare DuckDB ASOF join and Polars join_asof over the same Parquet.

8 million feature rows (24 months, 4 types, 96 partitions), 200,000 entity rows, 12 features: three of each type (every
row is a candidate), or twelve of one type. Joined on the cell (many rows per key) and on the study (one row per key).
The floors know nothing of versions, of `known_at` or of the snapshot: they join on the key and `event_time` only. Every
case runs in a process of its own (peak memory), one warm-up round is thrown away, medians are compared.
`python -m benchmarks training_frame [--small]`.
"""

import argparse
import json
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pyarrow as pa

from retention_pipelines.features.store import FeatureStore
from retention_pipelines.settings import load_settings
from retention_pipelines.warehouse import Lake

TARGET_RATIO, TARGET_BYTES = 1.3, 1_500_000_000
FIRST_YEAR, MONTHS, CELLS = 2023, 24, 5000
SPREAD = {
    "temporal": ("day_of_year_sin", "day_of_year_cos", "month_sin"),
    "spatial": ("latitude", "longitude", "distance_to_coast_km"),
    "environmental": ("temperature_degc", "salinity_psu", "chlorophyll_mg_m3"),
    "species": ("shannon", "gini_simpson", "pielou"),
}
ONE_TYPE = {
    "environmental": (
        "temperature_degc", "temperature_distance_km", "temperature_age_seconds", "temperature_anomaly_degc",
        "salinity_psu", "salinity_distance_km", "salinity_age_seconds", "salinity_anomaly_psu",
        "chlorophyll_mg_m3", "chlorophyll_distance_km", "chlorophyll_age_seconds", "chlorophyll_anomaly_mg_m3",
    )
}  # fmt: skip
SHAPES = {"12 of 4 types": SPREAD, "12 of 1 type": ONE_TYPE}
KEYS = ("location_grid", "source_data_id")

# One month of one type; every named feature has random digits, as measurements do.
_ROWS = """
with study as (
    select i, timestamptz '{month}-01' + interval (hash(i, 'when') % (28 * 86400)) second as event_time,
        hash(i, 'cell') % {cells} as cell
    from range({start}, {stop}) as studies(i)
)
select 'bench/event-' || i || '/{kind}' as feature_id, md5(i::varchar || '{kind}') as feature_hash,
    '{kind}' as feature_type, 'occurrences' as source_table, 'bench/event-' || i as source_data_id,
    'bench' as dataset_id, event_time, event_time + interval 1 second as event_end, 'time' as date_precision,
    event_time as known_at, event_time + interval 1 day as computed_at, 1 as version, false as moved,
    'P14D' as temporal_window, '25km' as spatial_resolution,
    (-30 + (cell // 100) * 0.25)::varchar || '_' || (0 + (cell % 100) * 0.25)::varchar as location_grid,
    0.25 as cell_deg, 0.7 as quality_score, 0.7 as quality_completeness, 1.0 as quality_validity,
    1.0 as quality_support, 1.0 as quality_precision, 'medium' as priority, 'bench' as code_version,
    {values}, '{month}' as month
from study
"""

_ENTITIES = """
select case when '{key}' = 'location_grid'
            then (-30 + ((hash(i, 'cell') % {cells}) // 100) * 0.25)::varchar || '_' || (0 + ((hash(i, 'cell') % {cells}) % 100) * 0.25)::varchar
            else 'bench/event-' || hash(i, 'study') % {studies} end as {key},
    timestamptz '{first}' + interval (hash(i, 't') % (700 * 86400)) second as event_timestamp, i as label
from range({rows}) as entity(i)
"""  # noqa: E501


def make(root: str, rows: int) -> None:
    """Fill `feature_store`, one file per type and month."""
    studies = rows // 4 // MONTHS
    columns = {kind: sorted({*SPREAD[kind], *ONE_TYPE.get(kind, ())}) for kind in SPREAD}
    with Lake(load_settings({}, lake_root=root)) as lake:
        table = lake.table("feature_store")
        lake.con.sql(f"from {table.scan_files([])}").create_view("no_rows")
        for number in range(MONTHS):
            month = f"{FIRST_YEAR + number // 12}-{number % 12 + 1:02d}"
            parts = [
                _ROWS.format(
                    month=month, kind=kind, cells=CELLS, start=number * studies, stop=(number + 1) * studies,
                    values=", ".join(f"hash(i, '{c}')::double / 18446744073709551616.0 as {c}" for c in columns[kind]),
                )
                for kind in SPREAD
            ]  # fmt: skip
            union = " union all by name ".join(f"({part})" for part in parts)
            table.append(f"from no_rows union all by name {union}")
        con = lake.con
        for key in KEYS:
            size = min(200_000, rows // 40)
            query = _ENTITIES.format(
                key=key, cells=CELLS, studies=studies * MONTHS, first=f"{FIRST_YEAR}-01-10", rows=size
            )
            con.execute(f"copy ({query}) to '{root}/entities_{key}.parquet' (format parquet)")


def entities(root: str, key: str) -> pa.Table:
    con = duckdb.connect()
    con.execute("set timezone = 'UTC'")
    return con.sql(f"from '{root}/entities_{key}.parquet'").to_arrow_table()


def files_of(lake: Lake, kind: str) -> list[str]:
    table = lake.table("feature_store")
    return [f"{table.root}/{file.path}" for file in table.files() if file.partition["feature_type"] == kind]


def run_store(lake: Lake, asked: pa.Table, key: str, shape: dict[str, tuple[str, ...]]) -> Any:
    names = [f"{kind}.{name}" for kind, columns in shape.items() for name in columns]
    return FeatureStore(lake).training_frame(asked, names, on=key)


def run_duckdb(lake: Lake, asked: pa.Table, key: str, shape: dict[str, tuple[str, ...]]) -> Any:
    con = duckdb.connect()
    con.execute("set timezone = 'UTC'")
    con.register("asked", asked)
    selected = ", ".join(f"{kind}.{name}" for kind, columns in shape.items() for name in columns)
    joins = " ".join(
        f"asof left join (select {key}, event_time, {', '.join(columns)} "
        f"from read_parquet({files_of(lake, kind)}, hive_partitioning = true)) {kind} "
        f"on asked.{key} = {kind}.{key} and asked.event_timestamp >= {kind}.event_time"
        for kind, columns in shape.items()
    )
    return con.sql(f"select asked.*, {selected} from asked {joins}").to_arrow_table()


def run_polars(lake: Lake, asked: pa.Table, key: str, shape: dict[str, tuple[str, ...]]) -> Any:
    frame = pl.from_arrow(asked).lazy().with_columns(pl.col("event_timestamp").dt.cast_time_unit("us"))
    frame = frame.sort("event_timestamp")
    for kind, columns in shape.items():
        rows = pl.scan_parquet(files_of(lake, kind)).select(key, "event_time", *columns)
        rows = rows.with_columns(pl.col("event_time").dt.cast_time_unit("us").dt.convert_time_zone("UTC"))
        frame = frame.join_asof(rows.sort("event_time"), left_on="event_timestamp", right_on="event_time", by=key).drop(
            "event_time"
        )
    return frame.collect()


CASES = {"training_frame": run_store, "DuckDB ASOF": run_duckdb, "Polars join_asof": run_polars}


def run(root: str, case: str, key: str, shape: str, rounds: int) -> None:
    """Time one case in this process and print its figures as JSON."""
    seconds, cpu = [], []
    with Lake(load_settings({}, lake_root=root)) as lake:
        asked = entities(root, key)
        for _ in range(rounds + 1):
            begun, used = time.perf_counter(), time.process_time()
            result = CASES[case](lake, asked, key, SHAPES[shape])
            seconds.append(time.perf_counter() - begun)
            cpu.append(time.process_time() - used)
        assert len(result) == len(asked)
        check = pl.from_arrow(result) if isinstance(result, pa.Table) else result
        first = next(iter(SHAPES[shape].values()))[0]
        total = check.select(pl.col(first).sum(), pl.col(first).null_count().alias("nulls")).row(0)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(
        json.dumps(
            {
                "seconds": statistics.median(seconds[1:]),
                "cpu": statistics.median(cpu[1:]),
                "peak": peak,
                "check": [round(total[0] or 0, 6), total[1]],
            }
        )
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true", help="400,000 feature rows and 10,000 entities")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--root", help="folder to keep the made lake in, and to find it again")
    parser.add_argument("--case", nargs=3, metavar=("CASE", "KEY", "SHAPE"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.case:
        run(arguments.root, *arguments.case, arguments.rounds)
        return
    root = arguments.root or tempfile.mkdtemp(prefix="bench-training-frame-")
    rows = 400_000 if arguments.small else 8_000_000
    print(f"{datetime.now(UTC):%Y-%m-%d} {rows:,} feature rows, {min(200_000, rows // 40):,} entities, 12 features")
    try:
        if not (Path(root) / "entities_source_data_id.parquet").exists():
            make(root, rows)
        for key in KEYS:
            for shape in SHAPES:
                figures = {}
                for case in CASES:
                    command = [sys.executable, "-m", "benchmarks.bench_training_frame", "--root", root]
                    command += ["--rounds", str(arguments.rounds), "--case", case, key, shape]
                    done = subprocess.run(command, check=True, capture_output=True, text=True)
                    figures[case] = json.loads(done.stdout.splitlines()[-1])
                sums, nulls = zip(*(figure["check"] for figure in figures.values()), strict=True)
                # Studies of one cell at the very same second: each engine takes another one, ours by a stated rule.
                if len(set(nulls)) > 1 or max(sums) - min(sums) > 1e-4 * max(sums):
                    raise SystemExit(f"the answers differ: {figures}")
                ours = figures["training_frame"]
                floors = [figures[case] for case in CASES if case != "training_frame"]
                ratio, cpu_ratio = (ours[unit] / min(floor[unit] for floor in floors) for unit in ("seconds", "cpu"))
                print(f"\non {key}, {shape}")
                for case, figure in figures.items():
                    wall, cpu, peak = figure["seconds"], figure["cpu"], figure["peak"] / 1e9
                    print(f"  {case:17} {wall:7.2f} s {cpu:7.2f} CPU s {peak:6.2f} GB")
                verdict = "met" if ratio <= TARGET_RATIO and ours["peak"] <= TARGET_BYTES else "MISSED"
                print(
                    f"  ratio {ratio:.2f} to the faster floor, CPU {cpu_ratio:.2f} (target {TARGET_RATIO}): {verdict}"
                )
    finally:
        if not arguments.root:
            shutil.rmtree(root, ignore_errors=True)


if __name__ == "__main__":
    main()
