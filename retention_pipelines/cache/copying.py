"""Copies of answers: a caller may change what it got, the cache must not notice.

What belongs here: how a value of a known type is copied, chosen once when it is stored, and what a value weighs in
memory. What does not: bytes (`codec`), when to copy (the copy policy of a decorated function).
"""

import copy
import datetime
import decimal
import enum
import fractions
import ipaddress
import pathlib
import sys
import uuid
import zoneinfo
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable
from types import MappingProxyType, SimpleNamespace
from typing import Any, TypeVar

from retention_pipelines.cache.keys.state import has_only_python_state, state
from retention_pipelines.errors import Unstorable

T = TypeVar("T")

_ATOMS = frozenset(
    {
        type(None),
        bool,
        int,
        float,
        complex,
        str,
        bytes,
        range,
        type(...),
        type(NotImplemented),
        datetime.datetime,
        datetime.date,
        datetime.time,
        datetime.timedelta,
        datetime.timezone,
        zoneinfo.ZoneInfo,
        decimal.Decimal,
        fractions.Fraction,
        uuid.UUID,
        pathlib.PurePosixPath,
        pathlib.PureWindowsPath,
        pathlib.PosixPath,
        pathlib.WindowsPath,
        ipaddress.IPv4Address,
        ipaddress.IPv6Address,
        ipaddress.IPv4Network,
        ipaddress.IPv6Network,
        ipaddress.IPv4Interface,
        ipaddress.IPv6Interface,
    }
)
_CONTAINERS = frozenset({list, tuple, dict, set, frozenset, slice, OrderedDict, defaultdict, Counter, deque})
_LIBRARIES = frozenset({"numpy", "pandas", "polars", "pyarrow", "pytz"})
_DEPTH_LIMIT = 100


def copier(value: T) -> Callable[[T], T] | None:
    """How to copy `value`; None: nothing in it can change, hand it out as it is.

    A copy shares what cannot change and keeps what is shared within the value.

    Raises:
        Unstorable: the value holds something of a type nobody said how to copy.
    """
    kind = type(value)
    if kind in _ATOMS:
        return None
    if kind is dict or kind is list or kind is set:
        whole: Any = value
        children = whole.values() if kind is dict else whole
        if _ATOMS.issuperset(map(type, children)) and (kind is not dict or _ATOMS.issuperset(map(type, whole))):
            return kind.copy  # type: ignore[attr-defined, no-any-return]
    flat = _flat_array(value)
    if flat is not None:
        return flat
    if not _changes(value, 0, set()):
        return None
    return _deep_copy


def _flat_array(value: Any) -> Callable[[Any], Any] | None:
    """`copy` of a plain array or frame, where its elements cannot change either."""
    numpy: Any = sys.modules.get("numpy")
    if numpy is not None and type(value) is numpy.ndarray and not value.dtype.hasobject:
        return _copy_array
    return None


def _copy_array(value: Any) -> Any:
    twin = value.copy(order="K")
    if not value.flags.writeable:
        twin.flags.writeable = False
    return twin


def _deep_copy(value: Any) -> Any:
    return _twin(value, {})


def _changes(value: Any, depth: int, met: set[int]) -> bool:
    """Whether a caller could change something in `value`."""
    kind = type(value)
    if kind in _ATOMS or issubclass(kind, enum.Enum):
        return False
    if depth > _DEPTH_LIMIT:
        raise Unstorable(f"The value is nested more than {_DEPTH_LIMIT} deep, or contains itself.")
    if id(value) in met:
        return False  # counted where it was met first
    met.add(id(value))
    library = kind.__module__.partition(".")[0]
    if library in _LIBRARIES:
        return _library_changes(value, kind, library, depth, met)
    if kind in _CONTAINERS or (issubclass(kind, tuple) and hasattr(kind, "_fields")):
        children = _children(value)
        inner = [_changes(child, depth + 1, met) for child in children]
        return any(inner) or not issubclass(kind, tuple | frozenset | slice)
    if kind is bytearray:
        return True
    if kind is SimpleNamespace or _is_model(kind) or _is_dataclass(kind):
        parts = _model_parts(value) if _is_model(kind) else list(_attributes(value).values())
        inner = [_changes(part, depth + 1, met) for part in parts]
        return any(inner) or not (_is_dataclass(kind) and kind.__dataclass_params__.frozen)
    raise Unstorable(f"A value of type {kind.__module__}.{kind.__qualname__} cannot be copied safely.")


def _library_changes(value: Any, kind: type, library: str, depth: int, met: set[int]) -> bool:
    name = kind.__name__
    if library in ("pyarrow", "pytz"):
        return False
    if library == "polars":
        return name in ("DataFrame", "Series")
    if library == "numpy":
        if name == "ndarray" and value.dtype.hasobject:
            return bool([_changes(item, depth + 1, met) for item in value.reshape(-1).tolist()]) or True
        if name in ("ndarray", "MaskedArray", "memmap", "matrix", "recarray"):
            return True
        numpy = sys.modules["numpy"]
        if issubclass(kind, numpy.dtype):
            return False
        if issubclass(kind, numpy.generic):
            return bool(issubclass(kind, numpy.void))
        raise Unstorable(f"A value of type numpy.{name} cannot be copied safely.")
    pandas = sys.modules["pandas"]
    scalars = (pandas.Timestamp, pandas.Timedelta, pandas.Period, pandas.Interval, type(pandas.NaT), type(pandas.NA))
    if isinstance(value, scalars) or issubclass(kind, pandas.api.extensions.ExtensionDtype):
        return False
    if isinstance(value, pandas.DataFrame | pandas.Series | pandas.Index | pandas.api.extensions.ExtensionArray):
        return True
    raise Unstorable(f"A value of type pandas.{name} cannot be copied safely.")


