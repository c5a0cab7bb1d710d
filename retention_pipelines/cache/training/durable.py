"""Small things done to a disk that must hold: private new files, whole replacements, names that survive a power cut.

What belongs here: a file or a folder, whatever is in it. What does not: training sets (`files.py`, `store.py`).
"""

import fcntl
import os
import secrets
import stat as modes
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from retention_pipelines.errors import CorruptEntry

_TEMPORARY = "new-"


def temporary_in(folder: Path) -> Path:
    """A name in a folder that nobody else uses; `is_temporary` knows it again after a crash."""
    return folder / f"{_TEMPORARY}{os.getpid()}-{secrets.token_hex(8)}"


def is_temporary(name: str) -> bool:
    """Whether a file has the name of one that is being written."""
    return name.startswith(_TEMPORARY)


def make_folder(path: Path) -> None:
    """Make a folder that only its owner enters."""
    if not path.is_dir():
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        sync_folder(path.parent)


def list_folder(path: Path) -> list[os.DirEntry[str]]:
    """What is in a folder; nothing when there is none."""
    try:
        with os.scandir(path) as found:
            return list(found)
    except FileNotFoundError:
        return []


@contextmanager
def new_file(path: Path) -> Iterator[IO[bytes]]:
    """A file that nobody else made and only its owner reads."""
    fd = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "w+b") as file:
        yield file


def open_to_read(path: Path) -> int:
    """Open a plain file, following no link. Raises OSError, or CorruptEntry for anything but a plain file."""
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    if not modes.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise CorruptEntry(f"{path.name} is no plain file.")
    return fd


def sync_folder(path: Path) -> None:
    """Make the names in a folder survive a power cut."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


@contextmanager
def locked(path: Path, *, shared: bool = False, wait: bool = True) -> Iterator[bool]:
    """Hold a lock among all processes; it goes with the process. Yields whether it was got."""
    make_folder(path.parent)
    fd = os.open(path, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(fd, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(fd)


def write_whole(path: Path, *parts: bytes) -> None:
    """Put a small file in place of another one: readers see the old or the new one, whole."""
    write_pieces(path, parts)


def write_pieces(path: Path, pieces: Iterable[bytes]) -> None:
    """Put a file of any size in place of another one; nothing happens to that one if the pieces end in an error."""
    make_folder(path.parent)
    temporary = temporary_in(path.parent)
    try:
        with new_file(temporary) as file:
            file.writelines(pieces)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        sync_folder(path.parent)
    finally:
        with suppress(FileNotFoundError):
            temporary.unlink()
