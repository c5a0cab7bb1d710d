"""Retention as Dagster carries it out, against a real instance on Postgres: what it shows, refuses, forgets, purges."""

import os
import secrets
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import psycopg
import pytest
import sqlalchemy
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.scheduler.instigation import TickData, TickStatus
from dagster._core.storage.partition_status_cache import get_and_update_asset_status_cache_value

from retention_pipelines.definitions import build_definitions
from retention_pipelines.defs.forgotten import forget_partitions, settle_partitions
from retention_pipelines.defs.partitions import MONTHS
from retention_pipelines.defs.pressure import storage_pressure_high
from retention_pipelines.defs.previews import policy_edits
from retention_pipelines.defs.purge import Purged, purge_history
from retention_pipelines.defs.resources import LakeResource
from retention_pipelines.errors import SeriesError
from retention_pipelines.postgres import address
from retention_pipelines.postgres.server import Server
from retention_pipelines.retention.erasure.eraser import eraser
from retention_pipelines.retention.filter.parse import parse
from retention_pipelines.retention.policies.governed import GOVERNED
from retention_pipelines.retention.policies.policy import Policy
from retention_pipelines.retention.pressure.budgets import set_budget
from retention_pipelines.retention.recovery.restore import restore_plan
from retention_pipelines.retention.runs.lock import run_lock
from retention_pipelines.retention.runs.run import Runner
from retention_pipelines.series.aggregate import update_series
from retention_pipelines.series.diversity import update_biodiversity
from retention_pipelines.settings import Settings, load_settings
from tests.fixtures.erasure import deliver, take
from tests.fixtures.retention import FEATURES as FEATURE_COLUMNS
from tests.fixtures.retention import add_features, add_predictions, feature_rows
from tests.unit.defs.small_lake import fill
from tests.unit.warehouse.rows import rows

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.parametrize("database", ["embedded"], indirect=True)
FEATURES = dg.AssetKey("feature_store")
# `add_features` gives this month only rows that have expired.
GONE = "2026-03"
MONTHS_OF_ROWS = [f"2026-{number:02d}" for number in range(1, 11)]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the instance, by which other processes find it."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def shared_instance(embedded_server: Server, home: Path) -> Iterator[dg.DagsterInstance]:
    name = f"dagster_{secrets.token_hex(4)}"
    embedded_server.ensure_database(name)
    # Nothing here asks what a crash of Postgres leaves of Dagster's events, and a run writes hundreds.
    with psycopg.connect(address.conninfo(embedded_server.address(name)), autocommit=True) as con:
        con.execute(f'alter database "{name}" set synchronous_commit = off'.encode())
    storage = {"storage": {"postgres": {"postgres_url": embedded_server.url(name, driver="psycopg2")}}}
    with dg.instance_for_test(overrides=storage, temp_dir=str(home)) as made:
        # By itself Dagster opens a connection for every statement.
        made.optimize_for_webserver(statement_timeout=0, pool_recycle=-1, max_overflow=-1)
        yield made


@pytest.fixture
def instance(shared_instance: dg.DagsterInstance) -> dg.DagsterInstance:
    shared_instance.wipe()
    return shared_instance


def run(settings: Settings, job: str, instance: dg.DagsterInstance, *only: str, **more: Any) -> Any:
    return (
        build_definitions(settings)
        .resolve_job_def(job)
        .execute_in_process(
            instance=instance,
            asset_selection=[dg.AssetKey(name) for name in only] or None,
            raise_on_error=False,
            **more,
        )
    )


def shown(instance: dg.DagsterInstance, asset: str) -> dict[str, Any]:
    event = instance.get_latest_materialization_event(dg.AssetKey(asset))
    assert event is not None
    assert event.asset_materialization is not None
    return {name: value.value for name, value in event.asset_materialization.metadata.items()}


def failed(result: Any, step: str) -> Any:
    (event,) = [e for e in result.all_events if e.is_step_failure and e.step_key == step]
    return event.step_failure_data.user_failure_data


