"""Plain values and builtin containers in the tree, and which module writes and reads the other types.

What belongs here: one writer by exact type, one reader by tag. What does not: the rarer types (`standard`, `classes`,
`arrays`, `frames`), loaded when the first of them comes by. A subclass of a builtin is not that builtin.
"""

import importlib
import struct
from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

from retention_pipelines.cache.codec.wire import Reader, Writer
from retention_pipelines.cache.loading import loading
from retention_pipelines.errors import CorruptEntry, Unstorable

Write = Callable[[Any, Writer], None]
Read = Callable[[Reader], Any]

_FLOAT = struct.Struct("<d")
_COMPLEX = struct.Struct("<dd")


def write(value: Any, writer: Writer) -> None:
    """Write a value of any type.

    Raises:
        Unstorable: it could not be restored exactly.
    """
    kind = type(value)
    (WRITERS.get(kind) or _writer_of(kind))(value, writer)


def read(reader: Reader) -> Any:
    """Read the next value."""
    tag = reader.byte()
    return (READERS.get(tag) or _reader_of(tag))(reader)


def container(tag: bytes, write_content: Write) -> Write:
    """A writer of values that hold others: written once, pointed at from then on."""

    def write_container(value: Any, writer: Writer) -> None:
        known = writer.known.get(id(value))
        if known is not None:
            writer.raw(b"R")
            writer.number(known[0])
            return
        writer.begin(value)
        writer.raw(tag)
        write_content(value, writer)
        writer.end(value)
        writer.remember(value)

    return write_container


def contained(read_content: Read) -> Read:
    """The reader for what `container` writes."""

    def read_container(reader: Reader) -> Any:
        reader.deeper()
        value = read_content(reader)
        reader.depth -= 1
        reader.remember(value)
        return value

    return read_container


def write_items(values: Any, writer: Writer) -> None:
    """How many, then each."""
    writer.number(len(values))
    for value in values:
        write(value, writer)


def read_items(reader: Reader) -> list[Any]:
    """What `write_items` wrote."""
    return [read(reader) for _ in range(reader.count())]


def write_pairs(value: Any, writer: Writer) -> None:
    """How many, then key and value, in order."""
    writer.number(len(value))
    for key, item in value.items():
        write(key, writer)
        write(item, writer)


def read_pairs(reader: Reader) -> list[tuple[Any, Any]]:
    """What `write_pairs` wrote."""
    return [(read(reader), read(reader)) for _ in range(reader.count())]


def read_mapping(reader: Reader) -> dict[Any, Any]:
    """Pairs, none of them twice."""
    pairs = read_pairs(reader)
    found = dict(pairs)
    if len(found) != len(pairs):
        raise CorruptEntry("The stored mapping has a key twice.")
    return found


def write_unordered(values: Any, writer: Writer) -> None:
    """Members of a set, in the order of their bytes, so that equal sets are equal bytes."""
    parts = []
    for value in values:
        own = Writer()
        own.depth = writer.depth
        write(value, own)
        writer.verify = writer.verify or own.verify
        parts.append(own.content())
    writer.number(len(parts))
    for part in sorted(parts):
        writer.blob(part)


def read_unordered(reader: Reader) -> list[Any]:
    """What `write_unordered` wrote."""
    found = []
    for _ in range(reader.count()):
        own = Reader(reader.blob())
        own.depth = reader.depth
        found.append(read(own))
        own.finish()
    return found


def _write_int(value: int, writer: Writer) -> None:
    writer.raw(b"i")
    writer.blob(value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True))


def _write_float(value: float, writer: Writer) -> None:
    writer.raw(b"f")
    writer.raw(_FLOAT.pack(value))


def _write_complex(value: complex, writer: Writer) -> None:
    writer.raw(b"c")
    writer.raw(_COMPLEX.pack(value.real, value.imag))


def _write_str(value: str, writer: Writer) -> None:
    writer.raw(b"s")
    writer.text(value)


def _write_bytes(value: bytes, writer: Writer) -> None:
    writer.raw(b"b")
    writer.blob(value)


def _write_bytearray(value: bytearray, writer: Writer) -> None:
    writer.blob(bytes(value))


def _read_float(reader: Reader) -> float:
    found: float = _FLOAT.unpack(reader.take(8))[0]
    return found


def _read_complex(reader: Reader) -> complex:
    return complex(*_COMPLEX.unpack(reader.take(16)))


def _read_known(reader: Reader) -> Any:
    number = reader.number()
    if number >= len(reader.known):
        raise CorruptEntry("The stored value points at what is not there.")
    return reader.known[number]


def _read_int(reader: Reader) -> int:
    return int.from_bytes(reader.blob(), "little", signed=True)


WRITERS: dict[type, Write] = {
    type(None): lambda value, writer: writer.raw(b"N"),
    bool: lambda value, writer: writer.raw(b"T" if value else b"F"),
    int: _write_int,
    float: _write_float,
    complex: _write_complex,
    str: _write_str,
    bytes: _write_bytes,
    bytearray: container(b"B", _write_bytearray),
    list: container(b"l", write_items),
    tuple: container(b"t", write_items),
    dict: container(b"d", write_pairs),
    set: container(b"S", write_unordered),
    frozenset: container(b"Z", write_unordered),
}

READERS: dict[int, Read] = {
    ord("N"): lambda reader: None,
    ord("T"): lambda reader: True,
    ord("F"): lambda reader: False,
    ord("i"): _read_int,
    ord("f"): _read_float,
    ord("c"): _read_complex,
    ord("s"): Reader.text,
    ord("b"): lambda reader: bytes(reader.blob()),
    ord("B"): contained(lambda reader: bytearray(reader.blob())),
    ord("l"): contained(read_items),
    ord("t"): contained(lambda reader: tuple(read_items(reader))),
    ord("d"): contained(read_mapping),
    ord("S"): contained(lambda reader: set(read_unordered(reader))),
    ord("Z"): contained(lambda reader: frozenset(read_unordered(reader))),
    ord("R"): _read_known,
}

_OTHERS = ("standard", "classes", "arrays", "frames")
_user_classes: WeakKeyDictionary[type, Write] = WeakKeyDictionary()
_TAGS = dict(zip(b"xkAp", _OTHERS, strict=True))


def _module(name: str) -> Any:
    with loading():
        return importlib.import_module(f"retention_pipelines.cache.codec.{name}")


def _writer_of(kind: type) -> Write:
    known = _user_classes.get(kind)
    if known is not None:
        return known
    library = kind.__module__.partition(".")[0]
    if library == "numpy":
        found = _module("arrays").writer_of(kind)
    elif library in ("pandas", "polars", "pyarrow"):
        found = _module("frames").writer_of(kind)
    else:
        standard = _module("standard")  # adds its writers on loading
        found = WRITERS.get(kind) or standard.writer_of(kind) or _module("classes").writer_of(kind)
    if found is None:
        raise Unstorable(
            f"A value of type {kind.__module__}.{kind.__qualname__} cannot be stored and restored exactly."
        )
    if library in ("numpy", "pandas", "polars", "pyarrow"):
        WRITERS[kind] = found
    else:
        _user_classes[kind] = found
    write: Write = found
    return write


def _reader_of(tag: int) -> Read:
    if tag not in _TAGS:
        raise CorruptEntry("The stored value has a tag that is not known here.")
    found: Read = READERS.setdefault(tag, _module(_TAGS[tag]).read)
    return found
