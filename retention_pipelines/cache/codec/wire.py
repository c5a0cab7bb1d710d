"""Writer and reader of the tree: lengths, blobs and what was met before.

What belongs here: how bytes are laid down and taken up, with every length checked against what is there. What does
not: types (`tree`).

Mutable values carry a number, so that one list in two places comes back as one list in two places.
"""

import zlib
from collections.abc import Callable
from typing import Any

from retention_pipelines.errors import CorruptEntry, Unstorable

Spill = Callable[[Any], str]
"""Takes a large array, keeps it elsewhere, and says where."""
Fetch = Callable[[str], Any]
"""Brings the array back."""

DEPTH_LIMIT = 100
_LARGE = 1 << 16


class UnknownClass(CorruptEntry):
    """The class of a stored value is not loaded here or has changed; no alert, a miss."""


class Writer:
    """Bytes on their way out."""

    __slots__ = ("_parts", "depth", "known", "large", "open", "spill", "spill_bytes", "spilled", "verify")

    def __init__(self, *, spill: Spill | None = None, spill_bytes: int = 1 << 16) -> None:
        self._parts: list[Any] = []
        self.spill = spill
        self.spill_bytes = spill_bytes
        self.spilled: dict[str, Any] = {}
        self.known: dict[int, tuple[int, Any]] = {}
        self.open: set[int] = set()
        self.depth = 0
        self.verify = False
        self.large = False

    def raw(self, data: Any) -> None:
        """Bytes as they are."""
        self._parts.append(data)

    def number(self, value: int) -> None:
        """A length or index: 7 bits a byte."""
        if value < 0x80:
            self._parts.append(_ONE[value])
            return
        out = bytearray()
        while value >= 0x80:
            out.append(value & 0x7F | 0x80)
            value >>= 7
        out.append(value)
        self._parts.append(bytes(out))

    def blob(self, data: Any) -> None:
        """Bytes behind their length."""
        self.number(len(data))
        self._parts.append(data)
        if len(data) > _LARGE:
            self.large = True

    def text(self, value: str) -> None:
        """A text behind its length."""
        self.blob(value.encode("utf-8", "surrogatepass"))

    def begin(self, value: Any) -> None:
        """Enter a value that may hold others; one that holds itself is refused."""
        if id(value) in self.open:
            raise Unstorable("The value contains itself.")
        if self.depth >= DEPTH_LIMIT:
            raise Unstorable(f"The value is nested more than {DEPTH_LIMIT} deep.")
        self.open.add(id(value))
        self.depth += 1

    def end(self, value: Any) -> None:
        """Leave it."""
        self.open.discard(id(value))
        self.depth -= 1

    def remember(self, value: Any) -> None:
        """Number a mutable value, after it was written; it is held so that its id stays its own."""
        self.known[id(value)] = (len(self.known), value)

    def take_out(self, array: Any) -> str:
        """Hand a large array to `spill`."""
        assert self.spill is not None  # noqa: S101 - callers ask only where there is one
        reference = self.spill(array)
        self.spilled[reference] = array
        return reference

    def respill(self, array: Any) -> str:
        """Where an array that was handed out went."""
        for reference, known in self.spilled.items():
            if _same(known, array):
                return reference
        raise Unstorable("An array kept elsewhere does not come back.")

    def finished(self, start: int) -> bytes:
        """All bytes so far behind their sum; what is large is copied once."""
        if self.large:
            for part in self._parts:
                start = zlib.crc32(part, start)
            return b"".join([start.to_bytes(4, "little"), *self._parts])
        body = b"".join(self._parts)
        return zlib.crc32(body, start).to_bytes(4, "little") + body

    def content(self) -> bytes:
        """All bytes so far."""
        return b"".join(self._parts)


class Reader:
    """Bytes on their way in; nothing in them is trusted."""

    __slots__ = ("_at", "_data", "_end", "depth", "fetch", "known")

    def __init__(self, data: memoryview, *, fetch: Fetch | None = None) -> None:
        self._data = data
        self._at = 0
        self._end = len(data)
        self.fetch = fetch
        self.known: list[Any] = []
        self.depth = 0

    def byte(self) -> int:
        """The next byte."""
        at = self._at
        if at >= self._end:
            raise _short()
        self._at = at + 1
        return self._data[at]

    def take(self, length: int) -> memoryview:
        """The next `length` bytes."""
        at = self._at
        if length > self._end - at:
            raise _short()
        self._at = at + length
        return self._data[at : self._at]

    def number(self) -> int:
        """A length or index."""
        value = shift = 0
        while True:
            byte = self.byte()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7
            if shift > 63:
                raise CorruptEntry("The stored value has an impossible length.")

    def count(self) -> int:
        """A number of things to come, each of at least a byte."""
        value = self.number()
        if value > self._end - self._at:
            raise _short()
        return value

    def blob(self) -> memoryview:
        """Bytes behind their length."""
        return self.take(self.number())

    def text(self) -> str:
        """A text behind its length."""
        return str(self.blob(), "utf-8", "surrogatepass")

    def deeper(self) -> None:
        """Enter a value that holds others."""
        self.depth += 1
        if self.depth > DEPTH_LIMIT + 1:
            raise CorruptEntry("The stored value is nested too deep.")

    def remember(self, value: Any) -> None:
        """Number a mutable value, after it was read."""
        self.known.append(value)

    def finish(self) -> None:
        """Nothing may be left."""
        if self._at != self._end:
            raise CorruptEntry("The stored value has bytes left over.")


def _same(one: Any, other: Any) -> bool:
    """Whether two arrays are the same memory, or the same bytes of a stream."""
    if one.dtype != other.dtype or one.shape != other.shape:
        return False
    if one.__array_interface__["data"][0] == other.__array_interface__["data"][0]:
        return bool(one.strides == other.strides)
    return bool(one.dtype.str == "|u1" and one.ndim == 1 and one.tobytes() == other.tobytes())


_ONE = [bytes((value,)) for value in range(0x80)]


def _short() -> CorruptEntry:
    return CorruptEntry("The stored value ends too early.")
