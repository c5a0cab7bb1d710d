"""Decorated functions over the real Postgres tier: two runtimes stand for two processes; some tests start real ones."""

import asyncio
import contextlib
import gc
import math
import os
import secrets
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pytest

from retention_pipelines import Grid, cache_features, cache_predictions
from retention_pipelines.cache import below, runtime
from retention_pipelines.cache.keep import keep
from retention_pipelines.cache.process_lock import ProcessLock
from retention_pipelines.cache.runtime import CacheRuntime
from retention_pipelines.errors import CacheError
from retention_pipelines.postgres import address
from retention_pipelines.postgres.server import Server
from retention_pipelines.settings import Settings, load_settings
from tests.fixtures.postgres import migrated_database

WORKER = Path(__file__).with_name("cache_worker.py")


@pytest.fixture(scope="module", params=["embedded", pytest.param("external", marks=pytest.mark.long)])
def migrated_server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """As everywhere, on the external server with `--long`: test_cache_postgres asks both servers the same."""
    with migrated_database(request) as opened:
        yield opened


@pytest.fixture
def cache_settings(migrated_server: Server, tmp_path: Path) -> Settings:
    """Settings of a tenant of its own in the session's database."""
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


@pytest.fixture
def caches(cache_settings: Settings) -> Iterator[CacheRuntime]:
    with runtime.replaced(opened(cache_settings)) as own:
        yield own
        own.invalidate("all", None)


def opened(settings: Settings) -> CacheRuntime:
    """A runtime whose first connection is there."""
    own = CacheRuntime(settings)
    assert own.hot is not None
    until(lambda: _answers(own))
    return own


def _answers(own: CacheRuntime) -> bool:
    assert own.hot is not None
    try:
        own.hot.get("features", "0")
    except CacheError:
        return False
    return True


def until(true: Callable[[], bool], seconds: float = 20.0) -> None:
    ends = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < ends, "it did not come true in time"
        time.sleep(0.005)


