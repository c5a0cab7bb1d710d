"""What a table promises, in a folder and in a bucket alike."""

import os
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from retention_pipelines.errors import (
    CommitConflict,
    LakeError,
    OutsideRestoreWindow,
    PartitionValueError,
    SchemaError,
)
from retention_pipelines.settings import Settings
from retention_pipelines.warehouse import Lake, Table
from tests.unit.warehouse.rows import observations


def keys(table: Table, version: int | None = None) -> list[str]:
    text = f"select record_hash from {table.scan(version=version)} order by 1"
    return [row[0] for row in table.con.execute(text).fetchall()]


@pytest.fixture
def table(any_lake: Lake) -> Table:
    return any_lake.table("observations")


def test_a_table_that_was_never_written_reads_as_empty(table: Table) -> None:
    assert (keys(table), table.version(), table.files()) == ([], -1, [])


def test_appended_rows_are_read_back(table: Table) -> None:
    commit = table.append(observations("ab"))
    table.append(observations("c", month="2020-02"))
    assert keys(table) == ["a", "b", "c"]
    assert (commit.rows_added, commit.partitions) == (2, (("2020-01",),))


def test_rows_written_partition_by_partition_and_enums_are_stored_as_any_others(table: Table) -> None:
    text = f"{observations('ab')} union all {observations('c', month='2020-02')}"
    plain = table.append(text)
    known = {file.path for file in table.files()}
    enums = "dataset_id::enum('text') as dataset_id, qc_scale::enum('none', 'argo') as qc_scale"
    given = table.append(f"select * replace ({enums}) from ({text})", partitions=["2020-01", "2020-02"])
    assert (given.rows_added, given.partitions) == (plain.rows_added, plain.partitions) == (3, plain.partitions)
    scans = table.scan(keep=lambda file: file.path in known), table.scan(keep=lambda file: file.path not in known)
    before, after = (table.con.execute(f"select * from {scan} order by all").fetchall() for scan in scans)
    assert after == before
    assert {(file.minimum["dataset_id"], file.maximum["dataset_id"]) for file in table.files()} == {("text", "text")}


def test_many_partitions_are_written_side_by_side_and_each_holds_its_own_rows(table: Table) -> None:
    months = [f"20{year}-{month:02d}" for year in range(20, 25) for month in range(1, 13)]
    table.con.execute(f"create table given as {' union all '.join(observations([key], month=key) for key in months)}")
    commit = table.append("select * from given", partitions=months)
    assert (commit.rows_added, len(table.files())) == (60, 60)
    found = table.con.execute(f"select record_hash, month from {table.scan()} order by all").fetchall()
    assert found == [(month, month) for month in months]
    instants = {(file.minimum["event_start"], file.maximum["event_start"]) for file in table.files()}
    assert instants == {(datetime(2020, 1, 1, tzinfo=UTC),) * 2}


def test_whoever_opens_a_table_need_not_read_an_entry_of_many_files_again(any_lake: Lake) -> None:
    table = any_lake.table("observations")
    table.append(" union all ".join(observations("a", month=f"{2000 + year}-01") for year in range(60)))
    table.append(observations("b"))
    checkpoints = [name for name in table.log._objects.names("_delta_log") if name.endswith(".checkpoint.parquet")]
    assert checkpoints == [f"{1:020d}.checkpoint.parquet"]
    with Lake(any_lake.settings) as other:
        assert (len(other.table("observations").files()), keys(other.table("observations"))[-2:]) == (61, ["a", "b"])
        assert len(other.table("observations").files(version=1)) == 60


