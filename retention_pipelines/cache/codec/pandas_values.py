"""pandas frames, series, indexes, columns and scalars in the tree.

What belongs here: values by their parts: columns as arrays, each index with its kind, names, attributes and flags.
pandas decides some types for itself when it puts parts together, so everything here is read back and written again
before it is stored (`Writer.verify`). What does not: sparse columns and extension types of other packages.
"""

from typing import Any

import numpy as np
import pandas as pd

from retention_pipelines.cache.codec import frames, tree
from retention_pipelines.cache.codec.tree import Read, Write
from retention_pipelines.cache.codec.wire import Reader, Writer
from retention_pipelines.errors import CorruptEntry, Unstorable

_BLOCK_KINDS = "biufc"
_MASKED: dict[str, Any] = {
    "IntegerArray": pd.arrays.IntegerArray,
    "FloatingArray": pd.arrays.FloatingArray,
    "BooleanArray": pd.arrays.BooleanArray,
}


def writer_of(kind: type) -> Write | None:
    """The writer of a type of pandas."""
    if kind is pd.DataFrame:
        return _verified(tree.container(b"ppf", _write_frame))
    if kind is pd.Series:
        return _verified(tree.container(b"pps", _write_series))
    if kind is pd.RangeIndex:
        return _verified(tree.container(b"ppr", _write_range))
    if kind is pd.MultiIndex:
        return _verified(tree.container(b"ppm", _write_multi))
    if issubclass(kind, pd.Index):
        return _verified(tree.container(b"ppi", _write_index))
    if issubclass(kind, pd.api.extensions.ExtensionArray):
        return _verified(tree.container(b"ppa", _write_array))
    if kind is pd.Timestamp:
        return _write_timestamp
    if kind is pd.Timedelta:
        return _write_timedelta
    if kind is pd.Period:
        return _verified(_write_period)
    if kind is pd.Interval:
        return _verified(_write_interval)
    if kind in (type(pd.NaT), type(pd.NA)):
        return _write_missing
    return None


def read(reader: Reader) -> Any:
    """Read what a writer of this module wrote."""
    tag = reader.byte()
    if tag not in _READERS:
        raise CorruptEntry("The stored value has a tag that is not known here.")
    return _READERS[tag](reader)


def _verified(write: Write) -> Write:
    def write_verified(value: Any, writer: Writer) -> None:
        writer.verify = True
        write(value, writer)

    return write_verified


def _write_frame(value: Any, writer: Writer) -> None:
    tree.write(value.columns, writer)
    tree.write(value.index, writer)
    kinds = set(value.dtypes)
    kind = next(iter(kinds)) if len(kinds) == 1 else None
    if isinstance(kind, np.dtype) and kind.kind in _BLOCK_KINDS:
        writer.number(1)
        tree.write(value.to_numpy(), writer)
    else:
        writer.number(0)
        tree.write_items([value.iloc[:, number].array for number in range(value.shape[1])], writer)
    _write_extras(value, writer)


def _read_frame(reader: Reader) -> Any:
    columns, index = tree.read(reader), tree.read(reader)
    if reader.number():
        values: Any = tree.read(reader)
    else:
        values = dict(enumerate(tree.read_items(reader)))
        if len(values) != len(columns):
            raise CorruptEntry("The stored frame has another number of columns than names.")
    frame = pd.DataFrame(values, index=index, copy=False)
    frame.columns = columns
    return _with_extras(frame, reader)


def _write_series(value: Any, writer: Writer) -> None:
    tree.write(value.name, writer)
    tree.write(value.index, writer)
    tree.write(value.array, writer)
    _write_extras(value, writer)


def _read_series(reader: Reader) -> Any:
    name, index, values = tree.read(reader), tree.read(reader), tree.read(reader)
    series = pd.Series(values, index=index, dtype=values.dtype, name=name, copy=False)
    return _with_extras(series, reader)


