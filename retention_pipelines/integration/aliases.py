"""Aliases: every place that refers to an object, found with the garbage collector's help.

`from m import f as g`, a list of handlers, a closure, a default argument, a `functools.partial`, a bound method kept as
callback, the route of a web framework: all of them would go on calling the original if only `m.f` were exchanged. What
belongs here: finding such places, and saying which cannot be changed. What does not: changing them (`patching.py`).
Not found, because Python does not tell: local variables of running code, weak references, references held by C code
that the collector does not know, and objects frozen with `gc.freeze()` that are not globals of a module.
"""

import functools
import gc
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from types import (
    AsyncGeneratorType,
    CellType,
    CoroutineType,
    FrameType,
    FunctionType,
    GeneratorType,
    MappingProxyType,
    MemberDescriptorType,
    MethodType,
    ModuleType,
)
from typing import Any, cast

from retention_pipelines.integration.places import (
    Cell,
    ClassAttribute,
    Defaults,
    DictItem,
    Ours,
    PartialPart,
    Place,
    SequenceItem,
    SetMember,
    Slot,
)

# How many immutable objects may lie between a place and what is looked for: a tuple in a tuple in a bound method.
_DEEPEST = 4
# Our own records, and running code. Types are compared throughout, not instances: a proxy lies about its class.
_SKIPPED = (Ours, FrameType, GeneratorType, CoroutineType, AsyncGeneratorType)
# Key in the `__dict__` of our functions. Who wraps one of them copies it, so that its `mark` says whose it is.
MARK = "__retention_redirect__"


class Marked(Ours):
    """What stands under MARK."""

    __slots__ = ("mark",)

    mark: int


def mark(function: Callable[..., object], marked: Marked) -> None:
    """Say that `function` is ours: what it refers to is no alias."""
    marked.mark = id(function.__dict__)
    function.__dict__[MARK] = marked


def marked(value: object) -> Marked | None:
    """The mark of one of our functions; None for everything else."""
    if type(value) is not FunctionType:
        return None
    found = value.__dict__.get(MARK)
    return found if isinstance(found, Marked) and found.mark == id(value.__dict__) else None


@dataclass(frozen=True, slots=True, eq=False)
class Chain(Ours):
    """An object and, if it is an immutable holder of another one, that other one."""

    value: object
    inner: "Chain | None" = None

    @property
    def root(self) -> object:
        """What was looked for."""
        return self.value if self.inner is None else self.inner.root

    def rebuilt(self, replacement: object) -> object:
        """A copy of the value that holds `replacement` in place of the root."""
        if self.inner is None:
            return replacement
        return _rebuild(self.value, self.inner.value, self.inner.rebuilt(replacement))


@dataclass(frozen=True, slots=True, eq=False)
class Site(Ours):
    """A place that refers to `chain.root`, directly or through immutable objects."""

    place: Place
    chain: Chain


@dataclass(frozen=True, slots=True, eq=False)
class Fixed(Ours):
    """A reference to `root` that cannot be exchanged."""

    root: object
    label: str


@dataclass(frozen=True, slots=True, eq=False)
class Found(Ours):
    """Where the objects are referred to.

    Attributes:
        sites: places that can be changed.
        fixed: those that cannot.
    """

    sites: list[Site] = field(default_factory=list)
    fixed: list[Fixed] = field(default_factory=list)


def find(roots: Iterable[object]) -> Found:
    """All places that refer to one of `roots`, which the caller passes without a container that holds them."""
    gc.collect()  # what only waits to be collected is no place
    found = Found()
    seen: set[tuple[int, object]] = set()
    level = {id(root): Chain(root) for root in roots}
    known = set(level)
    for site in _globals(level):
        seen.add(site.place.identity)
        found.sites.append(site)
    for depth in range(_DEEPEST + 1):
        level = _search(level, known, found, seen, last=depth == _DEEPEST)
        if not level:
            break
        known |= set(level)
    return found


