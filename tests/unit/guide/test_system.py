"""Every call of the platform's guide, by its old name, with the new import path; what needs a database is in
tests/integration/test_integration_guide.py."""

import asyncio
import json
import logging
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import retention_pipelines
from retention_pipelines import cache_features, cache_predictions
from retention_pipelines.cache import caching
from retention_pipelines.cache import runtime as runtimes
from retention_pipelines.cache.logs import close_logging
from retention_pipelines.errors import SettingsError
from retention_pipelines.guide import monitoring, system
from retention_pipelines.settings import load_settings

pytestmark = pytest.mark.usefixtures("little_to_search")

MODULES = {"models": "platform_models", "endpoints": "platform_no_endpoints"}


@pytest.fixture(autouse=True)
def own_system(monkeypatch: pytest.MonkeyPatch) -> Iterator[runtimes.CacheRuntime]:
    monkeypatch.setattr(system, "_INTEGRATOR", None)
    monkeypatch.setattr(monitoring, "_MONITOR", None)
    with caching.testing() as runtime:
        yield runtime
        system.disable_integration()
        monitoring.get_retention_monitor().stop()


def test_initialize_returns_the_one_integrator(manager_module) -> None:
    integrator = retention_pipelines.initialize_ml_retention_system(
        enable_integration=True, cloudflare_mode=False, auto_start=True, modules=MODULES
    )
    assert integrator is retention_pipelines.get_retention_integrator()
    assert integrator is retention_pipelines.initialize_ml_retention_system(modules=MODULES)
    assert "platform_models:MLModelManager.predict" in integrator.get_integration_metrics()["patched"]
    integrator.disable_integration()
    assert integrator.get_integration_metrics()["patched"] == []


def test_enable_and_disable_are_public(manager_module) -> None:
    original = id(vars(manager_module.MLModelManager)["predict"])
    status = retention_pipelines.enable_integration(modules=MODULES)
    assert status.enabled
    retention_pipelines.disable_integration()
    assert id(vars(manager_module.MLModelManager)["predict"]) == original


