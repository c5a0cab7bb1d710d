"""The guide's calls on a real Postgres: retraining, cleanup, monitoring, and the mode that writes nothing."""

import asyncio
import contextlib
import os
import subprocess
import sys
import textwrap
import threading
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import psycopg
import pytest

import retention_pipelines
from retention_pipelines.cache import runtime as runtimes
from retention_pipelines.errors import CacheError, RetentionError
from retention_pipelines.guide import monitoring, system
from retention_pipelines.postgres import address
from retention_pipelines.postgres.server import Server
from retention_pipelines.settings import Settings, load_settings
from tests.fixtures.postgres import migrated_database

pytestmark = pytest.mark.usefixtures("little_to_search")

MODULES = {"models": "platform_models", "endpoints": "platform_no_endpoints"}
TABLES = (
    "ml_feature_store", "ml_inference_cache", "ml_training_cache", "ml_performance_metrics", "access_counts",
    "invalidation_log", "models",
)  # fmt: skip


@pytest.fixture(params=["embedded", pytest.param("external", marks=pytest.mark.long)])
def database(request: pytest.FixtureRequest) -> Iterator[Server]:
    """As everywhere, on the external server with `--long`: nothing here depends on the kind of server."""
    with migrated_database(request) as opened:
        yield opened


@pytest.fixture
def own_system(monkeypatch: pytest.MonkeyPatch, database_settings: Settings) -> Iterator[Settings]:
    monkeypatch.setattr(system, "_INTEGRATOR", None)
    monkeypatch.setattr(monitoring, "_MONITOR", None)
    settings = database_settings.model_copy(update={"cache_deadline_seconds": 5.0})
    yield settings
    system.disable_integration()
    monitoring.get_retention_monitor().stop()
    system.get_retention_integrator().disable_cloudflare_mode()
    runtimes.close()


def rows(database: Server, statement: str, *values: Any) -> list[tuple[Any, ...]]:
    with psycopg.connect(address.conninfo(database.address()), autocommit=True) as con:
        con.execute("set retention.tenant = '*'")
        return con.execute(statement.encode(), values or None).fetchall()


def contents(database: Server) -> dict[str, str]:
    """A digest of every table the caches could write to."""
    return {
        table: rows(database, f"select md5(coalesce(string_agg(t::text, '|' order by t::text), '')) from {table} t")[0][
            0
        ]
        for table in TABLES
    }


def start(settings: Settings, **options: Any) -> system.RetentionIntegrator:
    return retention_pipelines.initialize_ml_retention_system(settings=settings, modules=MODULES, **options)


