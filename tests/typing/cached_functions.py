"""Compiled by mypy, never run: what a type checker sees of decorated functions. Lines marked `# error` must fail."""

import functools
from collections.abc import Coroutine
from typing import Any, assert_type

from retention_pipelines import Grid, bypass, cache_features, cache_predictions, caching
from retention_pipelines.cache.info import CacheInfo
from retention_pipelines.cache.options import Bound


@cache_features("spatial", "occurrences", ttl=60, tags=("bay",), copy="readonly", early=1.0)
def features(study_id: str, *, depth: float = 0.0) -> dict[str, float]:
    return {"depth": depth}


@cache_predictions("species", 6, spatial=Grid(0.05), model_version=lambda bound: bound["self"].version)
async def predict(latitude: float, longitude: float) -> tuple[str, float]:
    return "tuna", latitude


def version_of(bound: Bound) -> str:
    return str(bound["x"])


class Model:
    @cache_predictions("species", model_version=version_of)
    def method(self, x: int) -> str:
        return str(x)

    @cache_predictions("species")
    async def later(self, x: int) -> str:
        return str(x)

    @staticmethod
    @cache_predictions("species")
    def apart(x: int) -> float:
        return float(x)


partial = cache_features("spatial", "occurrences")(functools.partial(int, base=2))


def check() -> None:
    assert_type(features("a"), dict[str, float])
    assert_type(features("a", depth=2.0), dict[str, float])
    assert_type(features.refresh("a"), dict[str, float])
    assert_type(features.key("a", depth=1.0), str)
    assert_type(features.cache_info(), CacheInfo)
    features.invalidate()
    features.invalidate("a")
    with features.bypass(), bypass(), caching.disabled():
        pass
    features(1)  # error: arg-type
    features()  # error: call-arg
    features("a", 2.0)  # error: call-arg
    features("a", height=2.0)  # error: call-arg
    features.refresh(1)  # error: arg-type
    features.key()  # error: call-arg
    assert_type(Model().method(1), str)
    assert_type(Model.method(Model(), 1), str)
    assert_type(Model.method.key(Model(), 1), str)
    assert_type(Model().method.cache_info(), CacheInfo)
    Model().method("1")  # error: arg-type
    Model().method.invalidate(1)  # error: attr-defined
    assert_type(Model.apart(1), float)
    Model.apart("1")  # error: arg-type
    assert_type(partial("101"), int)
    cache_features("spatial")  # error: call-arg
    cache_features("spatial", "occurrences", copy="deep")  # error: arg-type
    cache_features("spatial", "occurrences", write="later")  # error: arg-type
    cache_features("spatial", "occurrences", negative=(KeyboardInterrupt,))  # error: arg-type
    cache_predictions("species", spatial=0.05)  # error: arg-type


async def check_coroutines() -> None:
    assert_type(await predict(1.0, 2.0), tuple[str, float])
    assert_type(await predict.refresh(1.0, longitude=2.0), tuple[str, float])
    coroutine: Coroutine[Any, Any, tuple[str, float]] = predict(1.0, 2.0)
    await coroutine
    assert_type(await Model().later(1), str)
    await predict("1", 2.0)  # error: arg-type
