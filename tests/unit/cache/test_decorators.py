"""What the decorators make of functions, coroutines, methods and callable objects."""

import asyncio
import functools
import inspect
import traceback
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, ClassVar

import numpy as np
import pytest

from retention_pipelines import cache_features, cache_predictions, caching
from retention_pipelines.cache.runtime import CacheRuntime
from retention_pipelines.errors import CacheError


@pytest.fixture(autouse=True)
def caches() -> Iterator[CacheRuntime]:
    with caching.testing() as own:
        yield own


def test_a_prediction_is_answered_and_the_function_runs_once_s1() -> None:
    """S1: every call of a decorated prediction function failed."""
    ran = []

    @cache_predictions("species", ttl_hours=6)
    def predict(depth: float) -> dict[str, float]:
        ran.append(depth)
        return {"prediction": depth * 2, "confidence": 0.9}

    assert predict(2.0) == predict(2.0) == {"prediction": 4.0, "confidence": 0.9}
    assert ran == [2.0]


def test_a_plain_function_a_coroutine_and_a_method_can_all_be_cached_s4() -> None:
    """S4: decorators did not work on plain functions."""

    @cache_features("spatial", "occurrences")
    def plain(a: int) -> int:
        return a + 1

    @cache_features("spatial", "occurrences")
    async def coroutine(a: int) -> int:
        await asyncio.sleep(0)
        return a + 1

    async def twice() -> list[int]:
        return [await coroutine(1), await coroutine(1)]

    assert [plain(1), plain(1)] == [2, 2]
    assert asyncio.run(twice()) == [2, 2]
    assert inspect.iscoroutinefunction(coroutine)
    assert not inspect.iscoroutinefunction(plain)
    assert plain.cache_info().memory_hits == coroutine.cache_info().memory_hits == 1


def test_name_doc_signature_and_original_are_kept_s5() -> None:
    """S5: decorators lost the function's name and signature."""

    def features(study_id: str, *, depth: float = 1.0) -> dict[str, float]:
        """Compute them."""
        return {"depth": depth}

    decorated = cache_features("spatial", "occurrences")(features)
    assert decorated.__name__ == "features"
    assert decorated.__doc__ == "Compute them."
    assert decorated.__qualname__ == features.__qualname__
    assert decorated.__module__ == features.__module__
    assert inspect.signature(decorated) == inspect.signature(features)
    assert decorated.__wrapped__ is features


@pytest.mark.parametrize(
    "name", ["source_table", "feature_type", "compute_func", "key", "ttl", "args", "cached", "call"]
)
def test_an_argument_may_be_called_like_anything_of_ours_s10(name: str) -> None:
    """S10: a keyword called like an internal parameter failed."""

    @cache_features("spatial", "occurrences")
    def features(**kwargs: int) -> dict[str, int]:
        return dict(kwargs)

    @cache_predictions("species")
    def predict(source_table: int = 0, self: int = 0, function: int = 0, **kwargs: int) -> int:
        return source_table + self + function + sum(kwargs.values())

    assert features(**{name: 1}) == features(**{name: 1}) == {name: 1}
    assert features(**{name: 2}) == {name: 2}
    assert predict(**{name: 3}) == predict(**{name: 3}) == 3
    assert predict(self=1, function=2) == 3


def test_datetimes_and_numpy_values_are_arguments_like_others_s9() -> None:
    """S9: a datetime or NumPy keyword made the decorated call fail."""
    ran = []

    @cache_features("temporal", "occurrences")
    def features(at: datetime, depths: Any = None) -> int:
        ran.append(at)
        return at.year + int(np.sum(depths))

    at = datetime(2024, 2, 29, 12, tzinfo=UTC)
    assert features(at=at, depths=np.arange(3)) == 2027
    assert features(at, np.arange(3)) == 2027
    assert features(at, np.arange(4)) == 2030
    assert len(ran) == 2


