"""Archiving and migrating rows of Postgres and training sets, and compressing sets: all of it can be read."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import psycopg
import pytest
from sqlalchemy import text

from retention_pipelines.cache.training.store import TrainingSets
from retention_pipelines.errors import LakeError, PlanError
from retention_pipelines.retention.actions import cold
from retention_pipelines.retention.recovery.restore import restore_plan, restore_rows
from retention_pipelines.retention.runs.run import Runner, runner
from tests.fixtures.retention import add_predictions, prediction_rows
from tests.integration.test_retention_training import KEYS, save, sets, usable

pytestmark = pytest.mark.parametrize("database", ["embedded"], indirect=True)
__all__ = ["sets"]


def act(retention: Runner, policy_id: str, action: str, *, grace_days: int = 7) -> Any:
    registry = retention.planner.registry
    changed = registry.proposed(policy_id, {"action": action, "grace_days": grace_days})
    plan = retention.plan(registry.set(changed, created_by="ana"))
    return plan, retention.execute(plan.sha256, confirm=plan.sha256)


def end_grace(retention: Runner) -> None:
    with retention.planner.engine.begin() as con:
        con.execute(text("update plans set grace_until = now() - interval '1 second'"))
    assert [one.state for one in retention.sweep()] == ["done"]


def parquet(root: Path) -> list[tuple[Any, ...]]:
    return duckdb.sql(f"from read_parquet('{root}/**/*.parquet')").fetchall()


@pytest.mark.parametrize("policy_id", ["ic_expired", "ic_old_unused"])
def test_archived_predictions_can_be_read_as_parquet_and_come_back_after_the_grace(
    retention: Runner, everyone: psycopg.Connection[Any], policy_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P9: ARCHIVE, COMPRESS and MIGRATE built the same DELETE."""
    monkeypatch.setattr(cold, "_FETCHED", 10)
    monkeypatch.setattr(cold, "_FILE_BYTES", 300)  # as if rows were large: several files
    add_predictions(everyone, 240)
    before = prediction_rows(everyone)
    _, outcome = act(retention, policy_id, "archive")
    left = prediction_rows(everyone)
    assert outcome.archived == outcome.removed == len(before) - len(left) > 50
    root = Path(retention.planner.lake.root) / "_archived"
    assert len(list(root.rglob("*.parquet"))) > 4
    assert {row[:2] for row in parquet(root)} == {row[:2] for row in before.keys() - left.keys()}
    end_grace(retention)
    assert everyone.execute("select count(*) from graveyard_inference_cache").fetchall() == [(0,)]
    key = min(row[1] for row in before.keys() - left.keys())
    assert [one.rows for one in restore_rows(retention, "inference_cache", [key])] == [1]
    assert restore_plan(retention, outcome.plan_sha256).rows == outcome.removed - 1
    assert prediction_rows(everyone) == before
    assert not list(root.rglob("*.parquet"))