def _write_extras(value: Any, writer: Writer) -> None:
    tree.write(dict(value.attrs), writer)
    tree.write(value.flags.allows_duplicate_labels, writer)


def _with_extras(value: Any, reader: Reader) -> Any:
    attributes, duplicates = tree.read(reader), tree.read(reader)
    if attributes:
        value.attrs = attributes
    if not duplicates:
        value.flags.allows_duplicate_labels = False
    return value


def _write_range(value: pd.RangeIndex, writer: Writer) -> None:
    tree.write((value.start, value.stop, value.step), writer)
    tree.write(value.name, writer)


def _read_range(reader: Reader) -> Any:
    start, stop, step = tree.read(reader)
    return pd.RangeIndex(start, stop, step, name=tree.read(reader))


def _write_multi(value: pd.MultiIndex, writer: Writer) -> None:
    tree.write_items(list(value.levels), writer)
    tree.write_items([np.asarray(codes) for codes in value.codes], writer)
    tree.write_items(list(value.names), writer)
    tree.write(getattr(value, "sortorder", None), writer)


def _read_multi(reader: Reader) -> Any:
    levels, codes, names = tree.read_items(reader), tree.read_items(reader), tree.read_items(reader)
    return pd.MultiIndex(levels=levels, codes=codes, names=names, sortorder=tree.read(reader))


def _write_index(value: Any, writer: Writer) -> None:
    writer.text(type(value).__name__)
    tree.write(value.name, writer)
    freq = getattr(value, "freq", None) if isinstance(value, pd.DatetimeIndex | pd.TimedeltaIndex) else None
    tree.write(None if freq is None else freq.freqstr, writer)
    tree.write(value.array, writer)


def _read_index(reader: Reader) -> Any:
    kind, name, freq, values = reader.text(), tree.read(reader), tree.read(reader), tree.read(reader)
    index: Any = pd.Index(values, dtype=values.dtype, name=name, copy=False)
    if type(index).__name__ != kind:
        raise CorruptEntry("The stored index is of another kind.")
    if freq is not None:
        index.freq = freq
    return index


def _write_array(value: Any, writer: Writer) -> None:
    kind = type(value).__name__
    writer.text(kind)
    if kind == "NumpyExtensionArray":
        tree.write(value.to_numpy(), writer)
    elif kind == "Categorical":
        tree.write(value.categories, writer)
        tree.write(np.asarray(value.codes), writer)
        tree.write(value.ordered, writer)
    elif kind in ("DatetimeArray", "TimedeltaArray"):
        tree.write(value.asi8, writer)
        tree.write(value.unit, writer)
        tree.write(getattr(value, "tz", None), writer)
    elif kind == "PeriodArray":
        tree.write(value.asi8, writer)
        tree.write(value.freqstr, writer)
    elif kind == "IntervalArray":
        tree.write((value.left, value.right, value.closed), writer)
    elif kind in _MASKED:
        tree.write(value._data, writer)
        tree.write(value._mask, writer)
    elif kind in ("ArrowStringArray", "StringArray"):
        tree.write((value.dtype.storage, value.dtype.na_value is pd.NA), writer)
        frames.write_table(_text_table(value), writer)
    elif kind == "ArrowExtensionArray":
        frames.write_table(frames._column(_chunked(value.take(np.arange(len(value))).__arrow_array__())), writer)
    else:
        raise Unstorable(f"A pandas column of type {value.dtype} cannot be restored.")


def _chunked(values: Any) -> Any:
    import pyarrow as pa

    return values if isinstance(values, pa.ChunkedArray) else pa.chunked_array([values])


def _text_table(value: Any) -> Any:
    import pyarrow as pa

    return frames._column(pa.chunked_array([pa.array(value.to_numpy(dtype=object, na_value=None), pa.large_string())]))