class Model:
    made: ClassVar[list[str]] = []

    def __init__(self, factor: int) -> None:
        self.factor = factor

    @cache_predictions("species")
    def predict(self, x: int) -> int:
        self.made.append("predict")
        return self.factor * x

    @cache_predictions("species")
    async def predict_async(self, x: int) -> int:
        return self.factor * x

    @classmethod
    @cache_predictions("species")
    def outer(cls, x: int) -> str:
        return f"{cls.__name__}{x}"

    @cache_predictions("species")
    @classmethod
    def inner(cls, x: int) -> str:
        return f"{cls.__name__}{x}"

    @staticmethod
    @cache_predictions("species")
    def outer_static(x: int) -> int:
        return -x

    @cache_predictions("species")
    @staticmethod
    def inner_static(x: int) -> int:
        return -x


class Other(Model):
    pass


def test_methods_depend_on_the_state_of_their_object() -> None:
    Model.made.clear()
    double, triple = Model(2), Model(3)
    assert [double.predict(5), triple.predict(5), double.predict(5), Model(2).predict(5)] == [10, 15, 10, 10]
    assert Model.made == ["predict"] * 2
    double.factor = 4
    assert double.predict(5) == 20


def test_async_methods_await_to_the_value() -> None:
    async def run() -> list[int]:
        return [await Model(2).predict_async(5), await Model(2).predict_async(5), await Model(3).predict_async(5)]

    assert asyncio.run(run()) == [10, 10, 15]
    assert Model.predict_async.cache_info().memory_hits >= 1


@pytest.mark.parametrize("name", ["outer", "inner"])
def test_class_methods_in_either_order_keep_classes_apart(name: str) -> None:
    for _ in range(2):
        assert getattr(Model, name)(1) == "Model1"
        assert getattr(Other, name)(1) == "Other1"
        assert getattr(Model(1), name)(1) == "Model1"


@pytest.mark.parametrize("name", ["outer_static", "inner_static"])
def test_static_methods_in_either_order_work(name: str) -> None:
    assert [getattr(Model, name)(1), getattr(Model(1), name)(1), getattr(Other, name)(1)] == [-1, -1, -1]


def test_partials_are_kept_apart_by_what_they_bind() -> None:
    def add(a: int, b: int = 0) -> int:
        return a + b

    one = cache_features("spatial", "occurrences")(functools.partial(add, 1))
    two = cache_features("spatial", "occurrences")(functools.partial(add, 2))
    for _ in range(2):
        assert (one(1), two(1), one(b=5), two(b=5)) == (2, 3, 6, 7)
    assert one.cache_info().memory_hits == two.cache_info().memory_hits == 2


def test_callable_objects_are_kept_apart_by_their_state() -> None:
    @dataclass
    class Scale:
        factor: int

        def __call__(self, x: int) -> int:
            return self.factor * x

    class AsyncScale(Scale):
        async def __call__(self, x: int) -> int:  # type: ignore[override]
            return self.factor * x

    double, triple = (cache_features("spatial", "occurrences")(Scale(factor)) for factor in (2, 3))
    for _ in range(2):
        assert (double(2), triple(2)) == (4, 6)
    later = cache_features("spatial", "occurrences")(AsyncScale(5))
    assert asyncio.run(_value(later(2))) == 10


async def _value(awaitable: Any) -> Any:
    return await awaitable


def test_generators_are_refused_when_decorated() -> None:
    def generator() -> Iterator[int]:
        yield 1

    async def async_generator() -> AsyncIterator[int]:
        yield 1

    for function in (generator, async_generator, functools.partial(generator)):
        with pytest.raises(CacheError, match="consumed only once"):
            cache_features("spatial", "occurrences")(function)


def test_a_returned_generator_is_each_callers_own() -> None:
    @cache_features("spatial", "occurrences")
    def make() -> Iterator[int]:
        return iter([1, 2, 3])

    first, second = make(), make()
    assert first is not second
    assert list(first) == list(second) == [1, 2, 3]
    assert make.cache_info().unstorable == 2


