"""Values of the standard library in the tree: dates, zones, decimals, paths, further containers.

What belongs here: one writer by exact type and one reader by its second tag, all made by constructors of the standard
library. What does not: classes somebody else wrote (`classes`).
"""

import collections
import datetime
import decimal
import fractions
import ipaddress
import pathlib
import struct
import types
import uuid
import zoneinfo
from typing import Any

from retention_pipelines.cache.codec import tree
from retention_pipelines.cache.codec.tree import Read, Write
from retention_pipelines.cache.codec.wire import Reader, Writer
from retention_pipelines.errors import CorruptEntry, Unstorable

_DATETIME = struct.Struct("<HBBBBBIB")
_TIME = struct.Struct("<BBBIB")
_DATE = struct.Struct("<HBB")
_DELTA = struct.Struct("<iII")
_PATHS = (
    pathlib.PurePosixPath,
    pathlib.PureWindowsPath,
    pathlib.PosixPath,
    pathlib.WindowsPath,
)
_ADDRESSES = (
    ipaddress.IPv4Address,
    ipaddress.IPv6Address,
    ipaddress.IPv4Network,
    ipaddress.IPv6Network,
    ipaddress.IPv4Interface,
    ipaddress.IPv6Interface,
)
_FACTORIES = {"None": None, **{kind.__name__: kind for kind in (list, dict, set, int, float, str, tuple, bool)}}


def writer_of(kind: type) -> Write | None:
    """The writer of instances of exactly `kind`, if it is one of the standard library's."""
    if kind.__module__.partition(".")[0] == "pytz" and issubclass(kind, datetime.tzinfo):
        return _write_pytz
    return None


def read(reader: Reader) -> Any:
    """Read what a writer of this module wrote."""
    found = _READERS.get(reader.byte())
    if found is None:
        raise CorruptEntry("The stored value has a tag that is not known here.")
    return found(reader)


def _write_datetime(value: datetime.datetime, writer: Writer) -> None:
    writer.raw(b"xd")
    writer.raw(
        _DATETIME.pack(
            value.year, value.month, value.day, value.hour, value.minute, value.second, value.microsecond, value.fold
        )
    )
    tree.write(value.tzinfo, writer)


def _read_datetime(reader: Reader) -> datetime.datetime:
    year, month, day, hour, minute, second, micro, fold = _DATETIME.unpack(reader.take(_DATETIME.size))
    return datetime.datetime(year, month, day, hour, minute, second, micro, tree.read(reader), fold=fold)


def _write_time(value: datetime.time, writer: Writer) -> None:
    writer.raw(b"xt")
    writer.raw(_TIME.pack(value.hour, value.minute, value.second, value.microsecond, value.fold))
    tree.write(value.tzinfo, writer)


def _read_time(reader: Reader) -> datetime.time:
    hour, minute, second, micro, fold = _TIME.unpack(reader.take(_TIME.size))
    return datetime.time(hour, minute, second, micro, tree.read(reader), fold=fold)


def _write_date(value: datetime.date, writer: Writer) -> None:
    writer.raw(b"xD")
    writer.raw(_DATE.pack(value.year, value.month, value.day))


def _write_delta(value: datetime.timedelta, writer: Writer) -> None:
    writer.raw(b"xl")
    writer.raw(_DELTA.pack(value.days, value.seconds, value.microseconds))


def _read_delta(reader: Reader) -> datetime.timedelta:
    return datetime.timedelta(*_DELTA.unpack(reader.take(_DELTA.size)))


def _write_timezone(value: datetime.timezone, writer: Writer) -> None:
    writer.raw(b"xz")
    tree.write_items(value.__getinitargs__(), writer)  # type: ignore[attr-defined]


def _write_zoneinfo(value: zoneinfo.ZoneInfo, writer: Writer) -> None:
    if value.key is None:
        raise Unstorable("A ZoneInfo without a name cannot be restored.")
    writer.raw(b"xZ")
    writer.text(value.key)


def _write_pytz(value: Any, writer: Writer) -> None:
    writer.raw(b"xy")
    variant = None
    if hasattr(value, "_tzinfos"):
        variant = (value._utcoffset, value._dst, value._tzname)
    if value.zone is None or _pytz(value.zone, variant) is not value:
        raise Unstorable("A pytz zone without a name cannot be restored.")
    tree.write((value.zone, variant), writer)


def _read_pytz(reader: Reader) -> Any:
    zone, variant = tree.read(reader)
    return _pytz(zone, variant)


def _pytz(zone: str, variant: Any) -> Any:
    import pytz

    found: Any = pytz.timezone(zone)
    return found if variant is None else found._tzinfos[variant]


def _write_decimal(value: decimal.Decimal, writer: Writer) -> None:
    writer.raw(b"xe")
    writer.text(str(value))


def _write_fraction(value: fractions.Fraction, writer: Writer) -> None:
    writer.raw(b"xf")
    tree.write(value.numerator, writer)
    tree.write(value.denominator, writer)


