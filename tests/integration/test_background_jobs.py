"""Hot rows, folding and queued studies as Dagster and the command line run them."""

import gc
import json
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import dagster as dg
import pytest

from retention_pipelines.cache.entry import NewEntry, Payload
from retention_pipelines.cache.events import Counters
from retention_pipelines.cache.hot import HotTier
from retention_pipelines.cli import app
from retention_pipelines.definitions import build_definitions
from retention_pipelines.defs import background
from retention_pipelines.defs.resources import LakeResource
from retention_pipelines.features import hot_rows
from retention_pipelines.features.compute import compute_features
from retention_pipelines.features.store import FeatureStore
from retention_pipelines.integration.work_queue import WorkQueue, process_new_study
from retention_pipelines.postgres.seal import Seal
from retention_pipelines.postgres.secret import load_secret
from retention_pipelines.postgres.server import Server
from retention_pipelines.settings import Settings
from retention_pipelines.warehouse import Lake
from tests.unit.defs.small_lake import fill

pytestmark = pytest.mark.parametrize("database", ["embedded"], indirect=True)
NOW = datetime(2026, 1, 1, tzinfo=UTC)
STUDY = "d/haul-2017-02"


@pytest.fixture
def filled(database_settings: Settings) -> Settings:
    with Lake(database_settings) as lake:
        fill(lake, ("2017-02",))
    return database_settings


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as opened:
        yield opened


def run(settings: Settings, job: str, instance: dg.DagsterInstance) -> None:
    assert build_definitions(settings).resolve_job_def(job).execute_in_process(instance=instance).success


def ask_sensor(settings: Settings, instance: dg.DagsterInstance) -> Any:
    context = dg.build_sensor_context(instance=instance, resources={"lake": LakeResource(settings)})
    return background.queued_studies(context)


def test_a_queued_study_is_processed_and_served_online(
    filled: Settings, database: Server, instance: dg.DagsterInstance
) -> None:
    assert isinstance(ask_sensor(filled, instance), dg.SkipReason)
    with WorkQueue(filled) as queue:
        process_new_study(STUDY, queue=queue)
        assert isinstance(ask_sensor(filled, instance), dg.RunRequest)
        run(filled, "process_studies", instance)
        assert [job.state for job in queue.jobs()] == ["done"]
    run(filled, "online", instance)
    with Lake(filled.model_copy(update={"cache_deadline_seconds": 20.0})) as lake:
        store = FeatureStore(lake)
        found = store.online(STUDY, ["species.richness", "season"], lake=False)
        assert found.table.to_pylist() == [{"source_data_id": STUDY, "richness": 3, "season": "DJF"}]
        del store
        gc.collect()


def test_a_fold_is_a_run_with_figures(filled: Settings, database: Server, instance: dg.DagsterInstance) -> None:
    hot = HotTier(filled.model_copy(update={"cache_deadline_seconds": 20.0}), counters=Counters())
    entry = NewEntry(
        kind="features",
        key="0" * 32,
        payload=Payload(codec="test-1", data=b"value"),
        computed_monotonic=time.monotonic() - 7200,
        ttl_seconds=None,
        compute_seconds=0.1,
        function="f",
        columns={"feature_type": "species", "source_table": "occurrences"},
    )
    assert hot.put_many([entry]) == 1
    figures = []
    for _ in range(2):
        run(filled, "fold", instance)
        event = instance.get_latest_materialization_event(dg.AssetKey("cached_features"))
        assert event is not None
        assert event.asset_materialization is not None
        metadata = event.asset_materialization.metadata
        figures.append((metadata["rows_added"].value, metadata["rows_released"].value))
    assert figures == [(1, 0), (0, 1)]
    assert hot.get("features", "0" * 32) is None
    hot.close()
    with Lake(filled) as lake:
        lake.create_views()
        assert lake.con.execute("select count(*) from cached_features").fetchall() == [(1,)]


def test_a_load_that_fails_leaves_the_copy_as_it_was(
    filled: Settings, database: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    seal = Seal(load_secret(filled))
    with Lake(filled.model_copy(update={"cache_deadline_seconds": 20.0})) as lake:
        compute_features(lake, months=None, now=NOW)
        before = hot_rows.load_hot_rows(lake, database, tenant="local", seal=seal)
        store = FeatureStore(lake)
        served = store.online(STUDY, ["richness"], lake=False)

        class Broken(Seal):
            def signer(self, place: bytes) -> Callable[[bytes, bytes], bytes]:
                def sign(end: bytes, payload: bytes) -> bytes:
                    raise RuntimeError("no more")

                return sign

        with pytest.raises(RuntimeError, match="no more"):
            hot_rows.load_hot_rows(lake, database, tenant="local", seal=Broken(b"another secret of ours"), full=True)
        assert store.online(STUDY, ["richness"], lake=False).values == served.values
        again = hot_rows.load_hot_rows(lake, database, tenant="local", seal=seal)
        assert (again.rows_held, again.rows_written) == (before.rows_held, 0)
        del store
        gc.collect()


def test_the_commands_do_the_same(
    filled: Settings, database: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    url = filled.database_url
    assert url is not None
    monkeypatch.setenv("RETENTION_DATABASE_URL", url.get_secret_value())
    monkeypatch.setenv("RETENTION_LAKE_ROOT", filled.lake_root)
    monkeypatch.setenv("RETENTION_STATE_DIR", str(filled.state_dir))

    def retention(*arguments: str) -> str:
        with pytest.raises(SystemExit) as ended:
            app.main(list(arguments))
        assert not ended.value.code, capsys.readouterr().err
        return capsys.readouterr().out

    assert retention("queue", "add", STUDY, "d/unknown").count("job") == 2
    assert "1 done, 1 to be tried again, 0 given up" in retention("queue", "work")
    listed = retention("queue", "list")
    assert "d/unknown" in listed
    assert "holds no records" in listed
    assert {job["state"] for job in json.loads(retention("queue", "list", "--json"))} == {"waiting", "done"}
    assert retention("queue", "retry", "--all") == "0 wait again.\n"
    assert "No hot rows" in retention("online", "status")
    assert "species: 1 rows, 1 written" in retention("online", "load")
    assert "unchanged" in retention("online", "load")
    assert json.loads(retention("online", "status", "--json"))["held"]["species"]["rows_held"] == 1
    with pytest.raises(SystemExit) as ended:
        app.main(["queue", "retry", "1"])
    assert ended.value.code == 2
    assert "is no dead job" in capsys.readouterr().err
