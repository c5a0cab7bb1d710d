"""Instances of user classes in the tree: enums, named tuples, dataclasses, pydantic models.

What belongs here: finding a class again among the modules that are loaded, and filling an instance without running a
line of it (no `__init__`, no validator, no property). What does not: any other class; its instances are `Unstorable`.
"""

import enum
import sys
from types import MemberDescriptorType
from typing import Any

from retention_pipelines.cache.codec import tree
from retention_pipelines.cache.codec.tree import Write
from retention_pipelines.cache.codec.wire import Reader, UnknownClass, Writer
from retention_pipelines.cache.keys.state import has_only_python_state, state
from retention_pipelines.errors import CorruptEntry, Unstorable


def writer_of(kind: type) -> Write | None:
    """The writer of instances of `kind`, if it is a class of one of the four kinds that can be found again."""
    write: Write | None = None
    if issubclass(kind, enum.Enum):
        write = _write_enum
    elif _is_namedtuple(kind):
        write = tree.container(b"kt", _write_namedtuple)
    elif _is_model(kind):
        write = tree.container(b"km", _write_model)
    elif _is_dataclass(kind):
        write = tree.container(b"kd", _write_dataclass)
    return write


def read(reader: Reader) -> Any:
    """Read what a writer of this module wrote."""
    found = _READERS.get(reader.byte())
    if found is None:
        raise CorruptEntry("The stored value has a tag that is not known here.")
    return found(reader)


def _look_up(module: str, qualname: str) -> Any:
    """A class of a loaded module, without asking anything that could run code."""
    found: Any = sys.modules.get(module)
    for name in qualname.split("."):
        found = getattr(found, "__dict__", {}).get(name)
    return found


def write_class(kind: type, writer: Writer) -> None:
    """Where to find a class; it must be there now."""
    if _look_up(kind.__module__, kind.__qualname__) is not kind:
        raise Unstorable(
            f"{kind.__qualname__} could not be found again in the module {kind.__module__}.",
            hint="Define the class at the top of its module.",
        )
    writer.text(kind.__module__)
    writer.text(kind.__qualname__)


def read_class(reader: Reader) -> type:
    """The class, if it is loaded."""
    module, qualname = reader.text(), reader.text()
    found = _look_up(module, qualname)
    if not isinstance(found, type):
        raise UnknownClass(
            f"The class {qualname[:80]} of the stored value is not loaded.", hint="It is computed again."
        )
    return found


def _changed(kind: type) -> UnknownClass:
    return UnknownClass(f"{kind.__qualname__} has changed since the value was stored.", hint="It is computed again.")


def _is_namedtuple(kind: type) -> bool:
    fields = getattr(kind, "_fields", None)
    return (
        issubclass(kind, tuple)
        and type(fields) is tuple
        and kind.__dictoffset__ == 0
        and all(base in (tuple, object) or vars(base).get("__slots__") == () for base in kind.__mro__)
    )


def _is_dataclass(kind: type) -> bool:
    return isinstance(getattr(kind, "__dataclass_fields__", None), dict) and has_only_python_state(kind)


def _is_model(kind: type) -> bool:
    pydantic: Any = sys.modules.get("pydantic")
    return pydantic is not None and issubclass(kind, pydantic.BaseModel) and kind is not pydantic.BaseModel


def _write_enum(value: enum.Enum, writer: Writer) -> None:
    kind = type(value)
    name = value._name_
    writer.raw(b"ke")
    write_class(kind, writer)
    if name is not None and kind._member_map_.get(name) is value:
        writer.text(name)
        return
    if (
        not isinstance(value, enum.Flag)
        or type(value._value_) is not int
        or _combined(kind, value._value_) is not value
    ):
        raise Unstorable(f"A value of {kind.__qualname__} without a name cannot be restored.")
    writer.text("")
    tree.write(value._value_, writer)


