import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from retention_pipelines.defs.landing import complete_entries, entries, put_aside, remove_erased, settled_entries

AT = datetime(2026, 11, 22, 10, 30, tzinfo=UTC)


def _old(path: Path, text: str = "a,b\n1,2\n") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    os.utime(path, (1_600_000_000, 1_600_000_000))
    return path


def test_a_folder_that_is_not_there_holds_nothing(tmp_path: Path) -> None:
    assert entries(tmp_path / "landing") == {}


@pytest.mark.parametrize("name", [".hidden.csv", "a.csv.part", "b.zip.crdownload", "c.tmp", "d.csv~", ".done/x/e.csv"])
def test_hidden_and_unfinished_names_are_ignored(tmp_path: Path, name: str) -> None:
    _old(tmp_path / name)
    _old(tmp_path / "good.csv")
    assert set(entries(tmp_path)) == {"good.csv"}


def test_a_folder_is_one_entry_and_waits_for_its_last_file(tmp_path: Path) -> None:
    _old(tmp_path / "cruise" / "event.txt")
    unfinished = _old(tmp_path / "cruise" / "occurrence.txt.part")
    assert entries(tmp_path) == {}
    unfinished.rename(tmp_path / "cruise" / "occurrence.txt")
    assert set(entries(tmp_path)) == {"cruise"}


def test_only_what_did_not_change_between_two_looks_is_complete(tmp_path: Path) -> None:
    growing, still = _old(tmp_path / "growing.csv"), _old(tmp_path / "still.csv")
    before = {name: entry.signature for name, entry in entries(tmp_path).items()}
    growing.write_text(growing.read_text() + "3,4\n")
    _old(tmp_path / "new.csv")
    assert {name: entry.path for name, entry in complete_entries(before, entries(tmp_path)).items()} == {
        "still.csv": still
    }


def test_a_file_that_changed_just_now_is_looked_at_twice(tmp_path: Path) -> None:
    _old(tmp_path / "old.csv")
    (tmp_path / "fresh.csv").write_text("a\n1\n")
    assert set(settled_entries(tmp_path, settle_seconds=0.05)) == {"old.csv", "fresh.csv"}


def test_what_was_ingested_is_moved_and_nothing_is_lost(tmp_path: Path) -> None:
    _old(tmp_path / "good.csv", "good")
    _old(tmp_path / "bad.csv", "bad")
    _old(tmp_path / "cruise" / "event.txt", "event")
    moved = put_aside(tmp_path, entries(tmp_path), refused={"bad.csv"}, at=AT)
    assert {str(path.relative_to(tmp_path)) for path in moved} == {
        ".done/20261122T103000.000000Z/good.csv",
        ".done/20261122T103000.000000Z/cruise",
        ".refused/20261122T103000.000000Z/bad.csv",
    }
    assert sorted(path.read_text() for path in tmp_path.rglob("*") if path.is_file()) == ["bad", "event", "good"]
    assert entries(tmp_path) == {}


def test_a_raw_file_of_what_was_erased_is_not_kept_and_nothing_outside_is_touched(tmp_path: Path) -> None:
    landing = tmp_path / "landing"
    for name in ("gone.csv", "cruise/gone.zip", "kept.csv"):
        _old(landing / name)
    _old(tmp_path / "outside.csv")
    erased = [landing / "gone.csv", landing / "cruise" / "gone.zip" / "member.csv", tmp_path / "outside.csv"]
    remove_erased(landing, [*erased, landing / "missing.csv"])
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == ["kept.csv", "outside.csv"]


def test_a_file_that_changed_while_it_was_ingested_stays_to_be_ingested_again(tmp_path: Path) -> None:
    path = _old(tmp_path / "late.csv")
    found = entries(tmp_path)
    path.write_text("a,b\n1,2\n3,4\n")
    assert put_aside(tmp_path, found, refused=(), at=AT) == ()
    assert set(entries(tmp_path)) == {"late.csv"}
