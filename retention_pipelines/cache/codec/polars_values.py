"""Polars frames and series in the tree, through Arrow.

What belongs here: what Arrow alone would not bring back (height, name, dtypes), compared on the way out. What does not:
lazy frames and expressions: they are plans, not values.
"""

import importlib
from typing import Any

from retention_pipelines.cache.codec import frames, tree
from retention_pipelines.cache.codec.tree import Read, Write
from retention_pipelines.cache.codec.wire import Reader, Writer
from retention_pipelines.errors import CorruptEntry, Unstorable


def writer_of(kind: type) -> Write | None:
    """The writer of a type of Polars."""
    pl = _polars()
    if kind is pl.DataFrame:
        return tree.container(b"plf", _write_frame)
    if kind is pl.Series:
        return tree.container(b"pls", _write_series)
    return None


def read(reader: Reader) -> Any:
    """Read what a writer of this module wrote."""
    tag = reader.byte()
    if tag not in _READERS:
        raise CorruptEntry("The stored value has a tag that is not known here.")
    return _READERS[tag](reader)


def _polars() -> Any:
    return importlib.import_module("polars")


def _write_frame(value: Any, writer: Writer) -> None:
    pl = _polars()
    table = value.to_arrow(compat_level=pl.CompatLevel.newest())
    again = _frame(table)
    if again.schema != value.schema or again.shape != value.shape or not again.equals(value):
        raise Unstorable("A Polars frame with these column types does not come back exactly.")
    frames.write_table(table, writer)


def _write_series(value: Any, writer: Writer) -> None:
    writer.text(value.name)
    _write_frame(value.alias("value").to_frame(), writer)


def _frame(table: Any) -> Any:
    pl = _polars()
    return pl.from_arrow(table, rechunk=False) if table.num_columns else pl.DataFrame()


def _read_frame(reader: Reader) -> Any:
    table = frames.read_table(reader)
    try:
        return _frame(table)
    except Exception:
        raise
    except BaseException as error:  # Polars' panics are no Exception
        if isinstance(error, KeyboardInterrupt | SystemExit | GeneratorExit):
            raise
        raise CorruptEntry(f"The stored frame cannot be read: {error}.") from error


def _read_series(reader: Reader) -> Any:
    name = reader.text()
    frame = _read_frame(reader)
    if frame.width != 1:
        raise CorruptEntry("The stored series is none.")
    return frame.to_series(0).alias(name)


_READERS: dict[int, Read] = {
    ord("f"): tree.contained(_read_frame),
    ord("s"): tree.contained(_read_series),
}
