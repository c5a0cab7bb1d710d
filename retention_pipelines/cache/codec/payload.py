"""`encode` and `decode`: which of the two encodings a value gets, and the sum that notices damage.

What belongs here: the outer form of a payload. What does not: how a type is written (`tree` and its neighbours).

A payload is 4 bytes of CRC over the encoding's name and the body, then the body. The sum finds damage, not forgery:
the seal of the tier that holds the bytes finds that.
"""

import math
import struct
import zlib
from typing import Any

import orjson

from retention_pipelines.cache.codec import tree
from retention_pipelines.cache.codec.wire import Fetch, Reader, Spill, Writer
from retention_pipelines.cache.entry import Payload
from retention_pipelines.errors import CorruptEntry, Unstorable

_JSON = "json1"
_TREE = "tree1"
_START = {_JSON: zlib.crc32(b"json1"), _TREE: zlib.crc32(b"tree1")}
_PLAIN = frozenset({type(None), bool, int, float, str})
_STR = frozenset({str})
_JSON_DEPTH = 32
_SUM = struct.Struct("<I").unpack_from


def encode(value: object, *, spill: Spill | None = None, spill_bytes: int = 1 << 16) -> Payload:
    """The value as bytes.

    Args:
        value: anything; what cannot be restored exactly is refused.
        spill: takes arrays of `spill_bytes` or more out of the payload and says where they are.
        spill_bytes: from which size on.

    Raises:
        Unstorable: the value, or something in it, could not be restored with the same type and value.
    """
    if _is_plain(value, 0, set()):
        try:
            body = orjson.dumps(value)
        except TypeError:  # an int of more than 64 bits, a lone surrogate
            body = b""
        if body and (b"null" not in body or _is_finite(value)):
            return Payload(codec=_JSON, data=zlib.crc32(body, _START[_JSON]).to_bytes(4, "little") + body)
    try:
        writer = Writer(spill=spill, spill_bytes=spill_bytes)
        tree.write(value, writer)
        data = writer.finished(_START[_TREE])
        if writer.verify:
            _verify(value, data, writer)
    except Unstorable:
        raise
    except Exception as error:
        raise Unstorable(f"A value of type {type(value).__name__} cannot be stored: {error!r}.") from error
    return Payload(codec=_TREE, data=data)


def decode(payload: Payload, *, fetch: Fetch | None = None) -> Any:
    """The value of a payload.

    Raises:
        CorruptEntry: damaged, foreign, or of a class that is not loaded or has changed (`UnknownClass`).
    """
    codec, data = payload.codec, payload.data
    start = _START.get(codec)
    if start is None:
        raise CorruptEntry(f"The encoding {codec[:20]!r} is not known here.", hint="It is computed again.")
    body = memoryview(data)[4:]
    if len(data) < 5 or zlib.crc32(body, start) != _SUM(data)[0]:
        raise CorruptEntry("The stored value is damaged: its sum does not match.", hint="It is computed again.")
    try:
        if codec == _JSON:
            return orjson.loads(body)
        reader = Reader(body, fetch=fetch)
        value = tree.read(reader)
        reader.finish()
        return value
    except CorruptEntry:
        raise
    except Exception as error:
        raise CorruptEntry(f"The stored value cannot be read: {error!r}.", hint="It is computed again.") from error


def _is_plain(value: Any, depth: int, seen: set[int]) -> bool:
    """Whether JSON gives it back exactly, if it is finite: exact plain types, text keys, no list or dict twice."""
    kind = type(value)
    if kind is dict:
        if not _STR.issuperset(map(type, value)):
            return False
        children = value.values()
    elif kind is list:
        children = value
    else:
        return kind in _PLAIN
    if depth:
        if depth >= _JSON_DEPTH or id(value) in seen:
            return False
        seen.add(id(value))
    if _PLAIN.issuperset(map(type, children)):
        return True
    return all(type(child) in _PLAIN or _is_plain(child, depth + 1, seen) for child in children)


def _is_finite(value: Any) -> bool:
    """Whether a plain value holds no number that JSON writes as null."""
    for child in value.values() if type(value) is dict else value if type(value) is list else (value,):
        kind = type(child)
        if kind is float:
            if not math.isfinite(child):
                return False
        elif (kind is dict or kind is list) and not _is_finite(child):
            return False
    return True


def _verify(value: object, data: bytes, writer: Writer) -> None:
    """Read the bytes back and write them again: where a library decides types for itself, nothing may have changed."""
    reader = Reader(memoryview(data)[4:], fetch=writer.spilled.get)
    try:
        again = Writer(spill=None if writer.spill is None else writer.respill, spill_bytes=writer.spill_bytes)
        tree.write(tree.read(reader), again)
        same = again.finished(_START[_TREE]) == data
    except Exception as error:
        raise Unstorable(f"A value of type {type(value).__name__} does not come back: {error!r}.") from error
    if not same:
        raise Unstorable(f"A value of type {type(value).__name__} does not come back exactly.")
