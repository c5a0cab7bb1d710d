"""Arrow, Polars and pandas frames as Arrow IPC files (and pandas' plain columns as arrays), mapped without copying.

What belongs here: which file holds which part of a frame, and whether a frame comes back exactly; one that doesn't is
Unstorable. pandas columns of NumPy types are mapped; its other columns (text, categories, nullable) are copied on
reading, because pandas wants memory of its own for them.
"""

from io import BytesIO
from typing import IO, TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from retention_pipelines.cache.training.parts import Labels, PandasParts
from retention_pipelines.errors import CorruptEntry, Unstorable

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl


def write_arrow(file: IO[bytes], table: pa.Table) -> None:
    """Write a table as an uncompressed Arrow IPC file."""
    if any(isinstance(column.type, pa.DictionaryType) and column.num_chunks > 1 for column in table.columns):
        table = table.unify_dictionaries()  # a file holds one dictionary for each column
    try:
        with pa.ipc.new_file(pa.PythonFile(file, "w"), table.schema) as writer:
            writer.write_table(table)
    except pa.ArrowException as error:
        raise Unstorable(f"The Arrow table cannot be written as a file: {error}") from error


def read_arrow(content: Any) -> pa.Table:
    """The table in a mapped file."""
    try:
        table = pa.ipc.open_file(pa.py_buffer(content)).read_all()
        table.validate()
    except pa.ArrowException as error:
        raise CorruptEntry(f"A file is no Arrow file: {error}") from error
    return table


def require_arrow(schema: pa.Schema) -> None:
    """Raise Unstorable when a file would not give the same schema back."""
    empty = BytesIO()
    write_arrow(empty, schema.empty_table())
    if not read_arrow(empty.getvalue()).schema.equals(schema, check_metadata=True):
        raise Unstorable("The schema of the Arrow table changes in a file.", hint="Cast its extension types.")


# -- Polars -------------------------------------------------------------------------------------------------------


def write_polars(file: IO[bytes], frame: "pl.DataFrame") -> None:
    """Write a Polars frame in its own memory layout, so that nothing is converted when it is read."""
    import polars as pl

    layout = {"compression": "uncompressed", "compat_level": pl.CompatLevel.newest()}
    try:
        empty = BytesIO()
        frame.clear().write_ipc(empty, **layout)  # type: ignore[call-overload]
        same = read_polars(empty.getvalue()).schema == frame.schema
        frame.write_ipc(file, record_batch_size=max(frame.height, 1), **layout)  # type: ignore[call-overload]
    except (pl.exceptions.PolarsError, pa.ArrowException, CorruptEntry) as error:
        raise Unstorable(f"The Polars frame cannot be written as an Arrow file: {error}") from error
    if not same:
        raise Unstorable("The Polars frame comes back with another schema.", hint="Cast the unusual columns.")


def read_polars(content: Any) -> "pl.DataFrame":
    """The Polars frame in a mapped file."""
    import polars as pl

    found = pl.from_arrow(read_arrow(content), rechunk=False)
    if not isinstance(found, pl.DataFrame):
        raise CorruptEntry("A file holds no Polars frame.")
    return found


# -- pandas -------------------------------------------------------------------------------------------------------


def split_pandas(frame: "pd.DataFrame") -> tuple[PandasParts, list[np.ndarray], pa.Table | None]:
    """Take a frame apart. Raises Unstorable when it would not come back the same."""
    import pandas as pd

    if not frame.flags.allows_duplicate_labels:
        raise Unstorable("A pandas frame that forbids duplicate labels cannot be stored.")
    groups: dict[str, list[int]] = {}
    others: list[int] = []
    for place, dtype in enumerate(frame.dtypes):
        if isinstance(dtype, np.dtype):
            groups.setdefault(dtype.str, []).append(place)
        else:
            others.append(place)
    index = frame.index
    ranged = (index.start, index.stop, index.step, index.name) if type(index) is pd.RangeIndex else None
    arrays = [frame.iloc[:, places].to_numpy() for places in groups.values()]
    table = None
    if others or ranged is None:
        rest = frame.iloc[:, others].copy(deep=False)
        rest.columns = pd.Index([str(place) for place in others], dtype=object)
        try:
            table = pa.Table.from_pandas(rest, preserve_index=ranged is None)
        except (pa.ArrowException, TypeError, ValueError) as error:
            raise Unstorable(f"A pandas column cannot be stored exactly: {error}") from error
    frequency = getattr(index, "freqstr", None) if isinstance(index, pd.DatetimeIndex | pd.TimedeltaIndex) else None
    parts = PandasParts(
        positions=list(groups.values()),
        others=others,
        index=ranged,
        frequency=frequency,
        labels=_labels(frame.columns),
        attributes=dict(frame.attrs),
    )
    _require_same(join_pandas(parts, arrays, table), frame)
    return parts, arrays, table


