"""Executing plans on a real lake and a real Postgres: what goes, what stays, what comes back, and that it adds up."""

from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any

import psycopg
import pytest
from sqlalchemy import insert, text

from retention_pipelines.errors import PlanError, RunBusy, RunRefused
from retention_pipelines.postgres import audit
from retention_pipelines.postgres.tables import HOLDS
from retention_pipelines.retention.plans.guard import Limits
from retention_pipelines.retention.policies.defaults import read_policies
from retention_pipelines.retention.recovery.restore import restore_dataset, restore_plan, restore_rows
from retention_pipelines.retention.runs.lock import run_lock
from retention_pipelines.retention.runs.run import Runner
from tests.fixtures.retention import add_features, add_predictions, feature_rows, prediction_rows
from tests.unit.warehouse.rows import rows

pytestmark = pytest.mark.parametrize("database", ["embedded"], indirect=True)


def execute(retention: Runner, policy_id: str) -> Any:
    plan = retention.plan(retention.planner.registry.get(policy_id))
    return plan, retention.execute(plan.sha256, confirm=plan.sha256)


def hold(retention: Runner, dataset: str, match: str) -> None:
    with retention.planner.engine.begin() as con:
        con.execute(insert(HOLDS).values(dataset=dataset, match=match, reason="trial", placed_by="ana"))


def actions(con: psycopg.Connection[Any]) -> list[str]:
    return [row[0] for row in con.execute("select action from audit order by seq")]


def test_a_plan_over_the_lake_removes_what_it_says_and_everything_adds_up(
    retention: Runner, everyone: psycopg.Connection[Any]
) -> None:
    add_features(retention)
    before = feature_rows(retention)
    plan, outcome = execute(retention, "fs_low_quality")
    after = feature_rows(retention)
    assert {one.fate for one in plan.partitions} == {"keep", "drop", "rewrite", "leave"} - {"keep"}
    assert outcome.removed == plan.removed_rows == len(before) - len(after) > 0
    assert all(before[name] == row for name, row in after.items())
    named = set(plan.rows["row_id"].to_pylist())
    assert named.isdisjoint(after)
    dropped = {one.partition for one in plan.partitions if one.fate == "drop"}
    assert len(before) == len(after) + len(named) + sum(one.rows for one in plan.partitions if one.partition in dropped)
    assert (outcome.state, outcome.kept, outcome.missing) == ("published", 0, 0)
    assert outcome.logical_bytes > 0
    assert outcome.file_bytes > 0
    assert outcome.disk_bytes is None  # unknown until it is swept
    assert actions(everyone) == ["retention.marked", "retention.published"]
    assert audit.verify(everyone).holds
    # The published tree shows the same.
    lake = retention.planner.lake
    lake.create_views()
    assert lake.con.execute("select count(*) from feature_store").fetchall() == [(len(after),)]


def test_what_is_the_newest_partition_when_a_plan_runs_stays(retention: Runner) -> None:
    """Planned while a newer month was there, which somebody took back meanwhile: that would empty the feature type."""
    table = retention.planner.lake.table("feature_store")
    old = "timestamptz '2020-01-01 00:00:00+00'"
    of_month = partial(rows, "feature_store", computed_at=old, quality_score="0.1::double")
    table.append(of_month(6, feature_hash="'old-' || i", month="'2026-0' || (1 + i % 2)"))
    newer = table.append(of_month(1, feature_hash="'new'", month="'2026-03'"))
    plan = retention.plan(retention.planner.registry.get("fs_low_quality"))
    assert [one.fate for one in plan.partitions] == ["drop", "drop", "newest"]
    table.undo(newer.version)
    outcome = retention.execute(plan.sha256, confirm=plan.sha256)
    assert (outcome.removed, outcome.kept) == (3, 3)
    assert set(feature_rows(retention)) == {"old-1", "old-3", "old-5"}
    again = retention.plan(retention.planner.registry.get("fs_low_quality"))
    assert [one.fate for one in again.partitions] == ["newest"]
    (said,) = retention.planner.explain("feature_store", "old-1")
    assert (said.decision.verdict, said.blocked_by) == ("expire", "newest_partition")


