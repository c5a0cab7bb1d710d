"""Encoders of the rarer types: the standard library's values, user classes, functions and classes themselves.

What belongs here: one small encoder per type, and which encoder a type met for the first time gets. What does not:
plain values and containers (`encoding`), libraries that may not be installed (`arrays`, `frames`).
"""

import collections
import datetime
import decimal
import enum
import fractions
import functools
import hashlib
import ipaddress
import pathlib
import types
import uuid
import zoneinfo
from typing import Any
from weakref import WeakKeyDictionary, WeakSet

from retention_pipelines.cache.keys import identity, state
from retention_pipelines.cache.keys.encoding import (
    ENCODERS,
    HINT,
    Encoder,
    enter,
    mapping,
    sequence,
    tagged,
    text,
)
from retention_pipelines.errors import Unkeyable

_user_classes: WeakKeyDictionary[type, Encoder] = WeakKeyDictionary()
_plain_classes: WeakSet[type] = WeakSet()
_EXTENDED: dict[type, Any] = {
    str: lambda value: str.__getitem__(value, slice(None)),
    bytes: lambda value: b"".join((value,)),
    int: int.__int__,
    float: float.__float__,
}
_SHORT_BYTES = 64


def encoder_of(kind: type) -> Encoder:
    """The encoder of instances of exactly `kind`."""
    found = ENCODERS.get(kind) or _user_classes.get(kind)
    if found is None:
        found = _choose(kind)
        if kind.__flags__ & (1 << 9) and kind.__module__.partition(".")[0] not in _LIBRARIES:
            _user_classes[kind] = found  # must not keep a user's class alive
        else:
            ENCODERS[kind] = found
    return found


_LIBRARIES = {"numpy", "pandas", "polars", "pyarrow"}


def _choose(kind: type) -> Encoder:
    if callable(getattr(kind, "__cache_key__", None)):
        return _own_key
    if issubclass(kind, type):
        return identity.class_identity
    if issubclass(kind, enum.Enum):
        return _enum
    library = kind.__module__.partition(".")[0]
    if library == "numpy":
        from retention_pipelines.cache.keys import arrays

        return arrays.encoder_of(kind)
    if library in ("pandas", "polars", "pyarrow"):
        from retention_pipelines.cache.keys import frames

        return frames.encoder_of(kind)
    if library == "shapely" and hasattr(kind, "wkb"):
        return _geometry
    if library == "pytz" and issubclass(kind, datetime.tzinfo):
        return _pytz
    if issubclass(kind, tuple) and hasattr(kind, "_fields"):
        return _namedtuple
    if any(base in kind.__mro__ for base in _EXTENDED):
        return _extended
    if hasattr(kind, "__dataclass_fields__") and state.has_only_python_state(kind):
        return _dataclass
    if hasattr(kind, "__pydantic_fields__") and hasattr(kind, "__pydantic_validator__"):
        return _pydantic
    raise Unkeyable(f"A value of type {kind.__module__}.{kind.__qualname__} cannot be keyed.", hint=HINT)


def _extended(value: Any, depth: int, left: list[int]) -> str:
    """An instance of a user's subclass of a plain type: the class, the plain value, and what was added."""
    enter(depth, left)
    cls = type(value)
    base = next(base for base in cls.__mro__ if base in _EXTENDED)
    plain = _EXTENDED[base](value)
    added = text(state.state(value), depth + 1, left)
    return tagged("extended", identity.class_identity(cls, depth, left), text(plain, depth + 1, left), added)


def _own_key(value: Any, depth: int, left: list[int]) -> str:
    enter(depth, left)
    return tagged(
        "own", identity.class_identity(type(value), depth, left), text(value.__cache_key__(), depth + 1, left)
    )


def binary(content: bytes | bytearray | memoryview) -> str:
    """Bytes: themselves when short, else length and digest."""
    if len(content) <= _SHORT_BYTES:
        return content.hex()
    return f"{len(content)}-{hashlib.sha256(content).hexdigest()}"


def _bytes(value: bytes, depth: int, left: list[int]) -> str:
    return tagged("bytes", binary(value))


def _bytearray(value: bytearray, depth: int, left: list[int]) -> str:
    return tagged("bytearray", binary(value))


def _memoryview(value: memoryview, depth: int, left: list[int]) -> str:
    return tagged("memoryview", value.format, repr(value.shape), repr(value.readonly), binary(value.tobytes()))