def materialized(instance: dg.DagsterInstance, months: list[str]) -> None:
    """Say that months of features were materialized a while ago, as runs of this pipeline say it."""
    for month in months:
        instance.report_runless_asset_event(dg.AssetMaterialization(FEATURES, partition=month))


def months_shown(instance: dg.DagsterInstance) -> set[str]:
    """Months the page shows as materialized, by the status that it keeps."""
    cached = get_and_update_asset_status_cache_value(instance, FEATURES, MONTHS)
    assert cached is not None
    subset = cached.deserialize_materialized_partition_subsets(MONTHS)
    assert set(subset.get_partition_keys()) == set(instance.get_materialized_partitions(FEATURES))
    return set(subset.get_partition_keys())


def test_a_guard_that_refuses_fails_the_run_with_the_reason_and_how_to_confirm(
    retention: Runner, instance: dg.DagsterInstance
) -> None:
    add_features(retention, 600)
    before = feature_rows(retention)
    result = run(retention.settings, "daily_cleanup", instance, "fs_low_quality")
    assert not result.success
    failure = failed(result, "fs_low_quality")
    assert failure.description.startswith("Refused, nothing was removed: max_fraction: ")
    sha256 = failure.metadata["plan_sha256"].value
    assert f"`retention run {sha256} --confirm {sha256}`" in failure.metadata["confirm"].value
    assert feature_rows(retention) == before
    assert retention.store.record(sha256).state == "refused"
    # What a person confirms can be executed, and then the next run has nothing left to be refused for.
    assert retention.execute(sha256, confirm=sha256).removed > 0
    assert run(retention.settings, "daily_cleanup", instance, "fs_low_quality").success


def test_a_run_shows_counts_bytes_reasons_and_the_plan(
    retention: Runner, everyone: psycopg.Connection[Any], instance: dg.DagsterInstance
) -> None:
    add_predictions(everyone, 600)
    assert run(retention.settings, "daily_cleanup", instance, "ic_expired", "retention_sweep").success
    told = shown(instance, "ic_expired")
    record = retention.store.record(told["plan_sha256"])
    assert told["removed_rows"] == record.measured["removed"] > 0
    assert told["disk_bytes"] == "unknown"
    assert told["policy"] == "ic_expired v1"
    assert "expire" in {row.data["verdict"] for row in told["reasons"].records}
    assert "Dagster run" in everyone.execute("select actor from audit limit 1").fetchone()[0]  # type: ignore[index]
    assert shown(instance, "retention_sweep")["plans"] == 0


def test_a_busy_dataset_and_no_database_are_said_and_the_other_policies_run(
    retention: Runner, instance: dg.DagsterInstance
) -> None:
    with run_lock(retention.server, "inference_cache", "0" * 64):
        result = run(retention.settings, "daily_cleanup", instance, "ic_expired", "tc_rare")
    assert failed(result, "ic_expired").description.startswith(
        "Busy, nothing was done: inference_cache is in the hands"
    )
    assert shown(instance, "tc_rare")["removed_rows"] == 0
    nowhere = retention.settings.model_copy(
        update={"database_url": load_settings({}, database_url="postgresql://x@127.0.0.1:9/x").database_url}
    )
    lost = failed(run(nowhere, "daily_cleanup", instance, "ic_expired"), "ic_expired")
    assert lost.metadata["what_to_do"].value


def test_a_policy_that_is_switched_off_says_so_and_counts_as_no_materialization(
    retention: Runner, instance: dg.DagsterInstance
) -> None:
    registry = retention.planner.registry
    registry.set(replace(registry.get("tc_occasional"), enabled=False), created_by="ana")
    assert run(retention.settings, "daily_cleanup", instance, "tc_occasional").success
    assert instance.get_latest_materialization_event(dg.AssetKey("tc_occasional")) is None
    (seen,) = instance.fetch_observations(dg.AssetKey("tc_occasional"), limit=1).records
    assert "switched off" in str(seen.event_log_entry.asset_observation.description)  # type: ignore[union-attr]