def _children(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return [part for pair in value.items() for part in pair]
    if isinstance(value, slice):
        return (value.start, value.stop, value.step)
    return list(value)


def _is_dataclass(kind: Any) -> bool:
    return isinstance(getattr(kind, "__dataclass_fields__", None), dict) and has_only_python_state(kind)


def _is_model(kind: type) -> bool:
    pydantic: Any = sys.modules.get("pydantic")
    return pydantic is not None and issubclass(kind, pydantic.BaseModel)


def _attributes(value: Any) -> dict[str, Any]:
    return vars(value) if type(value) is SimpleNamespace else state(value)


def _model_parts(value: Any) -> list[Any]:
    return [value.__dict__, value.__pydantic_extra__, value.__pydantic_private__]


def _twin(value: Any, done: dict[int, Any]) -> Any:
    """A copy of `value`, and of each of its parts once."""
    kind = type(value)
    if kind in _ATOMS or isinstance(value, enum.Enum):
        return value
    key = id(value)
    if key in done:
        return done[key]
    made = (_TWINS.get(kind) or _twin_of(kind))(value, done)
    done[key] = made
    return made


def _twin_of(kind: type) -> Callable[[Any, dict[int, Any]], Any]:
    library = kind.__module__.partition(".")[0]
    if library in _LIBRARIES:
        return _twin_of_library
    if issubclass(kind, tuple):
        return _twin_tuple
    if _is_model(kind):
        return _twin_model
    return _twin_dataclass


def _twin_of_library(value: Any, done: dict[int, Any]) -> Any:
    kind = type(value)
    library = kind.__module__.partition(".")[0]
    if library in ("pyarrow", "pytz"):
        return value
    if library == "numpy":
        numpy = sys.modules["numpy"]
        if kind is numpy.ndarray and value.dtype.hasobject:
            twin = numpy.empty(value.shape, object)
            twin_flat, flat = twin.reshape(-1), value.reshape(-1)
            for place in range(flat.size):
                twin_flat[place] = _twin(flat[place], done)
            return twin
        if isinstance(value, numpy.ndarray):
            return _copy_array(value)
        return copy.copy(value)
    if library == "polars":
        return value.clone() if hasattr(value, "clone") else value
    if hasattr(value, "attrs"):
        return _twin_frame(value, done)
    return value.copy() if hasattr(value, "copy") else value


def _twin_frame(value: Any, done: dict[int, Any]) -> Any:
    """Pandas copies a column of objects, but not the objects."""
    pandas: Any = sys.modules["pandas"]
    twin = value.copy(deep=True)
    twin.attrs = _twin(value.attrs, done)
    columns = [value] if value.ndim == 1 else [value.iloc[:, place] for place in range(value.shape[1])]
    for place, column in enumerate(columns):
        items = column.tolist() if column.dtype == object else ()
        if _ATOMS.issuperset(map(type, items)):
            continue
        own = pandas.Series([_twin(item, done) for item in items], index=value.index, dtype=object)
        if value.ndim == 1:
            twin.iloc[:] = own
        else:
            twin.isetitem(place, own)
    return twin


def _twin_tuple(value: Any, done: dict[int, Any]) -> Any:
    parts = [_twin(item, done) for item in value]
    if all(part is item for part, item in zip(parts, value, strict=True)):
        return value
    return tuple(parts) if type(value) is tuple else tuple.__new__(type(value), parts)


def _twin_dict(value: Any, done: dict[int, Any]) -> Any:
    return {_twin(key, done): _twin(item, done) for key, item in value.items()}


def _twin_dict_kind(value: Any, done: dict[int, Any]) -> Any:
    twin = value.copy()
    for key, item in value.items():
        twin[key] = _twin(item, done)
    return twin


def _twin_model(value: Any, done: dict[int, Any]) -> Any:
    twin: Any = object.__new__(type(value))
    object.__setattr__(twin, "__dict__", _twin(value.__dict__, done))
    object.__setattr__(twin, "__pydantic_extra__", _twin(value.__pydantic_extra__, done))
    object.__setattr__(twin, "__pydantic_fields_set__", set(value.__pydantic_fields_set__))
    object.__setattr__(twin, "__pydantic_private__", _twin(value.__pydantic_private__, done))
    return twin


def _twin_dataclass(value: Any, done: dict[int, Any]) -> Any:
    twin: Any = object.__new__(type(value))
    attributes = getattr(value, "__dict__", {})
    for name, item in state(value).items():
        if name in attributes:
            # Not set: a descriptor of that name would make something else of it.
            twin.__dict__[name] = _twin(item, done)
        else:
            object.__setattr__(twin, name, _twin(item, done))
    return twin


_TWINS: dict[type, Callable[[Any, dict[int, Any]], Any]] = {
    list: lambda value, done: [_twin(item, done) for item in value],
    tuple: _twin_tuple,
    dict: _twin_dict,
    set: lambda value, done: {_twin(item, done) for item in value},
    frozenset: lambda value, done: frozenset([_twin(item, done) for item in value]),
    OrderedDict: _twin_dict_kind,
    defaultdict: _twin_dict_kind,
    Counter: _twin_dict_kind,
    deque: lambda value, done: deque([_twin(item, done) for item in value], value.maxlen),
    bytearray: lambda value, done: bytearray(value),
    slice: lambda value, done: value,
    SimpleNamespace: lambda value, done: SimpleNamespace(**_twin(vars(value), done)),
    MappingProxyType: lambda value, done: MappingProxyType(_twin(dict(value), done)),
}