def _read_enum(reader: Reader) -> Any:
    kind = read_class(reader)
    if not issubclass(kind, enum.Enum):
        raise _changed(kind)
    name = reader.text()
    if name:
        if name not in kind._member_map_:
            raise _changed(kind)
        return kind._member_map_[name]
    number = tree.read(reader)
    if not issubclass(kind, enum.Flag) or type(number) is not int:
        raise _changed(kind)
    return _combined(kind, number)


def _combined(kind: Any, number: int) -> Any:
    """Several flags at once; only where the class leaves that to `enum.Flag`."""
    if kind._missing_.__func__ is not enum.Flag._missing_.__func__:  # type: ignore[attr-defined]
        raise Unstorable(f"{kind.__qualname__} makes its own values.")
    return kind(number)


def _write_namedtuple(value: Any, writer: Writer) -> None:
    write_class(type(value), writer)
    tree.write(type(value)._fields, writer)
    tree.write_items(tuple(value), writer)


def _read_namedtuple(reader: Reader) -> Any:
    kind = read_class(reader)
    fields, items = tree.read(reader), tree.read_items(reader)
    if not _is_namedtuple(kind) or kind._fields != fields or len(items) != len(fields):  # type: ignore[attr-defined]
        raise _changed(kind)
    return tuple.__new__(kind, items)


def _write_dataclass(value: Any, writer: Writer) -> None:
    kind = type(value)
    attributes = getattr(value, "__dict__", {})
    slots = {name: item for name, item in state(value).items() if name not in attributes}
    write_class(kind, writer)
    tree.write(tuple(kind.__dataclass_fields__), writer)
    tree.write_pairs(attributes, writer)
    tree.write_pairs(slots, writer)


def _read_dataclass(reader: Reader) -> Any:
    kind = read_class(reader)
    fields = tree.read(reader)
    if not _is_dataclass(kind) or tuple(kind.__dataclass_fields__) != fields:  # type: ignore[attr-defined]
        raise _changed(kind)
    attributes, slots = tree.read_mapping(reader), tree.read_mapping(reader)
    value: Any = object.__new__(kind)
    if attributes:
        _texts(attributes)
        object.__getattribute__(value, "__dict__").update(attributes)
    for name, item in slots.items():
        _slot(kind, name).__set__(value, item)
    return value


def _slot(kind: type, name: str) -> MemberDescriptorType:
    for base in kind.__mro__:
        for candidate, found in vars(base).items():
            if isinstance(found, MemberDescriptorType) and name in (candidate, found.__name__):
                return found
    raise _changed(kind)


def _write_model(value: Any, writer: Writer) -> None:
    kind = type(value)
    write_class(kind, writer)
    tree.write(tuple(kind.__pydantic_fields__), writer)
    tree.write_pairs(value.__dict__, writer)
    for part in (value.__pydantic_extra__, value.__pydantic_fields_set__, value.__pydantic_private__):
        tree.write(part, writer)


def _read_model(reader: Reader) -> Any:
    kind: Any = read_class(reader)
    fields = tree.read(reader)
    if not _is_model(kind) or tuple(kind.__pydantic_fields__) != fields:
        raise _changed(kind)
    attributes = tree.read_mapping(reader)
    extra, given, private = tree.read(reader), tree.read(reader), tree.read(reader)
    if type(given) is not set or type(extra) not in (dict, type(None)) or type(private) not in (dict, type(None)):
        raise _changed(kind)
    _texts(attributes)
    value: Any = object.__new__(kind)
    object.__setattr__(value, "__dict__", attributes)
    object.__setattr__(value, "__pydantic_extra__", extra)
    object.__setattr__(value, "__pydantic_fields_set__", given)
    object.__setattr__(value, "__pydantic_private__", private)
    return value


def _texts(attributes: dict[Any, Any]) -> None:
    if not all(type(name) is str for name in attributes):
        raise CorruptEntry("The stored attributes have no names.")


_READERS = {
    ord("e"): _read_enum,
    ord("t"): tree.contained(_read_namedtuple),
    ord("d"): tree.contained(_read_dataclass),
    ord("m"): tree.contained(_read_model),
}
