"""A hit in memory for a function of one dict of 8 fields, against other caches' decorators in the same run.

Every contender answers the same call with the same dict of 8 fields. "Same key" means that the contender's key is made
by our own key code, so that only the caches differ; the others make the cheapest key that keeps such calls apart.
"""

import argparse
import asyncio
import functools
import statistics
import tempfile
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import cachebox
import numpy as np
from cashews import Cache
from dogpile.cache import make_region

from retention_pipelines.cache import codec, keys, runtime
from retention_pipelines.cache.copying import copier
from retention_pipelines.cache.decorators import cache_features
from retention_pipelines.settings import load_settings

POINT = {
    "latitude": 54.18,
    "longitude": 7.89,
    "depth": 12,
    "species": "Gadus morhua",
    "month": 6,
    "year": 2024,
    "source": "obis",
    "radius": 0.25,
}
RESULT = {"sst": 14.2, "chl": 0.8, "depth": 31.0, "n": 12, "region": "north", "a": 1.0, "b": None, "c": True}


def features(point: dict[str, Any]) -> dict[str, Any]:
    return dict(RESULT)


async def features_async(point: dict[str, Any]) -> dict[str, Any]:
    return dict(RESULT)


MADE = keys.FunctionKeys(features, kind="features", name="bench")


def own_key(*args: Any, **kwargs: Any) -> str:
    return MADE.key(args, kwargs, namespace="n", tenant="t")


def frozen(call: Callable[[frozenset[Any]], Any]) -> Callable[[dict[str, Any]], Any]:
    return lambda point: call(frozenset(point.items()))


def contenders() -> dict[str, Callable[[dict[str, Any]], Any]]:
    bare = cachebox.cached(cachebox.VTTLCache(1000), key_maker=own_key)(features)
    cheap = cachebox.cached(cachebox.VTTLCache(1000), key_maker=lambda point: tuple(sorted(point.items())))(features)
    region = make_region(function_key_generator=lambda namespace, function: own_key).configure(
        "dogpile.cache.memory", expiration_time=3600
    )
    plain_region = make_region().configure("dogpile.cache.memory", expiration_time=3600)
    ours = cache_features("bench", "none", tiers=("memory",))(features)
    ours(POINT)
    ours(POINT)
    if ours.cache_info().hits != 1:
        raise RuntimeError("the benchmark does not measure a hit")
    return {
        "ours": ours,
        "ours, not copied": cache_features("bench_fixed", "none", tiers=("memory",), copy="none")(features),
        "cachebox, same key": bare,
        "cachebox, sorted items as key": cheap,
        "functools.lru_cache, frozenset as key": frozen(functools.lru_cache(1000)(lambda items: features(dict(items)))),
        "dogpile memory, same key": region.cache_on_arguments()(features),
        "dogpile memory, its own key": plain_region.cache_on_arguments()(features),
        "the key alone": lambda point: own_key(point),
    }


def timed(calls: dict[str, Callable[[dict[str, Any]], Any]], rounds: int, number: int) -> dict[str, float]:
    """Median microseconds of processor time a call, the contenders in turns."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            call(POINT)
            start = time.process_time()
            for _ in range(number):
                call(POINT)
            times[name].append((time.process_time() - start) / number * 1e6)
    return {name: statistics.median(found) for name, found in times.items()}


async def timed_async(rounds: int, number: int) -> dict[str, float]:
    other = Cache()
    other.setup("mem://")
    calls: dict[str, Callable[[dict[str, Any]], Coroutine[Any, Any, Any]]] = {
        "ours, async": cache_features("bench_async", "none", tiers=("memory",))(features_async),
        "cashews memory, async": other(ttl="1h")(features_async),
        "no cache, async": features_async,
    }
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            await call(POINT)
            start = time.process_time()
            for _ in range(number):
                await call(POINT)
            times[name].append((time.process_time() - start) / number * 1e6)
    await other.close()
    return {name: statistics.median(found) for name, found in times.items()}


def parts(rounds: int, number: int) -> list[str]:
    """What keys, bytes and copies of single values cost."""
    values: dict[str, Any] = {
        "dict of 8": POINT,
        "nested, 3 dicts of 8": {"a": dict(POINT), "b": [dict(POINT), dict(POINT)]},
        "array of 1 MB": np.arange(125_000.0),
    }
    lines = []
    for name, value in values.items():
        payload = codec.encode(value)
        copy = copier(value)
        calls = {
            "key": lambda value=value: keys.encode(value),
            "encode": lambda value=value: codec.encode(value),
            "decode": lambda payload=payload: codec.decode(payload),
            "copy": lambda value=value, copy=copy: copy(value),
        }
        few = max(3, number // 200) if "MB" in name else number
        found = timed({key: lambda _, call=call: call() for key, call in calls.items()}, rounds, few)
        lines.append(f"  {name}: " + ", ".join(f"{key} {micros:.1f} us" for key, micros in found.items()))
    return lines


def run(rounds: int, number: int) -> list[str]:
    with tempfile.TemporaryDirectory() as folder:
        runtime.configure(load_settings({}, lake_root=f"{folder}/lake", state_dir=Path(folder) / "state"))
        try:
            found = timed(contenders(), rounds, number)
            waiting = asyncio.run(timed_async(rounds, number // 5))
        finally:
            runtime.close()
    ours = found["ours"]
    lines = [f"{name}: {micros:.2f} us a hit; ours is {ours / micros:.2f} of it" for name, micros in found.items()]
    lines.append(f"target: at most 2 of cachebox with the same key: {ours / found['cachebox, same key']:.2f}")
    dogpile = [found[f"dogpile memory, {key} key"] / ours for key in ("its own", "same")]
    lines.append(f"target: dogpile at least 2 of ours: {dogpile[0]:.2f}, with the same key {dogpile[1]:.2f}")
    lines += [f"{name}: {micros:.2f} us a hit" for name, micros in waiting.items()]
    ratio = waiting["cashews memory, async"] / waiting["ours, async"]
    lines.append(f"target: cashews at least 8 of ours, async: {ratio:.1f}")
    return [*lines, "single parts:", *parts(rounds, number // 5)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true")
    small = parser.parse_args().small
    print(*run(*((5, 5_000) if small else (15, 20_000))), sep="\n")


if __name__ == "__main__":
    main()