def _read_array(reader: Reader) -> Any:
    kind = reader.text()
    if kind == "NumpyExtensionArray":
        return pd.arrays.NumpyExtensionArray(tree.read(reader))
    if kind == "Categorical":
        categories, codes, ordered = tree.read(reader), tree.read(reader), tree.read(reader)
        return pd.Categorical.from_codes(codes, dtype=pd.CategoricalDtype(categories, ordered=ordered))
    if kind in ("DatetimeArray", "TimedeltaArray"):
        numbers, unit, zone = tree.read(reader), tree.read(reader), tree.read(reader)
        if kind == "TimedeltaArray":
            return pd.TimedeltaIndex(numbers.view(f"m8[{unit}]")).array
        naive = pd.DatetimeIndex(numbers.view(f"M8[{unit}]"))
        return (naive if zone is None else naive.tz_localize("UTC").tz_convert(zone)).array
    if kind == "PeriodArray":
        ordinals = tree.read(reader)
        return pd.arrays.PeriodArray(ordinals, dtype=pd.PeriodDtype(tree.read(reader)))
    if kind == "IntervalArray":
        left, right, closed = tree.read(reader)
        return pd.arrays.IntervalArray.from_arrays(left, right, closed)
    if kind in _MASKED:
        return _MASKED[kind](tree.read(reader), tree.read(reader))
    if kind in ("ArrowStringArray", "StringArray"):
        storage, nullable = tree.read(reader)
        dtype: Any = pd.StringDtype(storage, na_value=pd.NA if nullable else np.nan)
        return dtype.__from_arrow__(frames._only(reader))
    if kind == "ArrowExtensionArray":
        column = frames._only(reader)
        arrow: Any = pd.ArrowDtype(column.type)
        return arrow.__from_arrow__(column)
    raise CorruptEntry("The stored column is of a kind that is not known here.")


def _write_timestamp(value: pd.Timestamp, writer: Writer) -> None:
    if value.tzinfo is not None and _timestamp(int(value.asm8.astype("i8")), value.unit, value.tzinfo) != value:
        raise Unstorable("A pandas Timestamp in this zone does not come back.")
    writer.raw(b"ppt")
    tree.write((int(value.asm8.astype("i8")), value.unit, value.tzinfo), writer)


def _timestamp(number: int, unit: str, zone: Any) -> Any:
    instant: Any = np.array(number, f"M8[{unit}]")[()]
    naive = pd.Timestamp(instant)
    return naive if zone is None else naive.tz_localize("UTC").tz_convert(zone)


def _write_timedelta(value: pd.Timedelta, writer: Writer) -> None:
    writer.raw(b"ppd")
    tree.write((int(value.asm8.astype("i8")), value.unit), writer)


def _write_period(value: pd.Period, writer: Writer) -> None:
    writer.raw(b"ppp")
    tree.write((value.ordinal, value.freqstr), writer)


def _write_interval(value: Any, writer: Writer) -> None:
    writer.raw(b"ppv")
    tree.write((value.left, value.right, value.closed), writer)


def _write_missing(value: Any, writer: Writer) -> None:
    writer.raw(b"ppN" if value is pd.NA else b"ppT")


def _read_timedelta(reader: Reader) -> Any:
    return pd.Timedelta(np.timedelta64(*tree.read(reader)))


def _read_period(reader: Reader) -> Any:
    ordinal, freq = tree.read(reader)
    return pd.Period(ordinal=ordinal, freq=freq)


_READERS: dict[int, Read] = {
    ord("f"): tree.contained(_read_frame),
    ord("s"): tree.contained(_read_series),
    ord("r"): tree.contained(_read_range),
    ord("m"): tree.contained(_read_multi),
    ord("i"): tree.contained(_read_index),
    ord("a"): tree.contained(_read_array),
    ord("t"): lambda reader: _timestamp(*tree.read(reader)),
    ord("d"): _read_timedelta,
    ord("p"): _read_period,
    ord("v"): lambda reader: pd.Interval(*tree.read(reader)),
    ord("N"): lambda reader: pd.NA,
    ord("T"): lambda reader: pd.NaT,
}
