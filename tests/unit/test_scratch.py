"""Where tests write: in memory where there is room, and elsewhere without a word where there is none."""

import os
import shutil
import tempfile
from pathlib import Path

import psutil
import pytest

from tests.fixtures import scratch
from tests.fixtures.scratch import Scratch


@pytest.fixture(autouse=True)
def memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with room in its memory, and a run that was told nothing."""
    folder = tmp_path / "shm"
    folder.mkdir()
    monkeypatch.setattr(scratch, "_MEMORY", folder)
    monkeypatch.setattr(scratch, "_NEEDED_BYTES", 1)
    monkeypatch.setattr(scratch, "_LIMITS", ((tmp_path / "max", tmp_path / "current"),))
    monkeypatch.setattr(tempfile, "tempdir", tempfile.tempdir)
    monkeypatch.setenv("TMPDIR", "undone by this fixture")
    monkeypatch.delenv("TMPDIR")
    return folder


def test_a_run_has_a_folder_that_goes_with_it_and_what_a_killed_one_left_goes_too(memory: Path) -> None:
    (memory / "rp-tests-killed").mkdir()
    (memory / "rp-tests-killed" / "lock").touch()
    first = Scratch()
    second = Scratch()  # is told where to write, as the processes that a run starts
    assert first.folder is not None
    assert (list(memory.iterdir()), second.folder) == ([first.folder], None)
    assert os.environ["TMPDIR"] == tempfile.gettempdir() == str(first.folder)
    del os.environ["TMPDIR"]
    third = Scratch()
    assert third.folder is not None
    assert first.folder.exists(), "another run's, which is not over"
    third.close(keep=False)
    first.close(keep=True)
    assert list(memory.iterdir()) == [first.folder]


@pytest.mark.parametrize("lacking", ["folder", "room", "room of the container", "right to write"])
def test_tests_write_to_the_disk_where_memory_cannot_be_had(
    memory: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, lacking: str
) -> None:
    left = memory / "rp-tests-killed"
    left.mkdir()
    (left / "lock").touch()
    match lacking:
        case "folder":
            shutil.rmtree(memory)
        case "room":
            monkeypatch.setattr(scratch, "_NEEDED_BYTES", psutil.virtual_memory().total + 1)
        case "room of the container":
            (tmp_path / "max").write_text("1000\n")
            (tmp_path / "current").write_text("1000\n")
        case _:

            def refused(**_: object) -> str:
                raise OSError(30, "Read-only file system", str(memory))

            monkeypatch.setattr(tempfile, "mkdtemp", refused)
    made = Scratch()
    assert (made.folder, "TMPDIR" in os.environ) == (None, False)
    assert not left.exists(), "what takes the room is removed all the same"
    made.close(keep=False)


def test_a_container_without_a_limit_may_use_all_there_is(tmp_path: Path) -> None:
    (tmp_path / "max").write_text("max\n")
    (tmp_path / "current").write_text("1000\n")
    made = Scratch()
    assert made.folder is not None
    made.close(keep=False)
