"""A day's calls replayed: Zipf 1.0 over 100,000 keys with drift, and positions near frequent places.

The function behind the cache is a real one: statistics of the observations around a place in a month, read from the
lake with DuckDB. Everything printed is measured in this run: `plain` are calls of the undecorated function, spread over
the replay; bytes are those this process read from files (`rchar` of /proc/self/io), in plain calls and in the replay.
"""

import argparse
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.bench_append import day_rows
from retention_pipelines.cache import runtime
from retention_pipelines.cache.decorators import cache_features, cache_predictions
from retention_pipelines.cache.events import CacheEvent
from retention_pipelines.cache.spatial import Grid
from retention_pipelines.postgres.migrate import upgrade
from retention_pipelines.settings import load_settings
from retention_pipelines.warehouse import Lake

KEYS = 100_000
PLACES = 300
SCATTER_DEG = 0.01
MONTHS = [f"2024-{month:02d}" for month in range(1, 13)]
_AROUND = """
select count(*) as n, avg(value) as mean, stddev_samp(value) as std, min(value) as low, max(value) as high,
       avg(depth_m) as depth_m
from read_parquet($1)
where decimal_latitude between $2 - 0.5 and $2 + 0.5 and decimal_longitude between $3 - 0.5 and $3 + 0.5
"""


class Places:
    """Statistics of observations around a place: what the cached functions do."""

    def __init__(self, lake: Lake) -> None:
        table = lake.table("observations")
        self.files: dict[str, list[str]] = {}
        for file in table.files():
            self.files.setdefault(file.partition["month"], []).append(f"{table.root}/{file.path}")
        self.con = lake.con
        # What another process or machine would have to read again.
        self.con.execute("set enable_external_file_cache = false")

    def around(self, latitude: float, longitude: float, month: str) -> dict[str, float | None]:
        """Number, mean, spread and depth of the observations within half a degree."""
        row = self.con.execute(_AROUND, [self.files[month], latitude, longitude]).fetchone()
        return dict(zip(("n", "mean", "std", "low", "high", "depth_m"), row or (), strict=True))


@dataclass
class Tally:
    """What the hook heard."""

    outcomes: Counter[str] = field(default_factory=Counter)
    tiers: Counter[str] = field(default_factory=Counter)
    saved_seconds: float = 0.0

    def __call__(self, event: CacheEvent) -> None:
        """Count an event."""
        self.outcomes[event.outcome] += 1
        if event.outcome == "hit":
            self.tiers[event.tier] += 1
            self.saved_seconds += event.saved_seconds or 0.0


def spent_so_far() -> np.ndarray:
    """Seconds, CPU seconds of this process, and bytes it read from files."""
    with open("/proc/self/io", encoding="ascii") as file:
        return np.array([time.perf_counter(), time.process_time(), float(file.readline().split()[1])])


def zipf(rng: np.random.Generator, size: int, keys: int) -> np.ndarray:
    """Ranks, the first the most frequent, with exponent 1."""
    weights = 1 / np.arange(1, keys + 1)
    return rng.choice(keys, size=size, p=weights / weights.sum())


def drifting_keys(rng: np.random.Generator, size: int, stretches: int = 20) -> Iterator[int]:
    """Keys by Zipf; after every stretch one in twenty of the thousand most frequent changes places with any other."""
    key_of = rng.permutation(KEYS)
    for part in np.array_split(zipf(rng, size, KEYS), stretches):
        yield from key_of[part].tolist()
        here, there = rng.choice(1000, 50, replace=False), rng.choice(KEYS, 50, replace=False)
        key_of[here], key_of[there] = key_of[there].copy(), key_of[here].copy()


