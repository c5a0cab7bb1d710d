"""NumPy scalars, dtypes and arrays in the tree.

What belongs here: dtype, shape, order in memory and the bytes; large arrays go to `spill` where there is one. An array
is made only after its shape and dtype were found to need exactly the bytes that are there.
"""

import math
from typing import Any

import numpy as np

from retention_pipelines.cache.codec import tree
from retention_pipelines.cache.codec.tree import Read, Write
from retention_pipelines.cache.codec.wire import Reader, Writer
from retention_pipelines.errors import CorruptEntry, Unstorable

_MAX_DIMENSIONS = 64


def writer_of(kind: type) -> Write | None:
    """The writer of NumPy's type `kind`."""
    if kind is np.ndarray:
        return write_array
    if kind is np.ma.MaskedArray:
        return tree.container(b"Am", _write_masked)
    if kind is np.str_:
        return lambda value, writer: _write_text(b"As", str(value), writer)
    if kind is np.bytes_:
        return _write_bytes
    if issubclass(kind, np.dtype):
        return _write_dtype_value
    if issubclass(kind, np.generic) and kind.__module__ == "numpy" and kind not in (np.object_, np.record):
        return _write_scalar
    return None


def read(reader: Reader) -> Any:
    """Read what a writer of this module wrote."""
    found = _READERS.get(reader.byte())
    if found is None:
        raise CorruptEntry("The stored value has a tag that is not known here.")
    return found(reader)


def _write_bytes(value: np.bytes_, writer: Writer) -> None:
    _write_text(b"Ab", b"".join((value,)), writer)


def _write_text(tag: bytes, value: str | bytes, writer: Writer) -> None:
    writer.raw(tag)
    if isinstance(value, str):
        writer.text(value)
    else:
        writer.blob(value)


def write_dtype(dtype: np.dtype[Any], writer: Writer) -> None:
    """A dtype: its code, or its fields."""
    if dtype.metadata:
        raise Unstorable("An array whose dtype carries metadata cannot be restored.")
    if dtype.hasobject or dtype.subdtype is not None or dtype.type is np.record:
        raise Unstorable(f"An array of dtype {dtype} cannot be restored.")
    if dtype.names is None or dtype.fields is None:
        if np.dtype(dtype.str) != dtype:
            raise Unstorable(f"An array of dtype {dtype} cannot be restored.")
        writer.text(dtype.str)
        return
    writer.text("struct")
    writer.number(dtype.itemsize)
    writer.number(int(dtype.isalignedstruct))
    writer.number(len(dtype.names))
    for name in dtype.names:
        inner, offset, *title = dtype.fields[name]
        if title:
            raise Unstorable("An array whose fields have titles cannot be restored.")
        writer.text(name)
        writer.number(offset)
        shape = inner.shape
        writer.number(len(shape))
        for length in shape:
            writer.number(length)
        write_dtype(inner.base, writer)


def read_dtype(reader: Reader) -> np.dtype[Any]:
    """The dtype."""
    code = reader.text()
    if code != "struct":
        dtype = np.dtype(code) if len(code) < 40 and "," not in code else None
        if dtype is None or dtype.hasobject or dtype.str != code:
            raise CorruptEntry("The stored array has an impossible dtype.")
        return dtype
    reader.deeper()
    size, aligned = reader.number(), reader.number()
    names, offsets, formats = [], [], []
    for _ in range(reader.count()):
        names.append(reader.text())
        offsets.append(reader.number())
        shape = tuple([reader.number() for _ in range(reader.count())])
        inner = read_dtype(reader)
        formats.append((inner, shape) if shape else inner)
    reader.depth -= 1
    layout: Any = {"names": names, "formats": formats, "offsets": offsets, "itemsize": size}
    found: np.dtype[Any] = np.dtype(layout, align=bool(aligned))
    return found


def _write_dtype_value(value: np.dtype[Any], writer: Writer) -> None:
    writer.raw(b"At")
    write_dtype(value, writer)


def _write_scalar(value: np.generic, writer: Writer) -> None:
    writer.raw(b"Ag")
    write_dtype(value.dtype, writer)
    writer.blob(value.tobytes())


def _read_scalar(reader: Reader) -> Any:
    dtype = read_dtype(reader)
    content = reader.blob()
    if len(content) != dtype.itemsize or not content:
        raise CorruptEntry("The stored number has the wrong size.")
    return np.frombuffer(bytearray(content), dtype)[0]