def _read_fraction(reader: Reader) -> fractions.Fraction:
    numerator, denominator = tree.read(reader), tree.read(reader)
    if type(numerator) is not int or type(denominator) is not int:
        raise CorruptEntry("The stored fraction is none.")
    return fractions.Fraction(numerator, denominator)


def _write_uuid(value: uuid.UUID, writer: Writer) -> None:
    writer.raw(b"xu")
    writer.raw(value.bytes)
    writer.text(value.is_safe.name)


def _read_uuid(reader: Reader) -> uuid.UUID:
    content = bytes(reader.take(16))
    return uuid.UUID(bytes=content, is_safe=uuid.SafeUUID[reader.text()])


def _write_path(value: pathlib.PurePath, writer: Writer) -> None:
    writer.raw(b"xp")
    writer.number(_PATHS.index(type(value)))
    writer.text(str(value))


def _read_path(reader: Reader) -> pathlib.PurePath:
    return _PATHS[reader.number()](reader.text())


def _write_address(value: Any, writer: Writer) -> None:
    writer.raw(b"xa")
    writer.number(_ADDRESSES.index(type(value)))
    writer.text(str(value))


def _read_address(reader: Reader) -> Any:
    return _ADDRESSES[reader.number()](reader.text())


def _write_range(value: range, writer: Writer) -> None:
    writer.raw(b"xr")
    for part in (value.start, value.stop, value.step):
        tree.write(part, writer)


def _write_slice(value: slice, writer: Writer) -> None:
    writer.raw(b"xs")
    for part in (value.start, value.stop, value.step):
        tree.write(part, writer)


def _write_defaultdict(value: Any, writer: Writer) -> None:
    name = "None" if value.default_factory is None else getattr(value.default_factory, "__name__", "")
    if _FACTORIES.get(name, writer) is not value.default_factory:
        raise Unstorable("A defaultdict with a factory of one's own cannot be restored.")
    writer.text(name)
    tree.write_pairs(value, writer)


def _read_defaultdict(reader: Reader) -> Any:
    return collections.defaultdict(_FACTORIES[reader.text()], tree.read_mapping(reader))


def _write_deque(value: Any, writer: Writer) -> None:
    tree.write(value.maxlen, writer)
    tree.write_items(value, writer)


def _read_deque(reader: Reader) -> Any:
    longest = tree.read(reader)
    return collections.deque(tree.read_items(reader), longest)


def _write_namespace(value: types.SimpleNamespace, writer: Writer) -> None:
    tree.write_pairs(vars(value), writer)


def _three(kind: Any) -> Read:
    return lambda reader: kind(tree.read(reader), tree.read(reader), tree.read(reader))


tree.WRITERS.update(
    {
        datetime.datetime: _write_datetime,
        datetime.time: _write_time,
        datetime.date: _write_date,
        datetime.timedelta: _write_delta,
        datetime.timezone: _write_timezone,
        zoneinfo.ZoneInfo: _write_zoneinfo,
        decimal.Decimal: _write_decimal,
        fractions.Fraction: _write_fraction,
        uuid.UUID: _write_uuid,
        range: _write_range,
        slice: _write_slice,
        type(...): lambda value, writer: writer.raw(b"x."),
        type(NotImplemented): lambda value, writer: writer.raw(b"x!"),
        collections.OrderedDict: tree.container(b"xo", tree.write_pairs),
        collections.Counter: tree.container(b"xc", tree.write_pairs),
        collections.defaultdict: tree.container(b"xm", _write_defaultdict),
        collections.deque: tree.container(b"xq", _write_deque),
        types.SimpleNamespace: tree.container(b"xn", _write_namespace),
    }
)
tree.WRITERS.update(dict.fromkeys(_PATHS, _write_path))
tree.WRITERS.update(dict.fromkeys(_ADDRESSES, _write_address))

_READERS: dict[int, Read] = {
    ord("d"): _read_datetime,
    ord("t"): _read_time,
    ord("D"): lambda reader: datetime.date(*_DATE.unpack(reader.take(_DATE.size))),
    ord("l"): _read_delta,
    ord("z"): lambda reader: datetime.timezone(*tree.read_items(reader)),
    ord("Z"): lambda reader: zoneinfo.ZoneInfo(reader.text()),
    ord("y"): _read_pytz,
    ord("e"): lambda reader: decimal.Decimal(reader.text()),
    ord("f"): _read_fraction,
    ord("u"): _read_uuid,
    ord("p"): _read_path,
    ord("a"): _read_address,
    ord("r"): _three(range),
    ord("s"): _three(slice),
    ord("."): lambda reader: ...,
    ord("!"): lambda reader: NotImplemented,
    ord("o"): tree.contained(lambda reader: collections.OrderedDict(tree.read_mapping(reader))),
    ord("c"): tree.contained(lambda reader: collections.Counter(tree.read_mapping(reader))),
    ord("m"): tree.contained(_read_defaultdict),
    ord("q"): tree.contained(_read_deque),
    ord("n"): tree.contained(lambda reader: types.SimpleNamespace(**tree.read_mapping(reader))),
}