def test_what_cannot_be_decorated_is_refused_with_what_to_write() -> None:
    with pytest.raises(CacheError, match="Write it with its names"):
        cache_features(lambda: 1, "occurrences")  # type: ignore[arg-type]
    with pytest.raises(CacheError, match="cannot be cached"):
        cache_features("spatial", "occurrences")(int)
    with pytest.raises(CacheError, match="cannot be cached"):
        cache_features("spatial", "occurrences")(3)  # type: ignore[call-overload]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"ttl": 0}, "keeps nothing"),
        ({"ttl": -1.0}, "keeps nothing"),
        ({"ttl": float("nan")}, "keeps nothing"),
        ({"ttl": True}, "ttl is True"),
        ({"ttl": 5, "ttl_hours": 1}, "Both ttl and ttl_hours"),
        ({"copy": "deep"}, "copy is 'deep'"),
        ({"write": "later"}, "write is 'later'"),
        ({"tiers": ("disk",)}, "tiers is 'disk'"),
        ({"tiers": ()}, "tiers is empty"),
        ({"early": -1}, "early is -1"),
        ({"negative": (ValueError,), "negative_ttl": 31}, "at most 30 seconds"),
        ({"negative": (Exception,)}, "passing trouble"),
        ({"negative": (TimeoutError,)}, "passing trouble"),
        ({"negative": (KeyboardInterrupt,)}, "classes of Exception"),
        ({"stale_if_error": -1}, "seconds of 0 or more"),
        ({"key": "depth"}, "lists of names"),
        ({"key": ("depth",), "ignore": ("depth",)}, "Both key and ignore"),
        ({"key": ("nothing",)}, "nothing"),
        ({"ignore": ("nothing",)}, "nothing"),
    ],
)
def test_options_that_make_no_sense_are_refused_when_decorating(options: dict[str, Any], told: str) -> None:
    def features(depth: float) -> float:
        return depth

    with pytest.raises(CacheError, match=told):
        cache_features("spatial", "occurrences", **options)(features)


def test_an_exception_comes_out_as_it_is_with_its_traceback_cause_and_context() -> None:
    class Refused(Exception):
        def __init__(self, code: int, *, why: str) -> None:
            super().__init__(code)
            self.why = why

    raised = Refused(7, why="land")

    def inner() -> None:
        try:
            _ = {}["missing"]
        except KeyError as error:
            raise raised from error

    @cache_features("spatial", "occurrences")
    def features() -> None:
        inner()

    for _ in range(2):
        with pytest.raises(Refused) as caught:
            features()
        assert caught.value is raised
        assert isinstance(raised.__cause__, KeyError)
        assert isinstance(raised.__context__, KeyError)
        assert [frame.name for frame in traceback.extract_tb(raised.__traceback__)][-2:] == ["features", "inner"]
        raised.__traceback__ = None
    assert features.cache_info().errors == 2


def test_raising_while_another_exception_is_handled_keeps_the_context_it_had() -> None:
    @cache_features("spatial", "occurrences")
    def features() -> None:
        try:
            raise KeyError("inner")
        except KeyError:
            raise ValueError("outer")  # noqa: B904 - the context is what is looked at

    try:
        raise RuntimeError("callers own")
    except RuntimeError:
        with pytest.raises(ValueError, match="outer") as caught:
            features()
    assert isinstance(caught.value.__context__, KeyError)


@pytest.mark.parametrize(
    "error", [StopIteration(3), GeneratorExit(), KeyboardInterrupt(), SystemExit(4), StopAsyncIteration()]
)
def test_even_exceptions_that_drive_loops_and_exits_pass_unchanged(error: BaseException) -> None:
    @cache_features("spatial", "occurrences", negative=(LookupError,), stale_if_error=60)
    def features() -> None:
        raise error

    with pytest.raises(type(error)) as caught:
        features()
    assert caught.value is error


def test_a_cancelled_coroutine_is_cancelled() -> None:
    @cache_features("spatial", "occurrences")
    async def features() -> int:
        await asyncio.sleep(60)
        return 1

    async def run() -> None:
        task = asyncio.create_task(_value(features()))
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(run())


def test_wrong_arguments_are_told_by_the_function_itself() -> None:
    @cache_features("spatial", "occurrences")
    def features(depth: float) -> float:
        return depth

    with pytest.raises(TypeError, match=r"features\(\) missing 1 required positional argument: 'depth'"):
        features()  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="unexpected keyword argument 'height'"):
        features(height=1)  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        features.refresh()  # type: ignore[call-arg]


def test_a_recursive_function_may_be_cached() -> None:
    @cache_features("spatial", "occurrences")
    def fibonacci(n: int) -> int:
        return n if n < 2 else fibonacci(n - 1) + fibonacci(n - 2)

    assert fibonacci(60) == 1548008755920
