"""Aggregating observations into daily and monthly cells, against the bare DuckDB query over the same Parquet.

20 million observations: 333,333 profiles of 20 levels and 3 quantities over 5 years, 0.25 degree cells. The floor is
what a person would type into DuckDB: one GROUP BY per window and layer, over the same files, each result written as one
Parquet file. Ours writes the same rows as the lake's table, committed. Every case runs in a process of its own
(peak memory), one warm-up round is thrown away, and medians are compared. `python -m benchmarks series [--small]`.
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
from datetime import timedelta
from pathlib import Path

import duckdb

from retention_pipelines.period import TimeWindow
from retention_pipelines.series.aggregate import update_series
from retention_pipelines.settings import load_settings
from retention_pipelines.warehouse import Lake

TARGET_RATIO, TARGET_BYTES, TARGET_DAY_SHARE = 1.5, 2_000_000_000, 0.02
LEVELS, QUANTITIES, FIRST, DAYS = 20, ("temperature_degc", "salinity_psu", "chlorophyll_mg_m3"), "2019-01-15", 1826
WINDOWS = (TimeWindow.DAILY, TimeWindow.MONTHLY)

# Profiles of one month; every profile has `LEVELS` depths of each quantity.
_MONTH = """
select md5(i::varchar || v) as record_hash, 'bench' as dataset_id, 'bench.csv' as source_file, 'bench' as source_sha256,
    i + 1 as source_row, timestamptz '2024-01-01' as ingested_at, 'cast' as source_type, null as platform_id,
    'cast-' || p as event_id, strftime(t, '%Y-%m-%dT%H:%M:%SZ') as event_date, t as event_start,
    t + interval 1 second as event_end, 'time' as date_precision, 'Z' as source_timezone,
    -18 + 12 * hash(p, 'lat')::double / 18446744073709551616.0 as decimal_latitude,
    8 + 20 * hash(p, 'lon')::double / 18446744073709551616.0 as decimal_longitude,
    (i % {levels}) * 10.0 as depth_m, null as pressure_dbar, null as bottom_depth_m, v as variable,
    null as standard_name, 20 + 5 * sin(epoch(t) / 5e6) + hash(i, v) % 1000 / 500.0 as value, 'raw' as value_kind,
    null as raw_value, null as qc_flag, null as raw_qc_flag, 'none' as qc_scale, true as qc_good, null as licence,
    null as rights_holder, null as bibliographic_citation, null::varchar[] as flags, null as dynamic_properties,
    strftime(t, '%Y-%m') as month
