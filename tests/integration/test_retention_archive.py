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
from retention_pipelines.retention.restore import restore_plan, restore_rows
from retention_pipelines.retention.run import Runner, runner
from tests.fixtures.retention import add_predictions, prediction_rows
from tests.integration.test_retention_training import KEYS, sets, usable

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
    retention: Runner, everyone: psycopg.Connection[Any], policy_id: str
) -> None:
    """P9: ARCHIVE, COMPRESS and MIGRATE built the same DELETE."""
    add_predictions(everyone, 900)
    before = prediction_rows(everyone)
    _, outcome = act(retention, policy_id, "archive")
    left = prediction_rows(everyone)
    assert outcome.archived == outcome.removed == len(before) - len(left) > 200
    root = Path(retention.planner.lake.root) / "_archived"
    assert {row[:2] for row in parquet(root)} == {row[:2] for row in before.keys() - left.keys()}
    end_grace(retention)
    assert everyone.execute("select count(*) from graveyard").fetchall() == [(0,)]
    key = min(row[1] for row in before.keys() - left.keys())
    assert [one.rows for one in restore_rows(retention, "inference_cache", [key])] == [1]
    assert restore_plan(retention, outcome.plan_sha256).rows == outcome.removed - 1
    assert prediction_rows(everyone) == before
    assert not list(root.rglob("*.parquet"))


def test_migrated_predictions_lie_on_the_other_root_and_nothing_goes_without_one(
    retention: Runner, everyone: psycopg.Connection[Any], tmp_path: Path
) -> None:
    add_predictions(everyone, 300)
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
    add_predictions(everyone, 300)
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


@pytest.mark.parametrize("at", ["comparing", "archiving", "archived"])
def test_archiving_that_ends_in_between_is_one_clean_run_the_second_time(
    retention: Runner, everyone: psycopg.Connection[Any], at: str
) -> None:
    add_predictions(everyone, 900)
    before = prediction_rows(everyone)
    registry = retention.planner.registry
    plan = retention.plan(registry.set(registry.proposed("ic_expired", {"action": "archive"}), created_by="ana"))

    def die(name: str) -> None:
        if name == at:
            raise _Killed

    with pytest.raises(_Killed):
        replace(retention, step=die).execute(plan.sha256, confirm=plan.sha256)
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
    values = {key: sets.find(key).value for key in KEYS}  # type: ignore[union-attr]
    _, outcome = act(retention, "tc_rare", "compress")
    assert (outcome.removed, outcome.rewritten, outcome.file_bytes > 1_000_000) == (0, 3, True)
    stored = everyone.execute("select sum(size_bytes - stored_bytes) from ml_training_cache").fetchall()
    assert stored == [(outcome.file_bytes,)]
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
    packed[0].write_bytes(packed[0].read_bytes()[:-9])
    assert usable(sets).count(False) == 1
    assert len(sets.verify()) == 1


def test_compressing_is_taken_back_by_plan(
    retention: Runner, everyone: psycopg.Connection[Any], sets: TrainingSets
) -> None:
    plan, _ = act(retention, "tc_rare", "compress")
    restore_plan(retention, plan.sha256)
    assert not list((sets.root / "files").glob("*.zst"))
    assert usable(sets) == [True] * 4
    assert everyone.execute("select count(compressed_at) from ml_training_cache").fetchall() == [(0,)]
