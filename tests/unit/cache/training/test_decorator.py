"""A decorated preparation gives what it would give undecorated, and runs only when it must."""

import asyncio
import dataclasses
import inspect
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest

from retention_pipelines import bypass, cache_training_data, caching
from retention_pipelines.cache import runtime
from retention_pipelines.cache.events import CacheEvent
from retention_pipelines.cache.training.value import TrainingSet
from retention_pipelines.errors import CacheError, CatalogError
from retention_pipelines.settings import Settings

N = 4_000


@pytest.fixture(autouse=True)
def own_caches(settings: Settings) -> Iterator[runtime.CacheRuntime]:
    """Caches of the test's own; there is no database in its state folder, as where Postgres is away."""
    yield runtime.configure(settings)
    runtime.close()


class Runs:
    """A function's runs."""

    def __init__(self) -> None:
        self.n = 0

    def count(self) -> None:
        self.n += 1


def arrays(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    x = np.random.default_rng(seed).normal(size=(N, 3))
    return x, (x[:, 0] > 0).astype(np.int64)


def test_s2_what_was_prepared_is_kept_and_found_again(own_caches: runtime.CacheRuntime) -> None:
    """S2: the dataset was prepared, then thrown away with an AttributeError."""
    runs = Runs()

    @cache_training_data("habitat")
    def prepare(seed: int) -> tuple[np.ndarray, np.ndarray]:
        runs.count()
        return arrays(seed)

    first, second = prepare(1), prepare(1)
    assert runs.n == 1
    for one, other in zip(first, second, strict=True):
        assert type(one) is type(other) is np.ndarray
        np.testing.assert_array_equal(one, other)
    assert prepare.cache_info().files_hits == 1
    assert own_caches.counters.snapshot()["training", "hit", "files"] == 1


def test_r3_every_parameter_is_in_the_key() -> None:
    """R3: training key = model_type + version: parameters were ignored, the WRONG dataset was served."""
    runs = Runs()

    @cache_training_data("habitat")
    def prepare(days: int, *, seed: int = 0, names: tuple[str, ...] = ("a",), scale: Any = None) -> Any:
        runs.count()
        return np.full(N, days), seed, names, scale

    asked: list[tuple[tuple[Any, ...], dict[str, Any]]] = [
        ((1,), {}),
        ((2,), {}),
        ((1,), {"seed": 1}),
        ((1,), {"names": ("b",)}),
        ((1,), {"scale": np.array([1.0, 2.0])}),
        ((1,), {"scale": np.array([1.0, 2.5])}),
        ((True,), {}),
        ((1.0,), {}),
    ]
    for args, kwargs in asked * 2:
        days, seed, names, _ = prepare(*args, **kwargs)
        assert days[0] == args[0]
        assert days.dtype == np.full(1, args[0]).dtype
        assert seed == kwargs.get("seed", 0)
        assert names == kwargs.get("names", ("a",))
    assert runs.n == len(asked)


def test_functions_and_models_do_not_share() -> None:
    def make(model: str, value: float) -> Any:
        @cache_training_data(model)
        def prepare(n: int) -> np.ndarray:
            return np.full(N, value)

        return prepare

    one, other = make("habitat", 1.0), make("abundance", 2.0)
    assert one(1)[0] == one(1)[0] == 1.0
    assert other(1)[0] == 2.0


def test_an_edit_of_a_result_reaches_neither_the_cache_nor_other_callers() -> None:
    @cache_training_data("habitat")
    def prepare() -> tuple[np.ndarray, np.ndarray]:
        return arrays()

    for _ in range(3):
        x, _ = prepare()
        np.testing.assert_array_equal(x, arrays()[0])
        x[:] = 0.0


def test_a_function_that_changes_its_argument_is_not_cached_under_what_it_was() -> None:
    runs = Runs()

    @cache_training_data("habitat")
    def prepare(options: dict[str, int]) -> np.ndarray:
        runs.count()
        options["n"] += 1
        return np.full(N, options["n"])

    assert prepare({"n": 1})[0] == 2
    assert prepare({"n": 1})[0] == 2
    assert runs.n == 2


def test_exceptions_come_out_as_they_are_and_are_not_cached() -> None:
    runs = Runs()

    class OwnError(BaseException):
        pass

    @cache_training_data("habitat")
    def prepare(error: bool) -> np.ndarray:
        runs.count()
        if error:
            raise OwnError("mine")
        return arrays()[0]

    for _ in range(2):
        with pytest.raises(OwnError, match="mine") as caught:
            prepare(True)
        assert caught.value.__cause__ is None
    assert runs.n == 2
    prepare(False)
    prepare(False)
    assert runs.n == 3


def test_threads_run_a_preparation_once_and_each_gets_arrays_of_its_own() -> None:
    runs, began = Runs(), threading.Barrier(16)
    results: list[np.ndarray] = []

    @cache_training_data("habitat")
    def prepare() -> np.ndarray:
        runs.count()
        threading.Event().wait(0.2)
        return arrays()[0]

    def ask() -> None:
        began.wait()
        results.append(prepare())

    threads = [threading.Thread(target=ask) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert runs.n == 1
    assert len(results) == 16
    results[0][:] = 7.0
    for other in results[1:]:
        np.testing.assert_array_equal(other, arrays()[0])


def test_coroutines_run_a_preparation_once_and_each_gets_arrays_of_its_own() -> None:
    runs = Runs()

    @cache_training_data("habitat")
    async def prepare(seed: int) -> np.ndarray:
        runs.count()
        await asyncio.sleep(0.05)
        return arrays(seed)[0]

    async def ask() -> list[np.ndarray]:
        found = list(await asyncio.gather(*(prepare(3) for _ in range(16))))
        return [*found, await prepare(3), await prepare.refresh(3)]

    results = asyncio.run(ask())
    assert runs.n == 2, "once for all, and once for the refresh"
    results[0][:] = 7.0
    for other in results[1:]:
        np.testing.assert_array_equal(other, arrays(3)[0])


def test_a_cancelled_coroutine_leaves_no_lock_behind() -> None:
    @cache_training_data("habitat")
    async def prepare(slow: bool = True) -> np.ndarray:
        await asyncio.sleep(30 if not started.is_set() else 0)
        return arrays()[0]

    started = asyncio.Event()

    async def ask() -> np.ndarray:
        task = asyncio.create_task(prepare())
        await asyncio.sleep(0.3)
        started.set()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return await asyncio.wait_for(prepare(), 10)

    np.testing.assert_array_equal(asyncio.run(ask()), arrays()[0])


def test_a_preparation_that_asks_for_its_own_set_does_not_wait_for_itself() -> None:
    @cache_training_data("habitat", ignore=["fallback"], wait_seconds=60.0)
    def prepare(fallback: bool = False) -> np.ndarray:
        return arrays()[0] if fallback else prepare(fallback=True) * 2

    @cache_training_data("habitat", ignore=["fallback"], wait_seconds=60.0)
    async def prepare_async(fallback: bool = False) -> np.ndarray:
        return arrays()[0] if fallback else await prepare_async(fallback=True) * 2

    async def ask() -> np.ndarray:
        return await asyncio.wait_for(prepare_async(), 20.0)

    begun = threading.Event()
    thread = threading.Thread(target=lambda: (prepare(), begun.set()), daemon=True)
    thread.start()
    thread.join(20.0)
    assert begun.is_set()
    np.testing.assert_array_equal(prepare(), arrays()[0] * 2)
    np.testing.assert_array_equal(asyncio.run(ask()), arrays()[0] * 2)


class Preparer:
    """Methods of every kind."""

    runs = Runs()

    def __init__(self, scale: float) -> None:
        self.scale = scale

    @cache_training_data("habitat")
    def method(self, n: int) -> np.ndarray:
        """Doc of the method."""
        self.runs.count()
        return np.full(N, n * self.scale)

    @classmethod
    @cache_training_data("habitat")
    def of_class(cls, n: int) -> np.ndarray:
        cls.runs.count()
        return np.full(N, n)

    @staticmethod
    @cache_training_data("habitat")
    def static(n: int) -> np.ndarray:
        Preparer.runs.count()
        return np.full(N, -n)


def test_methods_of_every_kind_are_cached_and_keep_their_names() -> None:
    for _ in range(2):
        assert Preparer(2.0).method(1)[0] == 2.0
        assert Preparer(3.0).method(1)[0] == 3.0
        assert Preparer.of_class(4)[0] == 4
        assert Preparer.static(5)[0] == -5
    assert Preparer.runs.n == 4
    assert Preparer.method.__name__ == "method"
    assert Preparer.method.__doc__ == "Doc of the method."
    assert list(inspect.signature(Preparer.method).parameters) == ["self", "n"]


def test_invalidate_refresh_and_bypass() -> None:
    runs = Runs()

    @cache_training_data("habitat", tags=["weekly"])
    def prepare(seed: int) -> np.ndarray:
        runs.count()
        return arrays(seed)[0]

    prepare(1), prepare(2), prepare(1), prepare(2)
    assert runs.n == 2
    prepare.invalidate(1)
    prepare(1), prepare(2)
    assert runs.n == 3
    prepare.invalidate()
    prepare(1), prepare(2), prepare(1)
    assert runs.n == 5
    runtime.current().invalidate("tag", "weekly")
    prepare(1), prepare(1)
    assert runs.n == 6
    runtime.current().invalidate("model", "habitat", version="2")
    prepare(1)
    assert runs.n == 6, "a retrained model says nothing about what it was trained on"
    prepare.refresh(1)
    assert runs.n == 7
    with bypass():
        prepare(1)
    with prepare.bypass():
        prepare(1)
    with caching.disabled():
        prepare(1)
    assert runs.n == 10
    prepare(1)
    assert runs.n == 10


def test_what_cannot_be_keyed_or_stored_is_returned_and_counted(own_caches: runtime.CacheRuntime) -> None:
    @cache_training_data("habitat")
    def prepare(source: Any) -> Any:
        return np.array([object()] * 3) if source is None else source

    lock = threading.Lock()
    assert prepare(lock) is lock
    assert prepare.cache_info().bypassed == 1
    assert prepare(None).dtype == object
    assert prepare(None).dtype == object
    assert prepare.cache_info().unstorable == 2
    assert own_caches.counters.snapshot()["training", "unstorable", ""] == 2


def test_read_only_reads_and_prepares_and_writes_nothing(settings: Settings) -> None:
    runs = Runs()

    @cache_training_data("habitat")
    def prepare(seed: int) -> np.ndarray:
        runs.count()
        return arrays(seed)[0]

    prepare(1)
    before = sorted(settings.training_sets_dir.rglob("*"))
    runtime.configure(settings.model_copy(update={"mode": "read_only"}))
    np.testing.assert_array_equal(prepare(1), arrays(1)[0])
    assert runs.n == 1
    prepare(2), prepare(2)
    assert runs.n == 3
    assert sorted(settings.training_sets_dir.rglob("*")) == before


def test_in_a_test_there_are_no_files(settings: Settings) -> None:
    runs = Runs()

    @cache_training_data("habitat")
    def prepare() -> np.ndarray:
        runs.count()
        return arrays()[0]

    with caching.testing(settings):
        prepare()[:] = 0.0
        np.testing.assert_array_equal(prepare(), arrays()[0])
        assert runs.n == 1
    assert not settings.training_sets_dir.exists()


def test_a_hit_describes_the_same_set_as_the_miss(own_caches: runtime.CacheRuntime) -> None:
    """R4: a hit returned other metadata than the miss did."""

    @cache_training_data("habitat", provenance={"licence": "CC-BY"}, version=3)
    def prepare(seed: int, frame: pd.DataFrame | None = None) -> TrainingSet:
        x, y = arrays(seed)
        return TrainingSet(X=x[:3000], y=y[:3000], X_val=x[3000:], y_val=y[3000:], feature_names=("a", "b", "c"))

    first, second = prepare(1), prepare(1)
    for field in dataclasses.fields(TrainingSet):
        one, other = getattr(first, field.name), getattr(second, field.name)
        assert np.array_equal(one, other) if isinstance(one, np.ndarray) else one == other, field.name
    assert first.class_distribution == second.class_distribution
    from retention_pipelines.cache.training.answers import sets_of

    sets = sets_of(own_caches)
    assert sets is not None
    found = sets.find(prepare.key(1))
    assert found is not None
    told = found.description
    assert told.parameters == {"seed": 1, "frame": None}
    assert told.provenance == {"licence": "CC-BY"}
    assert told.feature_names == ("a", "b", "c")
    assert (told.n_rows, told.n_features, told.validation_share) == (N, 3, 0.25)
    y = arrays(1)[1]
    assert told.class_distribution == {"0": float((y == 0).mean()), "1": float((y == 1).mean())}


def test_hooks_hear_hits_and_misses_with_measured_times() -> None:
    heard: list[CacheEvent] = []

    @cache_training_data("habitat", hooks=[heard.append])
    def prepare() -> np.ndarray:
        threading.Event().wait(0.05)
        return arrays()[0]

    prepare(), prepare()
    assert [(event.kind, event.outcome, event.tier) for event in heard] == [
        ("training", "miss", ""),
        ("training", "hit", "files"),
    ]
    assert heard[0].compute_seconds is not None
    assert heard[0].compute_seconds >= 0.05
    assert heard[1].saved_seconds == pytest.approx(heard[0].compute_seconds - heard[1].elapsed_seconds)
    assert heard[1].size_bytes is not None
    assert heard[1].size_bytes > arrays()[0].nbytes


def test_options_that_make_no_sense_are_refused_when_decorating() -> None:
    for options in ({"depends_on": "feature_store"}, {"trusted": "a.B"}, {"wait_seconds": -1.0}, {"ttl": 0}):
        with pytest.raises(CacheError):
            cache_training_data("habitat", **options)  # type: ignore[arg-type]
    with pytest.raises(CatalogError):
        cache_training_data("habitat", depends_on=["feature_shop"])
    with pytest.raises(CacheError):
        cache_training_data("")
