"""What a person names becomes files to read, files that cannot be read, and files left alone: none gets lost."""

import gzip
import io
import os
import zipfile
from pathlib import Path

import pytest

from retention_pipelines.sources import discovery
from retention_pipelines.sources.discovery import Discovery, discover

TEXT = b"a,b\n1,2\n"


@pytest.fixture
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("workspace")


def archive(path: Path, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as target:
        for name, content in members.items():
            target.writestr(name.replace("__", "/"), content)
    return path


def names(found: Discovery) -> tuple[list[str], list[str], list[str]]:
    return tuple([Path(one.path).name for one in part] for part in (found.files, found.unreadable, found.ignored))


def test_a_member_that_cannot_be_read_stops_no_other_member(tmp_path, workspace):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as target:
        for name, content in (("a.csv", TEXT), ("b.csv", b""), ("c.gz", b"x"), ("notes.md", b"x"), ("sub/d.csv", TEXT)):
            target.writestr(name, content)
    found = discover([path], workspace)
    assert names(found) == (["a.csv", "d.csv"], ["b.csv", "c.gz"], ["notes.md"])
    assert found.files[1].path == f"{path}/sub/d.csv"
    assert [one.local.is_file() for one in found.unreadable] == [True, True]


def test_an_archive_without_data_is_refused_and_not_forgotten(tmp_path, workspace):
    found = discover([archive(tmp_path / "a.zip", README=b"x")], workspace)
    assert "holds no data file" in found.unreadable[0].why


def test_members_stay_in_the_workspace_whatever_their_names(tmp_path, workspace):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as target:
        for name in ("../../../evil.csv", "/absolute.csv", "x" * 300 + ".csv", "caf\u00e9 \n.csv"):
            target.writestr(name, TEXT)
    found = discover([path], workspace)
    assert len(found.files) == 4
    assert all(one.local.resolve().is_relative_to(workspace.resolve()) for one in found.files)
    assert not (tmp_path.parent / "evil.csv").exists()


def test_archives_are_opened_in_an_archive_but_not_deeper(tmp_path, workspace):
    packed = TEXT
    for name in ("data.csv", "one.zip", "two.zip"):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as target:
            target.writestr(name, packed)
        packed = buffer.getvalue()
        (tmp_path / f"holds-{name}.zip").write_bytes(packed)
    assert len(discover([tmp_path / "holds-one.zip.zip"], workspace).files) == 1
    assert "inside archives" in discover([tmp_path / "holds-two.zip.zip"], workspace).unreadable[0].why
    twice = tmp_path / "x.csv.gz"
    twice.write_bytes(gzip.compress(gzip.compress(TEXT)))
    assert "inside a gzip file" in discover([twice], workspace).unreadable[0].why


def test_what_unpacks_without_measure_is_refused(tmp_path, workspace, monkeypatch):
    monkeypatch.setattr(discovery, "_UNPACKED_ALLOWANCE", 1 << 20)
    zeros = b"0" * (5 << 20)
    packed = tmp_path / "zeros.csv.gz"
    packed.write_bytes(gzip.compress(zeros))
    bombs = discover([packed, archive(tmp_path / "zeros.zip", zeros=zeros)], workspace)
    assert bombs.files == []
    assert all("more than 200 times its size" in one.why for one in bombs.unreadable)
    assert len(bombs.unreadable) == 2
    assert not [path for path in workspace.rglob("*") if path.is_file()]


def test_pipes_and_devices_are_refused_without_waiting_for_them(tmp_path, workspace):
    os.mkfifo(tmp_path / "pipe.csv")
    found = discover([tmp_path, "/dev/zero"], workspace)
    assert [one.why for one in found.unreadable] == ["It is no file but a pipe, a socket or a device."] * 2
    assert len({one.sha256 for one in found.unreadable}) == 2


def test_links_that_lead_nowhere_are_told_and_loops_end(tmp_path, workspace):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "x.csv").write_bytes(TEXT)
    (tmp_path / "data" / "loop").symlink_to(tmp_path)
    (tmp_path / "dead.csv").symlink_to(tmp_path / "nothing")
    (tmp_path / "self.csv").symlink_to(tmp_path / "self.csv")
    found = discover([tmp_path], workspace)
    assert names(found) == (["x.csv"], ["dead.csv", "self.csv"], ["loop"])


def test_names_that_are_not_utf_8_can_be_reported(tmp_path, workspace):
    (tmp_path / os.fsdecode(b"caf\xe9.csv")).write_bytes(TEXT)
    (file,) = discover([tmp_path], workspace).files
    assert file.name == "caf\ufffd.csv"
    assert file.local.read_bytes() == TEXT


def test_a_file_that_grows_after_it_was_opened_is_known_to_have_changed(tmp_path, workspace):
    path = tmp_path / "x.csv"
    path.write_bytes(TEXT)
    (file,) = discover([path], workspace).files
    assert not file.changed()
    with path.open("ab") as more:
        more.write(b"3,4\n")
    assert file.changed()
    path.unlink()
    assert file.changed()


def test_a_header_longer_than_the_head_is_read_whole(tmp_path, workspace):
    path = tmp_path / "wide.csv"
    path.write_text(",".join(f"column_{number}" for number in range(9000)) + "\n1\n")
    (file,) = discover([path], workspace).files
    assert str(file.header_line).count(",") == 8999


def test_a_utf_16_file_has_a_text_head(tmp_path, workspace):
    path = tmp_path / "x.csv"
    path.write_bytes("a,\u00e9\r\n1,2\r\n".encode("utf-16"))
    (file,) = discover([path], workspace).files
    assert str(file.header_line).lstrip("\ufeff") == "a,\u00e9"