def test_a_second_execution_of_a_plan_changes_nothing(retention: Runner, everyone: psycopg.Connection[Any]) -> None:
    add_features(retention, 600)
    plan, outcome = execute(retention, "fs_low_quality")
    rows, version = feature_rows(retention), retention.planner.lake.table("feature_store").version()
    assert retention.execute(plan.sha256) == outcome
    assert (feature_rows(retention), retention.planner.lake.table("feature_store").version()) == (rows, version)
    assert actions(everyone) == ["retention.marked", "retention.published"]


def test_a_run_on_the_lake_can_be_taken_back_whole_even_after_later_writes(retention: Runner) -> None:
    add_features(retention, 600)
    before = feature_rows(retention)
    plan, _ = execute(retention, "fs_low_quality")
    assert feature_rows(retention) != before
    restored = restore_plan(retention, plan.sha256)
    assert restored.rows == plan.removed_rows
    assert feature_rows(retention) == before
    again, _ = execute(retention, "fs_low_quality")
    # Merging rewrites the files that the commit wrote, so it cannot simply be undone.
    retention.planner.lake.table("feature_store").rewrite(lambda rows: f"select * from {rows}", op="rewritten")
    assert [one.rows for one in restore_dataset(retention, "feature_store")] == [again.removed_rows]
    assert feature_rows(retention) == before
    with pytest.raises(PlanError, match="taken back"):
        retention.execute(plan.sha256)


def test_a_single_row_of_the_lake_comes_back_by_its_name(retention: Runner) -> None:
    add_features(retention, 600)
    before = feature_rows(retention)
    plan, _ = execute(retention, "fs_low_quality")
    left = feature_rows(retention)
    name = plan.rows["row_id"][0].as_py()
    assert [one.rows for one in restore_rows(retention, "feature_store", [name])] == [1]
    assert feature_rows(retention) == left | {name: before[name]}
    assert restore_rows(retention, "feature_store", [name]) == ()
    # The whole plan then brings back the others, and no row twice.
    assert restore_plan(retention, plan.sha256).rows == plan.removed_rows - 1
    assert feature_rows(retention) == before
    table = retention.planner.lake.table("feature_store")
    assert sum(file.rows for file in table.files()) == len(before)


def test_archiving_is_not_deleting(retention: Runner) -> None:
    """P9: ARCHIVE, COMPRESS and MIGRATE built the same DELETE."""
    add_features(retention, 900)
    before = feature_rows(retention)
    registry = retention.planner.registry
    registry.set(registry.proposed("fs_low_quality", {"action": "archive"}), created_by="ana")
    plan, outcome = execute(retention, "fs_low_quality")
    after = feature_rows(retention)
    archive = retention.planner.lake.archive_table("feature_store")
    place = archive.dataset.column_names.index("feature_hash")
    archived = {row[place]: row for row in archive.con.execute(f"from {archive.scan()}").fetchall()}
    assert outcome.archived == outcome.removed == len(archived) == plan.removed_rows > 0
    assert after | archived == before
    assert set(after).isdisjoint(archived)
    restore_plan(retention, plan.sha256)
    assert feature_rows(retention) == before
    assert archive.con.execute(f"select count(*) from {archive.scan()}").fetchall() == [(0,)]


def test_what_is_protected_between_plan_and_run_stays(retention: Runner, everyone: psycopg.Connection[Any]) -> None:
    add_features(retention, 900)
    add_predictions(everyone, 300)
    registry = retention.planner.registry
    features = retention.plan(registry.get("fs_low_quality"))
    predictions = retention.plan(registry.get("ic_expired"))
    before, entries = feature_rows(retention), prediction_rows(everyone)
    hold(retention, "feature_store", "feature_type = 'species'")
    hold(retention, "inference_cache", "model_id = 'm'")
    outcome = retention.execute(features.sha256, confirm=features.sha256)
    after = feature_rows(retention)
    kinds = retention.planner.lake.table("feature_store").dataset.column_names.index("feature_type")
    assert {name for name, row in before.items() if row[kinds] == "species"} <= set(after)
    assert 0 < outcome.removed < features.removed_rows
    assert outcome.removed + outcome.kept == features.removed_rows
    outcome = retention.execute(predictions.sha256, confirm=predictions.sha256)
    assert outcome.removed == 0
    assert prediction_rows(everyone) == entries


