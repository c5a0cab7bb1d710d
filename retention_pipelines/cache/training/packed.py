"""Compressed files of training sets: chosen by measurement, checked before they take the place of the plain one.

Numbers of a matrix compress once their bytes are sorted by place: the first bytes of all numbers, then the second ones.
What does not belong here: when a set is compressed (`retention`), reading plain files (`files.py`). A compressed file
gives exactly the bytes of the plain one, in memory; nothing is written by whoever reads it.
"""

import json
import mmap
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

import numpy as np

from retention_pipelines.errors import CorruptEntry

_MAGIC = b"RPACK001"
_CHUNK = 1 << 20
_SAMPLES = 4
# A file that is not smaller by this share stays plain: a plain one is mapped and costs nothing to open.
_WORTH = 0.1
_LONGEST_HEAD = 1 << 16


@dataclass(frozen=True, kw_only=True, slots=True)
class Way:
    """How bytes are compressed: the level of zstd, and how many bytes a number has (1: as they are)."""

    level: int
    width: int


# Good enough for what hardly compresses.
PLAIN = Way(level=1, width=1)
WAYS = tuple(Way(level=level, width=width) for width in (1, 4, 8) for level in (1, 3, 9))


def choose(fd: int, size: int) -> Way | None:
    """The way that makes samples of a file smallest, of those about as small the cheapest; None: none is worth it."""
    places = sorted({min(max(0, size - _CHUNK), size * i // _SAMPLES) // 8 * 8 for i in range(_SAMPLES)})
    samples = [os.pread(fd, _CHUNK, place) for place in places]
    total = sum(map(len, samples))
    sizes = {way: sum(len(_pack(sample, way)) for sample in samples) for way in WAYS}
    smallest = min(sizes.values(), default=total)
    if not total or smallest > (1 - _WORTH) * total:
        return None
    return min((way for way in WAYS if sizes[way] <= 1.02 * smallest), key=lambda way: (way.level, way.width))


def packed_pieces(source: int, size: int, way: Way) -> Iterator[bytes]:
    """The compressed form of an open file, a piece at a time."""
    head = json.dumps({"size": size, "level": way.level, "width": way.width, "chunk": _CHUNK}).encode()
    yield _MAGIC + len(head).to_bytes(8, "big") + head
    for start in range(0, size, _CHUNK):
        packed = _pack(os.pread(source, _CHUNK, start), way)
        yield len(packed).to_bytes(8, "big") + packed


def read_packed(content: IO[bytes], size: int) -> mmap.mmap:
    """The plain bytes of a compressed file, in memory of this process. Raises CorruptEntry."""
    plain = mmap.mmap(-1, max(size, 1))
    try:
        for piece in plain_pieces(content, size):
            plain.write(piece)
        if plain.tell() != size:
            raise CorruptEntry("A compressed file of a training set is cut off.")
    except BaseException:
        plain.close()
        raise
    plain.seek(0)
    return plain


def plain_pieces(content: IO[bytes], size: int) -> Iterator[bytes]:
    """The plain bytes of a compressed file, a piece at a time. Raises CorruptEntry."""
    import pyarrow as pa

    start = content.read(len(_MAGIC) + 8)
    length = int.from_bytes(start[len(_MAGIC) :], "big")
    if not start.startswith(_MAGIC) or length > _LONGEST_HEAD:
        raise CorruptEntry("A compressed file of a training set is none.")
    try:
        head = json.loads(content.read(length))
        chunk, width = int(head["chunk"]), int(head["width"])
        if head["size"] != size or not 0 < chunk <= 64 * _CHUNK or width not in (1, 4, 8):
            raise CorruptEntry("A compressed file of a training set is of another file.")
        for done in range(0, size, chunk):
            plain = min(chunk, size - done)
            packed = int.from_bytes(content.read(8), "big")
            if not 0 < packed <= 2 * chunk + 1024:
                raise CorruptEntry("A compressed file of a training set is damaged.")
            found = pa.Codec("zstd").decompress(content.read(packed), decompressed_size=plain, asbytes=True)
            yield _together(found, width)
    except (KeyError, TypeError, ValueError, OSError) as error:
        raise CorruptEntry(f"A compressed file of a training set cannot be read: {error}") from error


def _pack(content: bytes, way: Way) -> bytes:
    import pyarrow as pa

    packed: bytes = pa.Codec("zstd", compression_level=way.level).compress(_apart(content, way.width), asbytes=True)
    return packed


def _apart(content: bytes, width: int) -> bytes:
    """The bytes of numbers sorted by their place in the number; what is left over at the end stays there."""
    whole = len(content) // width * width
    if width == 1 or not whole:
        return content
    numbers = np.frombuffer(content, dtype=np.uint8, count=whole).reshape(-1, width)
    return numbers.T.tobytes() + content[whole:]


def _together(content: bytes, width: int) -> bytes:
    whole = len(content) // width * width
    if width == 1 or not whole:
        return content
    numbers = np.frombuffer(content, dtype=np.uint8, count=whole).reshape(width, -1)
    return numbers.T.tobytes() + content[whole:]


__all__ = ["PLAIN", "WAYS", "Way", "choose", "packed_pieces", "plain_pieces", "read_packed"]
