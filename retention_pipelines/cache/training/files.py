"""Files of training sets: written once under the name of their content, checked, and mapped.

What belongs here: bytes on their way to and from a disk that fills up, a process that dies in between, and a folder
other people can reach. What does not: what the bytes mean (`arrays.py`, `frames.py`, `pipeline.py`), and which files
make up a set (`manifest.py`).
"""

import hashlib
import mmap
import os
import re
import secrets
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from retention_pipelines.cache.training.durable import (
    is_temporary,
    list_folder,
    make_folder,
    new_file,
    open_to_read,
    sync_folder,
    temporary_in,
    write_pieces,
)
from retention_pipelines.errors import CorruptEntry

SUFFIXES = ("npy", "arrow", "skops")
_NAME = re.compile(r"[0-9a-f]{64}\.(?:npy|arrow|skops)")
# What a compressed file is called beside the name of the plain one.
PACKED = ".zst"
# Blocks are small, so that looking at a few of them at every load costs next to nothing, and at most 4096.
_BLOCK_BYTES = 256 * 1024
_BLOCKS = 4096
_DIGEST_BYTES = 16
_SAMPLED = 4
# As much of a file is in memory while it is copied.
_PIECE_BYTES = 4 * 1024 * 1024


class FileGone(CorruptEntry):
    """A file of a set is not there (any more): a miss, and no reason for an alert."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Inode:
    """Who a file was when it was last read in full: any write since then gives it another `changed_ns`."""

    number: int
    size: int
    modified_ns: int
    changed_ns: int

    @classmethod
    def of(cls, found: os.stat_result) -> "Inode":
        """From what the system says about an open file."""
        return cls(
            number=found.st_ino,
            size=found.st_size,
            modified_ns=found.st_mtime_ns,
            changed_ns=found.st_ctime_ns,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredFile:
    """A file and what it must hold.

    Attributes:
        name: SHA-256 over its size and the digests of its blocks, with a suffix that says the format.
        blocks: first 16 bytes of the SHA-256 of each block, one after the other.
        inode: as it was when it was written.
    """

    name: str
    size: int
    block_bytes: int
    blocks: bytes
    inode: Inode


class Folder:
    """The files of one tenant. Safe for threads and processes: a file is complete and never changes, or isn't there."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._believed: dict[str, Inode] = {}

    # -- writing --------------------------------------------------------------------------------------------------

    def put(self, suffix: str, write: Callable[[IO[bytes]], object]) -> StoredFile:
        """Store what `write` writes; content that is there already is stored once.

        On the disk, with its name, before this returns.
        """
        make_folder(self.root)
        temporary = temporary_in(self.root)
        try:
            with new_file(temporary) as file:
                write(file)
                file.flush()
                size, block_bytes, blocks = digests(file.fileno())
                name = f"{name_of(size, blocks)}.{suffix}"
                path = self.root / name
                found = self._intact(path, size, block_bytes, blocks)
                if found is None:
                    os.fsync(file.fileno())
                    os.replace(temporary, path)
                    sync_folder(self.root)
                    found = Inode.of(os.fstat(file.fileno()))
        finally:
            with suppress(FileNotFoundError):
                temporary.unlink()
        return StoredFile(name=name, size=size, block_bytes=block_bytes, blocks=blocks, inode=found)

    def _intact(self, path: Path, size: int, block_bytes: int, blocks: bytes) -> Inode | None:
        """The file of that name, when it holds what its name says; a damaged one is replaced by the caller."""
        try:
            fd = open_to_read(path)
        except (OSError, CorruptEntry):
            return None
        try:
            before = Inode.of(os.fstat(fd))
            intact = before.size == size and digests(fd) == (size, block_bytes, blocks)
            return before if intact and Inode.of(os.fstat(fd)) == before else None
        finally:
            os.close(fd)

    # -- reading --------------------------------------------------------------------------------------------------

    def map(self, file: StoredFile, *, writable: bool) -> mmap.mmap:
        """Map a file after checking it; with `writable`, edits stay in this process and never reach the file.

        A file that nobody touched since it was written or last read in full has a few of its blocks compared; any
        other one is read in full first. A compressed file is given plain, in memory. Raises CorruptEntry.
        """
        try:
            fd = self._open(file)
        except FileGone:
            return self._unpacked(file)
        try:
            inode = Inode.of(os.fstat(fd))
            if inode.size != file.size:
                raise CorruptEntry(f"{file.name} has {inode.size} bytes instead of {file.size}.")
            if inode in (file.inode, self._believed.get(file.name)):
                sampled = secrets.randbelow(1 << 32)
                self._compare(fd, file, _sample(len(file.blocks) // _DIGEST_BYTES, sampled))
            else:
                self._read_in_full(fd, file, inode)
            access = mmap.ACCESS_COPY if writable else mmap.ACCESS_READ
            return mmap.mmap(fd, file.size, access=access)
        finally:
            os.close(fd)

    def verify(self, file: StoredFile) -> None:
        """Read a file in full and compare all of it. Raises CorruptEntry."""
        try:
            fd = self._open(file)
        except FileGone:
            self._compare_packed(file)
            return
        try:
            self._read_in_full(fd, file, Inode.of(os.fstat(fd)))
        finally:
            os.close(fd)

    def _unpacked(self, file: StoredFile) -> mmap.mmap:
        """The plain content of a compressed file, in memory; all of it was compared."""
        from retention_pipelines.cache.training.packed import read_packed

        with self._open_packed(file) as content:
            plain = read_packed(content, file.size)
        starts = range(0, file.size, file.block_bytes)
        if b"".join(_digest(plain[start : start + file.block_bytes]) for start in starts) != file.blocks:
            plain.close()
            raise CorruptEntry(f"The compressed {file.name} does not hold what was written.")
        return plain

    def _open_packed(self, file: StoredFile) -> IO[bytes]:
        try:
            return os.fdopen(open_to_read(self.root / f"{file.name}{PACKED}"), "rb")
        except FileNotFoundError:
            raise FileGone(f"{file.name} is not there.") from None
        except OSError as error:
            raise CorruptEntry(f"{file.name} cannot be opened: {error.strerror}.") from error

    def _compare_packed(self, file: StoredFile) -> None:
        """Read a compressed file in full, a piece at a time, and compare all of it. Raises CorruptEntry."""
        from retention_pipelines.cache.training.packed import plain_pieces

        found, rest = [], bytearray()
        with self._open_packed(file) as content:
            for piece in plain_pieces(content, file.size):
                rest += piece
                while len(rest) >= file.block_bytes:
                    found.append(_digest(bytes(rest[: file.block_bytes])))
                    del rest[: file.block_bytes]
        if rest:
            found.append(_digest(bytes(rest)))
        if b"".join(found) != file.blocks:
            raise CorruptEntry(f"The compressed {file.name} does not hold what was written.")

    # -- compressing ----------------------------------------------------------------------------------------------

    def compress(self, file: StoredFile) -> int:
        """Put a compressed file in place of a plain one that holds what it should; returns the bytes it takes now.

        The plain one stays where compressing is not worth it. The caller keeps writers out.
        """
        from retention_pipelines.cache.training.packed import choose, packed_pieces

        target = self.root / f"{file.name}{PACKED}"
        try:
            fd = self._open(file)
        except FileGone:
            return self.stored_bytes(file)
        temporary = temporary_in(self.root)
        try:
            self._read_in_full(fd, file, Inode.of(os.fstat(fd)))
            way = choose(fd, file.size)
            if way is None:
                return file.size
            with new_file(temporary) as packed:
                packed.writelines(packed_pieces(fd, file.size, way))
                packed.flush()
                os.fsync(packed.fileno())
            os.replace(temporary, target)
            sync_folder(self.root)
            self._compare_packed(file)
            os.unlink(self.root / file.name)
            sync_folder(self.root)
            return self.stored_bytes(file)
        finally:
            os.close(fd)
            with suppress(FileNotFoundError):
                temporary.unlink()

    def stored_bytes(self, file: StoredFile) -> int:
        """The bytes a file takes, in whichever form it is; 0 where it is not there."""
        for name in (file.name, f"{file.name}{PACKED}"):
            with suppress(FileNotFoundError):
                return (self.root / name).stat().st_size
        return 0

    def expand(self, file: StoredFile) -> None:
        """Put the plain file back in place of a compressed one; nothing is done where it is there."""
        from retention_pipelines.cache.training.packed import plain_pieces

        if (self.root / file.name).exists():
            return
        self._compare_packed(file)
        with self._open_packed(file) as content:
            write_pieces(self.root / file.name, plain_pieces(content, file.size))
        with suppress(FileNotFoundError):
            os.unlink(self.root / f"{file.name}{PACKED}")
        sync_folder(self.root)

    def packed(self, file: StoredFile) -> Iterator[bytes]:
        """A file in its compressed form, a piece at a time, whichever it is in; all of it is compared first."""
        self.verify(file)
        return self._packed_pieces(file)

    def _packed_pieces(self, file: StoredFile) -> Iterator[bytes]:
        from retention_pipelines.cache.training.packed import PLAIN, choose, packed_pieces

        try:
            fd = self._open(file)
        except FileGone:
            with self._open_packed(file) as content:
                while piece := content.read(_PIECE_BYTES):
                    yield piece
            return
        try:
            yield from packed_pieces(fd, file.size, choose(fd, file.size) or PLAIN)
        finally:
            os.close(fd)

    def take_in(self, file: StoredFile, pieces: Iterable[bytes]) -> None:
        """Put a file back in its compressed form, unless it is there as it should be. Raises CorruptEntry."""
        with suppress(CorruptEntry):
            self.verify(file)
            return
        if not _NAME.fullmatch(file.name):
            raise CorruptEntry(f"{file.name!r} is no file of a training set.")
        write_pieces(self.root / f"{file.name}{PACKED}", pieces)
        self._compare_packed(file)
        with suppress(FileNotFoundError):
            os.unlink(self.root / file.name)  # a damaged one, which would be read first

    def _open(self, file: StoredFile) -> int:
        if not _NAME.fullmatch(file.name) or name_of(file.size, file.blocks) != file.name.partition(".")[0]:
            raise CorruptEntry("A training set names a file that is none of its own.")
        try:
            return open_to_read(self.root / file.name)
        except FileNotFoundError:
            raise FileGone(f"{file.name} is not there.") from None
        except OSError as error:
            raise CorruptEntry(f"{file.name} cannot be opened: {error.strerror}.") from error

    def _read_in_full(self, fd: int, file: StoredFile, inode: Inode) -> None:
        if digests(fd) != (file.size, file.block_bytes, file.blocks):
            raise CorruptEntry(f"{file.name} does not hold what was written.")
        if Inode.of(os.fstat(fd)) == inode:
            self._believed[file.name] = inode

    @staticmethod
    def _compare(fd: int, file: StoredFile, numbers: Iterator[int]) -> None:
        for number in numbers:
            content = os.pread(fd, file.block_bytes, number * file.block_bytes)
            start = number * _DIGEST_BYTES
            if _digest(content) != file.blocks[start : start + _DIGEST_BYTES]:
                raise CorruptEntry(f"Block {number} of {file.name} does not hold what was written.")

    # -- cleaning -------------------------------------------------------------------------------------------------

    def clean(self, needed: Callable[[str], bool], *, written_before_ns: int) -> int:
        """Delete what no set needs and what dead writers left, when it is older; returns the bytes that are free.

        Deleting is safe for whoever has a file mapped: its content stays until the last mapping is gone.
        """
        freed = 0
        for entry in list_folder(self.root):
            plain = entry.name.removesuffix(PACKED)
            ours = is_temporary(entry.name) or _NAME.fullmatch(plain)
            with suppress(FileNotFoundError):
                found = entry.stat(follow_symlinks=False)
                if ours and found.st_ctime_ns < written_before_ns and not needed(plain):
                    os.unlink(entry.path)
                    freed += found.st_size
        return freed


# -- pieces -------------------------------------------------------------------------------------------------------


def digests(fd: int) -> tuple[int, int, bytes]:
    """Size, block size and block digests of an open file."""
    size = os.fstat(fd).st_size
    block_bytes = _BLOCK_BYTES
    while block_bytes * _BLOCKS < size:
        block_bytes *= 2
    blocks = (_digest(os.pread(fd, block_bytes, start)) for start in range(0, size, block_bytes))
    return size, block_bytes, b"".join(blocks)


def _digest(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()[:_DIGEST_BYTES]


def name_of(size: int, blocks: bytes) -> str:
    """Name of the content with these block digests."""
    return hashlib.sha256(size.to_bytes(8, "big") + blocks).hexdigest()


def _sample(blocks: int, seed: int) -> Iterator[int]:
    """First and last block and some between them."""
    between = (seed * (i + 1) % blocks for i in range(_SAMPLED - 2)) if blocks else ()
    return iter({0, blocks - 1, *between} if blocks else ())
