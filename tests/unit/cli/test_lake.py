"""`retention lake …` as typed: on a lake with rows, and with the mistakes people make."""

import json
from pathlib import Path
from typing import Any

import pytest

from retention_pipelines.cli.app import main
from retention_pipelines.settings import Settings
from retention_pipelines.warehouse import Lake
from tests.unit.warehouse.rows import observations


@pytest.fixture
def lake_root(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RETENTION_LAKE_ROOT", settings.lake_root)
    monkeypatch.setenv("RETENTION_STATE_DIR", str(settings.state_dir))
    with Lake(settings) as lake:
        lake.table("observations").append(observations("ab"), op="first")
        lake.table("observations").append(observations("c", month="2020-02"), op="second")
        lake.publish()
    return Path(settings.lake_root)


@pytest.fixture
def typed(lake_root: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    def run(*words: str, code: int = 0) -> str:
        with pytest.raises(SystemExit) as ended:
            main(list(words))
        found = capsys.readouterr()
        assert ended.value.code == code, found.err
        assert "Traceback" not in found.err
        return found.err if code else found.out

    return run


def stored(typed: Any) -> list[str]:
    found = typed("query", "select record_hash from observations order by 1", "--format", "json")
    return [row["record_hash"] for row in json.loads(found)]


def test_size_files_and_history_tell_what_is_there(typed: Any) -> None:
    size = {row["dataset"]: row for row in json.loads(typed("lake", "size", "--json"))}
    assert (size["observations"]["rows"], size["observations"]["files"], size["observations"]["published"]) == (3, 2, 2)
    assert size["trends"]["rows"] == 0
    files = json.loads(typed("lake", "files", "observations", "--json"))
    assert [row["rows"] for row in sorted(files, key=lambda row: row["path"])] == [2, 1]
    assert sum(row["bytes"] for row in files) == size["observations"]["bytes"]
    history = json.loads(typed("lake", "history", "observations", "--json"))
    assert [row["op"] for row in history] == ["second", "first", "CREATE TABLE"]
    assert "first" not in typed("lake", "history", "observations", "--limit", "1")
    assert "observations" in typed("lake", "size")


def test_undo_and_restore_are_published_and_can_be_undone(typed: Any) -> None:
    assert "undo with: retention lake undo observations 3" in typed("lake", "undo", "observations", "1")
    assert stored(typed) == ["c"]
    typed("lake", "undo", "observations", "3")
    assert stored(typed) == ["a", "b", "c"]
    typed("lake", "restore", "observations", "--version", "1")
    assert stored(typed) == ["a", "b"]
    assert "nothing to do" in typed("lake", "restore", "observations", "--version", "1")
    assert stored(typed) == ["a", "b"]


def test_archive_moves_rows_there_and_back(typed: Any) -> None:
    move = ("lake", "archive", "observations", "--where", "month = '2020-02'", "--run", "old")
    assert "1 replaced" in typed(*move)
    assert stored(typed) == ["a", "b"]
    assert "nothing to do" in typed(*move)
    typed("lake", "archive", "observations", "--where", "true", "--run", "again", "--back")
    assert stored(typed) == ["a", "b", "c"]


def test_compact_vacuum_and_publish_say_what_they_did(typed: Any, settings: Settings) -> None:
    with Lake(settings) as lake:
        lake.table("observations").append(observations("d"))
    assert stored(typed) == ["a", "b", "c"]
    assert "observations: version 3" in typed("lake", "publish")
    assert stored(typed) == ["a", "b", "c", "d"]
    assert "observations: 1 partitions merged" in typed("lake", "compact", "observations", "--min-files", "2")
    assert "observations: 0 files deleted" in typed("lake", "vacuum")
    assert stored(typed) == ["a", "b", "c", "d"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("files", "observation"), "no dataset 'observation'"),
        (("compact", "nope"), "no dataset 'nope'"),
        (("vacuum", "nope"), "no dataset 'nope'"),
        (("vacuum", "observations_nope"), "no dataset 'observations_nope'"),
        (("undo", "observations", "99"), "no commit 99"),
        (("undo", "observations", "0"), "no commit 0"),
        (("undo", "trends", "1"), "no commit 1"),
        (("restore", "observations", "--version", "99"), "no version 99"),
        (("restore", "observations", "--version", "-5"), "no version -5"),
        (("restore", "trends", "--version", "0"), "no version 0"),
        (("restore", "observations", "--at", "1999-01-01"), "held nothing at 1999-01-01"),
        (("restore", "observations"), "Say where to go back to"),
        (("archive", "observations", "--where", "depth > 3", "--run", "x"), "'depth > 3' is not a condition"),
        (("archive", "observations", "--where", "1=1); select (1", "--run", "x"), "is not a condition"),
    ],
)
def test_a_mistake_is_a_sentence_and_changes_nothing(typed: Any, words: tuple[str, ...], told: str) -> None:
    assert told in typed("lake", *words, code=2)
    assert stored(typed) == ["a", "b", "c"]


def test_a_version_whose_files_were_vacuumed_is_named(typed: Any, lake_root: Path, settings: Settings) -> None:
    with Lake(settings) as lake:
        table = lake.table("observations")
        lost = Path(table.root) / next(file.path for file in table.files() if file.partition["month"] == "2020-02")
        table.delete("month = '2020-02'", op="policy")
        lake.publish()
    lost.unlink()
    for words in (("restore", "observations", "--version", "2"), ("undo", "observations", "3")):
        assert lost.name in typed("lake", *words, code=2)
    assert stored(typed) == ["a", "b"]


def test_the_mode_read_only_refuses_what_writes_and_shows_the_rest(
    typed: Any, lake_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = sorted(str(path) for path in lake_root.parent.rglob("*"))
    monkeypatch.setenv("RETENTION_MODE", "read_only")
    for words in (
        ("lake", "publish"),
        ("lake", "undo", "observations", "1"),
        ("lake", "restore", "observations", "--version", "1"),
        ("lake", "compact"),
        ("lake", "archive", "observations", "--where", "true", "--run", "x"),
        ("lake", "vacuum"),
        ("ingest", str(lake_root)),
        ("materialize",),
        ("demo",),
    ):
        assert "RETENTION_MODE=full" in typed(*words, code=2)
    assert json.loads(typed("lake", "size", "--json"))
    assert stored(typed) == ["a", "b", "c"]
    assert sorted(str(path) for path in lake_root.parent.rglob("*")) == before
