"""Encoders of NumPy scalars, dtypes and arrays: type, shape and full content, whatever the order in memory.

What belongs here: `numpy` values. Imported only when a value of NumPy was met, so NumPy is loaded already. Arrays of
Python objects are refused: their content is anything.
"""

import hashlib
import sys
from typing import Any

import numpy as np

from retention_pipelines.cache.keys.encoding import Encoder, enter, joined, tagged, text
from retention_pipelines.errors import Unkeyable

_HINT = "Convert it to a numeric or fixed-width dtype, or say with key=... which arguments matter."


def encoder_of(kind: type) -> Encoder:
    """The encoder of NumPy's type `kind`."""
    if issubclass(kind, np.generic):
        literal = issubclass(kind, np.bool_ | np.integer | np.floating)
        return _number if literal and not issubclass(kind, np.timedelta64 | np.longdouble) else _scalar
    if kind in (np.ndarray, np.matrix, np.memmap, np.recarray):
        return _array
    if kind is np.ma.MaskedArray:
        return _masked
    if kind is type(np.ma.masked):
        return _constant
    if issubclass(kind, np.dtype):
        return _dtype
    if kind is np.ufunc:
        return _ufunc
    if issubclass(kind, np.random.Generator | np.random.BitGenerator | np.random.RandomState):
        raise Unkeyable("A random generator changes with every draw.", hint="Pass a seed instead.")
    raise Unkeyable(f"A value of type numpy.{kind.__qualname__} cannot be keyed.", hint=_HINT)


def dtype_text(dtype: np.dtype[Any]) -> str:
    """A dtype with byte order, unit, fields, offsets and metadata."""
    if dtype.hasobject:
        raise Unkeyable("An array of Python objects cannot be keyed.", hint=_HINT)
    extra = text(dict(dtype.metadata), 0, [1000]) if dtype.metadata else ""
    if dtype.subdtype is not None:
        return tagged("sub", dtype_text(dtype.subdtype[0]), repr(dtype.subdtype[1]), extra)
    if dtype.names is None or dtype.fields is None:
        return tagged("dt", dtype.str, extra)
    fields = []
    for name in dtype.names:
        inner, offset, *title = dtype.fields[name]
        fields.append(joined((repr(name), dtype_text(inner), str(offset), repr(title))))
    return tagged("struct", str(dtype.itemsize), repr(dtype.isalignedstruct), extra, *fields)


def content(array: np.ndarray[Any, Any]) -> str:
    """Digest of the elements in C order; every NaN counts as the same."""
    if array.dtype.names is not None:  # field by field: the bytes between fields say nothing
        return joined([content(array[name]) for name in array.dtype.names])
    if array.ndim:
        array = np.ascontiguousarray(array)
    if array.dtype.kind == "f":
        missing = np.isnan(array)
        if missing.any():
            array = np.where(missing, array.dtype.type("nan"), array).astype(array.dtype, copy=False)
    elif array.dtype.kind == "c" and np.isnan(array).any():
        parts = array.view(array.real.dtype)
        array = np.where(np.isnan(parts), parts.dtype.type("nan"), parts).astype(parts.dtype, copy=False)
    digest = hashlib.sha256()
    if array.dtype.type in (np.longdouble, np.clongdouble) and np.finfo(array.dtype).nmant == 63:
        raw = np.frombuffer(array.tobytes(), np.uint8).reshape(-1, np.dtype(np.longdouble).itemsize)
        digest.update(raw[:, :10].tobytes())  # the other bytes of an 80-bit number are never written
    else:
        digest.update(array.reshape(-1).view(np.uint8).data if array.size else b"")
    return digest.hexdigest()


def _number(value: np.generic, depth: int, left: list[int]) -> str:
    """A boolean, integer or float of at most 64 bits: its literal says all, and that every NaN is the same."""
    return f"#np{value.dtype.str}:{value.item()!r}"


def _scalar(value: np.generic, depth: int, left: list[int]) -> str:
    kind = "long" if value.dtype.type in (np.longdouble, np.clongdouble) else dtype_text(value.dtype)
    if value.dtype.kind in "fc":
        return tagged("npscalar", kind, _float_text(value))
    if value.dtype.names is not None:
        return tagged("npscalar", kind, content(np.asarray(value)))
    return tagged("npscalar", kind, value.tobytes().hex())


def _float_text(value: Any) -> str:
    if value.dtype.kind == "c":
        return joined((_float_text(value.real), _float_text(value.imag)))
    if np.isnan(value):
        return "nan"
    if value.dtype.itemsize <= 8:
        return float(value).hex()
    return str(np.format_float_scientific(value, unique=True))


def _array(value: np.ndarray[Any, Any], depth: int, left: list[int]) -> str:
    plain = value.view(np.ndarray)
    return tagged("array", type(value).__name__, dtype_text(value.dtype), repr(value.shape), content(plain))


def _masked(value: Any, depth: int, left: list[int]) -> str:
    enter(depth, left)
    mask = "" if value.mask is np.ma.nomask else _array(np.asarray(value.mask), depth, left)
    fill = _array(np.asarray(value.fill_value), depth, left)
    return tagged("masked", _array(np.asarray(value.data), depth, left), mask, fill, repr(value.hardmask))


def _constant(value: Any, depth: int, left: list[int]) -> str:
    return "#masked-constant"


def _dtype(value: np.dtype[Any], depth: int, left: list[int]) -> str:
    return tagged("dtype", dtype_text(value))


def _ufunc(value: np.ufunc, depth: int, left: list[int]) -> str:
    if getattr(sys.modules["numpy"], value.__name__, None) is not value:
        raise Unkeyable("A ufunc that is not NumPy's own cannot be keyed.", hint=_HINT)
    return tagged("ufunc", value.__name__)
