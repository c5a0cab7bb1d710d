"""A change of a lake table is seen within a second; a commit that changes no row is none."""

from retention_pipelines.cache.training.sources import LakeVersions
from retention_pipelines.settings import Settings
from retention_pipelines.warehouse import Lake
from retention_pipelines.warehouse.reads import note_read, recording
from tests.unit.warehouse.rows import observations


def test_versions_follow_the_lake_in_a_folder_and_in_a_bucket(any_settings: Settings, any_lake: Lake) -> None:
    versions = LakeVersions(any_settings)
    assert versions.now(["observations"]) == {"observations": -1}
    table = any_lake.table("observations")
    for keys in ("ab", "cd", "ef"):
        table.append(observations(keys))
    before = versions.now(["observations"])
    assert before == {"observations": table.version()}
    assert LakeVersions(any_settings).changed(before) is None
    table.compact(min_files=1)
    assert table.version() > before["observations"]
    assert LakeVersions(any_settings).changed(before) is None
    table.append(observations("g"))
    assert LakeVersions(any_settings).changed(before) == "observations"


def test_a_table_that_is_behind_what_was_read_has_changed(settings: Settings) -> None:
    assert LakeVersions(settings).changed({"observations": 3}) == "observations"
    assert LakeVersions(settings).changed({"observations": -1}) is None


def test_reads_are_recorded_once_with_the_version_before_the_first() -> None:
    note_read("occurrences", lambda: 1 // 0)
    with recording() as outer:
        note_read("observations", lambda: 3)
        with recording() as inner:
            note_read("observations", lambda: 4)
            note_read("feature_store", lambda: 5)
        note_read("feature_store", lambda: 6)
    assert inner == {"observations": 4, "feature_store": 5}
    assert outer == {"observations": 3, "feature_store": 5}
