"""Encoders of pandas, Polars and Arrow values: schema, index and full content.

What belongs here: frames, series, indexes, columns and their scalars. Imported only when one was met, so the library is
loaded already. Content is encoded whole: samples and printed forms make different frames look alike.
"""

import hashlib
import importlib
from typing import Any

from retention_pipelines.cache.keys.encoding import Encoder, enter, joined, sequence, tagged, text
from retention_pipelines.errors import Unkeyable

_HINT = "Say with key=... which arguments matter."


def encoder_of(kind: type) -> Encoder:
    """The encoder of a type of pandas, Polars or Arrow."""
    library = kind.__module__.partition(".")[0]
    found = {"pandas": _of_pandas, "polars": _of_polars, "pyarrow": _of_arrow}[library](kind)
    if found is None:
        raise Unkeyable(f"A value of type {kind.__module__}.{kind.__qualname__} cannot be keyed.", hint=_HINT)
    return found


def _of_pandas(kind: type) -> Encoder | None:
    pd: Any = importlib.import_module("pandas")
    if kind is pd.DataFrame:
        return _pandas_frame
    if kind is pd.Series:
        return _pandas_series
    if issubclass(kind, pd.MultiIndex):
        return _pandas_multi_index
    if issubclass(kind, pd.Index):
        return _pandas_index
    if issubclass(kind, pd.api.extensions.ExtensionArray):
        return _pandas_array
    if issubclass(kind, pd.api.extensions.ExtensionDtype):
        return _pandas_dtype
    if kind is pd.Timestamp:
        return _pandas_timestamp
    if kind is pd.Timedelta:
        return _pandas_timedelta
    if kind is pd.Period:
        return _pandas_period
    if kind is pd.Interval:
        return _pandas_interval
    if kind in (type(pd.NaT), type(pd.NA)):
        return _pandas_missing
    if issubclass(kind, pd.tseries.offsets.BaseOffset):
        return _pandas_offset
    return None


def _pandas_frame(value: Any, depth: int, left: list[int]) -> str:
    enter(depth, left)
    columns = [_pandas_values(value.iloc[:, number].array, depth, left) for number in range(value.shape[1])]
    return tagged(
        "pandas.DataFrame",
        text(value.columns, depth + 1, left),
        text(value.index, depth + 1, left),
        joined(columns),
        _pandas_extras(value, depth, left),
    )


def _pandas_series(value: Any, depth: int, left: list[int]) -> str:
    enter(depth, left)
    return tagged(
        "pandas.Series",
        text(value.name, depth + 1, left),
        text(value.index, depth + 1, left),
        _pandas_values(value.array, depth, left),
        _pandas_extras(value, depth, left),
    )


def _pandas_extras(value: Any, depth: int, left: list[int]) -> str:
    return joined((text(dict(value.attrs), depth + 1, left), repr(value.flags.allows_duplicate_labels)))


def _pandas_multi_index(value: Any, depth: int, left: list[int]) -> str:
    enter(depth, left)
    levels = [text(value.get_level_values(number), depth + 1, left) for number in range(value.nlevels)]
    return tagged("pandas.MultiIndex", text(list(value.names), depth + 1, left), *levels)


def _pandas_index(value: Any, depth: int, left: list[int]) -> str:
    enter(depth, left)
    kind = type(value).__name__
    name = text(value.name, depth + 1, left)
    if kind == "RangeIndex":
        return tagged("pandas.RangeIndex", name, repr((value.start, value.stop, value.step)))
    freq = text(getattr(value, "freq", None), depth + 1, left)
    return tagged(f"pandas.{kind}", name, freq, _pandas_values(value.array, depth, left))


def _pandas_array(value: Any, depth: int, left: list[int]) -> str:
    enter(depth, left)
    return _pandas_values(value, depth, left)


def _pandas_values(array: Any, depth: int, left: list[int]) -> str:
    """One column: a NumPy array in a thin coat, a categorical, or another extension array by its parts."""
    import numpy as np

    kind = type(array).__name__
    if kind in ("NumpyExtensionArray", "PandasArray"):
        plain = array.to_numpy()
        if plain.dtype == object:
            return tagged("objects", sequence(plain.tolist(), depth + 1, left))
        return text(plain, depth + 1, left)
    dtype = text(array.dtype, depth + 1, left)
    if kind == "Categorical":
        parts = [array.categories, np.asarray(array.codes)]
    elif kind in ("DatetimeArray", "TimedeltaArray", "PeriodArray"):
        parts = [array.asi8]
    elif kind == "IntervalArray":
        parts = [array.left, array.right]
    elif kind == "SparseArray":
        parts = [array.sp_values, array.sp_index.indices, len(array)]
    elif hasattr(array, "_data") and hasattr(array, "_mask"):  # nullable integers, floats, booleans
        mask = np.asarray(array._mask)
        parts = [np.where(mask, array._data.dtype.type(0), array._data), mask]
    elif hasattr(array, "__arrow_array__"):
        return tagged(f"pandas.{kind}", dtype, _arrow_digest(array.__arrow_array__()))
    elif array.dtype == "string" or array.dtype == "str":
        parts = [array.to_numpy(dtype=object, na_value=None).tolist()]
    else:
        raise Unkeyable(f"A pandas column of type {array.dtype} cannot be keyed.", hint=_HINT)
    return tagged(f"pandas.{kind}", dtype, *[text(part, depth + 1, left) for part in parts])


def _pandas_dtype(value: Any, depth: int, left: list[int]) -> str:
    kind = type(value).__name__
    if kind == "CategoricalDtype":
        enter(depth, left)
        return tagged("pandas.dtype", kind, text(value.categories, depth + 1, left), repr(value.ordered))
    detail = [
        repr(getattr(value, name, None)) for name in ("storage", "na_value", "unit", "tz", "closed", "fill_value")
    ]
    return tagged("pandas.dtype", kind, str(value), *detail)