def rows(server: Server, table: str, tenant: str, columns: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(address.conninfo(server.address())) as con:
        return con.execute(f"select {columns} from {table} where tenant = %s", (tenant,)).fetchall()  # type: ignore[arg-type]


def test_a_feature_is_found_in_postgres_once_memory_forgot_it_s3(caches: CacheRuntime) -> None:
    """S3: the Postgres tier never gave a hit. S12: features with NaN never reached the database."""
    ran = []

    @cache_features("spatial", "occurrences")
    def features(study_id: str, latitude: float, longitude: float) -> dict[str, float]:
        ran.append(study_id)
        return {"depth": 2.5, "missing": math.nan}

    first = features("a", -12.1, 13.2)
    assert caches.flush()
    caches.memory.clear()
    again = features("a", -12.1, 13.2)
    assert ran == ["a"]
    assert repr(again) == repr(first)
    assert features.cache_info().postgres_hits == 1


def test_another_process_finds_what_this_one_stored_with_its_types_r7(
    caches: CacheRuntime, cache_settings: Settings
) -> None:
    """R7: memory and database answered different types. S11: NumPy scalars were never cached."""
    value = {1: (1, 2), "at": datetime(2024, 1, 1, tzinfo=UTC), "n": np.float32(1.5), "a": np.arange(3), "s": {1}}
    ran = []

    @cache_features("spatial", "occurrences")
    def features() -> dict[Any, Any]:
        ran.append(1)
        return value

    features()
    assert caches.flush()
    with runtime.replaced(opened(cache_settings)):
        other = features()
    assert ran == [1]
    assert repr(other) == repr(value)
    assert type(other["n"]) is np.float32
    assert type(other[1]) is tuple


@pytest.mark.parametrize("value", [{}, [], None, 0, ""], ids=repr)
def test_empty_results_are_found_in_postgres_r8(caches: CacheRuntime, value: Any) -> None:
    """R8: empty results were recomputed for ever on the database tier."""
    ran = []

    @cache_features("spatial", "occurrences")
    def features(which: str) -> Any:
        ran.append(which)
        return value

    for _ in range(3):
        assert features(repr(value)) == value
        assert caches.flush()
        caches.memory.clear()
    assert len(ran) == 1


def test_ids_of_any_length_are_stored_s13(
    caches: CacheRuntime, migrated_server: Server, cache_settings: Settings
) -> None:
    """S13: ids over fifty characters were silently never stored."""
    study = "https://example.org/" + "x" * 200

    @cache_features("spatial", "occurrences")
    def features(study_id: str) -> int:
        return 1

    features(study)
    assert caches.flush()
    caches.memory.clear()
    features(study)
    assert features.cache_info().postgres_hits == 1
    assert rows(migrated_server, "ml_feature_store", cache_settings.tenant, "source_data_id") == [(study,)]


def test_a_value_recomputed_after_expiry_replaces_the_old_one_s18(
    caches: CacheRuntime, migrated_server: Server, cache_settings: Settings
) -> None:
    """S18: a value recomputed after expiry was not stored; the database kept the old one."""
    ran = []

    @cache_features("spatial", "occurrences", ttl=0.3)
    def features() -> int:
        ran.append(1)
        return len(ran)

    features()
    assert caches.flush()
    time.sleep(0.35)
    assert features() == 2
    assert caches.flush()
    assert len(rows(migrated_server, "ml_feature_store", cache_settings.tenant, "cache_key")) == 1


def test_two_keys_with_equal_results_are_both_stored_s19(
    caches: CacheRuntime, migrated_server: Server, cache_settings: Settings
) -> None:
    """S19: of two keys with equal results the second was never stored."""

    @cache_features("spatial", "occurrences")
    def features(study_id: str) -> dict[str, int]:
        return {"depth": 1}

    features("a")
    features("b")
    assert caches.flush()
    found = rows(migrated_server, "ml_feature_store", cache_settings.tenant, "source_data_id, feature_hash")
    assert sorted(name for name, _ in found) == ["a", "b"]
    assert len({digest for _, digest in found}) == 1


def test_reading_writes_nothing_and_lengthens_no_life_r2_r9(
    caches: CacheRuntime, migrated_server: Server, cache_settings: Settings
) -> None:
    """R2: the TTL slid with every read. R9: every database hit was a write as well."""

    @cache_features("spatial", "occurrences")
    def features() -> int:
        return 1

    features()
    assert caches.flush()
    columns = "xmin::text, ctid::text, expires_at"
    before = rows(migrated_server, "ml_feature_store", cache_settings.tenant, columns)
    for _ in range(5):
        caches.memory.clear()
        features()
    assert features.cache_info().postgres_hits == 5
    assert rows(migrated_server, "ml_feature_store", cache_settings.tenant, columns) == before


def test_a_value_read_from_postgres_keeps_its_remaining_life(caches: CacheRuntime) -> None:
    ran = []

    @cache_features("spatial", "occurrences", ttl=0.6)
    def features() -> int:
        ran.append(1)
        return 1

    features()
    assert caches.flush()
    time.sleep(0.3)
    caches.memory.clear()
    features()
    time.sleep(0.35)
    features()
    assert len(ran) == 2


def test_what_was_stored_before_a_life_was_shortened_is_still_found(caches: CacheRuntime) -> None:
    runs: list[int] = []

    @cache_features("spatial", "studies", version=secrets.token_hex(8))
    def feature(study_id: int) -> dict[str, int]:
        runs.append(study_id)
        return {"study_id": study_id}

    caches.config["feature_ttl_hours"] = 100
    assert feature(1) == {"study_id": 1}
    assert caches.flush()
    caches.config["feature_ttl_hours"] = 24
    caches.memory.clear()
    assert feature(1) == {"study_id": 1}
    assert runs == [1]


def test_the_row_says_what_call_and_result_said(
    caches: CacheRuntime, migrated_server: Server, cache_settings: Settings
) -> None:
    @cache_features("environmental", "occurrences", temporal_window=lambda bound: f"P{bound['days']}D")
    def features(study_id: str, latitude: float, longitude: float, event_time: datetime, days: int) -> dict[str, float]:
        return {"temperature_degc": 17.0, "quality_score": 0.9}

    @cache_predictions("species", model_id="tuna", model_version="7", spatial=Grid(0.5))
    def predict(lat: float, lon: float, person: str) -> dict[str, Any]:
        return {"prediction": 1, "confidence": 0.75, "prediction_metadata": {"trees": 100}}

    at = datetime(2024, 3, 1, tzinfo=UTC)
    features("s1", -12.1, 13.2, at, 7)
    predict(-12.1, 13.2, "Maria da Silva")
    assert caches.flush()
    columns = "feature_id, feature_type, source_table, source_data_id, temporal_window, location_grid, event_time"
    assert rows(migrated_server, "ml_feature_store", cache_settings.tenant, f"{columns}, quality_score, priority") == [
        ("s1/environmental", "environmental", "occurrences", "s1", "P7D", "-12.25_13.0", at, 0.9, "high")
    ]
    columns = "model_id, model_type, model_version, confidence, latitude, longitude, location_grid, cell_deg"
    [row] = rows(
        migrated_server, "ml_inference_cache", cache_settings.tenant, f"{columns}, prediction_metadata, input_summary"
    )
    assert row[:8] == ("tuna", "species", "7", 0.75, -12.1, 13.2, "-12.5_13.0", 0.5)
    assert row[8] == {"trees": 100, "location_grid": "-12.5_13.0", "cell_deg": 0.5}
    assert "Maria" not in str(row[9])


def test_an_unknown_quality_stays_unknown(
    caches: CacheRuntime, migrated_server: Server, cache_settings: Settings
) -> None:
    @cache_features("spatial", "occurrences")
    def features() -> dict[str, float]:
        return {"latitude": 1.0}

    features()
    assert caches.flush()
    assert rows(migrated_server, "ml_feature_store", cache_settings.tenant, "quality_score, priority") == [(None, None)]


def test_an_invalidation_reaches_the_other_process_within_its_second(
    caches: CacheRuntime, cache_settings: Settings
) -> None:
    ran = []

    @cache_features("spatial", "occurrences", tags=("bay",))
    def features(x: int) -> int:
        ran.append(x)
        return len(ran)

    features(1)
    assert caches.flush()
    other = opened(cache_settings)
    with runtime.replaced(other):
        assert features(1) == 1
        caches.invalidate("tag", "bay")
        until(lambda: features(1) == 2, 3.0)
        assert other.flush()


def test_a_retrained_model_is_another_version_everywhere(caches: CacheRuntime, cache_settings: Settings) -> None:
    answers = ["old"]

    @cache_predictions("species", model_id="tuna")
    def predict(x: int) -> str:
        return answers[0]

    assert caches.models is not None
    caches.models.register("tuna", "1", model_type="species")
    assert predict(1) == "old"
    other = opened(cache_settings)
    with runtime.replaced(other):
        assert predict(1) == "old"
        answers[0] = "new"
        caches.models.register("tuna", "2", model_type="species")
        until(lambda: predict(1) == "new", 3.0)
        assert other.flush()


@pytest.mark.parametrize("under_way", [False, True], ids=["waiting", "being sent"])
def test_an_invalidated_answer_is_not_read_back_from_the_write_queue(
    cache_settings: Settings, *, under_way: bool
) -> None:
    patient = cache_settings.model_copy(update={"cache_flush_seconds": 60.0})
    with runtime.replaced(opened(patient)) as caches:
        ran = []

        @cache_features("spatial", "occurrences")
        def features(x: int) -> int:
            ran.append(x)
            return len(ran)

        assert caches.writer is not None
        caches.process_lock = None  # or the first entry would be sent at once
        assert features(1) == 1
        with caches.writer._lock:
            batch = caches.writer._next_batch() if under_way else {}
        assert caches.writer.pending("features", features.key(1)) is not None
        features.invalidate(1)
        assert caches.writer.pending("features", features.key(1)) is None
        assert features(1) == 2
        if under_way:
            assert caches.writer._send(batch)
        caches.memory.clear()
        assert features(1) == 2, "the newer answer waits in the queue"
        assert caches.flush()
        caches.memory.clear()
        assert features(1) == 2
        caches.invalidate("all", None)


def test_an_answer_put_after_an_invalidation_that_names_it_never_reaches_the_queue(caches: CacheRuntime) -> None:
    @cache_features("spatial", "occurrences")
    def features(x: int) -> int:
        return x

    call = features.cached.look((1,), {})  # type: ignore[attr-defined]
    entry = keep(call, 1, 0.1, time.monotonic()).entry
    assert entry is not None
    assert caches.writer is not None
    features.invalidate(1)
    below.write_behind(call, entry)
    assert caches.writer.pending("features", call.key) is None


def test_while_postgres_is_away_an_invalidated_answer_is_not_read_back(
    caches: CacheRuntime, cache_settings: Settings
) -> None:
    ran = []

    @cache_features("spatial", "occurrences")
    def features(x: int) -> int:
        ran.append(x)
        return len(ran)

    features(1)
    assert caches.flush()
    assert caches.log is not None
    record, caches.log.record = caches.log.record, _unavailable  # type: ignore[method-assign]
    features.invalidate(1)
    caches.memory.clear()
    assert features(1) == 2, "the old answer is still in Postgres and must not be read"
    caches.log.record = record  # type: ignore[method-assign]
    features.invalidate(2)
    until(lambda: not caches._unrecorded)
    caches.memory.clear()
    assert features(1) in (2, 3)


class _SeenLock:
    """A lock that says when somebody waits for it."""

    def __init__(self, waited: threading.Event) -> None:
        self._lock = threading.Lock()
        self._waited = waited

    def __enter__(self) -> None:
        if not self._lock.acquire(blocking=False):
            self._waited.set()
            self._lock.acquire()

    def __exit__(self, *raised: object) -> None:
        self._lock.release()


def test_an_invalidation_made_while_the_last_one_has_just_been_told_is_told_too(caches: CacheRuntime) -> None:
    """It came between the last look at what waits and the end of the telling: no other process heard of it."""
    arrived = threading.Event()

    def invalidate_another() -> None:
        caches.invalidate("tag", "second")
        arrived.set()

    another = threading.Thread(target=invalidate_another)

    class Telling(threading.Event):
        def clear(self) -> None:
            if another.ident is None:
                another.start()
                assert arrived.wait(10)
            super().clear()

    caches._lock = _SeenLock(arrived)  # type: ignore[assignment]
    caches._telling = Telling()
    caches.invalidate("tag", "first")
    until(lambda: another.ident is not None)
    another.join(10)
    until(lambda: not caches._unrecorded)


def test_an_invalidation_made_while_another_is_refused_is_tried_too(caches: CacheRuntime) -> None:
    """Postgres was back for it, but who told the others had given up, and looked no more."""
    assert caches.log is not None
    record = caches.log.record
    another = threading.Thread(target=lambda: caches.invalidate("tag", "second"))

    def refused_once(*args: Any, **kwargs: Any) -> Any:
        assert caches.log is not None
        caches.log.record = record  # type: ignore[method-assign]
        another.start()
        until(lambda: len(caches._unrecorded) == 2)
        _unavailable()

    caches.log.record = refused_once  # type: ignore[method-assign]
    caches.invalidate("tag", "first")
    until(lambda: another.ident is not None)
    another.join(10)
    until(lambda: not caches._unrecorded)


def test_flushing_waits_for_invalidations_to_be_told(caches: CacheRuntime) -> None:
    assert caches.log is not None
    record, caches.log.record = caches.log.record, _unavailable  # type: ignore[method-assign]
    caches.invalidate("tag", "first")
    assert not caches.flush()
    caches.log.record = record  # type: ignore[method-assign]
    assert caches.flush()
    assert not caches._unrecorded


def _unavailable(*args: Any, **kwargs: Any) -> Any:
    from retention_pipelines.cache.hot import Unavailable

    raise Unavailable("away")


def test_without_postgres_functions_run_and_memory_caches(tmp_path: Path) -> None:
    settings = load_settings(
        {}, database_url="postgresql://nobody@127.0.0.1:1/nothing", state_dir=tmp_path, lake_root=str(tmp_path / "w")
    )
    ran = []

    @cache_features("spatial", "occurrences")
    def features(x: int) -> int:
        ran.append(x)
        return x

    @cache_predictions("species")
    def predict(x: int) -> int:
        ran.append(x)
        return x

    with runtime.replaced(CacheRuntime(settings)) as own:
        for function in (features, predict):
            assert [function(1), function(1), function(1)] == [1, 1, 1]
            assert function.cache_info().memory_hits == 2
        degraded = sum(count for name, count in own.counters.snapshot().items() if name[1] == "degraded")
        assert degraded > 0
    assert len(ran) == 2


def test_read_only_reads_both_tiers_and_writes_nothing_s20(
    caches: CacheRuntime, cache_settings: Settings, migrated_server: Server
) -> None:
    """S20: the read-only mode read no cache and filled none."""
    ran = []

    @cache_features("spatial", "occurrences")
    def features(x: int) -> int:
        ran.append(x)
        return x

    features(1)
    assert caches.flush()
    reading = cache_settings.model_copy(update={"mode": "read_only"})
    threads = threading.active_count()
    with runtime.replaced(CacheRuntime(reading)) as own:
        until(lambda: _answers(own))
        features(1)
        assert features.cache_info().postgres_hits == 1
        features(1)
        features(2)
        features(2)
        assert features.cache_info().memory_hits == 2
        own.flush()
        assert threading.active_count() <= threads
        caches.invalidate("all", None)
        time.sleep(1.1)
        features(1)
    assert ran == [1, 2, 1]
    assert rows(migrated_server, "ml_feature_store", cache_settings.tenant, "cache_key") == []


def test_write_through_is_stored_when_the_call_returns(
    caches: CacheRuntime, migrated_server: Server, cache_settings: Settings
) -> None:
    @cache_features("spatial", "occurrences", write="through")
    def features(x: int) -> int:
        return x

    features(1)
    assert len(rows(migrated_server, "ml_feature_store", cache_settings.tenant, "cache_key")) == 1


def test_reads_are_counted_in_batches_for_the_policies(
    caches: CacheRuntime, migrated_server: Server, cache_settings: Settings
) -> None:
    @cache_features("spatial", "occurrences")
    def features(x: int) -> int:
        return x

    for _ in range(301):
        features(1)
    assert caches.flush()
    assert rows(migrated_server, "access_counts", cache_settings.tenant, "key, hits") == [(features.key(1), 300)]


def test_reads_of_functions_that_are_gone_are_counted_too(
    caches: CacheRuntime, migrated_server: Server, cache_settings: Settings
) -> None:
    for _ in range(3):

        @cache_features("spatial", "occurrences", version=1)
        def features(x: int) -> int:
            return x

        for _ in range(3):
            features(1)
    del features
    gc.collect()
    assert caches.flush()
    assert rows(migrated_server, "access_counts", cache_settings.tenant, "dataset, hits") == [("ml_feature_store", 8)]


def test_coroutines_use_postgres_too(caches: CacheRuntime) -> None:
    import asyncio

    ran = []

    @cache_features("spatial", "occurrences", write="through")
    async def features(x: int) -> int:
        ran.append(x)
        await asyncio.sleep(0)
        return x

    async def run() -> list[int]:
        first = await features(1)
        caches.memory.clear()
        return [first, *await asyncio.gather(*[features(1) for _ in range(5)])]

    assert asyncio.run(run()) == [1] * 6
    assert ran == [1]
    assert features.cache_info().postgres_hits == 1


def test_two_processes_at_once_compute_once(caches: CacheRuntime, cache_settings: Settings) -> None:
    """Two runtimes in two threads: the second waits for its turn and finds the first one's answer."""
    other = opened(cache_settings)
    started, go, ran = threading.Event(), threading.Event(), []

    def features() -> int:
        ran.append(1)
        started.set()
        assert go.wait(10)
        return 7

    one = cache_features("spatial", "occurrences", version="1")(features)
    two = cache_features("spatial", "occurrences", version="1")(features)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(one)
        assert started.wait(10)
        with runtime.replaced(other):
            second = pool.submit(two)
            until(lambda: two.cached._runtime is other)
            time.sleep(0.1)
            go.set()
            assert [first.result(10), second.result(10)] == [7, 7]
    assert ran == [1]
    assert two.cache_info().postgres_hits == 1


def environment(settings: Settings, **more: str) -> dict[str, str]:
    assert settings.database_url is not None
    assert settings.cache_secret is not None
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("RETENTION_")},
        "RETENTION_DATABASE_URL": settings.database_url.get_secret_value(),
        "RETENTION_TENANT": settings.tenant,
        "RETENTION_CACHE_SECRET": settings.cache_secret.get_secret_value(),
        "RETENTION_STATE_DIR": str(settings.state_dir),
        "RETENTION_LAKE_ROOT": settings.lake_root,
        "RETENTION_CACHE_DEADLINE_SECONDS": "5",
        **more,
    }


