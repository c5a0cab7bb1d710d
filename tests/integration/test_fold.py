"""Folding cached features into the lake: nothing lost, nothing doubled, nothing stale served."""

import dataclasses
import json
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from retention_pipelines.cache import runtime
from retention_pipelines.cache.decorators import cache_features
from retention_pipelines.cache.entry import NewEntry, Payload
from retention_pipelines.cache.events import CacheEvent, Counters
from retention_pipelines.cache.fold import DATASET, Folded, fold
from retention_pipelines.cache.hot import HotTier
from retention_pipelines.cache.invalidation import InvalidationLog
from retention_pipelines.cache.lake_tier import LakeTier
from retention_pipelines.errors import CorruptEntry
from retention_pipelines.postgres.engine import connect
from retention_pipelines.postgres.server import Server
from retention_pipelines.settings import Settings
from retention_pipelines.warehouse import Lake
from tests.fixtures.postgres import end_sessions, migrated_database

WORKER = Path(__file__).with_name("fold_worker.py")


@pytest.fixture(params=["embedded", pytest.param("external", marks=pytest.mark.long)])
def database(request: pytest.FixtureRequest) -> Iterator[Server]:
    """As everywhere, on the external server with `--long`: nothing here depends on the kind of server."""
    with migrated_database(request) as opened:
        yield opened


@pytest.fixture
def patient(database_settings: Settings) -> Settings:
    return database_settings.model_copy(update={"cache_deadline_seconds": 20.0})


@pytest.fixture
def hot(patient: Settings) -> Iterator[HotTier]:
    tier = HotTier(patient, counters=Counters())
    yield tier
    tier.close()


@pytest.fixture
def tier(patient: Settings) -> Iterator[LakeTier]:
    opened = LakeTier(patient)
    yield opened
    opened.close()


@pytest.fixture
def lake(patient: Settings) -> Iterator[Lake]:
    with Lake(patient) as opened:
        yield opened


def key(number: int) -> str:
    return f"{number * 0x9E3779B97F4A7C15 % 2**64:016x}{number:016x}"


def entry(number: int, *, data: bytes | None = None, age: float = 10.0, ttl: float | None = 86_400.0) -> NewEntry:
    return NewEntry(
        kind="features",
        key=key(number),
        payload=Payload(codec="test-1", data=f"value {number}".encode() if data is None else data),
        computed_monotonic=time.monotonic() - age,
        ttl_seconds=ttl,
        compute_seconds=0.5,
        function="module.function",
        tags=("survey", f"n{number}"),
        columns={
            "feature_type": "species",
            "source_table": "occurrences",
            "source_data_id": f"s/{number}",
            "quality_score": 0.9,
            "priority": "high",
        },
    )


def fold_now(lake: Lake, server: Server) -> Folded:
    return fold(lake, server, settled_seconds=0, worth_seconds=0)


def moved(lake: Lake, server: Server, hot: HotTier, tier: LakeTier, *entries: NewEntry) -> None:
    """Store entries and let Postgres go of them, into the lake."""
    assert hot.put_many(entries) == len(entries)
    assert fold_now(lake, server).rows_added == len(entries)
    assert fold_now(lake, server) == Folded(rows_released=len(entries), rows_added=0)
    assert hot.get_many("features", [one.key for one in entries]) == {}
    tier.refresh()


def in_lake(lake: Lake) -> list[tuple[Any, ...]]:
    rows = lake.con.sql(f"select tenant, cache_key, computed_at from {lake.table(DATASET).scan()}")
    return [tuple(row) for row in rows.fetchall()]


def test_what_was_folded_is_found_in_the_lake_as_it_was(
    lake: Lake, database: Server, hot: HotTier, tier: LakeTier
) -> None:
    every_byte = bytes(range(256)) * 40
    moved(lake, database, hot, tier, entry(1, data=every_byte), entry(2, ttl=None), entry(3, data=b""))
    found = tier.get(key(1))
    assert found is not None
    assert (found.payload, found.compute_seconds) == (Payload(codec="test-1", data=every_byte), 0.5)
    assert found.age_seconds >= 10
    assert found.remaining_seconds is not None
    assert found.age_seconds + found.remaining_seconds == pytest.approx(86_400)
    for_ever = tier.get(key(2))
    assert for_ever is not None
    assert for_ever.remaining_seconds is None
    assert tier.get(key(3)).payload.data == b""  # type: ignore[union-attr]
    assert tier.get(key(4)) is None
    row = lake.con.sql(f"from {lake.table(DATASET).scan()}").to_arrow_table().to_pylist()[0]
    assert (row["feature_type"], row["quality_score"], row["tags"][0]) == ("species", 0.9, "survey")


