"""Negative answers: what may be remembered, for how long, and that it comes out like the original."""

import time
import traceback
import weakref
from collections.abc import Iterator
from typing import Any

import pytest

from retention_pipelines import cache_features, caching
from retention_pipelines.cache.negative import Exceptions, declare
from retention_pipelines.cache.runtime import CacheRuntime


@pytest.fixture(autouse=True)
def caches() -> Iterator[CacheRuntime]:
    with caching.testing() as own:
        yield own


class NoSuchStudy(LookupError):
    def __init__(self, study: str) -> None:
        super().__init__(study)
        self.study = study


def test_a_declared_exception_is_raised_again_without_running_the_function() -> None:
    ran = []

    @cache_features("spatial", "occurrences", negative=(LookupError,), negative_ttl=30)
    def features(study: str) -> None:
        ran.append(study)
        try:
            _ = {}[study]
        except KeyError as error:
            raise NoSuchStudy(study) from error

    for _ in range(3):
        with pytest.raises(NoSuchStudy) as caught:
            features("a")
        assert caught.value.args == ("a",)
        assert caught.value.study == "a"
        assert isinstance(caught.value.__cause__, KeyError)
        assert traceback.extract_tb(caught.value.__traceback__)[-1].name == "features"
    assert ran == ["a"]
    assert features.cache_info().negative == 2
    with pytest.raises(NoSuchStudy):
        features("b")
    features.invalidate("a")
    with pytest.raises(NoSuchStudy):
        features("a")
    assert ran == ["a", "b", "a"]


def test_callers_of_a_remembered_exception_get_one_each() -> None:
    remembered = Exceptions()
    assert remembered.remember("k", NoSuchStudy("a"), 30)
    one, two = remembered.recall("k"), remembered.recall("k")
    assert one is not two
    assert one is not None
    assert one.args == ("a",)


def test_what_was_not_declared_and_what_passes_is_not_remembered() -> None:
    for error in (ValueError("x"), TimeoutError("x"), ConnectionResetError("x"), MemoryError("x")):
        ran = []

        @cache_features("spatial", "occurrences", negative=(LookupError, OSError))
        def features() -> None:
            ran.append(1)  # noqa: B023 - called in this round only
            raise error  # noqa: B023

        for _ in range(2):
            with pytest.raises(type(error)):
                features()
        assert len(ran) == 2


def test_a_recovered_backend_is_seen_within_the_declared_seconds() -> None:
    up: list[int] = []

    @cache_features("spatial", "occurrences", negative=(LookupError,), negative_ttl=0.02)
    def features() -> int:
        if not up:
            raise LookupError("empty")
        return 1

    with pytest.raises(LookupError):
        features()
    up.append(1)
    time.sleep(0.03)
    assert features() == 1


def test_none_lives_as_long_as_any_answer_unless_it_was_declared() -> None:
    ran = []

    def features() -> None:
        ran.append(1)

    plain = cache_features("spatial", "occurrences")(features)
    short = cache_features("spatial", "shorter", negative=(None,), negative_ttl=0.01)(features)
    for function in (plain, short):
        function()
        time.sleep(0.02)
        function()
    assert len(ran) == 3


def test_an_exception_that_cannot_be_copied_is_not_remembered() -> None:
    class Odd(LookupError):
        def __init__(self, one: int, two: int) -> None:
            super().__init__(f"{one} {two}")

    remembered = Exceptions()
    assert not remembered.remember("k", Odd(1, 2), 30)
    assert remembered.recall("k") is None


def test_remembering_an_exception_keeps_none_of_the_functions_variables_alive() -> None:
    class Large:
        pass

    watched: list[Any] = []

    @cache_features("spatial", "occurrences", negative=(LookupError,))
    def features() -> None:
        large = Large()
        watched.append(weakref.ref(large))
        raise LookupError("empty")

    with pytest.raises(LookupError):
        features()
    assert watched[0]() is None


def test_remembered_exceptions_are_bounded() -> None:
    remembered = Exceptions()
    for number in range(1_200):
        remembered.remember(str(number), LookupError(number), 30)
    assert len(remembered) == 1_000
    assert remembered.recall("1199") is not None
    assert remembered.recall("0") is None
    assert declare((), 5) is None