def worker(settings: Settings, *command: str, **more: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, str(WORKER), *command], env=environment(settings, **more), stdout=subprocess.PIPE, text=True
    )


def said(process: "subprocess.Popen[str]") -> str:
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    return output.strip()


def test_a_short_lived_process_stores_what_it_computed_s17(caches: CacheRuntime, cache_settings: Settings) -> None:
    """S17: the store to Postgres was fire-and-forget; a short-lived process lost it."""
    assert said(worker(cache_settings, "once")) == "computed 1"
    assert said(worker(cache_settings, "once")) == "computed 0"


def test_clocks_and_time_zones_of_hosts_do_not_matter_s22(caches: CacheRuntime, cache_settings: Settings) -> None:
    """S22: with TZ east of UTC a fresh row was already expired."""
    assert said(worker(cache_settings, "once", TZ="Pacific/Kiritimati")) == "computed 1"
    assert said(worker(cache_settings, "once", TZ="Pacific/Pago_Pago")) == "computed 0"


def test_four_processes_of_fifty_threads_run_a_cold_function_once(
    caches: CacheRuntime, cache_settings: Settings, tmp_path: Path
) -> None:
    start = tmp_path / "start"
    workers = [worker(cache_settings, "stampede", str(start)) for _ in range(4)]
    time.sleep(2.0)
    start.touch()
    assert sorted(said(process) for process in workers) == ["computed 0"] * 3 + ["computed 1"]