from (
    select i + {first_number}::bigint * {levels} as i, {first_number} + i // {levels} as p,
        timestamptz '{first}' + interval ((i // {levels}) * {days} * 86400 // {profiles}) second as t
    from range({start} * {levels}, {stop} * {levels}) as level(i)
) cross join (select unnest({quantities}) as v)
"""

_FLOOR = """
copy (
    select source_type, dataset_id, variable, floor(decimal_latitude / 0.25)::int as lat_number,
        floor(decimal_longitude / 0.25)::int as lon_number,
        date_trunc('{window}', make_timestamp(epoch_us(event_start))) as window_start,
        count(*) as n, avg(value) as mean, stddev_samp(value) as std, min(value) as min, max(value) as max
    from read_parquet({files}, hive_partitioning = true)
    where qc_good and value is not null {layer}
    group by all
) to '{target}' (format parquet)
"""


def _select(start: int, stop: int, profiles: int, days: int, *, first: str = FIRST, first_number: int = 0) -> str:
    return _MONTH.format(
        levels=LEVELS,
        first=first,
        first_number=first_number,
        days=days,
        profiles=profiles,
        start=start,
        stop=stop,
        quantities=list(QUANTITIES),
    )


def make(root: str, profiles: int) -> None:
    """Fill `observations` in 60 deliveries, then merge the files of each month."""
    with Lake(load_settings({}, lake_root=root)) as lake:
        table, batch = lake.table("observations"), max(profiles // 60, 1000)
        for start in range(0, profiles, batch):
            table.append(_select(start, min(start + batch, profiles), profiles, DAYS))
        table.compact(min_files=2)


def add_day(root: str, profiles: int) -> str:
    """Append the day after the last one, as a delivery would; returns the day."""
    with Lake(load_settings({}, lake_root=root)) as lake:
        table = lake.table("observations")
        newest = max(file.maximum["event_start"] for file in table.files())
        day = (newest + timedelta(days=1)).date().isoformat()
        per_day, number = max(profiles // DAYS, 1), table.version() * 1_000_000
        table.append(_select(0, per_day, per_day, 1, first=day, first_number=number))
        return day


def run_floor(root: str, layers: tuple[str, ...]) -> None:
    with Lake(load_settings({}, lake_root=root)) as lake:
        table = lake.table("observations")
        files = [f"{table.root}/{file.path}" for file in table.files()]
    con = duckdb.connect()
    con.execute("set timezone = 'UTC'")
    for window in ("day", "month"):
        for layer in layers:
            with tempfile.TemporaryDirectory(dir=root) as folder:
                con.execute(_FLOOR.format(window=window, files=files, target=f"{folder}/x.parquet", layer=layer))


def run_series(root: str, touched: str | None = None) -> None:
    with Lake(load_settings({}, lake_root=root)) as lake:
        update_series(lake, months=None if touched is None else [touched], windows=WINDOWS)


def child(case: str, root: str, day: str | None) -> None:
    """Run one case after a warm-up on a tiny lake, and print what it took, with the lake open as in a service."""
    with tempfile.TemporaryDirectory() as small:
        make(small, 100)
        run_series(small)
        run_series(small, add_day(small, 100))
    with Lake(load_settings({}, lake_root=root)) as lake:
        start, cpu = time.perf_counter(), time.process_time()
        if case == "series":
            update_series(lake, months=None if day is None else [day], windows=WINDOWS)
        else:
            run_floor(root, FLOORS[case])
        end, cpu_end = time.perf_counter(), time.process_time()
    figures = {
        "wall": end - start,
        "cpu": cpu_end - cpu,
        "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }
    print("\n" + json.dumps(figures))


def measure(case: str, root: str, day: str | None = None) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.bench_series", "--case", case, "--root", root]
    command += ["--day", day] if day else []
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--case", choices=[*FLOORS, "series"])
    parser.add_argument("--day")
    parser.add_argument("--root")
    arguments = parser.parse_args()
    if arguments.case:
        child(arguments.case, arguments.root, arguments.day)
        return
    profiles = 33_333 if arguments.small else 333_333
    root = arguments.root or tempfile.mkdtemp(prefix="bench-series-")
    try:
        if not Path(root, "_lake").exists():
            make(root, profiles)
        report(root, profiles, arguments.rounds)
    finally:
        if not arguments.root:
            shutil.rmtree(root, ignore_errors=True)


FLOORS = {"floor": ("", "and depth_m <= 10"), "floor, one layer": ("",)}


def report(root: str, profiles: int, rounds: int) -> None:
    taken = {case: [measure(case, root) for _ in range(rounds + 1)][1:] for case in (*FLOORS, "series")}
    # A day is added and brought in once per round: the same state is never updated twice.
    taken["one more day"] = [measure("series", root, add_day(root, profiles)) for _ in range(rounds + 1)][1:]
    median = {
        case: {key: statistics.median(run[key] for run in runs) for key in ("wall", "cpu", "peak")}
        for case, runs in taken.items()
    }
    for case, figures in median.items():
        wall, cpu, peak = figures["wall"], figures["cpu"], figures["peak"] / 1e6
        print(f"{case:18} wall {wall:7.2f} s  cpu {cpu:7.2f} s  peak {peak:6.0f} MB")
    series, day = median["series"], median["one more day"]
    for name in ("floor", "floor, one layer"):
        print(
            f"ratio to {name}: wall {series['wall'] / median[name]['wall']:.2f}, "
            f"cpu {series['cpu'] / median[name]['cpu']:.2f} (target {TARGET_RATIO})"
        )
    print(f"peak memory {series['peak'] / 1e9:.2f} GB (target {TARGET_BYTES / 1e9:.0f} GB)")
    print(
        f"one more day: wall {day['wall'] / series['wall']:.1%}, cpu {day['cpu'] / series['cpu']:.1%} of the full run "
        f"(target {TARGET_DAY_SHARE:.0%})"
    )


if __name__ == "__main__":
    main()
