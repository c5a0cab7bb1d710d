"""Places: where a reference to an object is kept, and how to read and change it.

What belongs here: one small class per kind of holder, and nothing that decides. What does not: finding the places
(`aliases.py`), what is put there and taken back (`patching.py`). Writing goes past overridden `__setattr__` and
`__setitem__` of the holder: what is exchanged is a reference, and the holder must not notice.
"""

# ruff: noqa: D102 - what the methods do is said once, in the protocol

import functools
from collections import deque
from dataclasses import dataclass
from types import CellType, FunctionType, MemberDescriptorType
from typing import Any, Protocol, TypeAlias


class Absent:
    """What a place holds that is not there; writing it deletes."""

    def __repr__(self) -> str:
        return "nothing"


ABSENT = Absent()


class Ours:
    """Base of our own records: their references to an original are no aliases of it."""

    __slots__ = ()


class Place(Protocol):
    """Somewhere a reference is kept."""

    @property
    def label(self) -> str:
        """Where it is, for people."""
        ...

    @property
    def identity(self) -> tuple[int, object]:
        """Equal for equal places, as long as the holder lives."""
        ...

    def read(self) -> object:
        """What is there now; ABSENT if nothing."""
        ...

    def write(self, value: object) -> None:
        """Put `value` there; ABSENT deletes."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class ClassAttribute(Ours):
    """An own attribute of a class."""

    owner: type
    name: str

    @property
    def label(self) -> str:
        return f"{self.owner.__module__}:{self.owner.__qualname__}.{self.name}"

    @property
    def identity(self) -> tuple[int, object]:
        return id(self.owner), self.name

    def read(self) -> object:
        return vars(self.owner).get(self.name, ABSENT)

    def write(self, value: object) -> None:
        # Not through the metaclass: it may refuse or change what is set.
        if value is ABSENT:
            type.__delattr__(self.owner, self.name)
        else:
            type.__setattr__(self.owner, self.name, value)


@dataclass(frozen=True, slots=True, eq=False)
class DictItem(Ours):
    """A value of a dict: a global of a module, an attribute of an instance, an entry of a registry."""

    holder: dict[Any, Any]
    key: Any
    label: str

    @property
    def identity(self) -> tuple[int, object]:
        return id(self.holder), id(self.key) if not isinstance(self.key, str) else self.key

    def read(self) -> object:
        return dict.get(self.holder, self.key, ABSENT)

    def write(self, value: object) -> None:
        if value is ABSENT:
            dict.pop(self.holder, self.key, None)
        else:
            dict.__setitem__(self.holder, self.key, value)


Indexed: TypeAlias = "list[Any] | deque[Any]"


@dataclass(frozen=True, slots=True, eq=False)
class SequenceItem(Ours):
    """An element of a list or deque."""

    holder: Indexed
    index: int
    label: str

    @property
    def identity(self) -> tuple[int, object]:
        return id(self.holder), self.index

    def read(self) -> object:
        try:
            found: object
            if isinstance(self.holder, list):
                found = list.__getitem__(self.holder, self.index)
            else:
                found = deque.__getitem__(self.holder, self.index)
        except IndexError:
            return ABSENT
        return found

    def write(self, value: object) -> None:
        if isinstance(self.holder, list):
            list.__setitem__(self.holder, self.index, value)
        else:
            deque.__setitem__(self.holder, self.index, value)


@dataclass(slots=True, eq=False)
class SetMember(Ours):
    """A member of a set; which one is known by what was written last."""

    holder: set[Any]
    member: object
    label: str

    @property
    def identity(self) -> tuple[int, object]:
        return id(self.holder), id(self.member)

    def read(self) -> object:
        return next((member for member in self.holder if member is self.member), ABSENT)

    def write(self, value: object) -> None:
        set.discard(self.holder, self.member)
        set.add(self.holder, value)
        self.member = value


@dataclass(frozen=True, slots=True, eq=False)
class Cell(Ours):
    """A variable that an inner function closes over."""

    cell: CellType
    label: str

    @property
    def identity(self) -> tuple[int, object]:
        return id(self.cell), "cell"

    def read(self) -> object:
        try:
            return self.cell.cell_contents
        except ValueError:
            return ABSENT

    def write(self, value: object) -> None:
        self.cell.cell_contents = value


@dataclass(frozen=True, slots=True, eq=False)
class Slot(Ours):
    """An attribute of an instance that lies in a slot."""

    holder: object
    member: MemberDescriptorType

    @property
    def label(self) -> str:
        return f"attribute {self.member.__name__} of a {type(self.holder).__qualname__}"

    @property
    def identity(self) -> tuple[int, object]:
        return id(self.holder), self.member.__name__

    def read(self) -> object:
        try:
            found: object = self.member.__get__(self.holder)
        except AttributeError:
            return ABSENT
        return found

    def write(self, value: object) -> None:
        self.member.__set__(self.holder, value)


@dataclass(frozen=True, slots=True, eq=False)
class Defaults(Ours):
    """The tuple of a function's default values."""

    function: FunctionType

    @property
    def label(self) -> str:
        return f"defaults of {self.function.__module__}:{self.function.__qualname__}"

    @property
    def identity(self) -> tuple[int, object]:
        return id(self.function), "__defaults__"

    def read(self) -> object:
        return self.function.__defaults__

    def write(self, value: object) -> None:
        self.function.__defaults__ = value  # type: ignore[assignment]


@dataclass(frozen=True, slots=True, eq=False)
class PartialPart(Ours):
    """The function (0), the positional (1) or the keyword arguments (2) of a `functools.partial`, changed in place."""

    partial: "functools.partial[Any]"
    part: int

    @property
    def label(self) -> str:
        return f"a functools.partial of {getattr(self.partial.func, '__qualname__', self.partial.func)!s}"

    @property
    def identity(self) -> tuple[int, object]:
        return id(self.partial), self.part

    def read(self) -> object:
        return functools.partial.__reduce__(self.partial)[2][self.part]

    def write(self, value: object) -> None:
        state = list(functools.partial.__reduce__(self.partial)[2])
        state[self.part] = value
        self.partial.__setstate__(tuple(state))  # type: ignore[attr-defined]