def replay(calls: list[tuple[Any, ...]], cached: Any, function: Any, tally: Tally, *, exact: bool) -> list[str]:
    """Make the calls, and some of them plain beside; say what that cost."""
    every = max(1, len(calls) // 300)
    plain, replayed = np.zeros(3), np.zeros(3)
    n_plain = 0
    for number, call in enumerate(calls):
        before = spent_so_far()
        answer = cached(*call)
        replayed += spent_so_far() - before
        if number % every == 0:
            before = spent_so_far()
            expected = function(*call)
            plain += spent_so_far() - before
            n_plain += 1
            if exact and answer != expected:
                raise AssertionError(f"{call}: {answer} is not {expected}")
    seconds, cpu, size = (total / n_plain * len(calls) for total in plain)
    spent, own_cpu, read = replayed
    hits = tally.outcomes["hit"] / len(calls)
    tiers = ", ".join(f"{tier} {n / len(calls):.1%}" for tier, n in tally.tiers.most_common())
    times = f"{spent:.1f} s instead of {seconds:.1f} s ({n_plain} plain calls of {plain[0] / n_plain * 1000:.1f} ms)"
    return [
        f"  {len(calls):,} calls, {len(set(calls)):,} different: hit ratio {hits:.1%} ({tiers})",
        f"  speed-up {seconds / spent:.1f} (own CPU {cpu / own_cpu:.1f}): {times}",
        f"  time saved {1 - spent / seconds:.0%}; by the hits' own account {tally.saved_seconds:.1f} s",
        f"  I/O saved {1 - read / size:.0%}: {read / 1e6:,.0f} MB read instead of {size / 1e6:,.0f} MB",
    ]


def run(calls: int, rows_per_day: int) -> list[str]:
    rng = np.random.default_rng(20_261_122)
    with tempfile.TemporaryDirectory(prefix="rp-") as folder:
        settings = load_settings(
            {},
            lake_root=f"{folder}/lake",
            state_dir=Path(folder) / "state",
            cache_memory_entries=2_000,
            cache_deadline_seconds=5,
        )
        upgrade(settings)
        with Lake(settings) as lake:
            for month in MONTHS:
                lake.table("observations").append(day_rows(f"{month}-01", 28, rows_per_day))
            places = Places(lake)
            runtime.configure(settings)
            try:
                lines = [f"features of {KEYS:,} studies, Zipf 1.0, drift:"]
                lines += features(places, rng, calls)
                lines += [f"predictions near {PLACES} frequent places, scattered by {SCATTER_DEG} degrees:"]
                lines += predictions(places, rng, calls)
            finally:
                runtime.close()
    return lines


def features(places: Places, rng: np.random.Generator, calls: int) -> list[str]:
    where = rng.uniform(0, 10, (KEYS, 2))
    when = rng.integers(0, len(MONTHS), KEYS)

    def environment(study: int) -> dict[str, float | None]:
        return places.around(*where[study].tolist(), MONTHS[when[study]])

    tally = Tally()
    cached = cache_features("environmental", "observations", key=["study"], version="1", hooks=[tally])(environment)
    return replay([(key,) for key in drifting_keys(rng, calls)], cached, environment, tally, exact=True)


def predictions(places: Places, rng: np.random.Generator, calls: int) -> list[str]:
    frequent = rng.uniform(0, 10, (PLACES, 2))
    chosen = zipf(rng, calls, PLACES)
    positions = frequent[chosen] + rng.normal(0, SCATTER_DEG, (calls, 2))
    asked = [(latitude, longitude, MONTHS[5]) for latitude, longitude in positions.tolist()]

    def suitability(latitude: float, longitude: float, month: str) -> dict[str, float]:
        near = places.around(latitude, longitude, month)
        return {"suitability": float(1 / (1 + np.exp(-((near["mean"] or 0) - 5)))), "n": float(near["n"] or 0)}

    lines = []
    for name, grid in (("exact positions", None), ("Grid(0.05)", Grid(0.05))):
        tally = Tally()
        decorate = cache_predictions(
            "habitat", model_id=f"habitat {name}", model_version="1", version="1", spatial=grid, hooks=[tally]
        )
        some = asked if grid is not None else asked[: calls // 10]
        lines += [f"  {name}:", *replay(some, decorate(suitability), suitability, tally, exact=grid is None)]
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true")
    small = parser.parse_args().small
    print(*run(3_000 if small else 40_000, 500 if small else 2_000), sep="\n")


if __name__ == "__main__":
    main()
