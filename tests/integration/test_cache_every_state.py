"""A decorated function gives what it gives undecorated: value, type and exception, in every state of the caches."""

import asyncio
import math
import os
import secrets
import signal
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest

from retention_pipelines import bypass, cache_features, cache_predictions, caching
from retention_pipelines.cache import runtime
from retention_pipelines.cache.runtime import CacheRuntime
from retention_pipelines.postgres.server import Server
from retention_pipelines.settings import Settings, load_settings
from tests.fixtures.nasty_functions import FUNCTIONS, frame_of
from tests.integration.test_cache_decorators import opened

Decorate = Callable[[Any], Any]


def outcome(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, ...]:
    """What a caller can see of a call."""
    try:
        value = function(*args, **kwargs)
    except BaseException as error:  # noqa: BLE001 - to compare it
        return "raised", seen(error)
    return "returned", seen(value)


def seen(value: Any, depth: int = 0) -> Any:
    """A value as something that compares by type and content, NaN and order of dicts included."""
    kind, below = type(value), depth + 1
    if depth > 20:  # it holds itself
        return kind
    match value:
        case float() | complex():
            return kind, repr(value)
        case BaseException():
            wheres = [frame.name for frame in traceback.extract_tb(value.__traceback__) if "nasty" in frame.filename]
            inner = [seen(one, below) for one in getattr(value, "exceptions", ())]
            parts = [seen(part, below) for part in (value.args, dict(vars(value)), value.__cause__)]
            return kind, parts, value.__suppress_context__, seen(value.__context__, below), wheres, inner
        case dict():
            rest = getattr(value, "default_factory", None)
            return kind, [(seen(key, below), seen(item, below)) for key, item in value.items()], rest
        case list() | tuple():
            return kind, [seen(item, below) for item in value]
        case set() | frozenset():
            return kind, {repr(seen(item, below)) for item in value}
        case np.ma.MaskedArray():
            return kind, seen(value.data, below), seen(np.asarray(value.mask), below)
        case np.ndarray():
            flags = (value.flags.c_contiguous, value.flags.f_contiguous, value.flags.writeable)
            return kind, value.dtype.str, value.shape, flags, seen(value.tolist(), below)
        case pd.DataFrame() | pd.Series():
            index = (type(value.index), value.index.tolist(), value.index.name, getattr(value.index, "freq", None))
            return kind, str(getattr(value, "dtypes", "")), index, repr(value), list(getattr(value, "columns", ()))
        case pl.DataFrame() | pl.Series():
            return kind, value.to_init_repr()
    if hasattr(value, "__pydantic_fields__") and not isinstance(value, type):
        return (
            kind,
            seen(value.__dict__, below),
            seen(value.__pydantic_extra__, below),
            seen(value.__pydantic_private__, below),
        )
    if hasattr(value, "__dataclass_fields__") and not isinstance(value, type):
        names = list(getattr(value, "__dict__", None) or value.__dataclass_fields__)
        return kind, [(name, seen(getattr(value, name), below)) for name in names]
    return kind, value if vars(object)["__eq__"] is not kind.__eq__ else repr(value).partition(" at 0x")[0]


def wrong(decorated: list[tuple[Any, Any, Any]], rounds: int, between: Callable[[], None] = lambda: None) -> list[str]:
    """Calls whose decorated function gives something else, in any of some rounds."""
    found = []
    for round_ in range(rounds):
        for function, twin, calls in decorated:
            for args, kwargs in calls:
                plain, cached = outcome(function, args, kwargs), outcome(twin, args, kwargs)
                if plain != cached:
                    found.append(f"round {round_}: {function!r} {args!r} {kwargs!r}\n  gives {plain}\n  not   {cached}")
        between()
    return found


def decorate_all(decorate: Decorate) -> list[tuple[Any, Any, Any]]:
    return [(function, decorate(function), calls) for function, calls in FUNCTIONS]


@pytest.fixture
def cache_settings(migrated_server: Server, tmp_path: Path) -> Settings:
    url = migrated_server.address().set(drivername="postgresql", query={}).render_as_string(hide_password=False)
    host = migrated_server.address().query.get("host")
    return load_settings(
        {},
        database_url=f"{url}?host={host}" if host else url,
        tenant=f"t{secrets.token_hex(6)}",
        lake_root=str(tmp_path / "warehouse"),
        state_dir=tmp_path / "state",
        cache_secret="a secret of the tests only",
        cache_deadline_seconds=5.0,
    )


on_one_server = pytest.mark.parametrize("migrated_server", ["embedded"], indirect=True)


@pytest.fixture
def stored(cache_settings: Settings) -> Iterator[CacheRuntime]:
    """Caches over Postgres."""
    with runtime.replaced(opened(cache_settings)) as own:
        yield own
        own.invalidate("all", None)