class TestRetraining:
    def test_registers_a_version_and_no_former_prediction_is_served(
        self, database: Server, own_system: Settings, manager_module
    ) -> None:
        integrator = start(own_system)
        manager = manager_module.MLModelManager()
        assert manager.predict("richness", {"sst": 2.0}).prediction == 2.0
        heat = manager.predict("heat", {"sst": 2.0})
        runtimes.current().flush()
        manager.retrain_model("richness", [1])
        assert manager.predict("richness", {"sst": 2.0}).prediction == 22.0
        assert manager.predict("heat", {"sst": 2.0}) == heat
        assert rows(database, "select model_id, state from models") == [("richness", "live")]
        assert integrator.get_integration_metrics()["models_retrained"] == 1
        manager.retrain_model("richness", [2])
        assert manager.predict("richness", {"sst": 2.0}).prediction == 42.0
        assert rows(database, "select state, count(*) from models group by state order by 1") == [
            ("live", 1),
            ("retired", 1),
        ]

    def test_what_a_model_is_trained_on_is_leased_until_the_model_is_registered(
        self, database: Server, own_system: Settings, manager_module, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        leased = []

        @retention_pipelines.cache_training_data("richness")
        def prepare(n: int) -> np.ndarray:
            return np.arange(float(n))

        def retrain_model(self: Any, model_type: str, new_data: Any) -> bool:
            prepare(3), prepare(3)
            leased.append(rows(database, "select dataset, match, leased_until > now(), reason from leases"))
            return new_data is not None

        monkeypatch.setattr(manager_module.MLModelManager, "retrain_model", retrain_model)
        start(own_system)
        manager = manager_module.MLModelManager()
        manager.retrain_model("richness", [1])
        manager.retrain_model("richness", None)
        ((dataset, match, holds, reason),) = leased[0]
        assert (dataset, holds, "retrain_model" in reason) == ("training_cache", True, True)
        assert rows(database, "select dataset, match from roots") == [(dataset, match)]
        assert len(leased[1]) == 1
        assert rows(database, "select count(*) from leases") == [(0,)]

    def test_no_call_that_begins_after_a_retraining_gets_the_former_model(
        self, own_system: Settings, manager_module
    ) -> None:
        start(own_system, auto_start=False)
        manager = manager_module.MLModelManager()
        trained, stop, stale = [manager.factor], threading.Event(), []

        def ask() -> None:
            while not stop.is_set():
                known = trained[-1]
                got = manager.predict("richness", {"sst": 1.0}).prediction
                if got < known:
                    stale.append((known, got))

        callers = [threading.Thread(target=ask) for _ in range(6)]
        for caller in callers:
            caller.start()
        for _ in range(5):
            manager.retrain_model("richness", [1])
            trained.append(manager.factor)
            threading.Event().wait(0.05)
        stop.set()
        for caller in callers:
            caller.join()
        assert stale == []
        assert manager.predict("richness", {"sst": 1.0}).prediction == manager.factor == 51.0

    def test_a_retraining_that_cannot_be_registered_counts_here_until_one_can_be(
        self, database: Server, own_system: Settings, manager_module
    ) -> None:
        integrator = start(own_system.model_copy(update={"cache_flush_seconds": 60.0}), auto_start=False)
        manager = manager_module.MLModelManager()
        manager.predict("richness", {"sst": 1.0})
        hot = runtimes.current().hot
        assert hot is not None
        with psycopg.connect(address.conninfo(database.address())) as other:
            # The entry still waits to be written, and nothing can be registered: somebody holds the table.
            other.execute("lock table models, invalidation_log in access exclusive mode")
            manager.retrain_model("richness", [1])
            assert [manager.predict("richness", {"sst": 1.0}).prediction for _ in range(3)] == [11.0] * 3
            other.rollback()
        assert integrator.get_integration_metrics()["models_not_registered"] == 1
        for _ in range(200):
            with contextlib.suppress(CacheError):
                hot.change(lambda con: None)
                break
            threading.Event().wait(0.1)
        manager.retrain_model("richness", [1])
        assert integrator.get_integration_metrics()["models_retrained"] == 1
        assert manager.predict("richness", {"sst": 1.0}).prediction == 21.0
        assert rows(database, "select count(*) from models") == [(1,)]

    def test_another_process_forgets_within_its_poll(self, own_system: Settings, manager_module) -> None:
        assert own_system.database_url is not None
        start(own_system)
        manager = manager_module.MLModelManager()
        manager.predict("richness", {"sst": 2.0})
        code = """
            from retention_pipelines.cache.runtime import CacheRuntime
            from retention_pipelines.settings import load_settings
            runtime = CacheRuntime(load_settings())
            runtime.models.register("richness", "elsewhere", model_type="richness")
            runtime.close()
        """
        environment = {
            "RETENTION_DATABASE_URL": own_system.database_url.get_secret_value(),
            "RETENTION_STATE_DIR": str(own_system.state_dir),
            "RETENTION_LAKE_ROOT": own_system.lake_root,
            "RETENTION_CACHE_DEADLINE_SECONDS": "5",
        }
        subprocess.run([sys.executable, "-c", textwrap.dedent(code)], env=environment, check=True, timeout=60)
        manager.factor = 3.0
        for _ in range(100):
            if manager.predict("richness", {"sst": 2.0}).prediction == 6.0:
                break
            threading.Event().wait(0.05)
        assert manager.predict("richness", {"sst": 2.0}).prediction == 6.0


class TestCleanup:
    def test_expired_rows_go_and_are_counted_and_fresh_ones_stay(
        self, database: Server, own_system: Settings, manager_module
    ) -> None:
        """P7: it always failed, and said {}."""
        integrator = start(own_system)
        manager = manager_module.MLModelManager()
        for n in range(7):
            manager.predict("richness", {"sst": n})
        asyncio.run(manager.extract_features("s1", "spatial"))
        assert runtimes.current().flush()
        rows_of = "select count(*) from ml_inference_cache"
        assert rows(database, rows_of) == [(7,)]
        # The newest day is never dropped, so the coming ones must be there; the writer makes them when it has time.
        runtimes.current().hot.make_days()
        assert asyncio.run(integrator.cleanup_expired_data()) == dict.fromkeys(
            ("ml_feature_store", "ml_inference_cache", "ml_training_cache"), 0
        )
        with psycopg.connect(address.conninfo(database.address()), autocommit=True) as con:
            con.execute("set retention.tenant = '*'")
            # Four expired within today or yesterday, one a week ago in a day of its own.
            con.execute(
                "update ml_inference_cache set computed_at = now() - interval '2 days',"
                " expires_at = now() - interval '1 second',"
                " expires_on = ((now() - interval '1 second') at time zone 'UTC')::date"
                " where cache_key in (select cache_key from ml_inference_cache order by cache_key limit 4)"
            )
            con.execute("select retention_add_day_partitions('ml_inference_cache', current_date - 8, current_date - 6)")
            con.execute(
                "update ml_inference_cache set computed_at = now() - interval '9 days',"
                " expires_at = now() - interval '7 days',"
                " expires_on = ((now() - interval '7 days') at time zone 'UTC')::date"
                " where cache_key = (select max(cache_key) from ml_inference_cache)"
            )
            con.execute(
                "insert into holds (dataset, match, reason, placed_by)"
                " values ('inference_cache', 'everything', 'r', 'p')"
            )
            assert asyncio.run(integrator.cleanup_expired_data())["ml_inference_cache"] == 0
            assert rows(database, rows_of) == [(7,)], "a legal hold stands above an entry's own end"
            con.execute("update holds set released_at = now(), released_by = 'p'")
        removed = asyncio.run(integrator.retention_manager.cleanup_expired_data())
        assert removed == {"ml_feature_store": 0, "ml_inference_cache": 5, "ml_training_cache": 0}
        assert sum(removed.values()) == 5
        assert rows(database, rows_of) == [(2,)]
        assert rows(database, "select count(*) from ml_feature_store") == [(1,)]
        old = "select count(*) from retention_partitions.days where parent = 'ml_inference_cache'"
        assert rows(database, f"{old} and end_day <= current_date") == [(0,)]

    def test_without_a_database_it_says_so_instead_of_nothing(self, own_system: Settings) -> None:
        gone = own_system.model_copy(
            update={"database_url": load_settings({}, database_url="postgresql://a:b@127.0.0.1:1/x").database_url}
        )
        integrator = start(gone, enable_integration=False, auto_start=False)
        with pytest.raises(CacheError):
            asyncio.run(integrator.cleanup_expired_data())


class TestMonitoring:
    def test_measurements_are_written_in_batches(self, database: Server, own_system: Settings, manager_module) -> None:
        start(own_system, auto_start=False)
        monitor = retention_pipelines.start_retention_monitoring(interval_seconds=3600)
        assert monitor.is_running
        manager = manager_module.MLModelManager()
        for n in (1, 1, 1, 2):
            manager.predict("richness", {"sst": n})
        assert monitor.flush() > 0
        assert monitor.flush() == 0, "nothing happened since"
        manager.predict("richness", {"sst": 1})
        monitor.stop()
        assert not monitor.is_running
        found = rows(database, "select metric, value, labels->>'kind' from ml_performance_metrics order by seq")
        assert {kind for _, _, kind in found} == {"predictions"}
        assert [value for metric, value, _ in found if metric == "cache_calls"] == [4.0, 1.0]
        assert [value for metric, value, _ in found if metric == "cache_hit_ratio"] == [0.5, 1.0]
        assert all(0 <= value <= 1 for metric, value, _ in found if metric.endswith("ratio"))

    def test_health_is_healthy_and_says_when_the_database_is_gone(self, own_system: Settings) -> None:
        """M5: it said all components healthy."""
        os.makedirs(own_system.lake_root)
        start(own_system, enable_integration=False)
        monitor = monitoring.get_retention_monitor()
        health = asyncio.run(monitor.get_health_status())
        assert health == {
            "overall_status": "healthy",
            "components": dict.fromkeys(("database", "lake", "caches", "integration"), "healthy"),
            "issues": [],
        }
        gone = load_settings({}, database_url="postgresql://a:secret@127.0.0.1:1/x").database_url
        start(own_system.model_copy(update={"database_url": gone, "cache_deadline_seconds": 0.25}))
        health = asyncio.run(monitor.get_health_status())
        assert health["overall_status"] == health["components"]["database"] == "unhealthy"
        assert "secret" not in str(health)


class TestCloudflareMode:
    def test_reads_both_tiers_writes_nothing_and_starts_nothing(
        self, database: Server, own_system: Settings, manager_module
    ) -> None:
        start(own_system, auto_start=False)
        manager = manager_module.MLModelManager()
        stored = manager.predict("richness", {"sst": 2.0})
        asyncio.run(manager.extract_features("s1", "spatial"))
        assert runtimes.current().flush()
        system.disable_integration()
        runtimes.close()
        before, threads = contents(database), set(threading.enumerate())
        manager_module.calls.clear()

        integrator = start(own_system, cloudflare_mode=True)
        assert integrator.cloudflare_mode
        assert integrator.retention_manager.readonly_mode
        for _ in range(3):
            assert manager.predict("richness", {"sst": 2.0}) == stored
        asyncio.run(manager.extract_features("s1", "spatial"))
        assert manager_module.calls == [], "the first answer came from Postgres, the others from memory"
        for n in range(3):
            manager.predict("richness", {"sst": 50.0 + n})
            manager.predict("richness", {"sst": 50.0 + n})
        assert len(manager_module.calls) == 3, "what is not there is computed, and remembered in memory"
        manager.retrain_model("heat", [1])
        monitor = retention_pipelines.start_retention_monitoring()
        assert monitor.flush() == 0
        assert not monitor.is_running
        runtimes.current().flush()
        for _ in range(500):
            left = {thread for thread in threading.enumerate() if thread not in threads}
            if not left:
                break
            threading.Event().wait(0.02)
        assert left == set(), "only opening a connection takes a thread, and that is over"
        assert contents(database) == before
        with pytest.raises(CacheError):
            asyncio.run(integrator.cleanup_expired_data())
        assert contents(database) == before

    def test_the_database_role_refuses_to_write_whatever_the_code_does(
        self, database: Server, own_system: Settings
    ) -> None:
        start(own_system, cloudflare_mode=True, enable_integration=False)
        hot = runtimes.current().hot
        assert hot is not None
        assert hot.ask("select current_user::text, current_setting('default_transaction_read_only')") == [
            ("retention_readonly", "on")
        ]
        for statement in (
            "insert into models (model_id, model_version, reproducibility_seconds) values ('m', '1', 0)",
            "delete from ml_feature_store",
            "set default_transaction_read_only = off; delete from ml_feature_store",
        ):
            with pytest.raises(CacheError):
                hot.ask(statement)

    def test_an_invalidation_elsewhere_is_heard_without_a_thread(self, own_system: Settings, manager_module) -> None:
        start(own_system, auto_start=False)
        manager = manager_module.MLModelManager()
        manager.predict("richness", {"sst": 2.0})
        assert runtimes.current().flush()
        writer = runtimes.CacheRuntime(own_system)
        start(own_system, cloudflare_mode=True)
        assert manager.predict("richness", {"sst": 2.0}).prediction == 2.0
        manager.factor = 5.0
        writer.invalidate("model", "richness")
        for _ in range(100):
            if manager.predict("richness", {"sst": 2.0}).prediction == 10.0:
                break
            threading.Event().wait(0.05)
        assert manager.predict("richness", {"sst": 2.0}).prediction == 10.0
        writer.close()

    def test_a_child_process_after_a_fork_reads_lightly_too(self, own_system: Settings) -> None:
        start(own_system, cloudflare_mode=True, enable_integration=False)
        parent = runtimes.current()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 warns of forks beside threads
            child = os.fork()
        if child == 0:
            found = runtimes.CURRENT
            fine = type(found).__name__ == "LightRuntime" and found is not parent and found.read_only
            os._exit(0 if fine else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert runtimes.current() is parent

    def test_entering_the_mode_ends_what_was_started_and_leaving_it_writes_again(
        self, own_system: Settings, manager_module
    ) -> None:
        before = set(threading.enumerate())  # other tests' runtimes may not have been closed
        integrator = start(own_system, auto_start=True)
        manager = manager_module.MLModelManager()
        manager.predict("richness", {"sst": 2.0})
        started = [thread for thread in set(threading.enumerate()) - before if thread.name.startswith("retention-")]
        assert {"retention-monitoring", "retention-writer"} <= {thread.name for thread in started}
        integrator.enable_cloudflare_mode()
        left = [thread for thread in set(threading.enumerate()) - before if thread.name.startswith("retention-")]
        for thread in left:
            thread.join(10.0)
        assert not any(thread.is_alive() for thread in left), left
        manager_module.calls.clear()
        manager.predict("richness", {"sst": 2.0})
        assert manager_module.calls == [], "what waited was written before"
        integrator.disable_cloudflare_mode()
        assert not integrator.cloudflare_mode
        assert runtimes.current().settings == own_system

    def test_policies_studies_and_another_start_keep_to_the_mode(self, database: Server, own_system: Settings) -> None:
        start(own_system, cloudflare_mode=True, enable_integration=False)
        manager = retention_pipelines.get_policy_manager()
        assert manager.settings.mode == "read_only"
        assert manager.settings.database_url == own_system.database_url
        with pytest.raises(RetentionError, match="read_only"):
            asyncio.run(manager.update_policy("fs_low_quality", {"retention_days": 30}))
        with pytest.raises(RetentionError, match="read_only"):
            retention_pipelines.process_new_study("survey/haul-1")
        assert rows(database, "select count(*) from work_queue") == [(0,)]
        with pytest.raises(CacheError, match="Nothing is removed in the mode read_only"):
            asyncio.run(retention_pipelines.get_retention_integrator().cleanup_expired_data())
        other = own_system.model_copy(update={"tenant": "another"})
        start(other, cloudflare_mode=True, enable_integration=False)
        assert runtimes.current().tenant == "another"
        assert runtimes.current().read_only


def test_a_patched_study_is_queued(database: Server, own_system: Settings, make_module) -> None:
    module = make_module(
        "platform_studies", "def create(name):\n    return {'dataset_id': 'cruise', 'event_id': name, 'more': 1}\n"
    )
    integrator = start(own_system, enable_integration=False, auto_start=False)
    integrator.enable_integration(targets=[{"target": "platform_studies:create", "kind": "study"}])
    assert module.create("st1") == {"dataset_id": "cruise", "event_id": "st1", "more": 1}
    assert module.create(None)["event_id"] is None, "what names no study is returned, counted and not queued"
    assert integrator.get_integration_metrics()["studies_not_queued"] == 1
    assert rows(database, "select subject, state from work_queue") == [("cruise/st1", "waiting")]


def test_prepared_training_data_comes_from_files_the_second_time(own_system: Settings, make_module) -> None:
    module = make_module(
        "platform_models",
        """
        import numpy as np

        calls = []

        class MLModelManager:
            def __init__(self):
                self.models_dir, self.models = "models", {"richness": object()}

            def prepare_training_data(self, model_type, rows=10):
                calls.append(rows)
                return np.arange(rows * 2.0).reshape(rows, 2), np.ones(rows, dtype="int8")
        """,
    )
    plain = module.MLModelManager().prepare_training_data("richness", 5)
    module.calls.clear()
    start(own_system, auto_start=False)
    manager = module.MLModelManager()
    first, again = (manager.prepare_training_data("richness", rows=5) for _ in range(2))
    other = manager.prepare_training_data("richness", 6)
    assert module.calls == [5, 6]
    for x, y in (first, again):
        assert x.tolist() == plain[0].tolist()
        assert (y.tolist(), y.dtype) == (plain[1].tolist(), plain[1].dtype)
    assert other[0].shape == (6, 2)