def write_array(value: np.ndarray[Any, Any], writer: Writer) -> None:
    """An array, once; pointed at from then on."""
    (_array if value.dtype != object else _objects)(value, writer)


def _shape(value: np.ndarray[Any, Any], writer: Writer) -> None:
    writer.number(value.ndim)
    for length in value.shape:
        writer.number(length)


def _write_array(value: np.ndarray[Any, Any], writer: Writer) -> None:
    columns_first = value.flags.f_contiguous and not value.flags.c_contiguous
    write_dtype(value.dtype, writer)
    _shape(value, writer)
    writer.number(int(columns_first) | int(value.flags.writeable) << 1)
    if writer.spill is not None and value.nbytes >= writer.spill_bytes:
        writer.number(1)
        writer.text(writer.take_out(value))
        return
    writer.number(0)
    flat = np.ascontiguousarray(value.T if columns_first else value).reshape(-1)
    writer.blob(flat.view(np.uint8).data if flat.nbytes else b"")


def _read_shape(reader: Reader) -> tuple[int, ...]:
    dimensions = reader.number()
    if dimensions > _MAX_DIMENSIONS:
        raise CorruptEntry("The stored array has too many dimensions.")
    return tuple([reader.number() for _ in range(dimensions)])


def _read_array(reader: Reader) -> Any:
    dtype, shape, order = read_dtype(reader), _read_shape(reader), reader.number()
    if reader.number():
        return _fetched(reader, dtype, shape)
    content = reader.blob()
    if math.prod(shape) * dtype.itemsize != len(content):
        raise CorruptEntry("The stored array has another size than its shape says.")
    value: Any = np.ndarray(shape, dtype, bytearray(content), order="F" if order & 1 else "C")
    if not order & 2:
        value.flags.writeable = False
    return value


def _fetched(reader: Reader, dtype: np.dtype[Any], shape: tuple[int, ...]) -> Any:
    reference = reader.text()
    if reader.fetch is None:
        raise CorruptEntry("The stored value's arrays are kept elsewhere.", hint="Decode it with fetch=.")
    value = reader.fetch(reference)
    if value is None or value.dtype != dtype or value.shape != shape:
        raise CorruptEntry("An array of the stored value is gone or another one.", hint="It is computed again.")
    return value


def _write_objects(value: np.ndarray[Any, Any], writer: Writer) -> None:
    _shape(value, writer)
    tree.write_items(value.reshape(-1).tolist(), writer)


def _read_objects(reader: Reader) -> Any:
    shape = _read_shape(reader)
    items = tree.read_items(reader)
    if math.prod(shape) != len(items):
        raise CorruptEntry("The stored array has another size than its shape says.")
    value = np.empty(len(items), object)
    for place, item in enumerate(items):
        value[place] = item
    return value.reshape(shape)


def _write_masked(value: Any, writer: Writer) -> None:
    if vars(value).get("_basedict") or vars(value).get("_optinfo"):
        raise Unstorable("A masked array with attributes of its own cannot be restored.")
    write_array(np.asarray(value.data), writer)
    tree.write(None if value.mask is np.ma.nomask else np.asarray(value.mask), writer)
    tree.write(None if value._fill_value is None else np.asarray(value._fill_value), writer)
    tree.write(bool(value.hardmask), writer)


def _read_masked(reader: Reader) -> Any:
    data, mask, fill, hard = tree.read(reader), tree.read(reader), tree.read(reader), tree.read(reader)
    value: Any = np.ma.MaskedArray(data, mask=np.ma.nomask if mask is None else mask, hard_mask=hard is True)
    if fill is not None:
        value.fill_value = fill
    return value


_array = tree.container(b"Aa", _write_array)
_objects = tree.container(b"Ao", _write_objects)

_READERS: dict[int, Read] = {
    ord("a"): tree.contained(_read_array),
    ord("o"): tree.contained(_read_objects),
    ord("m"): tree.contained(_read_masked),
    ord("g"): _read_scalar,
    ord("t"): read_dtype,
    ord("s"): lambda reader: np.str_(reader.text()),
    ord("b"): lambda reader: np.bytes_(bytes(reader.blob())),
}