def _search(
    level: dict[int, Chain], known: set[int], found: Found, seen: set[tuple[int, object]], *, last: bool
) -> dict[int, Chain]:
    """Note the places that refer to the objects of `level`; returns the immutable objects that do."""
    values = [chain.value for chain in level.values()]
    referrers = _referrers(values)
    own = {id(values), id(level), id(referrers)}
    dicts = [r for r in referrers if issubclass(type(r), dict) and id(r) not in own]
    own.add(id(dicts))
    owners = _owners(dicts, own)
    deeper: dict[int, Chain] = {}

    def note(place: Place, chain: Chain) -> None:
        if place.identity not in seen:
            seen.add(place.identity)
            found.sites.append(Site(place, chain))

    for referrer in referrers:
        if id(referrer) in own or issubclass(type(referrer), _SKIPPED):
            continue
        if issubclass(type(referrer), dict):
            found_mark = dict.get(referrer, MARK)
            if isinstance(found_mark, Marked) and found_mark.mark == id(referrer):
                continue
            for place, chain in _in_dict(referrer, level, owners.get(id(referrer)), found):
                note(place, chain)
            continue
        for chain in _held(referrer, level):
            places = _places(referrer, chain.value)
            if places is not None:
                for place in places:
                    note(place, chain)
            elif _rebuildable(referrer) and not last:
                if id(referrer) not in known:
                    deeper[id(referrer)] = Chain(referrer, chain)
            elif id(referrer) not in known:
                found.fixed.append(Fixed(chain.root, f"a {type(referrer).__module__}.{type(referrer).__qualname__}"))
    return deeper


def _referrers(values: list[object]) -> list[Any]:
    """What holds them, but for what nobody but this call holds: Python 3.13 names the tuple of its own arguments."""
    found = gc.get_referrers(*values)
    # Held by `found`, by `one` and by the argument of `getrefcount`.
    return [one for one in found if type(one) is not tuple or sys.getrefcount(one) > 3]


def _globals(level: dict[int, Chain]) -> Iterator[Site]:
    """Globals of modules that are objects of `level`: of those that are frozen the collector does not tell."""
    for label, holder in _modules():
        if not level.keys().isdisjoint(map(id, holder.values())):
            for name, value in list(holder.items()):
                if id(value) in level:
                    yield Site(DictItem(holder, name, f"{label}:{name}"), level[id(value)])


def _modules() -> Iterator[tuple[str, dict[str, object]]]:
    for name, module in list(sys.modules.items()):
        if issubclass(type(module), ModuleType):
            yield name, object.__getattribute__(module, "__dict__")


def _held(referrer: object, level: dict[int, Chain]) -> Iterator[Chain]:
    taken: set[int] = set()
    for referent in gc.get_referents(referrer):
        if id(referent) in level and id(referent) not in taken:
            taken.add(id(referent))
            yield level[id(referent)]


def _owners(dicts: list[dict[Any, Any]], own: set[int]) -> dict[int, object]:
    """Whose `__dict__` these are, as far as they are somebody's."""
    if not dicts:
        return {}
    wanted = {id(d) for d in dicts}
    owners: dict[int, object] = {}
    for referrer in gc.get_referrers(*dicts):
        if id(referrer) in own or issubclass(type(referrer), _SKIPPED):
            continue
        if issubclass(type(referrer), type):
            held: object = _class_dict(referrer)
        else:
            try:
                held = object.__getattribute__(referrer, "__dict__")
            except AttributeError:
                continue
        if id(held) in wanted:
            owners[id(held)] = referrer
    return owners


def _class_dict(owner: type) -> object:
    shown = type.__getattribute__(owner, "__dict__")
    return gc.get_referents(shown)[0] if isinstance(shown, MappingProxyType) else shown


def _in_dict(
    holder: dict[Any, Any], level: dict[int, Chain], owner: object, found: Found
) -> Iterator[tuple[Place, Chain]]:
    for key, value in list(dict.items(holder)):
        # As part of a key it is remembered, not called: a memo that misses once.
        if id(key) in level and level[id(key)].inner is None:
            found.fixed.append(Fixed(level[id(key)].root, f"a key of a dict with {len(holder)} entries"))
        if id(value) not in level:
            continue
        if isinstance(owner, type):
            yield ClassAttribute(owner, key), level[id(value)]
        else:
            yield DictItem(holder, key, _dict_label(owner, holder, key)), level[id(value)]


