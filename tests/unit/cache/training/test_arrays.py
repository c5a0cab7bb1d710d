"""Arrays come back as they were, mapped; files that are no arrays don't."""

import mmap
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from retention_pipelines.cache.training.arrays import require_storable, view_array, write_array
from retention_pipelines.errors import CorruptEntry, Unstorable


def through_a_file(path: Path, array: np.ndarray) -> np.ndarray:
    require_storable(array)
    with path.open("wb") as file:
        write_array(file, array)
    return mapped(path)


def mapped(path: Path) -> np.ndarray:
    with path.open("rb") as file:
        return view_array(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY))


DTYPES = st.one_of(
    npst.boolean_dtypes(),
    npst.integer_dtypes(endianness="?"),
    npst.floating_dtypes(endianness="?"),
    npst.complex_number_dtypes(),
    npst.datetime64_dtypes(),
    npst.timedelta64_dtypes(),
    npst.unicode_string_dtypes(),
    npst.byte_string_dtypes(),
)


@hypothesis_settings(derandomize=True, deadline=None, max_examples=60)
@given(npst.arrays(DTYPES, npst.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5)), st.booleans())
def test_an_array_comes_back_with_type_dtype_shape_and_every_bit(
    tmp_path_factory: pytest.TempPathFactory, array: np.ndarray, fortran: bool
) -> None:
    array = np.asfortranarray(array) if fortran and array.ndim else array
    found = through_a_file(tmp_path_factory.getbasetemp() / "array.npy", array)
    assert type(found) is np.ndarray
    assert (found.dtype, found.shape) == (array.dtype, array.shape)
    assert found.tobytes() == array.tobytes()
    assert found.flags.writeable
    if array.size:
        assert found.flags.f_contiguous == array.flags.f_contiguous or found.flags.c_contiguous


def test_a_structured_array_and_a_strided_view_come_back(tmp_path: Path) -> None:
    structured = np.array([(1, 2.5, "a"), (2, np.nan, "bc")], dtype=[("n", "<i4"), ("x", ">f8"), ("s", "U3")])
    found = through_a_file(tmp_path / "a.npy", structured)
    assert found.dtype == structured.dtype
    assert found.tobytes() == structured.tobytes()
    view = np.arange(60.0).reshape(6, 10)[::2, 1::3]
    np.testing.assert_array_equal(through_a_file(tmp_path / "b.npy", view), view)


@pytest.mark.parametrize(
    "array",
    [
        np.array([{"a": 1}, None], dtype=object),
        np.array([("x", {})], dtype=[("s", "U1"), ("o", object)]),
        np.zeros(3, dtype=np.dtype("f8", metadata={"unit": "degC"})),
        np.zeros(3, dtype=np.dtype({"names": ["a"], "formats": ["i4"], "offsets": [4], "itemsize": 16}, align=True)),
    ],
    ids=["objects", "objects in a field", "metadata", "aligned"],
)
def test_an_array_that_a_file_would_change_is_refused(array: np.ndarray, tmp_path: Path) -> None:
    try:
        found = through_a_file(tmp_path / "a.npy", array)
    except Unstorable:
        return
    assert found.dtype == array.dtype
    assert found.dtype.isalignedstruct == array.dtype.isalignedstruct


def header(text: str, data: bytes = b"") -> bytes:
    encoded = text.encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(encoded)) + encoded + data


@pytest.mark.parametrize(
    "content",
    [
        header("{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000,), }\n", b"12345678"),
        header("{'descr': '<f8', 'fortran_order': False, 'shape': (-1,), }\n", b"12345678"),
        header("{'descr': '|O', 'fortran_order': False, 'shape': (1,), }\n", b"12345678"),
        header("{'descr': '<f8', 'fortran_order': False, 'shape': (1,), }\n", b"1234567"),
        header("__import__('os').system('false')\n", b"12345678"),
        header("{'descr': '<f8', 'shape': (1,)}\n", b"12345678"),
        b"\x93NUMPY\x09\x00" + b"0" * 100,
        b"no array at all",
        header("(" * 2000 + "\n"),
    ],
)
def test_a_header_that_lies_is_refused_before_anything_is_allocated(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    path.write_bytes(content)
    with pytest.raises(CorruptEntry):
        mapped(path)
