"""Files are whole or not there, stored once, and believed only when they hold what was written."""

import os
import random
import threading
import time
from pathlib import Path
from typing import IO

import pytest

from retention_pipelines.cache.training.durable import list_folder
from retention_pipelines.cache.training.files import Folder, StoredFile
from retention_pipelines.errors import CorruptEntry

CONTENT = random.Random(1).randbytes(3 * 256 * 1024 + 17)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "files")


def put(folder: Folder, content: bytes = CONTENT) -> StoredFile:
    return folder.put("npy", lambda file: file.write(content))


def names(folder: Folder) -> list[str]:
    return sorted(entry.name for entry in list_folder(folder.root))


def test_the_same_content_is_stored_once(folder: Folder) -> None:
    one, other = put(folder), put(folder)
    assert one == other
    assert names(folder) == [one.name]
    assert put(folder, CONTENT + b"x").name != one.name


def test_the_name_is_made_of_hexadecimal_digits_and_the_format(folder: Folder) -> None:
    name, _, suffix = put(folder).name.partition(".")
    assert set(name) <= set("0123456789abcdef")
    assert suffix == "npy"


def test_edits_of_a_mapping_reach_neither_the_file_nor_another_mapping(folder: Folder) -> None:
    stored = put(folder)
    one, other = folder.map(stored, writable=True), folder.map(stored, writable=True)
    one[0:4] = b"edit"
    assert other[:] == CONTENT
    assert (folder.root / stored.name).read_bytes() == CONTENT


def test_only_the_owner_may_read_what_is_stored(folder: Folder) -> None:
    stored = put(folder)
    assert (folder.root / stored.name).stat().st_mode & 0o077 == 0
    assert folder.root.stat().st_mode & 0o077 == 0


def test_a_failing_writer_leaves_nothing(folder: Folder) -> None:
    def write(file: IO[bytes]) -> None:
        file.write(b"half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        folder.put("npy", write)
    assert names(folder) == []


@pytest.mark.parametrize("seed", range(40))
def test_a_flipped_bit_anywhere_is_never_mapped(folder: Folder, seed: int) -> None:
    stored = put(folder)
    where = random.Random(seed).randrange(len(CONTENT) * 8)
    with (folder.root / stored.name).open("r+b") as file:
        file.seek(where // 8)
        file.write(bytes([CONTENT[where // 8] ^ (1 << where % 8)]))
    with pytest.raises(CorruptEntry):
        folder.map(stored, writable=True)
    with pytest.raises(CorruptEntry):
        Folder(folder.root).map(stored, writable=True)
    healed = put(folder)
    assert folder.map(healed, writable=False)[:] == CONTENT


def test_setting_the_time_back_does_not_hide_an_edit(folder: Folder) -> None:
    stored = put(folder)
    path = folder.root / stored.name
    with path.open("r+b") as file:
        file.seek(300 * 1024)
        file.write(b"edited")
    os.utime(path, ns=(stored.inode.modified_ns, stored.inode.modified_ns))
    with pytest.raises(CorruptEntry):
        folder.map(stored, writable=True)


def test_a_copy_of_a_file_is_believed_after_it_was_read_in_full(folder: Folder, tmp_path: Path) -> None:
    """As after restoring a backup: other inode, other times, same content."""
    stored = put(folder)
    path = folder.root / stored.name
    path.unlink()
    path.write_bytes(CONTENT)
    assert folder.map(stored, writable=True)[:] == CONTENT
    assert folder.map(stored, writable=True)[:] == CONTENT


def test_a_file_cut_short_or_made_longer_is_refused(folder: Folder) -> None:
    stored = put(folder)
    for size in (0, 1, len(CONTENT) - 1, len(CONTENT) + 1):
        os.truncate(folder.root / stored.name, size)
        with pytest.raises(CorruptEntry):
            folder.map(stored, writable=True)


def test_links_and_folders_and_pipes_are_no_files(folder: Folder, tmp_path: Path) -> None:
    stored = put(folder)
    path = folder.root / stored.name
    secret = tmp_path / "secret"
    secret.write_bytes(CONTENT)
    for make in (lambda: path.symlink_to(secret), path.mkdir, lambda: os.mkfifo(path)):
        if path.is_dir() and not path.is_symlink():
            path.rmdir()
        else:
            path.unlink()
        make()
        with pytest.raises(CorruptEntry):
            folder.map(stored, writable=True)


def test_names_that_lead_elsewhere_are_refused(folder: Folder, tmp_path: Path) -> None:
    stored = put(folder)
    (tmp_path / "elsewhere.npy").write_bytes(CONTENT)
    for name in ("../elsewhere.npy", str(tmp_path / "elsewhere.npy"), "", stored.name + "\0", stored.name.upper()):
        forged = StoredFile(
            name=name, size=stored.size, block_bytes=stored.block_bytes, blocks=stored.blocks, inode=stored.inode
        )
        with pytest.raises(CorruptEntry):
            folder.map(forged, writable=True)


def test_many_threads_storing_the_same_content_store_it_once(folder: Folder) -> None:
    found: list[StoredFile] = []
    threads = [threading.Thread(target=lambda: found.append(put(folder))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert names(folder) == [found[0].name]
    assert all(folder.map(one, writable=True)[:] == CONTENT for one in found)


def test_cleaning_takes_what_nobody_needs_once_it_is_old_enough(folder: Folder, tmp_path: Path) -> None:
    kept, orphan = put(folder), put(folder, b"orphan" * 1000)
    (folder.root / "new-1-dead").write_bytes(b"half")
    (folder.root / "README").write_bytes(b"not ours")
    assert folder.clean({kept.name}.__contains__, written_before_ns=time.time_ns() - 3600 * 10**9) == 0
    mapped = folder.map(orphan, writable=True)
    assert folder.clean({kept.name}.__contains__, written_before_ns=time.time_ns() + 10**9) == 6004
    assert names(folder) == sorted([kept.name, "README"])
    assert mapped[:6] == b"orphan", "what is mapped stays readable"
