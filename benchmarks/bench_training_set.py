"""Cached training sets: loading one of 1 GB against a plain copy, and the time to train with and without the cache.

The copy is `np.load` of the same array from the page cache into memory, the way a set is loaded that is not mapped; the
second floor copies an array that is in memory already. Hits are whole calls of the decorated function with an embedded
Postgres that answers, in alternation with the floors; medians. "Time to train" is everything a training script does
after its imports: preparing (FeatureStore.training_frame on a lake made here, imputing, scaling, one-hot encoding of
cells' zones, stratified split) and fitting. A hit replaces the preparation and nothing else.
`python -m benchmarks training_set [--small]`.
"""

import argparse
import gc
import json
import logging
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.bench_training_frame import SPREAD, entities, make
from retention_pipelines import FeatureStore, cache_training_data, caching
from retention_pipelines.cache import runtime
from retention_pipelines.cache.training.value import TrainingSet
from retention_pipelines.settings import Settings, load_settings
from retention_pipelines.warehouse import Lake

ROUNDS = 9
LOAD_TARGET, TRAIN_TARGET = 0.05, (0.60, 0.80)


# -- loading ---------------------------------------------------------------------------------------------------------


@cache_training_data("bench")
def large(rows: int, columns: int) -> tuple[np.ndarray, np.ndarray]:
    x = np.random.default_rng(1).random((rows, columns))
    return x, (x[:, 0] > 0.5).astype(np.int8)


def timed(work: Callable[[], object]) -> tuple[float, float]:
    gc.collect()
    wall, cpu = time.perf_counter(), time.process_time()
    kept = work()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    del kept
    return wall, cpu


def loading(settings: Settings, rows: int, columns: int) -> list[str]:
    size = rows * columns * 8 / 1e9
    first = timed(lambda: large(rows, columns))
    x, _ = large(rows, columns)
    path = Path(settings.lake_root) / "plain.npy"
    saved = timed(lambda: (np.save(path, x), os.sync()))
    ways: dict[str, Callable[[], object]] = {
        "hit": lambda: large(rows, columns),
        "np.load": lambda: np.load(path),
        "copy in memory": x.copy,
        "hit, then read all": lambda: large(rows, columns)[0].sum(),
        "np.load, then read all": lambda: np.load(path).sum(),
    }
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for number in range(ROUNDS + 1):
        for name, way in ways.items():
            measured = timed(way)
            if number:
                times[name].append(measured)
    wall = {name: statistics.median(one[0] for one in found) for name, found in times.items()}
    cpu = {name: statistics.median(one[1] for one in found) for name, found in times.items()}
    ratio = wall["hit"] / wall["np.load"]
    share = wall["hit"] / wall["copy in memory"]
    read = wall["hit, then read all"] / wall["np.load, then read all"]
    info = large.cache_info()
    lines = [
        f"set of {size:.2f} GB, a hit: {wall['hit'] * 1e3:.1f} ms (CPU {cpu['hit'] * 1e3:.1f})",
        f"  np.load, a plain copy: {wall['np.load'] * 1e3:.0f} ms, share {ratio:.1%} (target under {LOAD_TARGET:.0%})",
        f"  copy of an array in memory: {wall['copy in memory'] * 1e3:.0f} ms, share {share:.1%}",
        f"  both read to the end: ratio {read:.2f} ({wall['np.load, then read all'] * 1e3:.0f} ms with np.load)",
        f"  storing it: {first[0] - info.compute_seconds:.2f} s beside preparing; np.save and sync: {saved[0]:.2f} s",
        f"  hits {info.files_hits}, misses {info.misses}",
    ]
    for name in ("fresh process", "touched file"):
        if name == "touched file":
            for file in (settings.training_sets_dir / settings.tenant / "files").iterdir():
                os.utime(file)
        command = [sys.executable, "-m", "benchmarks.bench_training_set", "--load", settings.model_dump_json()]
        done = subprocess.run([*command, str(rows), str(columns)], check=True, capture_output=True, text=True)
        found = json.loads(done.stdout.splitlines()[-1])
        what = "first hit of a fresh process" if name == "fresh process" else "the same for files that somebody touched"
        lines.append(f"  {what}: {found[0] * 1e3:.0f} ms, second {found[1] * 1e3:.1f} ms")
    path.unlink()
    return lines