def test_a_child_after_a_fork_has_caches_of_its_own(caches: CacheRuntime, cache_settings: Settings) -> None:
    assert said(worker(cache_settings, "fork")) == "child computed 0, parent computed 1"


@pytest.mark.long
def test_a_child_forked_beside_busy_threads_ends(caches: CacheRuntime, cache_settings: Settings) -> None:
    """One in some hundred hung: a thread that connected was loading a module when the process forked."""
    assert said(worker(cache_settings, "fork beside threads")) == "ended"


def test_what_was_written_through_survives_kill_9(caches: CacheRuntime, cache_settings: Settings) -> None:
    process = worker(cache_settings, "killed")
    process.communicate(timeout=120)
    assert process.returncode == -9
    assert said(worker(cache_settings, "after_kill")) == "computed 0"


def test_coroutines_that_wait_for_other_processes_keep_no_other_from_its_answer(caches: CacheRuntime) -> None:
    """Waiting in the few threads that ask Postgres, eight of them kept all other coroutines waiting as long."""
    assert caches.hot is not None
    other = ProcessLock(caches.hot)

    @cache_features("spatial", "occurrences")
    async def computed(number: int) -> int:
        return number

    async def run() -> None:
        await computed(1000)
        assert caches.flush()
        caches.memory.clear()
        for number in range(20):
            assert other.acquire(computed.key(number), 0.0) == "leader"
        waiting = [asyncio.create_task(computed(number)) for number in range(20)]
        await asyncio.sleep(0.2)
        assert await computed(1000) == 1000
        assert computed.cache_info().postgres_hits == 1
        assert not any(task.done() for task in waiting)
        for number in range(20):
            other.release([computed.key(number)])
        assert await asyncio.gather(*waiting) == list(range(20))
        other.close()

    asyncio.run(run())


def test_a_coroutine_that_is_cancelled_while_it_asks_for_its_turn_does_not_keep_it(caches: CacheRuntime) -> None:
    """The thread that asked got the lock for nobody: every other process waited for it as long as this one lived."""
    assert caches.hot is not None

    @cache_features("spatial", "occurrences")
    async def computed(number: int) -> int:
        await asyncio.sleep(30)
        return number

    async def run() -> None:
        await asyncio.to_thread(caches.first_seq)
        other = ProcessLock(caches.hot)
        for number in range(20):
            task = asyncio.create_task(computed(number))
            await asyncio.sleep(number / 4000)
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        for number in range(20):
            assert await asyncio.to_thread(other.acquire, computed.key(number), 20.0) in ("leader", "ready")
        other.close()

    asyncio.run(run())