def test_a_run_that_computes_datasets_too_removes_nothing(
    retention: Runner, everyone: psycopg.Connection[Any], instance: dg.DagsterInstance
) -> None:
    add_predictions(everyone, 600)
    before = everyone.execute("select count(*) from ml_inference_cache").fetchone()
    names = ("ic_expired", "other_policies", "storage_pressure", "retention_sweep", "quarantine", "ingested_files")
    assert run(retention.settings, "__ASSET_JOB", instance, *names).success
    assert shown(instance, "quarantine")
    assert [instance.get_latest_materialization_event(dg.AssetKey(name)) for name in names[:4]] == [None] * 4
    assert everyone.execute("select count(*) from ml_inference_cache").fetchone() == before
    # On its own, from the page of the asset, it is meant.
    assert run(retention.settings, "__ASSET_JOB", instance, "ic_expired", "storage_pressure").success
    assert shown(instance, "ic_expired")["removed_rows"] > 0
    assert shown(instance, "storage_pressure").keys() >= {"level", "before", "after", "sizes"}


def test_short_storage_asks_for_relief_once_an_hour_and_its_run_is_guarded_too(
    retention: Runner, instance: dg.DagsterInstance
) -> None:
    add_features(retention, 600)

    def tick(settings: Settings) -> Any:
        return storage_pressure_high(
            dg.build_sensor_context(instance=instance, resources={"lake": LakeResource(settings)})
        )

    assert isinstance(tick(retention.settings.model_copy(update={"mode": "read_only"})), dg.SkipReason)
    set_budget(retention.planner.engine, "feature_store", 1, actor="ana")
    first, second = tick(retention.settings), tick(retention.settings)
    assert first.run_key == second.run_key
    # More than a twentieth needs a person, however short storage is.
    refused = failed(run(retention.settings, "relieve_pressure", instance), "storage_pressure")
    assert refused.description.startswith("feature_store: Refused, nothing was removed: max_fraction")
    assert "over its budget of 1" in refused.metadata["before"].value
    sha256 = refused.metadata["feature_store: plan_sha256"].value
    assert retention.execute(sha256, confirm=sha256).removed > 0


def test_policies_that_somebody_added_are_carried_out_and_shown_before(
    retention: Runner, everyone: psycopg.Connection[Any], instance: dg.DagsterInstance
) -> None:
    add_predictions(everyone, 600)

    def tick(cursor: str | None) -> Any:
        context = dg.build_sensor_context(
            instance=instance, cursor=cursor, resources={"lake": LakeResource(retention.settings)}
        )
        return policy_edits.evaluate_tick(context)

    first = tick(None)
    assert not first.run_requests
    added = Policy(
        policy_id="ic_mine",
        version=1,
        dataset="inference_cache",
        match=parse("model_type = 't'", GOVERNED["inference_cache"].fields),
        keep_seconds=86_400,
        priority=900,
        reason="A trial.",
    )
    retention.planner.registry.set(added, created_by="ana")
    second = tick(first.cursor)
    (request,) = second.run_requests
    assert tick(second.cursor).skip_message == "No policy was edited."
    before = everyone.execute("select count(*) from ml_inference_cache").fetchone()
    assert run(retention.settings, "preview_policies", instance, run_config=request.run_config).success
    (preview,) = shown(instance, "policy_previews")["previews"].records
    assert "more rows of inference_cache" in preview.data["effect"]
    assert everyone.execute("select count(*) from ml_inference_cache").fetchone() == before
    # A guard refuses it: so many rows need a person. Both are there to be read.
    result = run(retention.settings, "daily_cleanup", instance, "other_policies")
    assert "ic_mine v1: Refused, nothing was removed: max_fraction" in failed(result, "other_policies").description


