"""Storage runs short: what goes early is what policies let go anyway, no more than wanted; runs work on a full disk."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dagster as dg
import psycopg
import pytest

from retention_pipelines import disk
from retention_pipelines.defs.pressure import storage_pressure_high
from retention_pipelines.defs.resources import LakeResource
from retention_pipelines.errors import RunRefused, StorageFull, WritesStopped
from retention_pipelines.postgres.server import Server
from retention_pipelines.retention.plans.plan import Plan, is_intact
from retention_pipelines.retention.pressure.budgets import budgets, set_budget
from retention_pipelines.retention.pressure.plan import plan_relief, relieved_bytes
from retention_pipelines.retention.pressure.relief import Level
from retention_pipelines.retention.pressure.reserve import ensure_reserve, give_up_reserve, reserve_given_up
from retention_pipelines.retention.pressure.state import PressureState, measure_with
from retention_pipelines.retention.recovery.restore import restore_plan
from retention_pipelines.retention.runs.run import Runner, runner
from retention_pipelines.settings import Settings, load_settings
from retention_pipelines.warehouse import Lake
from tests.fixtures.postgres import migrated_database
from tests.fixtures.retention import add_features, add_predictions, feature_rows
from tests.unit.warehouse.rows import observations

DAY = timedelta(days=1)


# Where the server comes from does not matter here.
@pytest.fixture(params=["embedded", pytest.param("external", marks=pytest.mark.long)])
def database(request: pytest.FixtureRequest) -> Iterator[Server]:
    with migrated_database(request) as opened:
        yield opened


def measured(retention: Runner, settings: Settings | None = None) -> PressureState:
    return measure_with(retention.planner.engine, retention.planner.lake, settings or retention.settings)


def full_to(share: float) -> SimpleNamespace:
    """What the system says of a disk that is full to a share."""
    free = round(10**9 * (1 - share))
    return SimpleNamespace(f_blocks=10**9, f_bfree=free, f_bavail=free, f_frsize=4096)


def over_by(retention: Runner, dataset: str, share: float) -> PressureState:
    """The state with a budget that wants a share of a dataset back."""
    set_budget(retention.planner.engine, dataset, 10**15, actor="test")
    size = next(one.size_bytes for one in measured(retention).sizes if one.dataset == dataset)
    set_budget(retention.planner.engine, dataset, max(1, round(size * (1 - share))), actor="test")
    return measured(retention)


def removed_names(retention: Runner, plan: Plan) -> set[str]:
    """Rows of the lake that a plan names, those of whole partitions included."""
    whole = {one.partition for one in plan.partitions if one.fate == "drop"}
    names = set(plan.rows["row_id"].to_pylist())
    columns = retention.planner.lake.table("feature_store").dataset.column_names
    at = {name: columns.index(name) for name in ("feature_hash", "feature_type", "month")}
    for name, row in feature_rows(retention).items():
        if f"feature_type={row[at['feature_type']]}/month={row[at['month']]}" in whole:
            names.add(name)
    return names


def test_what_pressure_plans_is_what_policies_let_go_within_their_forward_share_and_no_more_than_wanted(
    retention: Runner,
) -> None:
    add_features(retention)
    state = over_by(retention, "feature_store", 0.1)
    planner, instant = retention.planner, retention.planner.as_of()
    plan = plan_relief(planner, retention.settings, state, as_of=instant)["feature_store"]
    policy = planner.registry.get("fs_low_quality")
    now = planner.plan(policy, as_of=instant)
    later = planner.plan(policy, as_of=instant + 0.1 * timedelta(seconds=policy.keep_seconds))
    assert removed_names(retention, plan) <= removed_names(retention, now) <= removed_names(retention, later)
    assert plan.removed_rows > 0
    wanted = state.bytes_to_free["feature_store"]
    largest = max(one.size_bytes for one in plan.partitions)
    assert wanted <= relieved_bytes(plan) < wanted + largest
    newest = {one.partition for one in plan.partitions if one.partition.endswith("month=2026-10")}
    assert not newest & {one.partition for one in plan.partitions if one.fate in ("drop", "rewrite")}
    retention.store.save(plan, created_by="test")
    assert is_intact(retention.store.load(plan.sha256))


def test_rows_go_early_only_by_the_share_and_never_when_a_hold_has_them(retention: Runner) -> None:
    retention.planner.lake.table("feature_store").append(_aged([85, 80, 20], per_month=100))
    state = over_by(retention, "feature_store", 0.9)
    plan = plan_relief(retention.planner, retention.settings, state)["feature_store"]
    # 90 days less a tenth are 81: of the three months only the first may go early.
    assert [one.partition[-7:] for one in plan.partitions if one.fate == "drop"] == ["2026-01"]
    narrow = retention.settings.model_copy(update={"pressure_forward_share": 0.0})
    assert plan_relief(retention.planner, narrow, state) == {}
    with retention.planner.engine.begin() as con:
        con.exec_driver_sql(
            "insert into holds (dataset, match, reason, placed_by) values ('feature_store', 'everything', 'r', 'me')"
        )
    assert plan_relief(retention.planner, retention.settings, state) == {}


def test_an_executed_relief_brings_the_dataset_into_its_budget_and_can_be_taken_back(
    retention: Runner,
) -> None:
    add_features(retention)
    before = feature_rows(retention)
    state = over_by(retention, "feature_store", 0.1)
    plan = plan_relief(retention.planner, retention.settings, state)["feature_store"]
    retention.store.save(plan, created_by="test")
    done = retention.execute(plan.sha256, confirm=plan.sha256)
    assert done.removed == plan.removed_rows
    assert not measured(retention).is_acting
    assert measured(retention).disks[0].awaited_bytes == done.file_bytes
    restore_plan(retention, plan.sha256)
    assert feature_rows(retention) == before


def test_a_budget_counts_rows_in_the_list_in_the_choice_of_whole_days_and_in_what_would_go(
    retention: Runner, everyone: psycopg.Connection[Any]
) -> None:
    add_predictions(everyone, 600)
    (rows,) = everyone.execute("select sum(pg_column_size(p.*))::int from ml_inference_cache p").fetchone() or (0,)
    engine, lake = retention.planner.engine, retention.planner.lake

    def size(**more: bool) -> int:
        state = measure_with(engine, lake, retention.settings, **more)
        return next(one.size_bytes for one in state.sizes if one.dataset == "inference_cache")

    assert size() > 1.5 * rows  # relations
    assert size(every_row=True) == rows
    state = over_by(retention, "inference_cache", 0.25)
    assert size() == rows
    plan = plan_relief(retention.planner, retention.settings, state)["inference_cache"]
    going = [one.partition for one in plan.partitions if one.fate == "drop"]
    assert going
    (whole,) = everyone.execute(
        "select coalesce(sum(pg_column_size(p.*)), 0)::int from ml_inference_cache p where tableoid::regclass::text"
        " = any(%s)",
        (going,),
    ).fetchone() or (0,)
    wanted = state.bytes_to_free["inference_cache"]
    assert whole <= relieved_bytes(plan) == (plan.haste.bytes_to_free if plan.haste else 0)
    retention.store.save(plan, created_by="test")
    retention.execute(plan.sha256, confirm=plan.sha256)
    assert rows - size(every_row=True) == relieved_bytes(plan) >= wanted
    assert not measured(retention).is_acting


def test_single_predictions_of_the_lowest_value_per_byte_go_first(
    retention: Runner, everyone: psycopg.Connection[Any]
) -> None:
    add_predictions(everyone, 600)
    everyone.execute("delete from ml_inference_cache where expires_at is not null")
    everyone.execute("update ml_inference_cache set compute_seconds = 1000 where cache_key like '%7'")
    state = over_by(retention, "inference_cache", 0.2)
    plan = plan_relief(retention.planner, retention.settings, state)["inference_cache"]
    values = dict(
        everyone.execute(
            "select json_build_array(tenant, cache_key, expires_on)::text, compute_seconds from ml_inference_cache"
        ).fetchall()
    )
    seconds = [values[name] for name in plan.rows["row_id"].to_pylist()]
    assert seconds
    assert max(seconds) < 1000


def test_entries_whose_own_end_is_over_go_before_those_that_somebody_could_still_be_served(
    retention: Runner, everyone: psycopg.Connection[Any]
) -> None:
    add_predictions(everyone, 600)
    plan = plan_relief(retention.planner, retention.settings, over_by(retention, "inference_cache", 0.2))
    assert plan["inference_cache"].rows.num_rows == 0
    assert plan["inference_cache"].removed_rows > 0


def test_a_guard_counts_what_pressure_chose_and_not_all_that_has_expired(
    retention: Runner, everyone: psycopg.Connection[Any]
) -> None:
    """50 entries of one day whose own end is over stay: it is the newest day. 200 others can still be served."""
    add_predictions(everyone, 600)
    everyone.execute("delete from ml_inference_cache where expires_at > now()")
    everyone.execute("delete from ml_inference_cache where expires_at < (now() at time zone 'UTC')::date - 1")
    plan = plan_relief(retention.planner, retention.settings, over_by(retention, "inference_cache", 0.15))
    relief = plan["inference_cache"]
    over = sum(one.rows for one in relief.counts if one.policy == "ic_expired v1" and one.verdict == "expire")
    assert 0 < relief.removed_rows <= over
    retention.store.save(relief, created_by="test")
    with pytest.raises(RunRefused, match="max_fraction"):
        retention.execute(relief.sha256)


def test_single_rows_go_for_a_budget_but_never_for_a_disk(
    retention: Runner, everyone: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A DELETE gives the disk nothing back, so what goes for a budget does not count for the disk, either."""
    add_predictions(everyone, 600)
    everyone.execute("delete from ml_inference_cache where expires_at is not null")
    alone = over_by(retention, "inference_cache", 0.2)
    monkeypatch.setattr(disk, "_statvfs", lambda _: full_to(0.9))
    both = measured(retention)
    assert both.disks[0].bytes_to_free > 0
    assert both.sizes == alone.sizes
    removed = [
        plan_relief(retention.planner, retention.settings, state)["inference_cache"].removed_rows
        for state in (alone, both)
    ]
    assert removed[0] == removed[1] < 150