def test_rows_that_came_after_the_plan_stay_even_where_a_partition_goes_whole(retention: Runner) -> None:
    add_features(retention, 900)
    plan = retention.plan(retention.planner.registry.get("fs_low_quality"))
    table = retention.planner.lake.table("feature_store")
    table.append(f"select * replace ('late-' || feature_hash as feature_hash) from {table.scan()}")
    before = feature_rows(retention)
    table.compact(min_files=2)
    outcome = retention.execute(plan.sha256, confirm=plan.sha256)
    after = feature_rows(retention)
    assert outcome.removed == plan.removed_rows
    assert {name for name in before if name.startswith("late-")} <= set(after)


def test_a_policy_edited_during_a_run_does_not_change_the_run(retention: Runner) -> None:
    add_features(retention, 600)
    registry = retention.planner.registry
    plan = retention.plan(registry.get("fs_low_quality"))
    registry.set(registry.proposed("fs_low_quality", {"retention_days": 3000}), created_by="ana")
    assert retention.execute(plan.sha256, confirm=plan.sha256).removed == plan.removed_rows


def test_predictions_go_by_partition_and_by_row_and_come_back(
    retention: Runner, everyone: psycopg.Connection[Any]
) -> None:
    """P2: a policy that matched 500 rows deleted none and reported success."""
    add_predictions(everyone)
    before = prediction_rows(everyone)
    registry = retention.planner.registry
    for policy_id in ("ic_expired", "ic_old_unused"):
        registry.set(registry.proposed(policy_id, {"grace_days": 3}), created_by="ana")
    plan, outcome = execute(retention, "ic_expired")
    assert any(one.fate == "drop" for one in plan.partitions)
    after = prediction_rows(everyone)
    assert outcome.removed == plan.removed_rows == len(before) - len(after) > 0
    assert outcome.file_bytes > 0
    unused, gone = execute(retention, "ic_old_unused")
    assert gone.removed == unused.removed_rows > 500
    assert gone.file_bytes == 0  # a DELETE frees nothing until vacuum
    assert len(prediction_rows(everyone)) == len(before) - outcome.removed - gone.removed
    assert everyone.execute("select count(*) from tombstones").fetchall() == [(gone.removed,)]
    key = next(row for row in before if row[2] == "infinity")[1]
    assert [one.rows for one in restore_rows(retention, "inference_cache", [key])] == [1]
    restore_plan(retention, unused.sha256)
    restore_plan(retention, plan.sha256)
    assert prediction_rows(everyone) == before
    assert audit.verify(everyone).holds


def test_more_than_a_thousand_expired_rows_go(retention: Runner, everyone: psycopg.Connection[Any]) -> None:
    """P1: a policy that matched over 1000 rows was refused, whatever the table's size."""
    add_predictions(everyone, 4_000)
    assert execute(retention, "ic_old_unused")[1].removed > 1_000


def test_when_grace_is_over_nothing_is_left_to_bring_back(retention: Runner, everyone: psycopg.Connection[Any]) -> None:
    add_predictions(everyone, 600)
    plan, _ = execute(retention, "ic_old_unused")
    assert retention.sweep() == ()
    with retention.planner.engine.begin() as con:
        con.execute(text("update plans set grace_until = now() - interval '1 second'"))
    with pytest.raises(PlanError, match="grace"):
        restore_plan(retention, plan.sha256)
    (swept,) = retention.sweep()
    assert swept.state == "done"
    assert everyone.execute("select count(*) from graveyard_inference_cache").fetchall() == [(0,)]
    assert actions(everyone)[-2:] == ["retention.swept", "retention.done"]
    with pytest.raises(PlanError, match="done"):
        restore_plan(retention, plan.sha256)