def load_twice(settings: Settings, rows: int, columns: int) -> None:
    runtime.configure(settings)
    __import__("retention_pipelines.cache.training.matrices")
    print(json.dumps([timed(lambda: large(rows, columns))[0], timed(lambda: large(rows, columns))[0]]))
    if large.cache_info().files_hits != 2:
        raise SystemExit("a fresh process did not hit")


# -- training --------------------------------------------------------------------------------------------------------


@cache_training_data("habitat")
def prepare(settings: Settings, root: str, seed: int) -> TrainingSet:
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import SimpleImputer
    from sklearn.model_selection import train_test_split
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    names = [f"{kind}.{column}" for kind, columns in SPREAD.items() for column in columns]
    with Lake(settings) as lake:
        frame = FeatureStore(lake).training_frame(entities(root, "source_data_id"), names).to_pandas()
    frame["zone"] = frame["latitude"].round(1).astype(str).where(frame["latitude"].notna(), "none")
    y = (frame["temperature_degc"].fillna(0.5) + frame["shannon"].fillna(0.5) > 1.0).to_numpy()
    numbers = [name.partition(".")[2] for name in names]
    pipeline = ColumnTransformer(
        [
            ("numbers", make_pipeline(SimpleImputer(add_indicator=True), StandardScaler()), numbers),
            ("zone", OneHotEncoder(sparse_output=False, handle_unknown="ignore"), ["zone"]),
        ]
    )
    raw, raw_val, y_train, y_val = train_test_split(frame, y, test_size=0.2, random_state=seed, stratify=y)
    return TrainingSet(
        X=pipeline.fit_transform(raw),
        X_val=pipeline.transform(raw_val),
        y=y_train,
        y_val=y_val,
        feature_names=tuple(str(name) for name in pipeline.get_feature_names_out()),
        pipeline=pipeline,
    )


def training(settings: Settings, root: str) -> list[str]:
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.linear_model import LogisticRegression

    models: dict[str, Callable[[], Any]] = {
        "logistic regression": lambda: LogisticRegression(max_iter=200),
        "30 boosted trees": lambda: HistGradientBoostingClassifier(max_iter=30, random_state=0),
    }
    lines = []
    for name, model in models.items():
        without, with_cache, scores = [], [], []
        for number in range(4):
            for times, cached in ((without, False), (with_cache, True)):
                started = time.perf_counter()
                if cached:
                    found = prepare(settings, root, 1)
                else:
                    with caching.bypass():
                        found = prepare(settings, root, 1)
                prepared = time.perf_counter() - started
                fitted = model().fit(found.X, found.y)
                if number:
                    times.append((prepared, time.perf_counter() - started))
                scores.append(float(fitted.score(found.X_val, found.y_val)))
        before, after = (statistics.median(one[1] for one in times) for times in (without, with_cache))
        preparing, loading = (statistics.median(one[0] for one in times) for times in (without, with_cache))
        low, high = TRAIN_TARGET
        same = "same score" if len(set(scores)) == 1 else f"SCORES DIFFER: {sorted(set(scores))}"
        lines += [
            f"training {name} on {found.X.shape[0]:,} x {found.X.shape[1]}: {before:.2f} s without the cache,",
            f"  {after:.2f} s with it: {1 - after / before:.0%} less (target {low:.0%} to {high:.0%}); {same}",
            f"  preparing {preparing:.2f} s, loading {loading * 1e3:.0f} ms, fitting {before - preparing:.2f} s",
        ]
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--load", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    if arguments.load:
        settings, rows, columns = arguments.load
        load_twice(Settings.model_validate_json(settings), int(rows), int(columns))
        return
    with tempfile.TemporaryDirectory() as folder:
        from retention_pipelines.postgres.migrate import upgrade_server
        from retention_pipelines.postgres.server import open_server

        settings = load_settings({}, lake_root=f"{folder}/lake", state_dir=Path(folder) / "state")
        Path(settings.lake_root).mkdir()
        with open_server(settings) as server:
            upgrade_server(server)
            runtime.configure(settings)
            print(*loading(settings, 131_072 // (8 if arguments.small else 1), 1_024), sep="\n", flush=True)
            make(settings.lake_root, 400_000 if arguments.small else 2_000_000)
            print(*training(settings, settings.lake_root), sep="\n", flush=True)
            runtime.close()


if __name__ == "__main__":
    main()
