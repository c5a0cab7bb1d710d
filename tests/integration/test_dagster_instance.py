"""The instance of `dagster.yaml`: its place follows from the settings, on an embedded and an external Postgres."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy

from retention_pipelines.postgres.server import DAGSTER, Server, open_server
from retention_pipelines.settings import Settings, load_settings
from retention_pipelines.warehouse import Lake
from tests.unit.defs.small_lake import fill
from tests.unit.series.raw_rows import observe, utc

ROOT = Path(__file__).parents[2]


@pytest.fixture
def settings(embedded_settings: Settings, tmp_path: Path) -> Settings:
    """A lake of the test's own, Dagster's instance in the session's embedded server."""
    return load_settings({}, lake_root=str(tmp_path / "lake"), state_dir=embedded_settings.state_dir)


def _environment(settings: Settings, **more: str) -> dict[str, str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("RETENTION_", "DAGSTER_"))}
    places = {"RETENTION_LAKE_ROOT": settings.lake_root, "RETENTION_STATE_DIR": str(settings.state_dir)}
    return clean | places | more


def _python(arguments: list[str], environment: dict[str, str], folder: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        env=environment,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


def _runs(server: Server) -> list[tuple[str, str]]:
    engine = sqlalchemy.create_engine(server.url(DAGSTER))
    with engine.connect() as con:
        found = con.execute(sqlalchemy.text("select pipeline_name, status from runs order by id")).all()
    engine.dispose()
    return [(job, status) for job, status in found]


def _events(server: Server, name: str) -> list[tuple[str, str, str | None]]:
    engine = sqlalchemy.create_engine(server.url(DAGSTER))
    statement = sqlalchemy.text(
        "select dagster_event_type, partition, step_key from event_logs join asset_keys using (asset_key) "
        "where asset_key = :key and dagster_event_type like 'ASSET_MATERIALIZATION%' order by 1, 2"
    )
    with engine.connect() as con:
        found = con.execute(statement, {"key": json.dumps([name])}).all()
    engine.dispose()
    return [(kind, partition, step) for kind, partition, step in found]


def test_materialize_runs_the_assets_against_the_instance_and_says_what_came_of_it(
    settings: Settings, embedded_server: Server
) -> None:
    with Lake(settings) as lake:
        fill(lake, ("2017-07", "2017-08"))
    arguments = ["-m", "retention_pipelines.cli.app", "materialize", "--months", "2017-07,2017-08", "--json"]
    done = _python(arguments, _environment(settings))
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["success"] is True
    shown = {item["asset"]: item for item in result["materialized"]}
    assert shown["feature_store"]["partitions"] == 2
    assert shown["aggregated_time_series"]["rows"] > 0
    assert _runs(embedded_server)[-2:] == [("months", "SUCCESS"), ("climatology", "SUCCESS")]
    # Events written in batches are as complete as those written one by one.
    assert _events(embedded_server, "feature_store") == [
        ("ASSET_MATERIALIZATION", "2017-07", "feature_store"),
        ("ASSET_MATERIALIZATION", "2017-08", "feature_store"),
        ("ASSET_MATERIALIZATION_PLANNED", "2017-07", "feature_store"),
        ("ASSET_MATERIALIZATION_PLANNED", "2017-08", "feature_store"),
    ]
    # Dagster's own files lie in the state folder, nothing in the repository.
    assert (settings.state_dir / "dagster" / "storage").is_dir()
    assert not list(ROOT.glob(".tmp_dagster_home_*"))


def test_a_failing_run_ends_with_its_reason_in_one_sentence(settings: Settings) -> None:
    with Lake(settings) as lake:
        observe(lake, [{"event_start": utc("2019-01-03T00:00:00"), "value": 1.0, "source_sha256": "not delivered"}])
    select = ["-m", "retention_pipelines.cli.app", "materialize", "--select", "ingested_files"]
    done = _python(select, _environment(settings))
    assert done.returncode == 2
    assert "Error: The check conservation of ingested_files failed: " in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("arguments", [["--months", "2017-8", "--json"], ["--all", "--months", "2017-08"]])
def test_a_request_that_cannot_be_met_is_a_sentence(settings: Settings, arguments: list[str]) -> None:
    command = ["-m", "retention_pipelines.cli.app", "materialize", *arguments]
    done = _python(command, _environment(settings))
    assert done.returncode == 2
    assert done.stderr.startswith("Error: ")
    assert "Traceback" not in done.stderr
    if "--json" in arguments:
        told = json.loads(done.stdout)
        assert (told["success"], done.stderr) == (False, f"Error: {told['reasons'][0]}\n")


def test_an_external_server_holds_the_instance_as_well(external_url: str, tmp_path: Path) -> None:
    settings = load_settings({}, database_url=external_url, lake_root=str(tmp_path / "lake"), state_dir=tmp_path / "s")
    command = ["-m", "retention_pipelines.defs.run", "--select", "trends"]
    done = _python(command, _environment(settings, RETENTION_DATABASE_URL=external_url))
    assert json.loads(done.stdout.splitlines()[-1]) == {"event": "end", "success": True}, done.stderr
    with open_server(settings) as server:
        assert ("climatology", "SUCCESS") in _runs(server)
    assert not (settings.state_dir / "postgres").exists()
