"""What readers see: one state of all datasets, the same by every way of reading."""

import os
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pytest

from retention_pipelines.errors import LakeError, ReadOnly
from retention_pipelines.settings import Settings, load_settings
from retention_pipelines.sources.ingest import ingest
from retention_pipelines.warehouse import Lake
from retention_pipelines.warehouse.published import KEEP_GENERATIONS, Manifest
from retention_pipelines.warehouse.reader import connect
from tests.unit.warehouse.rows import observations, rows

QUESTION = "select month, record_hash, value from {} order by all"


def test_versions_never_go_back() -> None:
    manifest = Manifest(generation=4, versions={"a": 3, "b": 1})
    assert manifest.advanced_to({"a": 2}) is manifest
    assert manifest.advanced_to({"a": 2, "b": 2}) == Manifest(generation=5, versions={"a": 3, "b": 2})


def test_nothing_is_seen_before_it_is_published(any_lake: Lake) -> None:
    any_lake.table("observations").append(observations("ab"))
    any_lake.create_views()
    assert any_lake.con.execute("select count(*) from observations").fetchall() == [(0,)]
    assert any_lake.publish() == {"observations": 1}
    any_lake.create_views()
    assert any_lake.con.execute("select count(*) from observations").fetchall() == [(2,)]


def test_publishing_again_without_a_change_changes_nothing(any_lake: Lake) -> None:
    any_lake.table("observations").append(observations("ab"))
    any_lake.publish()
    before = any_lake.published()
    any_lake.publish()
    assert any_lake.published() == before


def test_every_way_of_reading_gives_the_same_answer(settings: Settings) -> None:
    root = settings.lake_root
    with Lake(settings) as lake:
        table = lake.table("observations")
        table.append(observations("ab"))
        table.append(observations("c", month="2020-02", value=float("nan")))
        lake.publish()
        table.append(observations("unpublished"))
        answers = [connect(settings).execute(QUESTION.format("observations")).fetchall()]
        lake.create_views()
        answers.append(lake.con.execute(QUESTION.format("observations")).fetchall())
    with duckdb.connect(f"{root}/catalog.duckdb", read_only=True) as con:
        answers.append(con.execute(QUESTION.format("observations")).fetchall())
    glob = f"read_parquet('{root}/observations/**/*.parquet', hive_partitioning = true)"
    answers.append(duckdb.connect().execute(QUESTION.format(glob)).fetchall())
    command = [sys.executable, "-m", "retention_pipelines.cli.app", "query", "--format", "csv"]
    environment = {**os.environ, "RETENTION_LAKE_ROOT": root, "RETENTION_STATE_DIR": str(settings.state_dir)}
    printed = subprocess.run(
        [*command, QUESTION.format("observations")], env=environment, check=True, capture_output=True, text=True
    ).stdout
    assert printed == "month,record_hash,value\n2020-01,a,1.5\n2020-01,b,1.5\n2020-02,c,nan\n"
    assert [[row[:2] for row in answer] for answer in answers] == [
        [("2020-01", "a"), ("2020-01", "b"), ("2020-02", "c")]
    ] * 4


def test_an_empty_dataset_is_an_empty_result_by_every_way_of_reading(settings: Settings) -> None:
    with Lake(settings) as lake:
        lake.table("observations").append(observations("a"))
        lake.table("observations").delete("true", op="delete:test")
        lake.publish()
    glob = f"read_parquet('{settings.lake_root}/observations/**/*.parquet', hive_partitioning = true)"
    assert duckdb.connect().execute(f"select count(*) from {glob} where month = '2020-01'").fetchall() == [(0,)]
    with duckdb.connect(f"{settings.lake_root}/catalog.duckdb", read_only=True) as con:
        assert con.execute("select (select count(*) from observations), (select count(*) from trends)").fetchall() == [
            (0, 0)
        ]


def test_one_rename_switches_all_datasets(settings: Settings) -> None:
    root = Path(settings.lake_root)
    with Lake(settings) as lake:
        lake.table("observations").append(observations("a"))
        lake.table("trends").append(rows("trends"))
        lake.publish()
        links = {name: os.readlink(root / name) for name in ("observations", "trends", "catalog.duckdb")}
        first = os.readlink(root / ".published/current")
        lake.table("observations").append(observations("b"))
        lake.table("trends").append(rows("trends"))
        lake.publish()
    assert {name: os.readlink(root / name) for name in links} == links
    assert os.readlink(root / ".published/current") != first