def test_a_plan_with_no_grace_leaves_no_copy(retention: Runner, everyone: psycopg.Connection[Any]) -> None:
    add_predictions(everyone, 600)
    registry = retention.planner.registry
    registry.set(registry.proposed("ic_old_unused", {"grace_days": 0}), created_by="ana")
    _, outcome = execute(retention, "ic_old_unused")
    assert (outcome.state, outcome.removed > 0) == ("done", True)
    assert everyone.execute("select count(*) from graveyard_inference_cache").fetchall() == [(0,)]


def test_a_refused_run_removes_nothing_and_leaves_a_trace(retention: Runner, everyone: psycopg.Connection[Any]) -> None:
    """P10: a failed policy run left no trace in the history."""
    add_features(retention, 600)
    before = feature_rows(retention)
    plan = retention.plan(retention.planner.registry.get("fs_low_quality"))
    with pytest.raises(RunRefused, match="max_fraction") as refused:
        retention.execute(plan.sha256)
    assert plan.sha256 in str(refused.value)
    assert feature_rows(retention) == before
    record = retention.store.record(plan.sha256)
    assert record.state == "refused"
    assert "of the dataset" in str(record.refused_because)
    assert actions(everyone) == ["retention.refused"]
    with pytest.raises(PlanError, match="not that of plan"):
        retention.execute(plan.sha256, confirm="0" * 64)
    assert retention.execute(plan.sha256, confirm=plan.sha256).removed == plan.removed_rows


def test_a_failure_that_cannot_be_written_down_is_told_all_the_same(
    retention: Runner, everyone: psycopg.Connection[Any], server_owner: Any
) -> None:
    add_predictions(everyone, 300)
    plan = retention.plan(retention.planner.registry.get("ic_old_unused"))

    def step(name: str) -> None:
        if name == "deleting":
            server_owner("alter table audit rename to audit_of_before")
            raise PlanError("The first thing that went wrong.")

    with pytest.raises(PlanError, match="The first thing that went wrong") as failed:
        replace(retention, step=step).execute(plan.sha256, confirm=plan.sha256)
    assert "written to the history" in failed.value.__notes__[0]
    server_owner("alter table audit_of_before rename to audit")
    assert retention.execute(plan.sha256, confirm=plan.sha256).removed == plan.removed_rows


def test_a_plan_that_was_changed_is_not_executed(retention: Runner, everyone: psycopg.Connection[Any]) -> None:
    add_features(retention, 600)
    before = feature_rows(retention)
    plan = retention.plan(retention.planner.registry.get("fs_low_quality"))
    with retention.planner.engine.begin() as con:
        con.execute(text("update plans set counts = jsonb_set(counts, '{partitions,0,fate}', '\"drop\"')"))
    with pytest.raises(PlanError, match="not what was sealed"):
        retention.execute(plan.sha256, confirm=plan.sha256)
    assert feature_rows(retention) == before
    assert actions(everyone) == ["retention.failed"]


def test_steps_that_name_rows_the_plan_does_not_have_stop_the_run(
    retention: Runner, everyone: psycopg.Connection[Any]
) -> None:
    add_predictions(everyone, 300)
    plan = retention.plan(retention.planner.registry.get("ic_old_unused"))
    everyone.execute(
        "insert into plan_steps (plan_sha256, step, positions, n_rows, size_bytes) values (%s, 0, '{[0,9999)}', 9, 9)",
        (plan.sha256,),
    )
    before = prediction_rows(everyone)
    with pytest.raises(PlanError, match="somebody changed them"):
        retention.execute(plan.sha256, confirm=plan.sha256)
    assert prediction_rows(everyone) == before


