"""pandas, Polars and Arrow in the tree.

What belongs here: which module reads the second tag, and Arrow itself: data goes as an Arrow IPC stream, whose content
is validated before anyone looks at it. What does not: pandas (`pandas_values`), Polars (`polars_values`).
"""

import importlib
from functools import cache
from typing import Any

from retention_pipelines.cache.codec import tree
from retention_pipelines.cache.codec.tree import Read, Write
from retention_pipelines.cache.codec.wire import Reader, Writer
from retention_pipelines.cache.loading import loading
from retention_pipelines.errors import CorruptEntry, Unstorable


def writer_of(kind: type) -> Write | None:
    """The writer of a type of pandas, Polars or Arrow."""
    library = kind.__module__.partition(".")[0]
    if library == "pyarrow":
        return _writer_of_arrow(kind)
    found: Write | None = _values(library).writer_of(kind)
    return found


def read(reader: Reader) -> Any:
    """Read what a writer of this module or its neighbours wrote."""
    tag = reader.byte()
    if tag == ord("p"):
        return _values("pandas").read(reader)
    if tag == ord("l"):
        return _values("polars").read(reader)
    if tag not in _READERS:
        raise CorruptEntry("The stored value has a tag that is not known here.")
    return _READERS[tag](reader)


@cache
def _values(library: str) -> Any:
    with loading():
        return importlib.import_module(f"retention_pipelines.cache.codec.{library}_values")


def _arrow() -> Any:
    return importlib.import_module("pyarrow")


def _writer_of_arrow(kind: type) -> Write | None:
    pa = _arrow()
    if kind is pa.Table:
        return tree.container(b"pt", write_table)
    if kind is pa.RecordBatch:
        return tree.container(b"pb", lambda value, writer: write_table(pa.Table.from_batches([value]), writer))
    if kind is pa.ChunkedArray:
        return tree.container(b"pc", lambda value, writer: write_table(_column(value), writer))
    if issubclass(kind, pa.Array):
        return tree.container(b"pa", _write_array)
    if issubclass(kind, pa.Scalar):
        return tree.container(b"ps", _write_scalar)
    if kind is pa.Schema:
        return tree.container(b"pS", lambda value, writer: write_table(value.empty_table(), writer))
    if issubclass(kind, pa.DataType):
        return tree.container(b"pT", lambda value, writer: write_table(_schema_of(value).empty_table(), writer))
    return None


def _schema_of(kind: Any) -> Any:
    pa = _arrow()
    return pa.schema([pa.field("", kind)])


def _column(value: Any) -> Any:
    pa = _arrow()
    return pa.table([value], schema=_schema_of(value.type))


def _write_array(value: Any, writer: Writer) -> None:
    if type(value).__name__ == "ExtensionArray":
        raise Unstorable(f"An Arrow array of type {value.type} cannot be restored.")
    write_table(_column(_arrow().chunked_array([value])), writer)


def _write_scalar(value: Any, writer: Writer) -> None:
    pa = _arrow()
    array = pa.repeat(value, 1)
    if type(array[0]) is not type(value):
        raise Unstorable(f"An Arrow value of type {value.type} cannot be restored.")
    write_table(_column(pa.chunked_array([array])), writer)


def write_table(table: Any, writer: Writer) -> None:
    """A table as an Arrow IPC stream; its schema must come back with all metadata."""
    pa = _arrow()
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    content = sink.getvalue()
    again = pa.ipc.open_stream(content).read_all()
    if not again.schema.equals(table.schema, check_metadata=True) or again.num_rows != table.num_rows:
        raise Unstorable(f"An Arrow table with the schema {table.schema.names[:5]} cannot be restored.")
    large(memoryview(content), writer)


def read_table(reader: Reader) -> Any:
    """The table, validated."""
    pa = _arrow()
    with pa.ipc.open_stream(pa.py_buffer(taken(reader))) as stream:
        table = stream.read_all()
    table.validate(full=True)
    return table


def large(content: memoryview, writer: Writer) -> None:
    """Bytes that go elsewhere when they are many."""
    if writer.spill is not None and content.nbytes >= writer.spill_bytes:
        import numpy as np

        writer.number(1)
        writer.text(writer.take_out(np.frombuffer(content, np.uint8)))
        return
    writer.number(0)
    writer.blob(content)


def taken(reader: Reader) -> Any:
    """What `large` wrote."""
    if not reader.number():
        return reader.blob()
    reference = reader.text()
    found = None if reader.fetch is None else reader.fetch(reference)
    if found is None or found.dtype.str != "|u1" or found.ndim != 1:
        raise CorruptEntry("An array of the stored value is gone or another one.", hint="It is computed again.")
    return found


def _only(reader: Reader) -> Any:
    table = read_table(reader)
    if table.num_columns != 1:
        raise CorruptEntry("The stored column is none.")
    return table.column(0)


def _read_batch(reader: Reader) -> Any:
    pa = _arrow()
    table = read_table(reader)
    batches = table.to_batches()
    if not batches:
        return pa.RecordBatch.from_arrays([pa.array([], kind) for kind in table.schema.types], schema=table.schema)
    if len(batches) != 1:
        raise CorruptEntry("The stored batch is none.")
    return batches[0]


def _read_array(reader: Reader) -> Any:
    column = _only(reader)
    found = column.combine_chunks()
    return found.combine_chunks() if hasattr(found, "combine_chunks") else found


def _read_scalar(reader: Reader) -> Any:
    column = _only(reader)
    if len(column) != 1:
        raise CorruptEntry("The stored value is none.")
    return column[0]


_READERS: dict[int, Read] = {
    ord("t"): tree.contained(read_table),
    ord("b"): tree.contained(_read_batch),
    ord("c"): tree.contained(_only),
    ord("a"): tree.contained(_read_array),
    ord("s"): tree.contained(_read_scalar),
    ord("S"): tree.contained(lambda reader: read_table(reader).schema),
    ord("T"): tree.contained(lambda reader: read_table(reader).schema.field(0).type),
}
