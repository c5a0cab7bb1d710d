"""Training sets that retention takes out: row and files together, gone for readers at once, back within the grace."""

import os
from dataclasses import replace
from typing import Any

import numpy as np
import psycopg
import pytest

from retention_pipelines.cache.training.description import Description
from retention_pipelines.cache.training.store import Preparation, TrainingSets
from retention_pipelines.retention.actions.act_training import clean_sets
from retention_pipelines.retention.protection.holds import place_hold, release_hold
from retention_pipelines.retention.recovery.restore import restore_plan, restore_rows
from retention_pipelines.retention.runs.run import Runner
from retention_pipelines.settings import Settings

pytestmark = pytest.mark.parametrize("database", ["embedded"], indirect=True)
KEYS = [f"{number:064x}" for number in range(4)]


def save(sets: TrainingSets, con: psycopg.Connection[Any], key: str, number: int, *, days_old: int) -> None:
    preparation = Preparation(started_ns=sets.clock_ns(), compute_seconds=3.0, model_type="sdm")
    value = (np.full((20_000, 3), float(number)), np.arange(20_000) + number)
    stored = sets.save(key, value, description=Description(), preparation=preparation)
    assert stored is not None
    con.execute(
        "insert into ml_training_cache (tenant, cache_key, model_type, files, content_sha256, size_bytes, computed_at,"
        " compute_seconds) values (%s, %s, 'sdm', 'f', %s, %s, now() - make_interval(days => %s), 3)"
        " on conflict (tenant, cache_key) do update set content_sha256 = excluded.content_sha256",
        (sets.tenant, key, bytes.fromhex(stored.content_sha256), stored.size_bytes, days_old),
    )


@pytest.fixture
def sets(database_settings: Settings, everyone: psycopg.Connection[Any]) -> TrainingSets:
    """Three old sets and a young one."""
    sets = TrainingSets(database_settings)
    for number, key in enumerate(KEYS):
        save(sets, everyone, key, number, days_old=1 if number == 3 else 40)
    return sets


def usable(sets: TrainingSets) -> list[bool]:
    return [sets.find(key) is not None for key in KEYS]


def stored_files(sets: TrainingSets) -> int:
    return len(os.listdir(sets.root / "files"))


def test_a_set_goes_with_its_row_and_comes_back_with_it(
    retention: Runner, everyone: psycopg.Connection[Any], sets: TrainingSets
) -> None:
    rows = everyone.execute("select t::text from ml_training_cache as t order by 1").fetchall()
    files = stored_files(sets)
    plan = retention.plan(retention.planner.registry.get("tc_rare"))
    outcome = retention.execute(plan.sha256, confirm=plan.sha256)
    assert (outcome.removed, usable(sets)) == (3, [False, False, False, True])
    assert everyone.execute("select count(*) from ml_training_cache").fetchall() == [(1,)]
    assert everyone.execute("select count(*), sum(compute_seconds) from tombstones").fetchall() == [(3, 9.0)]
    # Cleaning meanwhile takes no file that can still be wanted.
    assert sets.clean(safe_age_seconds=0) == 0
    assert stored_files(sets) == files
    assert [one.rows for one in restore_rows(retention, "training_cache", [KEYS[1]])] == [1]
    assert usable(sets) == [False, True, False, True]
    assert restore_plan(retention, plan.sha256).rows == 2
    assert usable(sets) == [True] * 4
    assert everyone.execute("select t::text from ml_training_cache as t order by 1").fetchall() == rows


def test_a_set_that_is_leased_or_was_prepared_anew_stays(
    retention: Runner, everyone: psycopg.Connection[Any], sets: TrainingSets
) -> None:
    everyone.execute(
        "insert into leases (dataset, match, reason, placed_by, leased_until)"
        " values ('training_cache', 'model_version is unknown', 'training', 'ana', now() + interval '1 hour')"
    )
    plan = retention.plan(retention.planner.registry.get("tc_rare"))
    assert plan.removed_rows == 0
    everyone.execute("update leases set leased_until = placed_at")
    plan = retention.plan(retention.planner.registry.get("tc_rare"))

    # Prepared anew after its row went and before its file did.
    def prepare(name: str) -> None:
        if name == "deleting":
            preparation = Preparation(started_ns=sets.clock_ns(), compute_seconds=3.0, model_type="sdm")
            sets.save(KEYS[0], (np.ones((9, 2)), np.ones(9)), description=Description(), preparation=preparation)

    outcome = replace(retention, step=prepare).execute(plan.sha256, confirm=plan.sha256)
    assert (outcome.removed, usable(sets)) == (3, [True, False, False, True])


def test_after_the_grace_the_files_are_gone(
    retention: Runner, everyone: psycopg.Connection[Any], sets: TrainingSets
) -> None:
    plan = retention.plan(retention.planner.registry.get("tc_rare"))
    retention.execute(plan.sha256, confirm=plan.sha256)
    everyone.execute("update plans set grace_until = now()")
    (swept,) = retention.sweep()
    assert swept.state == "done"
    assert not (sets.root / "buried" / plan.sha256).exists()
    assert sets.clean(safe_age_seconds=0) > 0
    assert usable(sets) == [False, False, False, True]


def test_upkeep_frees_nothing_while_a_legal_hold_on_sets_is_open(
    retention: Runner, database_settings: Settings, sets: TrainingSets, monkeypatch: pytest.MonkeyPatch
) -> None:
    defaults = TrainingSets.clean.__kwdefaults__ | {"safe_age_seconds": 0.0}
    monkeypatch.setattr(TrainingSets.clean, "__kwdefaults__", defaults)
    sets.invalidate("all")
    engine = retention.planner.engine
    hold = place_hold(engine, dataset="training_cache", match="everything", reason="Case 7.", placed_by="me")
    before = stored_files(sets)
    assert clean_sets(database_settings) is None
    assert stored_files(sets) == before
    release_hold(engine, hold.hold_id, released_by="me")
    assert clean_sets(database_settings)
    assert stored_files(sets) == 0