def test_a_reader_that_holds_the_old_state_keeps_it_for_some_generations(settings: Settings) -> None:
    with Lake(settings) as lake:
        lake.table("observations").append(observations("a"))
        lake.publish()
        held = os.path.realpath(f"{settings.lake_root}/observations")
        for key in "bc":
            lake.table("observations").append(observations(key))
            lake.publish()
        assert duckdb.connect().execute(f"select count(*) from '{held}/**/*.parquet'").fetchall() == [(1,)]
        lake.table("observations").append(observations("d"))
        lake.publish()
        assert not os.path.exists(held)


def test_rotation_frees_the_space_of_old_states(settings: Settings) -> None:
    root = Path(settings.lake_root)
    with Lake(settings) as lake:
        table = lake.table("observations")
        table.append(observations("a"))
        lake.publish()
        old = root / "_lake/observations" / table.files()[0].path
        assert old.stat().st_nlink == 2
        for _ in range(KEEP_GENERATIONS):
            table.rewrite(lambda text: f"select * from {text}", op="again")
            lake.publish()
        assert old.stat().st_nlink == 1, "only the restore window holds it now; vacuum frees it after 7 days"
        assert len([name for name in os.listdir(root / ".published") if name.isdigit()]) == KEEP_GENERATIONS
        assert len(os.listdir(root / ".published/observations")) == KEEP_GENERATIONS


def test_a_switch_that_was_cut_off_is_made_good_by_the_next(settings: Settings) -> None:
    root = Path(settings.lake_root)
    with Lake(settings) as lake:
        lake.table("observations").append(observations("a"))
        lake.publish()
        # What a process leaves that died after writing a generation and before showing it.
        (root / ".published/000000000002").mkdir()
        (root / ".published/observations/.tmp-dead").mkdir()
        (root / ".published/.tmp-dead").mkdir()
        (root / ".published/current.dead.tmp").symlink_to("000000000002")
        lake.table("observations").append(observations("b"))
        lake.publish()
        assert lake.published() == Manifest(generation=3, versions={"observations": 2})
        assert not [path for path in (root / ".published").rglob("*") if "dead" in path.name]
    glob = f"'{root}/observations/**/*.parquet'"
    assert duckdb.connect().execute(f"select count(*) from {glob}").fetchall() == [(2,)]
    assert sorted(os.listdir(root / ".published/observations")) == ["000000000001", "000000000002"]


def test_a_folder_in_the_way_is_named(settings: Settings) -> None:
    with Lake(settings) as lake:
        lake.table("observations").append(observations("a"))
        os.makedirs(f"{settings.lake_root}/observations")
        with pytest.raises(LakeError, match="observations is in the way"):
            lake.publish()


def test_reading_a_lake_that_does_not_exist_creates_nothing(settings: Settings) -> None:
    con = connect(settings)
    assert con.execute("select count(*) from feature_store").fetchall() == [(0,)]
    assert con.execute("select location_grid(-12.1, 13.6, 0.25)").fetchall() == [("-12.25_13.5",)]
    assert not os.path.exists(settings.lake_root)


def test_the_mode_read_only_writes_nothing(settings: Settings) -> None:
    with Lake(settings) as lake:
        lake.table("observations").append(observations("a"))
    with Lake(settings.model_copy(update={"mode": "read_only"})) as lake:
        table = lake.table("observations")
        version = table.version()
        for attempt in (
            lambda: table.append(observations("b")),
            lambda: table.delete("true", op="x"),
            lambda: table.drop_partitions(lambda _: True, op="x"),
            lambda: table.undo(1),
            table.vacuum,
            lake.publish,
            lambda: table.restore(0),
            lambda: table.compact(min_files=1),
            lambda: table.append_new(observations("b"), key="record_hash", within="month"),
            lambda: lake.archive("observations", "true", run="x"),
            lambda: lake.transaction("x"),
            lambda: lake.table("trends").delta(),
            lambda: ingest([settings.lake_root], lake, now=datetime(2026, 1, 1, tzinfo=UTC)),
        ):
            with pytest.raises(ReadOnly, match="read_only"):
                attempt()
        assert table.version() == version
    assert sorted(os.listdir(settings.lake_root)) == ["_lake"]
    assert os.listdir(f"{settings.lake_root}/_lake") == ["observations"]
    assert [entry for entry in os.listdir(settings.state_dir) if entry != "spill"] == []


