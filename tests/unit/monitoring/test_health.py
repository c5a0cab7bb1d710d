from pathlib import Path

from retention_pipelines.cache import caching
from retention_pipelines.cache.runtime import CacheRuntime
from retention_pipelines.monitoring.health import Health, PartHealth, check
from retention_pipelines.settings import load_settings


def test_the_worst_part_is_the_overall_status() -> None:
    def of(*statuses):
        return Health(parts=tuple(PartHealth(part=str(n), status=status) for n, status in enumerate(statuses))).overall

    assert of("healthy", "healthy") == "healthy"
    assert of("healthy", "degraded") == "degraded"
    assert of("unhealthy", "degraded", "healthy") == "unhealthy"
    assert of() == "unhealthy", "what nobody asked is not healthy"


def test_an_unreachable_database_is_told_within_the_deadline_and_without_its_password(tmp_path: Path) -> None:
    """M5."""
    settings = load_settings(
        {}, database_url="postgresql://user:hidden@127.0.0.1:1/none", lake_root=str(tmp_path), state_dir=tmp_path
    )
    runtime = CacheRuntime(settings)
    health = check(runtime)
    runtime.close()
    parts = {part.part: part for part in health.parts}
    assert parts["database"].status == "unhealthy"
    assert parts["database"].detail
    assert "hidden" not in str(health)
    assert parts["lake"].status == parts["caches"].status == "healthy"


def test_what_is_switched_off_damaged_missing_or_covered_is_told(tmp_path: Path) -> None:
    with caching.testing(load_settings({}, lake_root=str(tmp_path / "none"))) as runtime:
        runtime.counters.add("features", "corrupt", "postgres", 2)
        parts = {part.part: part for part in check(runtime, covered=3).parts}
        assert parts["lake"].status == parts["caches"].status == parts["integration"].status == "degraded"
        assert "2 stored entries" in parts["caches"].detail
        with caching.disabled():
            assert "switched off" in {part.part: part for part in check(runtime).parts}["caches"].detail