def _complex(value: complex, depth: int, left: list[int]) -> str:
    return tagged("complex", repr(value.real), repr(value.imag))


def _zone(zone: datetime.tzinfo | None, depth: int, left: list[int]) -> str:
    return "" if zone is None else text(zone, depth + 1, left)


def _datetime(value: datetime.datetime, depth: int, left: list[int]) -> str:
    if value.tzinfo is None or value.tzinfo is datetime.UTC:
        return f"#datetime:{value.isoformat()}/{value.fold}"
    naive = value.replace(tzinfo=None, fold=0).isoformat()
    return tagged("datetime", naive, str(value.fold), _zone(value.tzinfo, depth, left))


def _time(value: datetime.time, depth: int, left: list[int]) -> str:
    naive = value.replace(tzinfo=None, fold=0).isoformat()
    return tagged("time", naive, str(value.fold), _zone(value.tzinfo, depth, left))


def _date(value: datetime.date, depth: int, left: list[int]) -> str:
    return tagged("date", value.isoformat())


def _timedelta(value: datetime.timedelta, depth: int, left: list[int]) -> str:
    return tagged("timedelta", repr((value.days, value.seconds, value.microseconds)))


def _timezone(value: datetime.timezone, depth: int, left: list[int]) -> str:
    return tagged("timezone", *[text(part, depth + 1, left) for part in value.__getinitargs__()])  # type: ignore[attr-defined]


def _zoneinfo(value: zoneinfo.ZoneInfo, depth: int, left: list[int]) -> str:
    if value.key is None:
        raise Unkeyable("A ZoneInfo without a name cannot be keyed.", hint="Make it with ZoneInfo(name).")
    return tagged("zoneinfo", value.key)


def _pytz(value: Any, depth: int, left: list[int]) -> str:
    offsets = [
        text(getattr(value, name, None), depth + 1, left) for name in ("_utcoffset", "_dst", "_tzname", "_minutes")
    ]
    return tagged("pytz", type(value).__qualname__, str(getattr(value, "zone", None)), *offsets)


def _geometry(value: Any, depth: int, left: list[int]) -> str:
    import shapely

    return tagged("shapely", type(value).__qualname__, binary(shapely.to_wkb(value, include_srid=True)))


def _decimal(value: decimal.Decimal, depth: int, left: list[int]) -> str:
    return tagged("decimal", str(value))


def _fraction(value: fractions.Fraction, depth: int, left: list[int]) -> str:
    return tagged("fraction", f"{value.numerator:x}/{value.denominator:x}")


def _uuid(value: uuid.UUID, depth: int, left: list[int]) -> str:
    return tagged("uuid", value.hex, repr(value.is_safe.name))


def _path(value: pathlib.PurePath, depth: int, left: list[int]) -> str:
    return tagged("path", type(value).__qualname__, str(value).encode("utf-8", "surrogatepass").hex())


def _address(value: Any, depth: int, left: list[int]) -> str:
    return tagged("ip", type(value).__qualname__, str(value))


def _range(value: range, depth: int, left: list[int]) -> str:
    return tagged("range", *[text(part, depth + 1, left) for part in (value.start, value.stop, value.step)])


def _slice(value: slice, depth: int, left: list[int]) -> str:
    enter(depth, left)
    return tagged("slice", *[text(part, depth + 1, left) for part in (value.start, value.stop, value.step)])


def _singleton(value: Any, depth: int, left: list[int]) -> str:
    return tagged("singleton", repr(value))


def _enum(value: enum.Enum, depth: int, left: list[int]) -> str:
    try:
        content = text(value._value_, depth + 1, left)
    except Unkeyable:  # the name of a member says which it is
        content = "#"
    return tagged("enum", identity.class_identity(type(value), depth, left), str(value._name_), content)


def _namedtuple(value: Any, depth: int, left: list[int]) -> str:
    extra = text(vars(value), depth + 1, left) if getattr(value, "__dict__", None) else ""
    cls = identity.class_identity(type(value), depth, left)
    return tagged("namedtuple", cls, repr(type(value)._fields), sequence(tuple(value), depth, left), extra)


def _dataclass(value: Any, depth: int, left: list[int]) -> str:
    enter(depth, left)
    attributes = text(state.state(value), depth + 1, left)
    return tagged("dataclass", identity.class_identity(type(value), depth, left), attributes)