def test_on_a_full_disk_a_grace_ends_a_day_after_rows_went_but_not_that_of_rows_that_went_early(
    retention: Runner, everyone: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch, server_owner: Any
) -> None:
    retention.planner.lake.table("feature_store").append(_aged([100, 85, 20], per_month=50))
    (first,) = [retention.planner.plan(retention.planner.registry.get("fs_low_quality"))]
    retention.store.save(first, created_by="test")
    retention.execute(first.sha256, confirm=first.sha256)
    early = plan_relief(retention.planner, retention.settings, over_by(retention, "feature_store", 0.9))
    retention.store.save(early["feature_store"], created_by="test")
    retention.execute(early["feature_store"].sha256, confirm=early["feature_store"].sha256)
    monkeypatch.setattr(disk, "_statvfs", lambda _: full_to(0.95))
    # Begun two days ago, interrupted, and at its end only now.
    server_owner("update plans set started_at = started_at - interval '2 days'")
    assert retention.sweep() == ()
    at_once = replace(retention, settings=retention.settings.model_copy(update={"full_disk_grace_hours": 0.0}))
    assert [one.plan_sha256 for one in at_once.sweep()] == [first.sha256]
    assert retention.outcome(early["feature_store"].sha256).state == "published"


def test_a_budget_is_set_listed_removed_and_in_the_audit(retention: Runner, everyone: psycopg.Connection[Any]) -> None:
    set_budget(retention.planner.engine, "feature_store", 5, actor="maria")
    assert [(one.dataset, one.budget_bytes, one.set_by) for one in budgets(retention.planner.engine)] == [
        ("feature_store", 5, "maria")
    ]
    set_budget(retention.planner.engine, "feature_store", None, actor="maria")
    assert budgets(retention.planner.engine) == ()
    told = everyone.execute("select count(*) from audit where action = 'retention.budget'").fetchone()
    assert told == (2,)