def test_young_rows_and_rows_about_to_expire_stay_in_postgres(lake: Lake, database: Server, hot: HotTier) -> None:
    hot.put_many([entry(1, age=0), entry(2, age=7200), entry(3, age=7200, ttl=9000), entry(4, age=7200, ttl=None)])
    assert fold(lake, database).rows_added == 2
    assert sorted(name for _, name, _ in in_lake(lake)) == sorted([key(2), key(4)])


def test_an_expired_entry_is_never_served(lake: Lake, database: Server, hot: HotTier, tier: LakeTier) -> None:
    moved(lake, database, hot, tier, entry(1, age=10, ttl=15))
    found = tier.get(key(1))
    assert found is None or (found.remaining_seconds or 0) > 0
    ends = time.monotonic() + 20
    while tier.get(key(1)) is not None:
        assert time.monotonic() < ends
        time.sleep(0.2)
    assert [name for _, name, _ in in_lake(lake)] == [key(1)]


@pytest.mark.parametrize(
    ("scope", "target"),
    [("all", None), ("key", key(1)), ("function", "module.function"), ("tag", "n1"), ("source", "s/1")],
)
def test_what_was_invalidated_after_it_was_computed_is_not_served(
    lake: Lake, database: Server, hot: HotTier, tier: LakeTier, scope: Any, target: str | None
) -> None:
    moved(lake, database, hot, tier, entry(1), entry(2))
    log = InvalidationLog(hot)
    log.record("tag", "another")
    log.record("key", "0" * 32)
    assert tier.get(key(1)) is not None
    log.record(scope, target)
    assert tier.get(key(1)) is None
    assert (tier.get(key(2)) is None) == (scope in ("all", "function"))
    # Computed again after that, it is served again.
    time.sleep(0.01)
    moved(lake, database, hot, tier, entry(1, data=b"again", age=0))
    assert tier.get(key(1)).payload.data == b"again"  # type: ignore[union-attr]


def test_an_invalidated_row_is_not_folded(lake: Lake, database: Server, hot: HotTier) -> None:
    hot.put_many([entry(1), entry(2)])
    # Said, and not carried out yet.
    with connect(database, role="service", tenant="local", autocommit=True) as con:
        con.execute("insert into invalidation_log (tenant, scope, target) values ('local', 'tag', 'n1')")
    assert fold_now(lake, database).rows_added == 1
    assert [name for _, name, _ in in_lake(lake)] == [key(2)]


def test_a_newer_value_stays_in_postgres_and_then_wins_in_the_lake(
    lake: Lake, database: Server, hot: HotTier, tier: LakeTier
) -> None:
    hot.put_many([entry(1)])
    fold_now(lake, database)
    hot.put_many([entry(1, data=b"newer", age=0)])
    assert fold_now(lake, database) == Folded(rows_released=0, rows_added=1)
    assert hot.get("features", key(1)).payload.data == b"newer"  # type: ignore[union-attr]
    fold_now(lake, database)
    tier.refresh()
    assert hot.get("features", key(1)) is None
    assert tier.get(key(1)).payload.data == b"newer"  # type: ignore[union-attr]


def test_a_damaged_or_copied_entry_is_not_served(lake: Lake, database: Server, hot: HotTier, tier: LakeTier) -> None:
    moved(lake, database, hot, tier, entry(1), entry(2), entry(3))
    swap = "case cache_key when '{}' then '{}' when '{}' then '{}' else cache_key end"
    lake.table(DATASET).rewrite(
        lambda rows: f"select * replace ({swap.format(key(1), key(2), key(2), key(1))} as cache_key) from {rows}",
        op="test",
    )
    tier.refresh()
    for n in (1, 2):
        with pytest.raises(CorruptEntry):
            tier.get(key(n))
    assert tier.get(key(3)) is not None
    lake.table(DATASET).rewrite(lambda rows: f"select * replace ('ü' as payload_base64) from {rows}", op="test")
    tier.refresh()
    with pytest.raises(CorruptEntry):
        tier.get(key(3))


def test_a_key_that_is_none_hides_no_other(lake: Lake, database: Server, hot: HotTier, tier: LakeTier) -> None:
    odd = dataclasses.replace(entry(1), key="no digest")
    moved(lake, database, hot, tier, odd, entry(2))
    assert tier.get(key(2)) is not None


def test_a_tenant_is_not_served_with_the_entries_of_another(
    lake: Lake, database: Server, hot: HotTier, tier: LakeTier, patient: Settings
) -> None:
    moved(lake, database, hot, tier, entry(1))
    other = LakeTier(patient.model_copy(update={"tenant": "north"}))
    other.refresh()
    assert other.get(key(1)) is None
    other.close()


def test_rows_of_all_tenants_are_folded(lake: Lake, database: Server, patient: Settings) -> None:
    for tenant in ("north", "south"):
        other = HotTier(patient.model_copy(update={"tenant": tenant}), counters=Counters())
        other.put_many([entry(1)])
        other.close()
    assert fold_now(lake, database).rows_added == 2
    assert sorted(tenant for tenant, _, _ in in_lake(lake)) == ["north", "south"]


