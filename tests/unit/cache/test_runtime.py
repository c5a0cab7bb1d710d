"""The runtime: made when needed, swapped, degraded, and gone without a trace; and what importing it costs."""

import logging
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from retention_pipelines import cache_features, caching
from retention_pipelines.cache import runtime
from retention_pipelines.cache.coherence import Names, Recent
from retention_pipelines.cache.config import CacheConfig
from retention_pipelines.cache.runtime import CacheRuntime
from retention_pipelines.errors import SettingsError
from retention_pipelines.settings import load_settings

HEAVY = (
    "asyncio",
    "dagster",
    "fastapi",
    "polars",
    "pandas",
    "pyarrow",
    "numpy",
    "sqlalchemy",
    "psycopg",
    "duckdb",
    "pydantic",
)


@pytest.fixture
def caches() -> Iterator[CacheRuntime]:
    with caching.testing() as own:
        yield own


def python(code: str, **environment: str) -> str:
    import os

    clean = {name: value for name, value in os.environ.items() if not name.startswith("RETENTION_")}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(code)],
        env=clean | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_decorating_and_calling_in_a_test_loads_nothing_heavy() -> None:
    code = f"""
        import sys
        from retention_pipelines import cache_features, cache_predictions, caching, bypass, Grid
        @cache_predictions("species", spatial=Grid(0.05))
        def predict(lat, lon): return {{"lat": lat}}
        import threading
        assert threading.active_count() == 1
        print(*sorted(set({HEAVY!r}) & set(sys.modules)))
    """
    assert python(code) == ""


def test_a_malformed_environment_costs_the_lower_tiers_only() -> None:
    code = """
        import logging
        logging.disable()
        from retention_pipelines import cache_features
        from retention_pipelines.cache import runtime
        ran = []
        @cache_features("spatial", "occurrences")
        def features(x):
            ran.append(x)
            return x
        features(1), features(1)
        assert runtime.current().hot is None
        print(len(ran), runtime.current().counters.snapshot()["features", "degraded", "postgres"])
    """
    assert python(code, RETENTION_CELL_DEG="seven") == "1 1"


def test_a_program_ends_soon_though_a_refresh_still_runs_behind() -> None:
    code = """
        import time
        from retention_pipelines import cache_features
        from retention_pipelines.cache import runtime
        from retention_pipelines.settings import Settings
        runtime._set(runtime.CacheRuntime(Settings(), degraded="a test"))
        slow = []
        @cache_features("spatial", "occurrences", ttl=0.01, stale_while_revalidate=60)
        def features():
            time.sleep(3600 if slow else 0)
            return 1
        features()
        slow.append(1)
        time.sleep(0.02)
        print(features())
    """
    assert python(code) == "1"


def test_with_the_kill_switch_in_the_environment_functions_just_run(tmp_path: object) -> None:
    code = """
        from retention_pipelines import cache_features, caching
        ran = []
        @cache_features("spatial", "occurrences")
        def features(x):
            ran.append(x)
            return x
        features(1), features(1)
        print(len(ran), features.cache_info().bypassed, caching.is_enabled())
    """
    assert python(code, RETENTION_CACHE_ENABLED="false", RETENTION_STATE_DIR=str(tmp_path)) == "2 2 False"


def test_a_child_of_a_fork_has_an_empty_memory_of_its_own() -> None:
    code = """
        import os
        from retention_pipelines import cache_features, caching
        with caching.testing() as own:
            @cache_features("spatial", "occurrences")
            def features(x):
                return os.getpid()
            assert features(1) == os.getpid()
            from retention_pipelines.cache import runtime
            reading, writing = os.pipe()
            child = os.fork()
            if child == 0:
                with caching.testing() as mine:
                    good = mine is not own and features(1) == os.getpid() == features(1)
                os.write(writing, b"good" if good else b"bad")
                os._exit(0)
            os.waitpid(child, 0)
            print(os.read(reading, 9).decode())
    """
    assert python(code) == "good"


def test_a_test_block_has_empty_caches_and_leaves_the_former_ones_alone() -> None:
    ran = []

    @cache_features("spatial", "occurrences")
    def features(x: int) -> int:
        ran.append(x)
        return x

    with caching.testing() as outer:
        features(1)
        with caching.testing() as inner:
            features(1)
            assert runtime.current() is inner
        features(1)
        assert runtime.current() is outer
    assert ran == [1, 1]