# -- a full disk ------------------------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "disk"
    place.mkdir()
    if shutil.which("mount") is None or os.geteuid() != 0:
        pytest.skip("mounting a small tmpfs needs root and the command mount")
    command = ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(place)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"mounting a small tmpfs was refused: {done.stderr.strip()}")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def fill(place: Path, name: str = "ballast") -> None:
    with (place / name).open("wb", buffering=0) as file:
        for size in (65536, 512):
            try:
                while True:
                    file.write(b"x" * size)
            except OSError:
                continue


@pytest.mark.real_disk
@pytest.mark.parametrize("migrated_server", ["embedded"], indirect=True)
def test_a_run_on_a_full_disk_frees_space_though_it_crashed_there_and_nobody_else_writes(
    small_disk: Path, migrated_server: Server, tmp_path: Path
) -> None:
    url = migrated_server.url()
    settings = load_settings(
        {}, database_url=url, lake_root=str(small_disk / "lake"), state_dir=tmp_path / "state", reserve_mb=8,
        full_disk_grace_hours=0.0,
    )  # fmt: skip
    (reserve,) = ensure_reserve(settings)
    assert reserve.stat().st_blocks * 512 >= 8_000_000
    with runner(settings) as opened:
        add_features(opened, 60_000)
        opened.planner.lake.publish()
        before = len(feature_rows(opened))
    fill(small_disk)
    assert shutil.disk_usage(small_disk).free == 0
    with Lake(settings) as lake, pytest.raises(WritesStopped, match="Writing stops") as refused:
        lake.table("observations").append(observations("a"))
    assert isinstance(refused.value, StorageFull)

    class Crash(BaseException):
        pass

    def crash(name: str) -> None:
        if name == "committed":
            raise Crash

    with runner(settings) as opened:
        state = measured(opened)
        assert (state.level, state.writes_stopped) == (Level.FULL, True)
        plan = plan_relief(opened.planner, settings, state)["feature_store"]
        assert plan.haste is not None
        assert (plan.haste.forward_share, plan.haste.grace_seconds) == (0.0, 0)
        opened.store.save(plan, created_by="test")
    with pytest.raises(Crash), runner(settings, step=crash) as opened:
        opened.execute(plan.sha256, confirm=plan.sha256)
    assert reserve.stat().st_size <= 4_000_000, "given up, and not taken again while the disk is full"
    fill(small_disk, "more")
    free = shutil.disk_usage(small_disk).free
    with runner(settings) as opened:
        done = opened.execute(plan.sha256)
        assert (done.state, done.removed) == ("done", plan.removed_rows)
        assert done.logical_bytes
        assert done.file_bytes
        assert done.disk_bytes is not None
        assert done.disk_bytes >= 0.8 * done.file_bytes
        assert len(feature_rows(opened)) == before - done.removed
        assert opened.execute(plan.sha256) == done
    assert shutil.disk_usage(small_disk).free > free
    (small_disk / "ballast").unlink()
    with reserve_given_up(settings):
        pass
    assert reserve.stat().st_size == 8_000_000
    with Lake(settings) as lake:
        lake.table("observations").append(observations("a"))