def test_the_setting_integration_file_names_the_targets(platform, tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("targets: [{target: 'platform_ml:score', kind: prediction, model: {value: m}}]")
    with caching.testing(load_settings({}, integration_file=file)):
        integrator = retention_pipelines.initialize_ml_retention_system()
        assert integrator.integration_status().patched == ("platform_ml:score",)
        integrator.disable_integration()


def test_a_log_file_that_cannot_be_written_is_told_and_costs_nothing_else(
    manager_module, tmp_path: Path, caplog
) -> None:
    with caching.testing(load_settings({}, log_file=tmp_path)):
        integrator = retention_pipelines.initialize_ml_retention_system(modules=MODULES)
        assert "MLModelManager.predict" in str(integrator.integration_status().patched)
        integrator.disable_integration()
    assert f"No log is written to {tmp_path}" in caplog.text


def test_a_log_file_is_written_when_asked_with_hits_and_no_payload(manager_module, tmp_path: Path) -> None:
    file = tmp_path / "logs" / "ml_retention.log"
    with caching.testing(load_settings({}, log_file=file, log_level="DEBUG")):
        integrator = retention_pipelines.initialize_ml_retention_system(modules=MODULES)
        manager = manager_module.MLModelManager()
        for _ in range(2):
            manager.predict("richness", {"sst": 12345.678})
        integrator.disable_integration()
    close_logging()
    logging.getLogger("retention_pipelines").setLevel(logging.NOTSET)
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    outcomes = [(line["outcome"], line.get("tier")) for line in lines if "outcome" in line]
    assert ("MISS", None) in outcomes
    assert ("HIT", "memory") in outcomes
    assert "12345" not in file.read_text()


class TestMetrics:
    def test_the_hit_ratio_is_none_before_any_call(self) -> None:
        metrics = retention_pipelines.get_retention_integrator().get_integration_metrics()
        assert metrics["cache_hit_ratio"] is None
        assert metrics["avg_response_time_ms"] is None

    def test_a_hundred_misses_are_a_hit_ratio_of_zero(self, manager_module) -> None:
        """M1."""
        integrator = retention_pipelines.initialize_ml_retention_system(modules=MODULES)
        manager = manager_module.MLModelManager()
        for n in range(100):
            manager.predict("richness", {"sst": n})
        metrics = integrator.get_integration_metrics()
        assert (metrics["queries_intercepted"], metrics["cache_hit_ratio"]) == (100, 0.0)
        for n in range(100):
            manager.predict("richness", {"sst": n})
        assert integrator.get_integration_metrics()["cache_hit_ratio"] == 0.5

    def test_time_spent_computing_is_not_time_saved(self, manager_module) -> None:
        """M2."""
        integrator = retention_pipelines.initialize_ml_retention_system(modules=MODULES)
        manager = manager_module.MLModelManager()
        for n in range(20):
            manager.predict("richness", {"sst": n})
        assert integrator.get_integration_metrics()["performance_gains_ms"] == 0.0

    def test_figures_of_functions_that_are_gone_stay_in_the_sums(self, manager_module) -> None:
        integrator = retention_pipelines.initialize_ml_retention_system(modules=MODULES)
        manager_module.MLModelManager().predict("richness", {"sst": 1})
        before = integrator.get_integration_metrics()["cache_calls"]
        integrator.disable_integration()
        import gc

        gc.collect()
        assert integrator.get_integration_metrics()["cache_calls"] == before == 1


class TestCacheConfig:
    def test_feature_ttl_hours_takes_effect_at_once(self, own_system) -> None:
        @cache_features("guide", "none")
        def feature(x: int) -> dict[str, int]:
            return {"x": x}

        manager = retention_pipelines.get_retention_integrator().retention_manager
        manager.cache_config["feature_ttl_hours"] = 48
        feature(1)
        held = own_system.memory.get(feature.key(1))
        assert held is not None
        assert 47 * 3600 < held.remaining <= 48 * 3600
        with pytest.raises(SettingsError, match="feature_ttl_hours"):
            manager.cache_config["feature_ttl_hour"] = 48

    def test_memory_cache_size_takes_effect_at_once(self, own_system) -> None:
        @cache_features("guide", "none")
        def feature(x: int) -> dict[str, int]:
            return {"x": x}

        config = retention_pipelines.get_retention_integrator().cache_config
        config["memory_cache_size"] = 2000
        assert own_system.memory.stats().max_entries == 2000
        config["memory_cache_size"] = 10
        for n in range(100):
            feature(n)
        assert own_system.memory.stats().entries <= 10


class TestMonitoring:
    def test_it_starts_outside_an_event_loop_and_is_one(self) -> None:
        """I3."""
        monitor = retention_pipelines.start_retention_monitoring()
        assert monitor is retention_pipelines.start_retention_monitoring()

    def test_dashboard_data_is_json_and_none_where_nothing_was_measured(self) -> None:
        """M6, M9."""
        monitor = retention_pipelines.start_retention_monitoring()
        data = json.loads(json.dumps(monitor.get_dashboard_data()))
        assert data["current_metrics"]["avg_response_time_ms"] is None
        assert data["current_metrics"]["cache_hit_ratio"] is None

    def test_the_response_time_is_a_mean_that_many_fast_hits_lower(self) -> None:
        """M9: it was a running sum."""
        import time

        @cache_predictions("guide")
        def slow(x: int) -> int:
            time.sleep(0.02)
            return x

        monitor = retention_pipelines.start_retention_monitoring()
        slow(1)
        first = monitor.get_dashboard_data()["current_metrics"]["avg_response_time_ms"]
        for _ in range(200):
            slow(1)
        after = monitor.get_dashboard_data()["current_metrics"]
        assert first >= 20.0
        assert after["avg_response_time_ms"] < first / 10
        assert after["time_saved_ms"] > 0

    def test_health_is_not_healthy_without_a_database(self) -> None:
        """M5."""
        monitor = retention_pipelines.start_retention_monitoring()
        health = asyncio.run(monitor.get_health_status())
        assert health["overall_status"] == "unhealthy"
        assert health["components"]["database"] == "unhealthy"
        assert json.dumps(health)

    def test_it_writes_nothing_and_starts_no_thread_where_it_may_not(self) -> None:
        before = threading.enumerate()
        monitor = retention_pipelines.start_retention_monitoring(0.01)
        assert not monitor.is_running
        assert monitor.flush() == 0
        assert threading.enumerate() == before


def test_the_guide_needs_no_event_loop_and_no_heavy_library_at_import(tmp_path: Path) -> None:
    """I3."""
    code = (
        "import sys, retention_pipelines as r\n"
        "i = r.initialize_ml_retention_system()\n"
        "m = r.start_retention_monitoring()\n"
        "m.get_dashboard_data(); i.get_integration_metrics(); i.disable_integration(); m.stop()\n"
        "print([n for n in ('dagster', 'fastapi', 'polars', 'pandas') if n in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"