def _pydantic(value: Any, depth: int, left: list[int]) -> str:
    enter(depth, left)
    parts = (
        value.__dict__,
        value.__pydantic_extra__,
        value.__pydantic_private__,
        value.__pydantic_fields_set__,  # model_dump(exclude_unset=True) tells it apart
    )
    cls = identity.class_identity(type(value), depth, left)
    return tagged("pydantic", cls, *[text(part, depth + 1, left) for part in parts])


def _ordered_dict(value: Any, depth: int, left: list[int]) -> str:
    enter(depth, left)
    return tagged("odict", *[text(item, depth + 1, left) for pair in value.items() for item in pair])


def _defaultdict(value: Any, depth: int, left: list[int]) -> str:
    enter(depth, left)
    return tagged("defaultdict", text(value.default_factory, depth + 1, left), mapping(value, depth, left))


def _counter(value: Any, depth: int, left: list[int]) -> str:
    return tagged("counter", mapping(value, depth, left))


def _deque(value: Any, depth: int, left: list[int]) -> str:
    return tagged("deque", text(value.maxlen, depth + 1, left), sequence(list(value), depth, left))


def _proxy(value: Any, depth: int, left: list[int]) -> str:
    return tagged("mappingproxy", mapping(value, depth, left))


def _namespace(value: Any, depth: int, left: list[int]) -> str:
    enter(depth, left)
    return tagged("namespace", text(vars(value), depth + 1, left))


def _partial(value: functools.partial[Any], depth: int, left: list[int]) -> str:
    enter(depth, left)
    return tagged("partial", *[text(part, depth + 1, left) for part in (value.func, value.args, value.keywords)])


def _bound(value: types.MethodType, depth: int, left: list[int]) -> str:
    enter(depth, left)
    counted = state.counted_attributes(value.__func__)
    return tagged("bound", text(value.__func__, depth + 1, left), receiver(value.__self__, depth + 1, left, counted))


def receiver(value: Any, depth: int, left: list[int], without: frozenset[str] = frozenset()) -> str:
    """What a method is called on: any keyable value, or an instance of a plain class with keyable attributes."""
    kind = type(value)
    encoder: Encoder | None = ENCODERS.get(kind) or _user_classes.get(kind)
    if encoder is None and kind not in _plain_classes:
        try:
            encoder = encoder_of(kind)
        except Unkeyable:
            _plain_classes.add(kind)
    if encoder is None or (without and encoder is _dataclass):
        return state.instance_state(value, depth, left, without)
    return encoder(value, depth, left)


def _builtin(value: Any, depth: int, left: list[int]) -> str:
    owner = value.__self__
    if owner is None or isinstance(owner, types.ModuleType):
        return tagged("builtin", str(value.__module__), value.__qualname__)
    enter(depth, left)
    return tagged("builtin", value.__qualname__, text(owner, depth + 1, left))


_STANDARD: dict[type, Encoder] = {
    bytes: _bytes,
    bytearray: _bytearray,
    memoryview: _memoryview,
    complex: _complex,
    datetime.datetime: _datetime,
    datetime.time: _time,
    datetime.date: _date,
    datetime.timedelta: _timedelta,
    datetime.timezone: _timezone,
    zoneinfo.ZoneInfo: _zoneinfo,
    decimal.Decimal: _decimal,
    fractions.Fraction: _fraction,
    uuid.UUID: _uuid,
    range: _range,
    slice: _slice,
    type(...): _singleton,
    type(NotImplemented): _singleton,
    collections.OrderedDict: _ordered_dict,
    collections.defaultdict: _defaultdict,
    collections.Counter: _counter,
    collections.deque: _deque,
    types.MappingProxyType: _proxy,
    types.SimpleNamespace: _namespace,
    types.FunctionType: identity.function_identity,
    types.MethodType: _bound,
    types.BuiltinFunctionType: _builtin,
    functools.partial: _partial,
    **dict.fromkeys(
        (
            pathlib.PurePath,
            pathlib.PurePosixPath,
            pathlib.PureWindowsPath,
            pathlib.PosixPath,
            pathlib.WindowsPath,
        ),
        _path,
    ),
    **dict.fromkeys(
        (
            ipaddress.IPv4Address,
            ipaddress.IPv6Address,
            ipaddress.IPv4Network,
            ipaddress.IPv6Network,
            ipaddress.IPv4Interface,
            ipaddress.IPv6Interface,
        ),
        _address,
    ),
}
ENCODERS.update(_STANDARD)