def join_pandas(parts: PandasParts, arrays: list[np.ndarray], table: pa.Table | None) -> "pd.DataFrame":
    """Put a frame together over its arrays, without copying them."""
    import pandas as pd

    rest = None if table is None else table.to_pandas()
    index: pd.Index
    if parts.index is not None:
        start, stop, step, name = parts.index
        index = pd.RangeIndex(start, stop, step, name=name)
    else:
        if rest is None:
            raise CorruptEntry("A stored pandas frame has no index.")
        index = rest.index
        if parts.frequency is not None:
            index.freq = parts.frequency  # type: ignore[attr-defined]
    columns = _columns(parts.labels)
    if len(arrays) == 1 and not parts.others and arrays[0].dtype != object:
        frame = pd.DataFrame(arrays[0], index=index, columns=columns, copy=False)
    else:
        pieces: dict[int, Any] = {}
        for places, array in zip(parts.positions, arrays, strict=True):
            # pandas makes text of an array of texts, where the frame had a column of objects.
            objects = array.dtype == object
            for number, place in enumerate(places):
                one = array[:, number]
                pieces[place] = pd.Series(one, index=index, dtype=object, copy=False) if objects else one
        for number, place in enumerate(parts.others):
            pieces[place] = rest.iloc[:, number].array if rest is not None else None
        frame = pd.DataFrame({place: pieces[place] for place in sorted(pieces)}, index=index, copy=False)
        frame.columns = columns
    frame.attrs = dict(parts.attributes)
    return frame


def _labels(columns: "pd.Index") -> Labels:
    return Labels(
        kind=type(columns).__name__, values=list(columns), names=list(columns.names), dtype=str(columns.dtype)
    )


def _columns(labels: Labels) -> "pd.Index":
    import pandas as pd

    if labels.kind == "MultiIndex":
        return pd.MultiIndex.from_tuples(labels.values, names=labels.names)
    if labels.kind == "RangeIndex":
        step = labels.values[1] - labels.values[0] if len(labels.values) > 1 else 1
        start = labels.values[0] if labels.values else 0
        return pd.RangeIndex(start, start + step * len(labels.values), step, name=labels.names[0])
    plain: pd.Index = pd.Index(labels.values, dtype=labels.dtype, name=labels.names[0])
    return plain


def _require_same(restored: "pd.DataFrame", frame: "pd.DataFrame") -> None:
    """Compare all but the arrays, which are the same objects."""
    same = (
        _same_index(restored.index, frame.index)
        and _same_index(restored.columns, frame.columns)
        and list(restored.dtypes) == list(frame.dtypes)
        and all(
            restored.iloc[:, place].equals(frame.iloc[:, place])
            for place, dtype in enumerate(frame.dtypes)
            if not isinstance(dtype, np.dtype)
        )
    )
    if not same:
        raise Unstorable(
            "The pandas frame would not come back exactly: a column, label or index of an unusual type.",
            hint="Convert columns of objects to a dtype such as str, category or float64.",
        )


def _same_index(one: "pd.Index", other: "pd.Index") -> bool:
    return (
        type(one) is type(other) and one.identical(other) and getattr(one, "freq", None) == getattr(other, "freq", None)
    )