@pytest.mark.parametrize("point", ["marked", pytest.param("committed", marks=pytest.mark.long)])
def test_a_run_of_dagster_that_kill_9_ends_is_finished_once_by_the_next_and_its_month_is_forgotten(
    retention: Runner, instance: dg.DagsterInstance, home: Path, point: str
) -> None:
    # One row of 40 has expired, so that no guard asks for a person, and they are all that one month has.
    table, settings = retention.planner.lake.table("feature_store"), retention.settings
    old = "case when i % 40 = 2 then timestamptz '2023-01-01 00:00:00+00' else now() - to_days(3) end"
    month = f"case when i % 40 = 2 then '{GONE}' else '2026-0' || (4 + i % 3) end"
    table.append(rows("feature_store", 800, **FEATURE_COLUMNS | {"computed_at": old, "month": month}))
    before = feature_rows(retention)
    materialized(instance, [GONE, "2026-04"])
    assert settings.database_url is not None
    places = (str(home), settings.database_url.get_secret_value(), settings.lake_root, str(settings.state_dir))
    command = [sys.executable, "-m", "tests.integration.dagster_cleanup_worker", *places, "fs_low_quality", point]
    killed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    (left,) = retention.store.open("feature_store")
    assert left.state == "marked"
    assert [one.status for one in instance.get_runs()] == [dg.DagsterRunStatus.STARTED]
    assert GONE in months_shown(instance)
    if point == "marked":
        # While the plan lay there, some run went over the month, whose rows were still there.
        assert feature_rows(retention) == before
        materialized(instance, [GONE])
    assert run(settings, "daily_cleanup", instance, "fs_low_quality").success
    after = feature_rows(retention)
    assert set(before) - set(after) == {key for key, row in before.items() if row[month_place(retention)] == GONE}
    assert {key: row for key, row in before.items() if key in after} == after
    assert retention.outcome(left.sha256).removed == len(before) - len(after) == 20
    assert shown(instance, "fs_low_quality")["removed_rows"] == 0
    assert months_shown(instance) == {"2026-04"}


class Killed(BaseException):
    """The end of a process, as far as a test can have it inside its own."""


def killed_at(name: str) -> Any:
    def step(done: str) -> None:
        if done == name:
            raise Killed

    return step


def test_months_that_went_are_forgotten_and_those_brought_back_are_there_again(
    retention: Runner, instance: dg.DagsterInstance
) -> None:
    add_features(retention, 600)
    materialized(instance, [*MONTHS_OF_ROWS, "2026-11"])
    assert months_shown(instance) == {*MONTHS_OF_ROWS, "2026-11"}
    # A run that is killed as soon as its commit is seen: neither its plan nor Dagster knows.
    plan = retention.plan(retention.planner.registry.get("fs_low_quality"))
    with pytest.raises(Killed):
        replace(retention, step=killed_at("committed")).execute(plan.sha256, confirm=plan.sha256)
    assert GONE not in {row[month_place(retention)] for row in feature_rows(retention).values()}
    assert GONE in months_shown(instance)
    assert run(retention.settings, "daily_cleanup", instance, "retention_sweep").success
    # 2026-11 never had rows: that run found none, and nothing was removed.
    assert months_shown(instance) == {*MONTHS_OF_ROWS, "2026-11"} - {GONE}
    assert settle_partitions(instance, retention, "feature_store") == ()
    assert months_shown(instance) == {*MONTHS_OF_ROWS, "2026-11"} - {GONE}
    observations = instance.fetch_observations(
        dg.AssetRecordsFilter(asset_key=FEATURES, asset_partitions=[GONE]), limit=9
    )
    assert len(observations.records) == 1
    assert retention.store.record(plan.sha256).state == "published"
    restore_plan(retention, plan.sha256)
    settle_partitions(instance, retention, "feature_store")
    assert months_shown(instance) == {*MONTHS_OF_ROWS, "2026-11"}