def test_a_manifest_that_is_no_json_is_named_and_written_anew_once_it_is_deleted(settings: Settings) -> None:
    manifest = Path(settings.lake_root) / "_lake/published.json"
    with Lake(settings) as lake:
        lake.table("observations").append(observations("a"))
        lake.publish()
        manifest.write_text("{half")
        for attempt in (lake.published, lake.publish, lake.create_views):
            with pytest.raises(LakeError, match=r"published\.json"):
                attempt()
        manifest.unlink()
        assert lake.publish() == {"observations": 1}
        lake.create_views()
        assert lake.con.execute("select count(*) from observations").fetchall() == [(1,)]


def test_a_deleted_published_folder_is_named_and_published_again(settings: Settings) -> None:
    with Lake(settings) as lake:
        lake.table("observations").append(observations("a"))
        lake.publish()
        shutil.rmtree(f"{settings.lake_root}/.published")
        with pytest.raises(LakeError, match="retention lake publish"):
            lake.create_views()
        lake.publish()
        lake.create_views()
        assert lake.con.execute("select count(*) from observations").fetchall() == [(1,)]
    glob = f"'{settings.lake_root}/observations/**/*.parquet'"
    assert duckdb.connect().execute(f"select count(*) from {glob}").fetchall() == [(1,)]


def test_a_deleted_data_file_is_named(settings: Settings) -> None:
    with Lake(settings) as lake:
        table = lake.table("observations")
        table.append(observations("a"))
        lake.publish()
        lost = Path(table.root) / table.files()[0].path
        lost.unlink()
        with pytest.raises(LakeError, match=lost.name):
            table.scan(version=table.version())
        lake.create_views()
        with pytest.raises(duckdb.Error, match=lost.name):
            lake.con.execute("from observations").fetchall()


def test_what_a_killed_process_spilled_is_removed_by_the_next(settings: Settings) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    folders = {pid: settings.state_dir / f"spill/retention-spill-{pid}-0123abcd" for pid in (dead.pid, os.getpid())}
    for folder in folders.values():
        folder.mkdir(parents=True)
        (folder / "duckdb_temp_block-1.block").write_bytes(b"x")
    with Lake(settings):
        assert not folders[dead.pid].exists()
        assert folders[os.getpid()].exists()


@pytest.mark.parametrize("name", ["with space #1; 100%{a,b}", 'o\'brien "quoted"', "ação-測試"])
def test_a_lake_may_lie_in_a_folder_of_any_name(tmp_path: Path, name: str) -> None:
    root = tmp_path / name
    root.mkdir()
    (tmp_path / "link").symlink_to(root)
    for place in (root / "lake", tmp_path / "link/lake"):
        with Lake(load_settings({}, lake_root=str(place), state_dir=tmp_path / name / "state")) as lake:
            with lake.transaction("t") as op:
                lake.table("observations").append(observations([op]), op=op)
            lake.table("observations").compact(min_files=2)
            lake.publish()
            lake.create_views()
            total = lake.con.execute("select count(*) from observations").fetchall()
        glob = str(place).replace("'", "''")
        assert duckdb.connect().execute(f"select count(*) from '{glob}/observations/**/*.parquet'").fetchall() == total
        with duckdb.connect(str(place / "catalog.duckdb"), read_only=True) as con:
            assert con.execute("select count(*) from observations").fetchall() == total


@pytest.mark.parametrize("name", ["a%20b", "a*", "a?", "a[1]", "a\\b"])
def test_a_folder_name_that_some_reader_misreads_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(LakeError, match="RETENTION_LAKE_ROOT"):
        Lake(load_settings({}, lake_root=str(tmp_path / name), state_dir=tmp_path))
    assert list(tmp_path.iterdir()) == []