FEATURES: Decorate = cache_features("spatial", "occurrences")
OPTIONS: dict[str, dict[str, Any]] = {
    "features": {},
    "ttl": {"ttl": 3600},
    "version": {"version": 3},
    "negative": {"negative": (None, LookupError, ValueError), "negative_ttl": 30},
    "stale": {"stale_while_revalidate": 60, "stale_if_error": 60},
    "early": {"early": 1.0},
    "tags and hooks": {"tags": ("a", "b"), "hooks": (lambda event: None,)},
    "everything": {
        "ttl": 3600,
        "version": "x",
        "early": 1.0,
        "negative": (None, LookupError),
        "stale_while_revalidate": 60,
        "stale_if_error": 60,
        "tags": ("a",),
        "write": "through",
    },
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_cold_and_from_memory(options: dict[str, Any]) -> None:
    with caching.testing():
        assert wrong(decorate_all(cache_features("spatial", "occurrences", **options)), rounds=3) == []


def test_predictions_of_a_model_with_versions() -> None:
    with caching.testing():
        named = cache_predictions("m", model_id=lambda bound: "m1", model_version=lambda bound: "7")
        assert wrong(decorate_all(named), rounds=2) == []


@on_one_server
def test_from_postgres_and_from_the_write_queue(stored: CacheRuntime) -> None:
    decorated = decorate_all(FEATURES)
    assert wrong(decorated, 2, between=stored.memory.clear) == [], "from the queue, or as it was just stored"
    assert stored.flush()
    stored.memory.clear()
    before = sum(twin.cache_info().postgres_hits for _, twin, _ in decorated)
    assert wrong(decorated, 1) == []
    assert sum(twin.cache_info().postgres_hits for _, twin, _ in decorated) - before > 60


def test_stale_with_a_refresh_behind_it() -> None:
    with caching.testing():
        short = cache_features("spatial", "occurrences", ttl=0.001, stale_while_revalidate=60, tiers=("memory",))
        decorated = decorate_all(short)
        assert wrong(decorated, 3, between=lambda: time.sleep(0.002)) == []
        assert sum(twin.cache_info().stale for _, twin, _ in decorated) > 60


@on_one_server
def test_in_a_child_after_a_fork(stored: CacheRuntime) -> None:
    # Polars and Arrow keep threads of their own and promise nothing after a fork, decorated or not.
    decorated = [
        (
            function,
            twin,
            [call for call in calls if not any("arrow" in str(one) or "polars" in str(one) for one in call[0])],
        )
        for function, twin, calls in decorate_all(FEATURES)
        if function is not frame_of
    ]
    assert wrong(decorated, 1) == []
    assert stored.flush()
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        signal.alarm(60)
        try:
            told = "\n".join(wrong(decorated, 2))
        except BaseException as error:  # noqa: BLE001 - to be told by the parent
            told = repr(error)
        os.write(writing, told.encode()[:60_000] or b"fine")
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as answer:
        assert answer.read() == "fine"
    os.waitpid(child, 0)
    assert wrong(decorated, 1) == []


@pytest.mark.parametrize("database_url", ["postgresql://nobody@127.0.0.1:1/nothing"])
def test_without_a_database(tmp_path: Path, database_url: str) -> None:
    settings = load_settings({}, database_url=database_url, state_dir=tmp_path, lake_root=str(tmp_path / "w"))
    with runtime.replaced(CacheRuntime(settings)) as own:
        assert wrong(decorate_all(FEATURES), 2, between=own.memory.clear) == []


@on_one_server
def test_read_only(stored: CacheRuntime, cache_settings: Settings) -> None:
    decorated = decorate_all(FEATURES)
    assert wrong(decorated, 1) == []
    assert stored.flush()
    with runtime.replaced(opened(cache_settings.model_copy(update={"mode": "read_only"}))) as own:
        assert wrong(decorated, 2, between=own.memory.clear) == []
        assert sum(twin.cache_info().postgres_hits for _, twin, _ in decorated) > 60


@contextmanager
def _config_off() -> Iterator[None]:
    config = runtime.current().config
    config["enabled"] = False
    yield
    config["enabled"] = True


@pytest.mark.parametrize("switch", [caching.disabled, bypass, _config_off])
def test_switched_off_when_the_caches_are_warm(switch: Callable[[], AbstractContextManager[None]]) -> None:
    with caching.testing():
        decorated = decorate_all(FEATURES)
        assert wrong(decorated, 1) == []
        with switch():
            assert wrong(decorated, 1) == []
        assert wrong(decorated, 1) == []


@on_one_server
def test_coroutines_too(stored: CacheRuntime) -> None:
    def twin_of(function: Any) -> tuple[Any, Any]:
        async def run(*args: Any, **kwargs: Any) -> Any:
            return function(*args, **kwargs)

        run.__qualname__ = f"run_{getattr(function, '__qualname__', type(function).__qualname__)}"
        cached = FEATURES(run)

        def call(of: Any) -> Any:
            return lambda *args, **kwargs: loop.run_until_complete(of(*args, **kwargs))

        return call(run), call(cached)

    loop = asyncio.new_event_loop()
    try:
        # A GeneratorExit ends the loop's task in either case, and that is all one can see.
        decorated = [(*twin_of(function), calls) for function, calls in FUNCTIONS]
        assert wrong(decorated, 2) == []
        assert stored.flush()
        stored.memory.clear()
        assert wrong(decorated, 1) == []
    finally:
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()


def test_the_comparison_itself_sees_differences() -> None:
    pairs = [(1, True), (1, 1.0), (0.0, -0.0), ([1], (1,)), ({"a": 1, "b": 2}, {"b": 2, "a": 1}), (math.nan, None)]
    pairs += [(np.float64(1), 1.0), (np.arange(2), np.arange(2.0)), (ValueError(1), ValueError(2))]
    assert all(seen(one) != seen(other) for one, other in pairs)