def _pandas_timestamp(value: Any, depth: int, left: list[int]) -> str:
    zone = text(value.tzinfo, depth + 1, left) if value.tzinfo is not None else ""
    return tagged("pandas.Timestamp", str(value.asm8.astype("i8")), value.unit, str(value.fold), zone)


def _pandas_timedelta(value: Any, depth: int, left: list[int]) -> str:
    return tagged("pandas.Timedelta", str(value.asm8.astype("i8")), value.unit)


def _pandas_period(value: Any, depth: int, left: list[int]) -> str:
    return tagged("pandas.Period", str(value.ordinal), value.freqstr)


def _pandas_interval(value: Any, depth: int, left: list[int]) -> str:
    enter(depth, left)
    return tagged("pandas.Interval", *[text(part, depth + 1, left) for part in (value.left, value.right, value.closed)])


def _pandas_missing(value: Any, depth: int, left: list[int]) -> str:
    return tagged("pandas.missing", repr(value))


def _pandas_offset(value: Any, depth: int, left: list[int]) -> str:
    return tagged("pandas.offset", type(value).__name__, value.freqstr, repr(value.normalize))


def _of_polars(kind: type) -> Encoder | None:
    pl: Any = importlib.import_module("polars")
    if kind is pl.DataFrame:
        return _polars_frame
    if kind is pl.Series:
        return _polars_series
    if issubclass(kind, pl.DataType):
        return _polars_dtype
    return None


def polars_dtype(dtype: Any) -> str:
    """A Polars dtype with its parameters; categories of an Enum in full."""
    name = str(dtype.base_type())
    if name == "Enum":
        return tagged("Enum", repr(dtype.categories.to_list()))
    if name == "Object":
        raise Unkeyable("A Polars column of Python objects cannot be keyed.", hint=_HINT)
    if name == "Struct":
        return tagged("Struct", *[joined((repr(field.name), polars_dtype(field.dtype))) for field in dtype.fields])
    if name in ("List", "Array"):
        return tagged(name, repr(getattr(dtype, "shape", None)), polars_dtype(dtype.inner))
    return tagged("dtype", repr(dtype))


def _polars_dtype(value: Any, depth: int, left: list[int]) -> str:
    return tagged("polars.dtype", polars_dtype(value))


def _polars_frame(value: Any, depth: int, left: list[int]) -> str:
    names = [joined((repr(name), polars_dtype(dtype))) for name, dtype in value.schema.items()]
    return tagged("polars.DataFrame", repr(value.height), joined(names), _polars_digest(value))


def _polars_series(value: Any, depth: int, left: list[int]) -> str:
    frame = value.alias("").to_frame()
    return tagged("polars.Series", repr(value.name), repr(len(value)), polars_dtype(value.dtype), _polars_digest(frame))


def _polars_digest(frame: Any) -> str:
    return _arrow_digest(frame.rechunk().to_arrow(compat_level=importlib.import_module("polars").CompatLevel.oldest()))


def _of_arrow(kind: type) -> Encoder | None:
    pa: Any = importlib.import_module("pyarrow")
    if kind in (pa.Table, pa.RecordBatch) or issubclass(kind, pa.Array | pa.ChunkedArray):
        return _arrow_data
    if issubclass(kind, pa.Scalar):
        return _arrow_scalar
    if kind is pa.Schema:
        return _arrow_schema
    if issubclass(kind, pa.DataType):
        return _arrow_type
    return None


def _arrow_data(value: Any, depth: int, left: list[int]) -> str:
    return tagged(f"arrow.{type(value).__name__}", _arrow_digest(value))


def _arrow_scalar(value: Any, depth: int, left: list[int]) -> str:
    pa: Any = importlib.import_module("pyarrow")
    return tagged(f"arrow.{type(value).__name__}", _arrow_digest(pa.array([value.as_py()], type=value.type)))


def _arrow_schema(value: Any, depth: int, left: list[int]) -> str:
    return tagged("arrow.Schema", hashlib.sha256(value.serialize()).hexdigest())


def _arrow_type(value: Any, depth: int, left: list[int]) -> str:
    pa: Any = importlib.import_module("pyarrow")
    return tagged("arrow.type", hashlib.sha256(pa.schema([pa.field("", value)]).serialize()).hexdigest())


def _arrow_digest(value: Any) -> str:
    """Digest of schema, metadata and content; how the rows are cut into chunks does not matter."""
    pa: Any = importlib.import_module("pyarrow")
    if isinstance(value, pa.RecordBatch):
        value = pa.Table.from_batches([value])
    elif not isinstance(value, pa.Table):
        value = pa.table({"": value})
    sink = _Digest()
    with pa.PythonFile(sink, mode="w") as file, pa.ipc.new_stream(file, value.schema) as writer:
        for batch in _canonical(value).to_batches():
            writer.write_batch(batch)
    return f"{value.num_rows}-{sink.digest.hexdigest()}"


def _canonical(table: Any) -> Any:
    """The same rows in fresh buffers: slices and what lies under nulls leave no trace."""
    import numpy as np

    pa: Any = importlib.import_module("pyarrow")
    whole = table.combine_chunks()
    try:
        return whole.take(np.arange(whole.num_rows)) if whole.num_rows else whole
    except pa.ArrowNotImplementedError:
        return whole


class _Digest:
    """A file that only remembers the digest of what was written."""

    closed = False

    def __init__(self) -> None:
        self.digest = hashlib.sha256()

    def write(self, data: Any) -> int:
        self.digest.update(data)
        return len(data)

    def flush(self) -> None:
        pass

    def close(self) -> None:
        self.closed = True