def test_a_checkpoint_is_on_the_disk_with_the_commit_it_sums_up(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without power, a name could be left without its content: the table would not open, although its log is whole."""
    synced: set[str] = set()
    sync = os.fsync

    def noted(descriptor: int) -> None:
        synced.add(os.path.basename(os.readlink(f"/proc/self/fd/{descriptor}")))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", noted)
    with Lake(settings) as lake:
        table = lake.table("observations")
        table.append(" union all ".join(observations("a", month=f"{2000 + year}-01") for year in range(60)))
        for number in range(9):
            table.append(observations("bcdefghij"[number]))
        log = {name for name in table.log._objects.names("_delta_log") if "checkpoint" in name}
    assert {f"{version:020d}.checkpoint.parquet" for version in (1, 9)} | {"_last_checkpoint"} == log
    assert log <= synced


def test_one_bad_row_in_one_of_many_partitions_leaves_no_file(table: Table) -> None:
    table.append(observations("a"))
    months = ["2020-02", "2020-03", "2020-04"]
    bad = observations("x", month="2020-03").replace("timestamptz '2020-01-01 00:00:00+00'", "null::timestamptz")
    table.con.execute(f"create table given as {observations('b', month='2020-02')} union all {bad}")
    table.con.execute(f"insert into given {observations('c', month='2020-04')}")
    with pytest.raises(SchemaError, match="required"):
        table.append("select * from given", partitions=months)
    assert (keys(table), len(table.history(5))) == (["a"], 2)
    if "://" not in table.root:
        assert [path.parent.name for path in Path(table.root).glob("**/*.parquet")] == ["month=2020-01"]


def test_a_partition_value_that_no_reader_can_open_is_refused_and_leaves_no_file(table: Table) -> None:
    table.append(observations("a"))
    with pytest.raises(PartitionValueError):
        table.append(observations("a", month="20 20"), partitions=["20 20"])
    assert keys(table) == ["a"]


def test_an_append_with_a_transaction_id_happens_once(table: Table) -> None:
    for _ in range(3):
        table.append(observations("ab"), transaction="delivery-1")
    assert keys(table) == ["a", "b"]


def test_an_append_that_was_undone_may_happen_again_under_its_id(table: Table) -> None:
    first = table.append(observations("ab"), transaction="delivery-1")
    table.undo(first.version)
    assert keys(table) == []
    table.append(observations("ab"), transaction="delivery-1")
    table.append(observations("ab"), transaction="delivery-1")
    assert keys(table) == ["a", "b"]


def test_append_new_adds_only_unknown_keys(table: Table) -> None:
    table.append_new(observations("ab"), key="record_hash", within="month")
    again = table.append_new(observations("bbc"), key="record_hash", within="month")
    same = table.append_new(observations("abc"), key=["record_hash", "variable"], within="month")
    assert keys(table) == ["a", "b", "c"]
    assert (again.rows_added, same.rows_added) == (1, 0)


def test_delete_rewrites_only_files_with_a_match(table: Table) -> None:
    table.append(observations("ab"))
    table.append(observations("cd"))
    before = {file.path for file in table.files()}
    commit = table.delete("record_hash = 'a'", op="delete:test")
    assert keys(table) == ["b", "c", "d"]
    assert len(before & {file.path for file in table.files()}) == 1
    assert (commit.rows_added, commit.rows_removed) == (1, 2)


def test_delete_without_a_match_commits_nothing(table: Table) -> None:
    version = table.append(observations("ab")).version
    assert table.delete("record_hash = 'z'", op="delete:test").version == version


def test_rewrite_maps_every_row(table: Table) -> None:
    table.append(observations("ab"))
    table.rewrite(lambda rows: f"select * replace (value * 2 as value) from {rows}", op="double")
    assert table.con.execute(f"select sum(value) from {table.scan()}").fetchall() == [(6.0,)]


def test_replace_changes_only_matching_rows_of_the_given_partitions(table: Table) -> None:
    table.append(observations("ab"))
    table.append(observations("a", month="2020-02"))
    table.replace(observations("x"), where="record_hash = 'a'", partitions=[("2020-01",)], op="replace:test")
    assert keys(table) == ["a", "b", "x"]


def test_drop_partitions_removes_whole_files(table: Table) -> None:
    table.append(observations("a"))
    table.append(observations("b", month="2020-02"))
    commit = table.drop_partitions(lambda file: file.partition["month"] < "2020-02", op="drop:test")
    assert keys(table) == ["b"]
    assert (commit.rows_removed, commit.partitions) == (1, (("2020-01",),))


def test_compact_merges_small_files_and_keeps_the_rows(table: Table) -> None:
    for key in "abcd":
        table.append(observations(key))
    table.append(observations("e", month="2020-02"))
    table.compact(min_files=3)
    assert keys(table) == ["a", "b", "c", "d", "e"]
    assert len(table.files()) == 2


def test_undo_takes_back_one_commit_and_keeps_later_appends(table: Table) -> None:
    table.append(observations("ab"))
    deleted = table.delete("record_hash = 'a'", op="delete:test")
    table.append(observations("c"))
    table.undo(deleted.version)
    assert keys(table) == ["a", "b", "c"]
    assert {file.maximum["record_hash"] for file in table.files()} == {"b", "c"}


def test_undo_of_files_that_were_rewritten_since_says_what_to_use(table: Table) -> None:
    first = table.append(observations("a"))
    table.append(observations("b"))
    table.rewrite(lambda rows: f"select * replace (2.5 as value) from {rows}", op="correct")
    with pytest.raises(CommitConflict, match="restore observations --version 0"):
        table.undo(first.version)


def test_undo_of_an_append_whose_files_were_merged_since_takes_its_rows_out_of_the_merged_files(table: Table) -> None:
    first = table.append(f"{observations('ab')} union all {observations('x', month='2020-02')}")
    table.append(f"{observations('c')} union all {observations('y', month='2020-03')}")
    table.compact(min_files=2)
    table.append(observations("d"))
    table.compact(min_files=2)
    table.append(observations("e"))
    done = table.undo(first.version)
    assert keys(table) == ["c", "d", "e", "y"]
    assert (done.rows_removed - done.rows_added, {file.partition["month"] for file in table.files()}) == (
        3,
        {"2020-01", "2020-03"},
    )
    table.undo(done.version)
    assert keys(table) == ["a", "b", "c", "d", "e", "x", "y"]


def test_undo_does_not_touch_rows_that_came_again_after_the_first_ones_were_taken_back(table: Table) -> None:
    first = table.append(observations("ab"))
    table.append(observations("c"))
    table.compact(min_files=2)
    table.undo(first.version)
    table.append(observations("ab"))
    with pytest.raises(CommitConflict, match="restore observations"):
        table.undo(first.version)
    assert keys(table) == ["a", "b", "c"]


def test_restore_goes_back_and_can_be_undone(table: Table) -> None:
    table.append(observations("a"))
    version = table.append(observations("b")).version
    table.delete("record_hash = 'a'", op="delete:test")
    table.append(observations("c"))
    restored = table.restore(version)
    assert keys(table) == ["a", "b"]
    table.undo(restored.version)
    assert keys(table) == ["b", "c"]


def test_time_travel_reads_a_version_and_an_instant(table: Table) -> None:
    version = table.append(observations("a")).version
    table.append(observations("b"))
    entry = next(entry for entry in table.history() if entry.version == version)
    assert keys(table, version=version) == ["a"]
    assert table.version_at(entry.committed_at) == version
    assert table.version_at(entry.committed_at - timedelta(days=1)) == -1


def test_time_travel_to_a_version_that_never_was_is_a_clear_error(table: Table) -> None:
    table.append(observations("a"))
    with pytest.raises(OutsideRestoreWindow, match="no version 99"):
        table.scan(version=99)


def test_history_names_what_each_commit_did(table: Table) -> None:
    table.append(observations("a"), op="ingest:1")
    table.delete("true", op="policy:2")
    assert [entry.op for entry in table.history()] == ["policy:2", "ingest:1", "CREATE TABLE"]
    assert [entry.op for entry in table.history(limit=1)] == ["policy:2"]


def test_vacuum_keeps_what_the_last_seven_days_need(table: Table) -> None:
    version = table.append(observations("ab")).version
    table.delete("record_hash = 'a'", op="delete:test")
    assert table.vacuum(keep_versions=[version]) == []
    assert keys(table, version=version) == ["a", "b"]


def test_vacuum_refuses_a_window_shorter_than_writers_and_readers_need(table: Table) -> None:
    with pytest.raises(LakeError, match="at least 168 hours"):
        table.vacuum(older_than_hours=0)


def test_archive_moves_rows_and_unarchive_brings_them_back(any_lake: Lake) -> None:
    table, archive = any_lake.table("observations"), any_lake.archive_table("observations")
    table.append(observations("abc"))
    any_lake.archive("observations", "record_hash < 'c'", run="1")
    assert (keys(table), keys(archive)) == (["c"], ["a", "b"])
    any_lake.unarchive("observations", "record_hash = 'a'", run="1")
    assert (keys(table), keys(archive)) == (["a", "c"], ["b"])
    any_lake.archive("observations", "record_hash = 'a'", run="2")
    assert (keys(table), keys(archive)) == (["c"], ["a", "b"])


def test_an_archive_that_stopped_half_way_is_finished_by_the_same_run(any_lake: Lake) -> None:
    table, archive = any_lake.table("observations"), any_lake.archive_table("observations")
    table.append(observations("abc"))
    # What a crash after the first of the two commits leaves behind.
    archive.append(f"select * from {table.scan()} where record_hash < 'c'", op="archive:1", transaction="archive:1")
    table.append(observations("0"))  # matches, but came after: stays
    for _ in range(2):
        any_lake.archive("observations", "record_hash < 'c'", run="1")
    assert (keys(table), keys(archive)) == (["0", "c"], ["a", "b"])


def test_a_handle_given_to_a_writer_stays_at_its_version_whatever_is_read_or_committed_after(table: Table) -> None:
    table.append(observations("a"))
    handle, at = table.delta(), table.version()
    table.append(observations("b"))
    assert (table.version(), keys(table)) == (at + 1, ["a", "b"])
    assert handle.version() == at
    assert table.delta() is not handle
    # A rewrite computed on the old state meets the newer one and is refused, with a handle that others used, too.
    table.rewrite(lambda rows: f"select * from {rows}", op="compact")
    with pytest.raises(CommitConflict):
        table.commit(handle, table.write_files(observations("z")), table.live(handle), op="compact")
    assert keys(table) == ["a", "b"]


def test_the_newest_version_is_known_from_names_also_behind_checkpoints(any_lake: Lake) -> None:
    table, other = any_lake.table("observations"), Lake(any_lake.settings)
    assert (table.log.newest(), table.version()) == (-1, -1)
    with other:
        for number in range(12):
            other.table("observations").append(observations(f"{number:x}"))
            assert table.version() == other.table("observations").version() == number + 1
    assert len(keys(table)) == 12


def test_a_table_made_anew_in_the_place_of_one_that_was_read_is_read_itself(settings: Settings) -> None:
    with Lake(settings) as first:
        table = first.table("observations")
        for count, key in enumerate("abc", start=1):
            table.append(observations(key))
            assert len(table.files()) == count
        shutil.rmtree(table.root)
        with Lake(settings) as second:
            second.table("observations").append(observations("xy"))
        assert [file.rows for file in table.files()] == [2]