def test_a_partition_in_which_rows_were_swapped_since_the_plan_stays(
    retention: Runner, everyone: psycopg.Connection[Any]
) -> None:
    add_predictions(everyone)
    plan = retention.plan(retention.planner.registry.get("ic_expired"))
    day = next(one.partition for one in plan.partitions if one.fate == "drop")
    one = everyone.execute(
        "select min(cache_key) from ml_inference_cache where tableoid = %s::regclass", (day,)
    ).fetchone()
    everyone.execute("update ml_inference_cache set cache_key = 'swapped' where cache_key = %s", one)
    before = prediction_rows(everyone)
    outcome = retention.execute(plan.sha256, confirm=plan.sha256)
    after = prediction_rows(everyone)
    assert any(row[1] == "swapped" for row in after)
    assert 0 < outcome.kept == plan.removed_rows - outcome.removed
    assert len(after) == len(before) - outcome.removed


def test_a_second_runner_is_told_who_holds_the_lock(retention: Runner, everyone: psycopg.Connection[Any]) -> None:
    add_predictions(everyone, 300)
    plan = retention.plan(retention.planner.registry.get("ic_old_unused"))
    with run_lock(retention.server, "inference_cache", "f" * 64), pytest.raises(RunBusy, match=r"run f{12} of .*@.*\d"):
        retention.execute(plan.sha256, confirm=plan.sha256)
    assert retention.execute(plan.sha256, confirm=plan.sha256).removed == plan.removed_rows


def test_a_dataset_in_other_hands_does_not_keep_others_from_being_swept(
    retention: Runner, everyone: psycopg.Connection[Any]
) -> None:
    add_predictions(everyone, 300)
    add_features(retention)
    plans = [retention.plan(retention.planner.registry.get(name)) for name in ("ic_old_unused", "fs_low_quality")]
    for plan in plans:
        retention.execute(plan.sha256, confirm=plan.sha256)
    everyone.execute("update plans set grace_until = now() - interval '1 second'")
    with run_lock(retention.server, "inference_cache", "f" * 64), pytest.raises(RunBusy):
        retention.sweep()
    assert [retention.outcome(plan.sha256).state for plan in plans] == ["published", "done"]
    assert [one.plan_sha256 for one in retention.sweep()] == [plans[0].sha256]


def test_rows_that_somebody_holds_or_reads_meanwhile_stay(
    retention: Runner, everyone: psycopg.Connection[Any], database: Any
) -> None:
    add_predictions(everyone, 600)
    plan = retention.plan(retention.planner.registry.get("ic_old_unused"))
    tenant, key, _ = _named(plan.rows["row_id"][0].as_py())
    other, read, _ = _named(plan.rows["row_id"][1].as_py())
    gone, deleted, _ = _named(plan.rows["row_id"][2].as_py())
    everyone.execute("delete from ml_inference_cache where (tenant, cache_key) = (%s, %s)", (gone, deleted))
    everyone.execute("insert into access_counts values (%s, 'ml_inference_cache', %s, 1, now())", (other, read))
    with everyone.transaction():
        everyone.execute(
            "select 1 from ml_inference_cache where (tenant, cache_key) = (%s, %s) for update", (tenant, key)
        )
        outcome = retention.execute(plan.sha256, confirm=plan.sha256)
    assert (outcome.removed, outcome.kept, outcome.missing) == (plan.removed_rows - 3, 2, 1)


def _named(row_id: str) -> tuple[str, str, str]:
    import json

    tenant, key, day = json.loads(row_id)
    return tenant, key, day


