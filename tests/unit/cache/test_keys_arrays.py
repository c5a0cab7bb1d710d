"""Keys of arrays and frames: their type, shape and whole content, and nothing else."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from retention_pipelines.cache import keys
from retention_pipelines.errors import Unkeyable

ARRAY = np.arange(24.0).reshape(4, 6)
FRAME = pd.DataFrame({"a": [1, 2, 3], "b": ["x", None, "z"], "c": [1.0, None, -0.0]})
MIXED = pl.DataFrame({"a": [1, None, 3], "b": ["x", None, "z"], "c": [[1], [], None]})

DIFFERENT: list[Any] = [
    1.0,
    np.float64(1.0),
    np.float32(1.0),
    np.int64(1),
    np.int32(1),
    np.bool_(True),
    np.str_("1"),
    np.bytes_(b"1"),
    np.datetime64("2024-01-01"),
    np.datetime64("2024-01-01T00"),
    np.float64("nan"),
    np.float64(-0.0),
    np.array(1.0),
    np.array([1.0]),
    [1.0],
    ARRAY,
    ARRAY.T,
    ARRAY.reshape(6, 4),
    ARRAY.astype("f4"),
    ARRAY.astype(">f8"),
    ARRAY.astype("i8"),
    ARRAY + 0.0000000001,
    ARRAY.tolist(),
    np.array(["a", "b"]),
    np.array(["a", "bc"]),
    np.array([b"a", b"b"]),
    np.zeros(3, [("a", "i4"), ("b", "f8")]),
    np.zeros(3, [("a", "f8"), ("b", "i4")]),
    np.zeros(3, [("x", "i4"), ("b", "f8")]),
    np.zeros((0, 3)),
    np.zeros((3, 0)),
    np.array(["2024-01-01"], "M8[D]"),
    np.array(["2024-01-01"], "M8[s]"),
    np.ma.array([1, 2], mask=[False, True]),
    np.ma.array([1, 2], mask=[True, False]),
    np.ma.array([1, 2]),
    np.dtype("f4"),
    np.float32,
    FRAME,
    FRAME.rename(columns={"a": "A"}),
    FRAME.astype({"a": "Int64"}),
    FRAME.astype({"a": "int32"}),
    FRAME.set_index("a"),
    FRAME.astype({"b": "category"}),
    FRAME.iloc[::-1],
    FRAME.reset_index(drop=True).set_axis([1, 2, 3], axis=0),
    FRAME[["b", "a", "c"]],
    FRAME["a"],
    FRAME["a"].rename("z"),
    FRAME["a"].to_numpy(),
    pd.Categorical(["a", "b"], ordered=True),
    pd.Categorical(["a", "b"]),
    pd.Categorical(["a", "b"], categories=["b", "a"]),
    pd.RangeIndex(3),
    pd.Index([0, 1, 2]),
    pd.date_range("2024-01-01", periods=2),
    pd.date_range("2024-01-01", periods=2, tz="UTC"),
    pd.date_range("2024-01-01", periods=2, unit="s"),
    pd.MultiIndex.from_tuples([(1, "a"), (2, "b")]),
    pd.MultiIndex.from_tuples([(1, "a"), (2, "b")], names=["n", None]),
    pd.Timestamp("2024-01-01"),
    pd.Timestamp("2024-01-01", tz="UTC"),
    pd.Timedelta("1s"),
    pd.Period("2024-01", "M"),
    pd.Interval(0, 1),
    pd.NaT,
    pd.NA,
    MIXED,
    MIXED.with_columns(pl.col("a").cast(pl.Int32)),
    MIXED.rename({"a": "A"}),
    MIXED["a"],
    MIXED["a"].alias("z"),
    pl.Series(["a"], dtype=pl.Categorical),
    pl.Series(["a"], dtype=pl.Enum(["a", "b"])),
    pl.Series(["a"], dtype=pl.Enum(["b", "a"])),
    pl.Series(["a"]),
    pl.DataFrame(),
    pl.DataFrame(schema={"a": pl.Int8}),
    pa.table({"a": [1, 2]}),
    pa.table({"a": pa.array([1, 2], pa.int8())}),
    pa.table({"a": [1, 2]}).replace_schema_metadata({"k": "v"}),
    pa.array([1, 2]),
    pa.chunked_array([[1, 2]]),
    pa.scalar(1),
    pa.schema([("a", pa.int64())]),
    pa.int64(),
]


def test_every_value_has_an_encoding_of_its_own() -> None:
    found: dict[bytes, Any] = {}
    for value in DIFFERENT:
        encoding = keys.encode(value)
        assert encoding not in found, (value, found[encoding])
        assert keys.encode(value) == encoding
        found[encoding] = value


@pytest.mark.parametrize(
    "twin",
    [
        np.asfortranarray(ARRAY),
        np.repeat(ARRAY, 2, axis=1)[:, ::2],
        ARRAY[::-1][::-1],
        np.array(ARRAY.tolist()),
        np.broadcast_to(ARRAY, (2, 4, 6))[1],
    ],
)
def test_the_order_of_an_array_in_memory_does_not_matter(twin: Any) -> None:
    assert keys.encode(twin) == keys.encode(ARRAY)


def test_large_arrays_that_differ_in_one_element_anywhere_have_different_keys() -> None:
    large = np.zeros(5000)
    found = {keys.encode(large)}
    for place in range(0, 5000, 100):
        other = large.copy()
        other[place] = 1e-9
        found.add(keys.encode(other))
        found.add(keys.encode(pl.DataFrame({"a": other})))
        found.add(keys.encode(pd.DataFrame({"a": other})))
    assert len(found) == 151


def test_bits_of_not_a_number_and_padding_do_not_matter() -> None:
    one, other = np.array([np.nan, 1.0]), np.array([0, 1.0])
    other.view("u8")[0] = 0xFFF8000000000001
    assert keys.encode(one) == keys.encode(other)
    assert keys.encode(one.astype("c16")) == keys.encode(other.astype("c16"))
    layout = np.dtype({"names": ["a", "b"], "formats": ["i1", "i8"], "offsets": [0, 8]})
    raw = np.frombuffer(bytes([1] + [0] * 15), layout), np.frombuffer(bytes([1, 9, 9] + [0] * 13), layout)
    assert keys.encode(raw[0]) == keys.encode(raw[1])


@pytest.mark.parametrize(
    "make",
    [
        lambda rows: pa.table({"a": pa.array(["x", None, "yy", "z", None, "w"], pa.string())}).slice(rows[0], rows[1]),
        lambda rows: pa.array([[1], None, [2, None], [], [3], None]).slice(rows[0], rows[1]),
        lambda rows: pl.DataFrame({"a": ["x" * 20, None, "y"] * 2, "b": [True, None, False] * 2})[rows[0] : sum(rows)],
        lambda rows: pd.DataFrame({"a": pd.array(["x", None] * 3, "string[pyarrow]")}).iloc[rows[0] : sum(rows)],
    ],
)
def test_a_part_of_a_table_has_the_key_of_the_same_rows_made_anew(make: Callable[[tuple[int, int]], Any]) -> None:
    part = make((1, 4))
    if isinstance(part, pa.Table):
        anew: Any = pa.table({"a": pa.array(part["a"].to_pylist(), part["a"].type)})
    elif isinstance(part, pa.Array):
        anew = pa.array(part.to_pylist(), part.type)
    elif isinstance(part, pl.DataFrame):
        anew = pl.DataFrame(part.to_dicts(), schema=part.schema)
    else:
        anew = pd.DataFrame({"a": pd.array(part["a"].tolist(), "string[pyarrow]")}, index=part.index)
    assert keys.encode(part) == keys.encode(anew)


def test_the_pieces_a_table_lies_in_do_not_matter() -> None:
    whole = pl.DataFrame({"a": ["x", None, "y"]})
    pieces = pl.concat([whole[:1], whole[1:]], rechunk=False)
    assert keys.encode(whole) == keys.encode(pieces)
    assert keys.encode(pa.chunked_array([[1], [2]])) == keys.encode(pa.chunked_array([[1, 2]]))


def test_what_lies_under_a_null_does_not_matter() -> None:
    validity = pa.py_buffer(b"\xf5")
    hidden = pa.Array.from_buffers(pa.int32(), 3, [validity, pa.py_buffer(np.array([1, 77, 3], "i4").tobytes())])
    assert keys.encode(hidden) == keys.encode(pa.array([1, None, 3], pa.int32()))
    one = pd.arrays.IntegerArray(np.array([1, 7]), np.array([False, True]))
    assert keys.encode(one) == keys.encode(pd.array([1, None], dtype="Int64"))


@pytest.mark.parametrize(
    "value",
    [
        np.array([1, "a"], object),
        np.random.default_rng(1),
        pl.DataFrame({"a": [1]}).lazy(),
        pl.col("a"),
        pl.Series([object()], dtype=pl.Object),
        pd.DataFrame({"a": [object()]}),
        FRAME.groupby("a"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_could_be_anything_is_refused(value: object) -> None:
    with pytest.raises(Unkeyable) as caught:
        keys.encode(value)
    assert caught.value.hint