def test_months_that_an_erasure_emptied_are_forgotten(
    retention: Runner, instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    lake = retention.planner.lake
    assert take(lake, deliver(tmp_path)).accepted
    update_biodiversity(lake)
    assets = [dg.AssetKey(name) for name in ("occurrences", "biodiversity_statistics")]
    for key in assets:
        for month in ("2017-07", "2017-08"):  # nothing is known of the first
            instance.report_runless_asset_event(dg.AssetMaterialization(key, partition=month))
    with eraser(retention.settings) as opened:
        order = opened.confirm(opened.preview("dataset", "survey", reason="Asked for.").sha256)
    assert order.state == "done"
    assert run(retention.settings, "daily_cleanup", instance, "retention_sweep").success
    for key in assets:
        assert instance.get_materialized_partitions(key) == {"2017-07"}
        (told,) = instance.fetch_observations(dg.AssetRecordsFilter(asset_key=key), limit=9).records
        observation = told.event_log_entry.asset_observation
        assert observation is not None
        assert observation.metadata["certificate"].value == f"retention erase --certificate {order.order}"


def month_place(retention: Runner) -> int:
    return retention.planner.lake.table("feature_store").dataset.column_names.index("month")


def test_a_month_that_was_made_anew_after_it_went_stays_as_that_run_left_it(
    retention: Runner, instance: dg.DagsterInstance
) -> None:
    add_features(retention, 600)
    materialized(instance, MONTHS_OF_ROWS)
    plan = retention.plan(retention.planner.registry.get("fs_low_quality"))
    retention.execute(plan.sha256, confirm=plan.sha256)
    materialized(instance, [GONE])
    assert settle_partitions(instance, retention, "feature_store") == ()
    assert GONE in months_shown(instance)
    # So does what a run materializes while the lake is looked at.
    seen = instance.event_log_storage.get_maximum_record_id()
    assert seen is not None
    materialized(instance, [GONE])
    assert forget_partitions(instance, FEATURES, [GONE, "2026-04"], plan_sha256=plan.sha256, seen=seen) == 3
    assert months_shown(instance) == {*MONTHS_OF_ROWS} - {"2026-04"}


def test_raw_months_that_went_behind_their_series_are_forgotten_and_not_computed_from_again(
    retention: Runner, instance: dg.DagsterInstance
) -> None:
    lake, months = retention.planner.lake, ("2017-03", "2017-04")
    fill(lake, months)
    update_series(lake)
    for month in months:
        instance.report_runless_asset_event(dg.AssetMaterialization("observations", partition=month))
    series = lake.table("aggregated_time_series")
    before = lake.con.execute(f"from {series.scan()} order by all").fetchall()
    raw = GOVERNED["observations"]
    policy = Policy(
        policy_id="raw_behind_series",
        version=1,
        dataset="observations",
        match=parse("everything", raw.fields),
        keep_seconds=30 * 86_400,
        priority=100,
        action="downsample",
        reason="A trial.",
    )
    plan = retention.plan(retention.planner.registry.set(policy, created_by="ana"))
    assert retention.execute(plan.sha256, confirm=plan.sha256).removed > 0
    gone = {one.partition.removeprefix("month=") for one in plan.partitions if one.fate in ("drop", "rewrite")}
    assert months[0] in gone
    assert run(retention.settings, "daily_cleanup", instance, "retention_sweep").success
    held = {file.partition["month"] for file in lake.table("observations").files()}
    assert instance.get_materialized_partitions(dg.AssetKey("observations")) == held
    # How a run of Dagster says so: tests/unit/defs/test_lacking.py.
    with pytest.raises(SeriesError, match="computed again, aggregated_time_series would be incomplete"):
        update_series(lake, months=sorted(gone))
    assert lake.con.execute(f"from {series.scan()} order by all").fetchall() == before


TWO = dg.StaticPartitionsDefinition(["a", "b"])


@dg.asset(partitions_def=TWO)
def made(context: dg.AssetExecutionContext) -> None:
    context.log.info("a line")


@dg.asset_check(asset=made)
def fine() -> dg.AssetCheckResult:
    return dg.AssetCheckResult(passed=True)


def materialize(instance: dg.DagsterInstance, key: str) -> str:
    return dg.materialize([made, fine], instance=instance, partition_key=key).run_id


def counting_statements(work: Callable[[], Purged]) -> tuple[Purged, list[str]]:
    """What work returns, and the statements it sent to databases."""
    seen: list[str] = []

    def listen(_con: Any, _cursor: Any, statement: str, *_: Any) -> None:
        seen.append(statement)

    sqlalchemy.event.listen(sqlalchemy.Engine, "before_cursor_execute", listen)
    try:
        return work(), seen
    finally:
        sqlalchemy.event.remove(sqlalchemy.Engine, "before_cursor_execute", listen)


def test_history_beyond_its_age_goes_and_what_is_materialized_stays_known(
    instance: dg.DagsterInstance, tmp_path: Path, database: Server
) -> None:
    ids = [materialize(instance, key) for key in "abaab"]
    running = dg.DagsterRun(job_name="still", run_id=str(uuid.uuid4()), status=dg.DagsterRunStatus.STARTED)
    instance.add_run(running)
    stranger = str(uuid.uuid4())
    for name in (*ids, running.run_id, stranger, "trained_model"):
        (tmp_path / name / "compute_logs").mkdir(parents=True)
        (tmp_path / name / "compute_logs" / "x.err").write_text("printed")
    os.utime(tmp_path / stranger, (0, 0))
    for number in range(3):
        instance.create_tick(
            TickData("origin", "s", InstigatorType.SENSOR, TickStatus.SKIPPED, 1_000_000.0 + number, selector_id="s")
        )

    def purge(days: int) -> Purged:
        ages = {"log_age": timedelta(days=30), "run_age": timedelta(days=365)}
        return purge_history(instance, tmp_path, at=datetime.now(UTC) + timedelta(days=days), **ages)

    def known() -> Any:
        cached = get_and_update_asset_status_cache_value(instance, made.key, TWO)
        assert cached is not None
        status = cached.deserialize_materialized_partition_subsets(TWO)
        assert set(status.get_partition_keys()) == instance.get_materialized_partitions(made.key) == {"a", "b"}
        return {
            key: instance.fetch_materializations(
                dg.AssetRecordsFilter(asset_key=made.key, asset_partitions=[key]), limit=1
            )
            .records[0]
            .run_id
            for key in "ab"
        }

    def lines(run_id: str) -> int:
        return len(instance.all_logs(run_id))

    before, full = known(), lines(ids[0])
    young = purge(1)
    assert (young.log_lines, young.superseded_events, young.checks, young.runs) == (0, 0, 0, 0)
    assert (young.ticks, young.log_folders) == (2, 1)
    assert lines(ids[0]) == full
    month = purge(100)
    assert month.log_lines > 20
    assert (month.superseded_events, month.runs, month.log_folders) == (0, 0, 5)
    assert 0 < lines(ids[0]) < full
    assert known() == before == {"a": ids[3], "b": ids[4]}
    year, asked = counting_statements(lambda: purge(400))
    # However many runs there are: what still needs them is asked once.
    assert sum("asset_keys.last_run_id IS NOT NULL" in statement for statement in asked) == 1
    assert year.superseded_events >= 3
    assert year.runs == 3
    assert known() == before
    assert {run.run_id for run in instance.get_runs()} == {ids[3], ids[4], running.run_id}
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([running.run_id, "trained_model"])
    again = purge(400)
    assert sum(asdict(again).values()) == 0
    # Life goes on.
    assert known() | {"a": materialize(instance, "a")} == known()


def test_the_job_purges_with_the_ages_of_the_settings(
    retention: Runner, instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    assert run(retention.settings, "purge_history", instance).success
    told = shown(instance, "dagster_history")
    assert (told["log_days"], told["run_days"], told["runs"]) == (30, 365, 0)
