"""A run that is killed at any step and run again is one clean run: nothing lost, nothing twice, the audit holds."""

import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psycopg
import pytest

from retention_pipelines.cache.training.store import TrainingSets
from retention_pipelines.postgres import audit
from retention_pipelines.retention.recovery.restore import restore_plan
from retention_pipelines.retention.runs.run import Runner
from retention_pipelines.settings import Settings
from tests.fixtures.retention import add_features, add_predictions, feature_rows, prediction_rows
from tests.fixtures.retention_cases import prediction_books
from tests.integration.test_retention_downsample import STATISTICS, samples
from tests.integration.test_retention_training import sets, usable

pytestmark = pytest.mark.parametrize("database", ["embedded"], indirect=True)
ROOT = Path(__file__).resolve().parents[2]
__all__ = ["samples", "sets"]


def worker(settings: Settings, verb: str, sha256: str, point: str = "-", number: int = 1) -> subprocess.Popen[str]:
    assert settings.database_url is not None
    where = [settings.database_url.get_secret_value(), settings.lake_root, str(settings.state_dir)]
    return subprocess.Popen(
        [sys.executable, "-m", "tests.integration.retention_worker", *where, verb, sha256, point, str(number)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def end(process: subprocess.Popen[str], *, killed: bool) -> None:
    out, err = process.communicate(timeout=120)
    assert (process.returncode == -9) == killed, (process.returncode, out, err[-2000:])


def archived_rows(retention: Runner) -> dict[str, tuple[Any, ...]]:
    archive = retention.planner.lake.archive_table("feature_store")
    if archive.version() < 0:
        return {}
    place = archive.dataset.column_names.index("feature_hash")
    rows = archive.con.execute(f"from {archive.scan()}").fetchall()
    assert len({row[place] for row in rows}) == len(rows)
    return {row[place]: row for row in rows}


def test_an_archiving_run_killed_at_every_step_is_one_clean_run(
    retention: Runner, everyone: psycopg.Connection[Any], database_settings: Settings
) -> None:
    add_features(retention, 900)
    before = feature_rows(retention)
    registry = retention.planner.registry
    registry.set(registry.proposed("fs_low_quality", {"action": "archive"}), created_by="ana")
    plan = retention.plan(registry.get("fs_low_quality"))
    for point in ("marked", "archived", "committed", "shown", "published"):
        end(worker(database_settings, "execute", plan.sha256, point), killed=True)
        after = feature_rows(retention)
        archived = archived_rows(retention)
        # At no moment is a row in neither place.
        assert after | archived == before
    outcome = retention.execute(plan.sha256)
    after, archived = feature_rows(retention), archived_rows(retention)
    assert (outcome.state, outcome.removed, outcome.archived) == ("published", plan.removed_rows, plan.removed_rows)
    assert set(after).isdisjoint(archived)
    assert after | archived == before
    assert len(archived) == plan.removed_rows
    assert audit.verify(everyone).holds


def test_a_run_on_postgres_killed_at_every_step_is_one_clean_run(
    retention: Runner, everyone: psycopg.Connection[Any], database_settings: Settings
) -> None:
    add_predictions(everyone, 6_600)
    before = prediction_rows(everyone)
    registry = retention.planner.registry
    registry.set(registry.proposed("ic_expired", {"grace_days": 1}), created_by="ana")
    expired, unused = (retention.plan(registry.get(name)) for name in ("ic_expired", "ic_old_unused"))
    for plan, points in (
        (expired, ("marked", "burying")),
        (unused, ("marked", "deleting", "deleting", "published")),
    ):
        for point in points:
            end(worker(database_settings, "execute", plan.sha256, point), killed=True)
            assert _alive_or_buried(everyone) == len(before)
        assert retention.execute(plan.sha256).removed == plan.removed_rows
    left = prediction_rows(everyone)
    assert len(left) == len(before) - expired.removed_rows - unused.removed_rows
    assert all(before[name] == row for name, row in left.items())
    assert everyone.execute("select count(*) from tombstones").fetchall() == [(unused.removed_rows,)]
    end(worker(database_settings, "restore", unused.sha256, "restoring"), killed=True)
    end(worker(database_settings, "restore", unused.sha256), killed=False)
    end(worker(database_settings, "restore", expired.sha256), killed=False)
    assert prediction_rows(everyone) == before
    assert audit.verify(everyone).holds


def test_compressing_and_downsampling_runs_killed_halfway_are_one_clean_run(
    retention: Runner,
    everyone: psycopg.Connection[Any],
    database_settings: Settings,
    sets: TrainingSets,
    samples: list[tuple[Any, ...]],
) -> None:
    registry = retention.planner.registry
    registry.set(registry.proposed("tc_rare", {"action": "compress"}), created_by="ana")
    packed, rolled = (retention.plan(registry.get(name)) for name in ("tc_rare", "pm_raw"))
    end(worker(database_settings, "execute", packed.sha256, "compressing", 2), killed=True)
    assert usable(sets) == [True] * 4
    assert retention.execute(packed.sha256).rewritten == 3
    assert (usable(sets), sets.verify()) == ([True] * 4, [])
    rows = everyone.execute("select * from ml_performance_metrics order by seq").fetchall()
    for point in ("burying", "deleting"):
        end(worker(database_settings, "execute", rolled.sha256, point), killed=True)
    assert retention.execute(rolled.sha256).removed == rolled.removed_rows
    gone = everyone.execute("select sum(gone_n) from ml_performance_rollups where resolution = 'daily'").fetchall()
    assert gone == [(rolled.removed_rows,)]
    assert set(everyone.execute(STATISTICS).fetchall()) <= set(samples)
    end(worker(database_settings, "restore", rolled.sha256, "restoring"), killed=True)
    restore_plan(retention, rolled.sha256)
    assert everyone.execute("select * from ml_performance_metrics order by seq").fetchall() == rows
    assert everyone.execute("select sum(gone_n), sum(gone_sum) from ml_performance_rollups").fetchall() == [(0, 0)]
    assert audit.verify(everyone).holds


def _alive_or_buried(con: psycopg.Connection[Any]) -> int:
    """Rows that are somewhere, counted where they lie: what a run wrote down about a partition may come later."""
    books = prediction_books(con)
    return len(books.kept) + len(books.deleted)


def test_of_two_runs_at_once_one_does_the_work_and_the_other_is_told(
    retention: Runner, everyone: psycopg.Connection[Any], database_settings: Settings
) -> None:
    add_predictions(everyone, 3_000)
    before = prediction_rows(everyone)
    plan = retention.plan(retention.planner.registry.get("ic_old_unused"))
    both = [worker(database_settings, "execute", plan.sha256) for _ in range(2)]
    said = [(process.communicate(timeout=120), process.returncode) for process in both]
    # The loser is refused while the winner works, and told the winner's result when it comes after it.
    assert sorted(code for _, code in said)[0] == 0
    assert all(code == 0 or "in the hands of run" in err for (_, err), code in said)
    assert len(prediction_rows(everyone)) == len(before) - plan.removed_rows
    assert [row[0] for row in everyone.execute("select action from audit order by seq")] == [
        "retention.marked",
        "retention.published",
    ]


@pytest.mark.long
@pytest.mark.timeout(1500)
def test_runs_killed_at_any_moment_lose_nothing(
    retention: Runner, everyone: psycopg.Connection[Any], database_settings: Settings
) -> None:
    """Kill -9 after a random time, again and again, until the plan is through; 20 plans over lake and Postgres."""
    chance = random.Random(20261122)
    kills = 0
    for number in range(20):
        lake = number % 2 == 0
        if lake:
            add_features(retention, 900)
            before = len(feature_rows(retention))
        else:
            add_predictions(everyone, 3_000)
            before = _alive_or_buried(everyone)
        registry = retention.planner.registry
        plan = retention.plan(registry.get("fs_low_quality" if lake else "ic_old_unused"))
        latest = 6.0
        while True:
            process = worker(database_settings, "execute", plan.sha256)
            time.sleep(chance.uniform(0.5, latest))
            latest += 0.5  # a busy machine may need longer than that to start
            process.kill()
            process.communicate(timeout=120)
            if process.returncode == 0:
                break
            kills += 1
        record = retention.store.record(plan.sha256)
        assert record.state == "published"
        assert record.measured["removed"] == plan.removed_rows
        if lake:
            assert len(feature_rows(retention)) == before - plan.removed_rows
            retention.planner.lake.table("feature_store").delete("true", op="next")
        else:
            assert _alive_or_buried(everyone) == before
            # The next plan is about rows of the same names.
            retention.sweep(early=plan.sha256)
            assert _alive_or_buried(everyone) == before - plan.removed_rows
            everyone.execute("delete from ml_inference_cache")
        assert audit.verify(everyone).holds
    assert kills > 20