def test_what_was_invalidated_while_it_was_archived_does_not_come_back(
    retention: Runner, everyone: psycopg.Connection[Any]
) -> None:
    add_predictions(everyone, 30)
    plan, outcome = act(retention, "ic_old_unused", "archive")
    end_grace(retention)
    everyone.execute("insert into invalidation_log (scope, target, tenant) values ('model', 'm', 'a')")
    restore_plan(retention, plan.sha256)
    tenants = everyone.execute("select tenant, count(*) from ml_inference_cache where expires_at is null group by 1")
    assert tenants.fetchall() == [("b", outcome.removed // 2)]


def test_migrated_predictions_lie_on_the_other_root_and_nothing_goes_without_one(
    retention: Runner, everyone: psycopg.Connection[Any], tmp_path: Path
) -> None:
    add_predictions(everyone, 90)
    before = prediction_rows(everyone)
    with pytest.raises(LakeError, match="COLD_ROOT"):
        act(retention, "ic_old_unused", "migrate")
    assert prediction_rows(everyone) == before
    with runner(retention.settings.model_copy(update={"cold_root": str(tmp_path / "cold")})) as other:
        plan = other.plan(other.planner.registry.get("ic_old_unused"))
        outcome = other.execute(plan.sha256, confirm=plan.sha256)
        assert len(parquet(tmp_path / "cold")) == outcome.removed == len(before) - len(prediction_rows(everyone)) > 0
        restore_plan(other, plan.sha256)
        assert prediction_rows(everyone) == before


def test_a_damaged_archive_keeps_the_graveyard(retention: Runner, everyone: psycopg.Connection[Any]) -> None:
    add_predictions(everyone, 90)
    before = prediction_rows(everyone)
    plan, _ = act(retention, "ic_old_unused", "archive")
    (file,) = (Path(retention.planner.lake.root) / "_archived").rglob("*.parquet")
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    with retention.planner.engine.begin() as con:
        con.execute(text("update plans set grace_until = now() - interval '1 second'"))
    with pytest.raises(PlanError, match="gone or damaged"):
        retention.sweep()
    with retention.planner.engine.begin() as con:
        con.execute(text("update plans set grace_until = now() + interval '1 day'"))
    restore_plan(retention, plan.sha256)
    assert prediction_rows(everyone) == before


class _Killed(BaseException):
    pass


def dying(retention: Runner, at: str, number: int = 1) -> Runner:
    """A runner that ends when a step is done for that time."""
    left = [number]

    def die(name: str) -> None:
        left[0] -= name == at
        if name == at and not left[0]:
            raise _Killed

    return replace(retention, step=die)


def test_archiving_that_ends_in_between_is_one_clean_run_the_last_time(
    retention: Runner, everyone: psycopg.Connection[Any]
) -> None:
    add_predictions(everyone, 240)
    before = prediction_rows(everyone)
    registry = retention.planner.registry
    plan = retention.plan(registry.set(registry.proposed("ic_expired", {"action": "archive"}), created_by="ana"))
    for at in ("burying", "comparing", "archiving", "archived"):
        with pytest.raises(_Killed):
            dying(retention, at).execute(plan.sha256, confirm=plan.sha256)
    outcome = retention.execute(plan.sha256)
    assert outcome.archived == outcome.removed == plan.removed_rows
    assert len(parquet(Path(retention.planner.lake.root) / "_archived")) == outcome.removed
    assert len(prediction_rows(everyone)) == len(before) - outcome.removed


def test_archived_training_sets_are_gone_for_readers_and_come_back_with_their_rows(
    retention: Runner, everyone: psycopg.Connection[Any], sets: TrainingSets
) -> None:
    rows = everyone.execute("select t::text from ml_training_cache as t order by 1").fetchall()
    values = {key: sets.find(key).value for key in KEYS}  # type: ignore[union-attr]
    _, outcome = act(retention, "tc_rare", "archive")
    assert (outcome.archived, usable(sets)) == (3, [False, False, False, True])
    end_grace(retention)
    sets.clean(safe_age_seconds=0)
    assert [one.rows for one in restore_rows(retention, "training_cache", [KEYS[1]])] == [1]
    assert usable(sets) == [False, True, False, True]
    assert restore_plan(retention, outcome.plan_sha256).rows == 2
    assert everyone.execute("select t::text from ml_training_cache as t order by 1").fetchall() == rows
    for key, value in values.items():
        found = sets.find(key)
        assert found is not None
        assert all(np.array_equal(one, other) for one, other in zip(found.value, value, strict=True))


def test_compressed_training_sets_are_served_as_before_and_are_not_compressed_again(
    retention: Runner, everyone: psycopg.Connection[Any], sets: TrainingSets
) -> None:
    save(sets, everyone, "a" * 64, 0, days_old=40)
    save(sets, everyone, "b" * 64, 1, days_old=1)  # in use, and made of the same files as an old one
    values = {key: sets.find(key).value for key in (*KEYS, "a" * 64, "b" * 64)}  # type: ignore[union-attr]
    registry = retention.planner.registry
    plan = retention.plan(registry.set(registry.proposed("tc_rare", {"action": "compress"}), created_by="ana"))
    before = bytes_of(sets)
    with pytest.raises(_Killed):
        dying(retention, "compressing", 2).execute(plan.sha256, confirm=plan.sha256)
    outcome = retention.execute(plan.sha256)
    # What files of two sets gain is gained once, and a crash takes nothing from the figures.
    assert (outcome.removed, outcome.rewritten, outcome.file_bytes) == (0, 4, before - bytes_of(sets))
    assert before - bytes_of(sets) > 1_000_000
    assert everyone.execute("select count(compressed_at) from ml_training_cache").fetchall() == [(4,)]
    assert usable(sets) == [True] * 4
    assert sets.verify() == []
    for key, value in values.items():
        found = sets.find(key)
        assert found is not None
        found.value[0][0] = 7  # a caller's edit reaches nobody
        again = sets.find(key)
        assert again is not None
        assert all(np.array_equal(one, other) for one, other in zip(again.value, value, strict=True))
    assert retention.plan(retention.planner.registry.get("tc_rare")).expired_rows == 0
    packed = sorted((sets.root / "files").glob("*.zst"))
    whole = packed[0].read_bytes()
    packed[0].write_bytes(whole[:-9])
    assert usable(sets).count(False) == 1
    assert sets.verify()
    packed[0].write_bytes(whole)
    restore_plan(retention, plan.sha256)
    assert bytes_of(sets) == before
    assert not list((sets.root / "files").glob("*.zst"))
    assert usable(sets) == [True] * 4
    assert everyone.execute("select count(compressed_at) from ml_training_cache").fetchall() == [(0,)]


def bytes_of(sets: TrainingSets) -> int:
    return sum(path.stat().st_size for path in (sets.root / "files").iterdir())


def spoil(sets: TrainingSets, key: str) -> None:
    manifest = sets.manifest(key)
    assert manifest is not None
    path = sets.root / "files" / manifest.files[0].name
    path.write_bytes(path.read_bytes()[:-1] + b"!")


@pytest.mark.parametrize("action", ["compress", "archive"])
def test_one_damaged_training_set_does_not_keep_the_others_from_being_worked_on(
    retention: Runner, sets: TrainingSets, action: str
) -> None:
    spoil(sets, KEYS[1])
    _, outcome = act(retention, "tc_rare", action)
    assert outcome.state == "published"
    assert (outcome.rewritten, outcome.kept, outcome.archived) == ((2, 1, 0) if action == "compress" else (0, 0, 3))
    assert "damaged" in outcome.said
    if action == "archive":
        end_grace(retention)
        sets.clean(safe_age_seconds=0)
        assert restore_plan(retention, outcome.plan_sha256).rows == 3
    assert usable(sets) == [True, False, True, True]


def test_a_set_that_was_asked_for_again_after_a_crash_stays_when_the_run_goes_on(
    retention: Runner, everyone: psycopg.Connection[Any], sets: TrainingSets
) -> None:
    registry = retention.planner.registry
    plan = retention.plan(registry.set(registry.proposed("tc_rare", {"action": "archive"}), created_by="ana"))
    everyone.execute("create temporary table told as select * from ml_training_cache")
    with pytest.raises(_Killed):
        dying(retention, "archived").execute(plan.sha256, confirm=plan.sha256)
    assert sets.resurrect(KEYS[0])
    everyone.execute("insert into ml_training_cache select * from told where cache_key = %s", (KEYS[0],))
    assert retention.execute(plan.sha256).removed == 3
    end_grace(retention)
    sets.clean(safe_age_seconds=0)
    assert usable(sets) == [True, False, False, True]


def test_a_damaged_file_in_the_way_does_not_cost_the_archived_one(retention: Runner, sets: TrainingSets) -> None:
    _, outcome = act(retention, "tc_rare", "archive")
    end_grace(retention)
    # Files of the last day are still there, whoever needs them.
    for path in (sets.root / "files").iterdir():
        path.write_bytes(path.read_bytes()[:-1] + b"!")
    restore_plan(retention, outcome.plan_sha256)
    assert usable(sets) == [True, True, True, False]


def test_rows_of_a_tenant_that_is_a_path_lead_nowhere(
    retention: Runner, everyone: psycopg.Connection[Any], sets: TrainingSets
) -> None:
    everyone.execute("update ml_training_cache set tenant = '../../evil' where cache_key = %s", (KEYS[0],))
    with pytest.raises(PlanError, match="no tenant's name"):
        act(retention, "tc_rare", "archive")
    assert not list(sets.root.parent.parent.parent.rglob("evil"))


def test_an_erasure_that_took_archive_and_graveyard_does_not_stop_sweeping(
    retention: Runner, everyone: psycopg.Connection[Any]
) -> None:
    add_predictions(everyone, 90)
    act(retention, "ic_old_unused", "archive")
    everyone.execute("delete from graveyard_inference_cache")
    everyone.execute("delete from cold_files")
    end_grace(retention)
