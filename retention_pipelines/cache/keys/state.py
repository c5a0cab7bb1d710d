"""What an object knows: the attributes of instances of plain Python classes, and what of `self` enters a key.

What belongs here: reading an instance's whole state, and only where Python can see all of it. What does not: names of
classes (`identity`), how values are encoded.
"""

import dis
from collections.abc import Sequence
from typing import Any
from weakref import WeakKeyDictionary

from retention_pipelines.cache.keys.encoding import HINT, tagged, text
from retention_pipelines.cache.keys.identity import class_identity
from retention_pipelines.errors import Unkeyable

_HEAP_TYPE = 1 << 9
_IMMUTABLE_TYPE = 1 << 8
_POINTER = 8
_slots_of: WeakKeyDictionary[type, tuple[str, ...]] = WeakKeyDictionary()
_python_only: WeakKeyDictionary[type, bool] = WeakKeyDictionary()
_counted_by: WeakKeyDictionary[Any, frozenset[str]] = WeakKeyDictionary()
_LOGS = frozenset({"append", "add", "extend", "appendleft", "insert"})
_NO_STEPS = frozenset({"CACHE", "PRECALL", "EXTENDED_ARG", "PUSH_NULL", "NOP"})


def has_only_python_state(cls: type) -> bool:
    """Whether all an instance knows is in its `__dict__` and slots: no base class keeps state in C."""
    known = _python_only.get(cls)
    if known is None:
        known = _python_only[cls] = _keeps_no_other_state(cls)
    return known


def _keeps_no_other_state(cls: type) -> bool:
    slots = 0
    for base in cls.__mro__:
        if base is object:
            continue
        if not base.__flags__ & _HEAP_TYPE or base.__flags__ & _IMMUTABLE_TYPE:
            return False
        names = vars(base).get("__slots__", ())
        slots += 1 if isinstance(names, str) else len(tuple(names))
    return cls.__itemsize__ == 0 and cls.__basicsize__ <= object.__basicsize__ + _POINTER * (slots + 2)


def _slots(cls: type) -> tuple[str, ...]:
    """The attributes of `cls` that are no part of an instance's `__dict__`."""
    known = _slots_of.get(cls)
    if known is None:
        found = []
        for base in cls.__mro__:
            names = vars(base).get("__slots__", ())
            for name in (names,) if isinstance(names, str) else names:
                private = name.startswith("__") and not name.endswith("__")
                found.append(f"_{base.__name__.lstrip('_')}{name}" if private else name)
        known = _slots_of[cls] = tuple([name for name in found if name not in ("__dict__", "__weakref__")])
    return known


def state(value: Any) -> dict[str, Any]:
    """The attributes of an instance of a class with only Python state, slots included."""
    attributes: dict[str, Any] = getattr(value, "__dict__", {})
    slots = _slots(type(value))
    if not slots:
        return attributes
    return {name: getattr(value, name) for name in slots if hasattr(value, name)} | attributes


def counted_attributes(function: Any) -> frozenset[str]:
    """The attributes of `self` that `_counted_attributes` finds; the bytecode is read once."""
    try:
        known = _counted_by.get(function)
    except TypeError:
        return frozenset()
    if known is None:
        known = _counted_by[function] = _counted_attributes(function)
    return known


def _counted_attributes(function: Any) -> frozenset[str]:
    """Attributes of `self` that a method only counts or logs its own calls in, read from its bytecode.

    `self.calls += 1`, `self.seen[x] += 1` and `self.log.append(x)` change `self` with every call; kept in the key, they
    would make every call a new one. An attribute that the method also reads may decide what it gives, and so may all of
    them where it hands `self` on or calls another of its methods: these stay in the key.
    """
    code = getattr(function, "__code__", None)
    if code is None or not code.co_argcount or code.co_varnames[0] in code.co_cellvars:
        return frozenset()
    steps = [single for step in dis.get_instructions(code) if step.opname not in _NO_STEPS for single in _single(step)]
    counted, read = set(), set()
    for place, step in enumerate(steps[:-1]):
        if not step.opname.startswith("LOAD_FAST") or step.argval != code.co_varnames[0]:
            continue
        name = _counted(steps[place + 1 : place + 5], steps[place + 3 :])
        if name:
            counted.add(name)
        elif steps[place + 1].opname in ("LOAD_ATTR", "STORE_ATTR", "DELETE_ATTR"):
            read.add(steps[place + 1].argval)
        else:
            return frozenset()
    return frozenset(counted - read)


def _single(step: dis.Instruction) -> Sequence[dis.Instruction]:
    """A step as Python 3.11 writes it: later ones load two variables in one, and a method as if an attribute."""
    if step.opname == "LOAD_ATTR" and "NULL|self" in step.argrepr:
        return [step._replace(opname="LOAD_METHOD")]
    if isinstance(step.argval, tuple) and "_FAST_" in step.opname:
        kinds = step.opname.split("_")[::2]
        return [
            step._replace(opname=f"{kind}_FAST", argval=name) for kind, name in zip(kinds, step.argval, strict=True)
        ]
    return [step]


def _counted(after: Sequence[dis.Instruction], rest: Sequence[dis.Instruction]) -> str:
    """The attribute that is counted or logged in, when `self` was loaded and these steps follow."""
    names = [each.opname for each in after]
    if names[:2] == ["COPY", "LOAD_ATTR"]:
        return after[1].argval if _goes_back(rest, after[1].argval) else ""
    if names[:1] != ["LOAD_ATTR"] or len(after) < 4:
        return ""
    logs = names[1] in ("LOAD_METHOD", "LOAD_ATTR") and after[1].argval in _LOGS
    counts = names[2:4] == ["COPY", "COPY"] and names[1].startswith("LOAD_")
    return str(after[0].argval) if logs or counts else ""


def _goes_back(steps: Sequence[dis.Instruction], name: str) -> bool:
    """Whether the value just loaded goes back into the attribute `name` with something added."""
    for before, swap, step in zip(steps, steps[1:], steps[2:], strict=False):
        if step.opname == "STORE_ATTR" and swap.opname == "SWAP":
            return bool(step.argval == name and before.opname == "BINARY_OP" and before.argrepr.endswith("="))
    return False


def instance_state(value: Any, depth: int, left: list[int], without: frozenset[str] = frozenset()) -> str:
    """`self` of a method: its class and all it knows, but for the attributes in `without`.

    Raises:
        Unkeyable: an attribute cannot be keyed, or the class keeps state where Python cannot see it.
    """
    cls = type(value)
    if not has_only_python_state(cls):
        raise Unkeyable(f"{cls.__qualname__} keeps state outside its attributes.", hint=HINT)
    try:
        known = state(value)
        if without:
            known = {name: known[name] for name in known if name not in without}
        attributes = text(known, depth + 1, left)
    except Unkeyable as error:
        raise Unkeyable(f"An attribute of {cls.__qualname__} cannot be keyed: {error.message}", hint=HINT) from error
    return tagged("self", class_identity(cls, depth, left), attributes)