def test_the_keys_are_brought_up_to_date_by_asking(
    lake: Lake, database: Server, hot: HotTier, patient: Settings
) -> None:
    asking = LakeTier(patient)
    assert asking.get(key(1)) is None
    hot.put_many([entry(1)])
    fold_now(lake, database)
    ends = time.monotonic() + 20
    while asking.get(key(1)) is None:
        assert time.monotonic() < ends
        time.sleep(0.05)
    asking.close()


def test_without_postgres_nobody_vouches_for_an_entry(
    lake: Lake, database: Server, hot: HotTier, patient: Settings
) -> None:
    hot.put_many([entry(1)])
    fold_now(lake, database)
    away = LakeTier(patient.model_copy(update={"cache_deadline_seconds": 0.5, "tenant": "local"}))
    away.refresh()
    assert away.get(key(1)) is not None
    end_sessions(database)
    # The connection was cut: either a new one vouched, or nobody did; nothing is raised.
    found = away.get(key(1))
    assert found is None or found.payload.data == b"value 1"
    away.close()


def test_read_only_mode_reads_what_was_folded_without_a_thread(
    lake: Lake, database: Server, hot: HotTier, tier: LakeTier, patient: Settings
) -> None:
    moved(lake, database, hot, tier, entry(1))
    reading = LakeTier(patient.model_copy(update={"mode": "read_only"}))
    found = reading.get(key(1))
    assert found is not None
    assert found.payload.data == b"value 1"
    reading.close()


def test_a_decorated_function_is_answered_from_the_lake_as_it_was(
    lake: Lake, database: Server, patient: Settings
) -> None:
    calls: list[str] = []
    events: list[CacheEvent] = []

    @cache_features("species", "occurrences", hooks=[events.append])
    def features(study: str, when: datetime) -> dict[str, Any]:
        calls.append(study)
        return {"study": study, "when": when, "values": (1, 2.5, None)}

    when = datetime(2017, 8, 14, tzinfo=UTC)
    with runtime.replaced(runtime.CacheRuntime(patient)) as running:
        first = features("s/1", when)
        assert running.flush()
        assert fold_now(lake, database).rows_added == 1
        assert fold_now(lake, database).rows_released == 1
        running.memory.clear()
        assert isinstance(running.lake_tier, LakeTier)
        running.lake_tier.refresh()
        assert features("s/1", when) == first
        assert calls == ["s/1"]
        assert [(one.outcome, one.tier) for one in events if one.outcome == "hit"] == [("hit", "lake")]
        # Damaged, it is computed again, and that is told.
        running.memory.clear()
        lake.table(DATASET).rewrite(lambda rows: f"select * replace ('' as payload_mac) from {rows}", op="test")
        running.lake_tier.refresh()
        assert features("s/1", when) == first
        assert calls.pop() == "s/1"
        assert [(one.outcome, one.tier) for one in events if one.outcome == "corrupt"] == [("corrupt", "lake")]
        # Invalidated, too.
        running.memory.clear()
        features.invalidate("s/1", when)
        assert running.flush()
        assert features("s/1", when) == first
        assert calls == ["s/1", "s/1"]


def test_kill_9_at_any_moment_loses_no_row_and_doubles_none(
    lake: Lake, database: Server, hot: HotTier, tier: LakeTier, patient: Settings
) -> None:
    url = patient.database_url
    assert url is not None
    told = json.dumps(
        {
            "database_url": url.get_secret_value(),
            "lake_root": patient.lake_root,
            "state_dir": str(patient.state_dir),
        }
    )
    chance = random.Random(7)
    stored = 0
    for _ in range(6):
        process = subprocess.Popen([sys.executable, str(WORKER), told], stdout=subprocess.PIPE)
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        until = time.monotonic() + chance.uniform(0.05, 0.6)
        while time.monotonic() < until:
            stored += hot.put_many([entry(stored + n) for n in range(50)])
        process.kill()
        process.wait(30)
        process.stdout.close()
        present = [name for _, name, _ in in_lake(lake)]
        assert len(present) == len(set(present))
        left = hot.get_many("features", [key(n) for n in range(stored)])
        assert set(present) | set(left) >= {key(n) for n in range(stored)}
    fold_now(lake, database)
    fold_now(lake, database)
    assert sorted(name for _, name, _ in in_lake(lake)) == sorted(key(n) for n in range(stored))
    assert hot.get_many("features", [key(n) for n in range(stored)]) == {}
    tier.refresh()
    for n in range(0, stored, max(1, stored // 50)):
        found = tier.get(key(n))
        assert found is not None
        assert found.payload.data == f"value {n}".encode()
