"""Arrays as `.npy` files: written by NumPy, mapped by us so that the header is checked before anything is believed."""

import ast
import math
import mmap
import warnings
from typing import IO

import numpy as np
from numpy.lib import format as npy

from retention_pipelines.errors import CorruptEntry, Unstorable

_HEADER_BYTES = 64 * 1024
# By version of the format: how many bytes say how long the header is.
_LENGTH_BYTES = {b"\x01\x00": 2, b"\x02\x00": 4, b"\x03\x00": 4}


def require_storable(array: np.ndarray) -> None:
    """Raise Unstorable for arrays that a plain `.npy` file does not restore exactly."""
    if array.dtype.hasobject:
        raise Unstorable(
            f"An array of {array.dtype} holds Python objects.", hint="Give it a dtype such as float64, int64 or U."
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # NumPy warns of metadata it leaves out; we refuse
        restored = npy.descr_to_dtype(npy.dtype_to_descr(array.dtype))
    if restored != array.dtype or array.dtype.metadata or array.dtype.isalignedstruct:
        raise Unstorable(f"The dtype {array.dtype} cannot be stored exactly.", hint="Use a plain dtype.")


def write_array(file: IO[bytes], array: np.ndarray) -> None:
    """Write an array; one that is neither in C nor in Fortran order is stored in C order."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of names of fields that old versions of NumPy could not read
        npy.write_array(file, array, allow_pickle=False)


def view_array(content: mmap.mmap) -> np.ndarray:
    """The array in a mapped file, without copying; writable when the mapping is."""
    shape, fortran, dtype, start = _header(content)
    if dtype.hasobject or math.prod(shape) * dtype.itemsize != len(content) - start:
        raise CorruptEntry("The header of a .npy file does not fit its size.")
    return np.ndarray(shape, dtype, buffer=content, offset=start, order="F" if fortran else "C")


def _header(content: mmap.mmap) -> tuple[tuple[int, ...], bool, np.dtype, int]:
    """Shape, whether in Fortran order, dtype, and where the data start. NumPy's own reader also reads Python 2's."""
    length_bytes = _LENGTH_BYTES.get(content[6:8]) if content[:6] == npy.MAGIC_PREFIX else None
    if length_bytes is None:
        raise CorruptEntry("A file is no .npy file.")
    start = 8 + length_bytes
    end = start + int.from_bytes(content[8:start], "little")
    if end > min(len(content), _HEADER_BYTES):
        raise CorruptEntry("The header of a .npy file is too long.")
    try:
        found = ast.literal_eval(content[start:end].decode("utf-8" if content[6] == 3 else "latin-1").strip())
        shape, fortran, dtype = found["shape"], found["fortran_order"], npy.descr_to_dtype(found["descr"])
    except (ValueError, SyntaxError, TypeError, KeyError, MemoryError, RecursionError) as error:
        raise CorruptEntry("The header of a .npy file cannot be read.") from error
    if type(shape) is not tuple or not all(type(n) is int and n >= 0 for n in shape) or type(fortran) is not bool:
        raise CorruptEntry("The header of a .npy file makes no sense.")
    return shape, fortran, dtype, end
