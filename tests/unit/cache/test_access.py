"""What a process notes of reads and misses until it tells Postgres."""

from pathlib import Path

from retention_pipelines.cache.access import MOST_MISSED, AccessCounter
from retention_pipelines.cache.events import Counters
from retention_pipelines.cache.hot import HotTier
from retention_pipelines.settings import load_settings


def test_a_bulk_of_unknown_studies_takes_no_place_from_misses_of_other_caches(tmp_path: Path) -> None:
    settings = load_settings({}, state_dir=tmp_path / "state", lake_root=str(tmp_path / "lake"))
    counter = AccessCounter(HotTier(settings, counters=Counters()), flush_seconds=3600.0)
    for number in range(MOST_MISSED + 1000):
        counter.miss("feature_store", f"study-{number}/environmental", None)
    counter.miss("inference_cache", "key", 0.5)
    assert counter._missed["inference_cache"] == {"key": 0.5}
    assert len(counter._missed["feature_store"]) == MOST_MISSED
    counter._missed.clear()
    counter.close()