def test_single_rows_of_days_go_around_what_somebody_holds_and_come_back_to_the_last_bit(
    retention: Runner, everyone: psycopg.Connection[Any]
) -> None:
    add_predictions(everyone, 600)
    everyone.execute(
        "update ml_inference_cache set model_version = '2', latitude = '-0.0', longitude = 0.1 + 0.2"
        " where cache_key < 'k5' and expires_on <> 'infinity'"
    )
    policy = "inference_cache: [{id: second, priority: 900, match: \"model_version = '2'\", keep_days: 1, reason: R}]"
    plan = retention.plan(retention.planner.registry.set(read_policies(policy)[0], created_by="ana"))
    assert {one.fate for one in plan.partitions if one.expired} == {"rewrite"}
    held, anew = (_named(plan.rows["row_id"][place].as_py())[:2] for place in (0, plan.rows.num_rows - 1))
    everyone.execute(
        "update ml_inference_cache set computed_at = now() - interval '2 days' where (tenant, cache_key) = (%s, %s)",
        anew,
    )
    before = prediction_rows(everyone)
    with everyone.transaction():
        everyone.execute("select from ml_inference_cache where (tenant, cache_key) = (%s, %s) for update", held)
        outcome = retention.execute(plan.sha256, confirm=plan.sha256)
    assert (outcome.removed, outcome.kept) == (plan.removed_rows - 2, 2)
    after = prediction_rows(everyone)
    assert len(after) == len(before) - outcome.removed
    assert {held, anew} <= {row[:2] for row in after}
    assert restore_plan(retention, plan.sha256).rows == outcome.removed
    assert prediction_rows(everyone) == before  # -0.0 as -0.0, too


def test_a_host_whose_clock_is_off_runs_nothing(retention: Runner, everyone: psycopg.Connection[Any]) -> None:
    add_predictions(everyone, 300)
    plan = retention.plan(retention.planner.registry.get("ic_old_unused"))
    ahead = replace(retention, host_clock=lambda: retention.host_clock() + timedelta(days=400))
    with pytest.raises(RunRefused, match="clock"):
        ahead.execute(plan.sha256, confirm=plan.sha256)
    small = replace(retention, limits=Limits(max_fraction=0.0001))
    with pytest.raises(RunRefused, match="max_fraction"):
        small.execute(plan.sha256)


def test_rows_of_two_tenants_that_share_a_key_are_two_rows(
    retention: Runner, everyone: psycopg.Connection[Any]
) -> None:
    add_predictions(everyone, 300)
    everyone.execute("delete from ml_inference_cache where expires_at is not null")
    everyone.execute("update ml_inference_cache set tenant = 'a'")
    plan = retention.plan(retention.planner.registry.get("ic_old_unused"))
    # The same keys of another tenant, as old as the planned ones, come after the plan: they are none of its rows.
    copied = "select replace(p::text, '(a,', '(b,')::ml_inference_cache as row from ml_inference_cache as p"
    everyone.execute(f"insert into ml_inference_cache select (row).* from ({copied}) as copies".encode())
    before = prediction_rows(everyone)
    outcome = retention.execute(plan.sha256, confirm=plan.sha256)
    assert outcome.removed == plan.removed_rows == 100
    left = prediction_rows(everyone)
    assert left == {name: row for name, row in before.items() if name[0] == "b"}
    assert len(left) == 100
    restore_plan(retention, plan.sha256)
    assert prediction_rows(everyone) == before


@pytest.mark.parametrize(("policy_id", "store"), [("ic_old_unused", "postgres"), ("fs_low_quality", "lake")])
def test_what_a_cut_off_early_sweep_left_half_gone_is_not_taken_back_as_if_it_were_whole(
    retention: Runner, everyone: psycopg.Connection[Any], policy_id: str, store: str
) -> None:
    """Whoever ends a grace ends it before anything goes; the next sweep ends what this one began."""
    add_predictions(everyone, 600)
    add_features(retention, 900)
    plan, outcome = execute(retention, policy_id)
    before = feature_rows(retention), prediction_rows(everyone)

    def die(name: str) -> None:
        if name == ("sweeping" if store == "postgres" else "grace ended"):
            raise RunRefused("cut off")

    with pytest.raises(RunRefused, match="cut off"):
        replace(retention, step=die).sweep(early=plan.sha256)
    with pytest.raises(PlanError, match="The grace of plan"):
        restore_plan(retention, plan.sha256)
    assert [one.state for one in retention.sweep()] == ["done"]
    assert retention.outcome(plan.sha256).removed == outcome.removed > 0
    assert (feature_rows(retention), prediction_rows(everyone)) == before