def test_one_runtime_is_made_by_many_first_callers(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []

    def make() -> CacheRuntime:
        made.append(CacheRuntime(runtime.default_settings(), testing=True))
        return made[-1]

    with caching.testing():
        monkeypatch.setattr(runtime, "_from_environment", make)
        runtime._set(None)
        with ThreadPoolExecutor(16) as pool:
            assert len(set(map(id, pool.map(lambda _: runtime.current(), range(16))))) == 1
        assert len(made) == 1
        runtime.close()
        assert runtime.current() is made[1]


def test_live_values_are_a_mapping_with_bounds(caches: CacheRuntime) -> None:
    config = caches.config
    assert isinstance(config, CacheConfig)
    assert dict(config) == {
        "enabled": True,
        "feature_ttl_hours": 24.0,
        "prediction_ttl_hours": 6.0,
        "training_ttl_hours": 168.0,
        "memory_cache_size": 10_000,
        "memory_cache_mb": 128,
    }
    config["memory_cache_size"] = 2000
    config["feature_ttl_hours"] = 48
    assert caches.memory.stats().max_entries == 2000
    assert config.ttl_seconds("features") == 48 * 3600
    for name, value in [
        ("memory_cache_size", 0),
        ("memory_cache_size", 1.5),
        ("feature_ttl_hours", -1),
        ("feature_ttl_hours", float("inf")),
        ("feature_ttl_hours", "48"),
        ("feature_ttl_hours", True),
        ("enabled", 1),
    ]:
        with pytest.raises(SettingsError):
            config[name] = value  # type: ignore[assignment]
    with pytest.raises(SettingsError, match="Did you mean 'memory_cache_size'"):
        config["memory_size"] = 1
    assert "memory_size" not in config
    assert config.get("memory_size") is None
    del config["memory_cache_size"]
    assert config["memory_cache_size"] == 10_000


def test_memory_stays_within_its_bounds(caches: CacheRuntime) -> None:
    @cache_features("spatial", "occurrences")
    def features(x: int) -> str:
        return "x" * 100

    caches.config["memory_cache_size"] = 50
    for x in range(500):
        features(x)
    assert caches.memory.stats().entries <= 50


def test_the_hottest_key_stays_when_many_are_asked_for_once_s21() -> None:
    """S21: memory eviction was first-in-first-out; the hottest key went."""
    ran = []

    @cache_features("spatial", "occurrences")
    def features(x: int) -> int:
        ran.append(x)
        return x

    settings = load_settings({}, cache_memory_entries=100)
    with runtime.replaced(CacheRuntime(settings, testing=True)):
        for x in range(5_000):
            features(-1)
            features(x)
    assert ran.count(-1) < 10


def test_recent_invalidations_name_answers_by_everything_they_rest_on() -> None:
    names = Names(key="k", function="m.f", tags=("t",), model_id="tuna", model_version="2", source="occurrences")
    recent = Recent()
    for scope, target, version, touched in [
        ("key", "k", None, True),
        ("key", "other", None, False),
        ("function", "m.f", None, True),
        ("tag", "t", None, True),
        ("source", "occurrences", None, True),
        ("model", "tuna", None, True),
        ("model", "tuna", "3", True),
        ("model", "tuna", "2", False),
        ("all", None, None, True),
    ]:
        before = recent.applied
        recent.note(scope, target, version)
        assert recent.touched(before, names) == touched
        assert not recent.touched(recent.applied, names)
    before = recent.applied
    for number in range(5_000):
        recent.note("key", str(number))
    assert recent.touched(before, names), "more than is remembered: nobody can tell"


def test_failing_hooks_are_counted_and_heard_of_only_in_the_log(
    caches: CacheRuntime, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(event: object) -> None:
        raise RuntimeError("hook")

    @cache_features("spatial", "occurrences")
    def features(x: int) -> int:
        return x

    caches.hooks.append(fail)
    with caplog.at_level(logging.WARNING):
        assert [features(1), features(1)] == [1, 1]
    assert features.cache_info().hook_errors == 2


def test_a_thread_that_outlives_the_program_makes_no_second_runtime() -> None:
    """Its end was waited for as well: 15 s where 5 are given."""
    with runtime.replaced(CacheRuntime(load_settings({}), testing=True)) as own:
        runtime._close_at_exit()
        assert runtime.current() is own


def test_a_fork_waits_for_a_library_that_a_thread_is_loading() -> None:
    """A child had half of a module, for ever: its tier of the lake failed on every call."""
    code = """
        import os, threading, time
        from retention_pipelines.cache.loading import loading
        begun, loaded = threading.Event(), []
        def load():
            with loading():
                begun.set()
                time.sleep(0.5)
                loaded.append(1)
        threading.Thread(target=load).start()
        begun.wait()
        child = os.fork()
        if child == 0:
            with loading():
                os._exit(0 if loaded else 1)
        print(os.waitpid(child, 0)[1])
    """
    assert python(code) == "0"