def _dict_label(owner: object, holder: dict[Any, Any], key: object) -> str:
    if isinstance(owner, ModuleType):
        return f"{owner.__name__}:{key}"
    if isinstance(owner, FunctionType):
        return f"attribute {key} of {owner.__module__}:{owner.__qualname__}"
    if owner is not None:
        return f"attribute {key} of a {type(owner).__module__}.{type(owner).__qualname__}"
    # Of a key that is no text only the type is told: it may hold anything.
    return f"dict entry {key!r}" if isinstance(key, str) else f"dict entry with a {type(key).__qualname__} as key"


def _places(referrer: object, value: object) -> list[Place] | None:
    """Where in `referrer`, which is no dict, `value` can be exchanged; None if it cannot."""
    kind = type(referrer)
    if issubclass(kind, (list, deque)):
        items = cast("list[object]", referrer)
        label = f"{kind.__qualname__} of {len(items)}"
        return [SequenceItem(items, i, f"element {i} of a {label}") for i, item in enumerate(items) if item is value]
    if issubclass(kind, set):
        members = cast("set[object]", referrer)
        return [SetMember(members, value, f"a set of {len(members)}")]
    if kind is CellType:
        return [Cell(cast(CellType, referrer), "a variable of an enclosing function")]
    if issubclass(kind, functools.partial):
        partial = cast("functools.partial[object]", referrer)
        return [part for part in (PartialPart(partial, 0), PartialPart(partial, 1)) if part.read() is value] or None
    if kind is FunctionType:
        # Its closure is read-only, but the cells in it are not.
        function = cast(FunctionType, referrer)
        return [Defaults(function)] if function.__defaults__ is value else []
    if issubclass(kind, type):
        return []
    return None if _rebuildable(referrer) else _attributes(referrer, value)


def _attributes(holder: object, value: object) -> list[Place] | None:
    """Attributes of an instance that are `value`; None if it holds the value in a way that cannot be changed."""
    referents = gc.get_referents(holder)
    places: list[Place] = []
    for base in type(holder).__mro__:
        for member in vars(base).values():
            if isinstance(member, MemberDescriptorType):
                slot = Slot(holder, member)
                if slot.read() is value and not _readonly(slot, value):
                    places.append(slot)
    missing = sum(1 for referent in referents if referent is value) - len(places)
    if missing > 0:
        try:
            inside = object.__getattribute__(holder, "__dict__")
        except AttributeError:
            return None
        # Since Python 3.11 an instance holds its attributes itself until somebody asks for its dict.
        if not isinstance(inside, dict) or any(referent is inside for referent in referents):
            return None
        inline = [
            DictItem(inside, name, f"attribute {name} of a {type(holder).__module__}.{type(holder).__qualname__}")
            for name, there in inside.items()
            if there is value
        ]
        places.extend(inline)
        missing -= len(inline)
    return places if missing <= 0 else None


def _readonly(slot: Slot, value: object) -> bool:
    try:
        slot.write(value)
    except (AttributeError, TypeError):
        return True
    return False


def _rebuildable(holder: object) -> bool:
    kind = type(holder)
    if issubclass(kind, tuple):
        return kind is tuple or hasattr(kind, "_make")
    return kind in (frozenset, MethodType, staticmethod, classmethod, property)


def _rebuild(holder: object, old: object, new: object) -> object:
    match holder:
        case tuple():
            return like(holder, (new if part is old else part for part in holder))
        case frozenset():
            return frozenset(new if part is old else part for part in holder)
        case MethodType():
            if holder.__self__ is old:
                return MethodType(holder.__func__, new)
            return MethodType(cast(Any, new), holder.__self__)
        case staticmethod() | classmethod():
            return type(holder)(cast(Any, new))
        case property():
            fget, fset, fdel = (
                cast(Any, new if part is old else part) for part in (holder.fget, holder.fset, holder.fdel)
            )
            return property(fget, fset, fdel, holder.__doc__)
        case _:
            raise TypeError(type(holder).__qualname__)


def like(holder: tuple[object, ...], parts: Iterable[object]) -> tuple[object, ...]:
    """A tuple of the holder's kind with other parts."""
    make = getattr(type(holder), "_make", None)
    return tuple(parts) if make is None else cast(tuple[object, ...], make(parts))