@pytest.mark.real_disk
def test_the_reserve_is_not_taken_from_a_disk_that_is_short_and_given_up_only_for_need(
    small_disk: Path, tmp_path: Path
) -> None:
    settings = load_settings(
        {}, database_url="postgresql://u@localhost/x", lake_root=str(small_disk), state_dir=tmp_path, reserve_mb=4
    )
    assert len(ensure_reserve(settings)) == 1
    assert give_up_reserve(settings) == 0
    assert ensure_reserve(settings.model_copy(update={"reserve_mb": 23})) == ()
    assert (small_disk / ".reserve").stat().st_size == 4_000_000


def test_dagster_sweeps_a_full_disk_though_nothing_else_has_to_go(
    retention: Runner, monkeypatch: pytest.MonkeyPatch, server_owner: Any
) -> None:
    add_features(retention, 300)
    plan = retention.planner.plan(retention.planner.registry.get("fs_low_quality"))
    retention.store.save(plan, created_by="test")
    retention.execute(plan.sha256, confirm=plan.sha256)
    monkeypatch.setattr(disk, "_statvfs", lambda _: full_to(0.95))
    server_owner("update plans set freed_file_bytes = 10 ^ 15")
    assert not measured(retention).is_acting
    with dg.DagsterInstance.ephemeral() as instance:
        asked = storage_pressure_high(
            dg.build_sensor_context(instance=instance, resources={"lake": LakeResource(retention.settings)})
        )
    assert isinstance(asked, dg.RunRequest)


def test_bytes_of_a_plan_without_grace_are_waited_for_until_vacuum_takes_its_files(
    retention: Runner, server_owner: Any
) -> None:
    add_features(retention, 300)
    registry = retention.planner.registry
    none = registry.set(registry.proposed("fs_low_quality", {"grace_days": 0}), created_by="test")
    plan = retention.plan(none)
    done = retention.execute(plan.sha256, confirm=plan.sha256)
    assert done.state == "done"
    assert done.file_bytes
    assert measured(retention).disks[0].awaited_bytes == done.file_bytes
    server_owner("update plans set started_at = started_at - interval '8 days'")
    assert measured(retention).disks[0].awaited_bytes == 0


def test_a_person_ends_the_grace_of_a_plan_by_its_whole_hash(retention: Runner) -> None:
    add_features(retention)
    state = over_by(retention, "feature_store", 0.1)
    plan = plan_relief(retention.planner, retention.settings, state)["feature_store"]
    retention.store.save(plan, created_by="test")
    retention.execute(plan.sha256, confirm=plan.sha256)
    assert retention.sweep() == ()
    (swept,) = retention.sweep(early=plan.sha256)
    assert swept.state == "done"
    assert replace(swept, state="x").disk_bytes is not None


def _aged(days: list[int], *, per_month: int) -> str:
    """Features of a type, one month for each age in days; the newest month is never touched."""
    from tests.unit.warehouse.rows import rows

    ages = ", ".join(str(one) for one in days)
    return rows(
        "feature_store",
        per_month * len(days),
        feature_hash="'hash-' || i",
        feature_id="'study-' || i",
        feature_type="'species'",
        month=f"'2026-' || lpad((1 + i // {per_month})::varchar, 2, '0')",
        quality_score="0.1",
        computed_at=f"now() - to_days([{ages}][1 + (i // {per_month})::int])",
    )
