"""What an object knows: the attributes of instances of plain Python classes, and what of `self` enters a key.

What belongs here: reading an instance's whole state, and only where Python can see all of it. What does not: names of
classes (`identity`), how values are encoded.
"""

import dis
from collections.abc import Sequence
from typing import Any

from retention_pipelines.cache.keys.encoding import HINT, tagged, text
from retention_pipelines.cache.keys.identity import class_identity
from retention_pipelines.errors import Unkeyable

_HEAP_TYPE = 1 << 9
_IMMUTABLE_TYPE = 1 << 8
_POINTER = 8
_LOGS = frozenset({"append", "add", "extend", "appendleft", "insert"})
_NO_STEPS = frozenset({"CACHE", "PRECALL", "EXTENDED_ARG", "PUSH_NULL", "NOP"})


def has_only_python_state(cls: type) -> bool:
    """Whether all an instance knows is in its `__dict__` and slots: no base class keeps state in C."""
    slots = 0
    for base in cls.__mro__:
        if base is object:
            continue
        if not base.__flags__ & _HEAP_TYPE or base.__flags__ & _IMMUTABLE_TYPE:
            return False
        names = vars(base).get("__slots__", ())
        slots += 1 if isinstance(names, str) else len(tuple(names))
    return cls.__itemsize__ == 0 and cls.__basicsize__ <= object.__basicsize__ + _POINTER * (slots + 2)


def state(value: Any) -> dict[str, Any]:
    """The attributes of an instance of a class with only Python state, slots included."""
    found: dict[str, Any] = {}
    for base in type(value).__mro__:
        names = vars(base).get("__slots__", ())
        for name in (names,) if isinstance(names, str) else names:
            attribute = (
                f"_{base.__name__.lstrip('_')}{name}" if name.startswith("__") and not name.endswith("__") else name
            )
            if name not in ("__dict__", "__weakref__") and hasattr(value, attribute):
                found[attribute] = getattr(value, attribute)
    found.update(getattr(value, "__dict__", {}))
    return found


def counted_attributes(function: Any) -> frozenset[str]:
    """Attributes of `self` that a method only counts or logs its own calls in, read from its bytecode.

    `self.calls += 1`, `self.seen[x] += 1` and `self.log.append(x)` change `self` with every call, but a function that
    may be cached at all does not answer from them; kept in the key, they would make every call a new one.
    """
    code = getattr(function, "__code__", None)
    if code is None or not code.co_argcount:
        return frozenset()
    steps = [step for step in dis.get_instructions(code) if step.opname not in _NO_STEPS]
    found = set()
    for place, step in enumerate(steps[:-2]):
        if not step.opname.startswith("LOAD_FAST") or step.argval != code.co_varnames[0]:
            continue
        after = steps[place + 1 : place + 5]
        name = _counted(after, steps[place + 3 :])
        if name:
            found.add(name)
    return frozenset(found)


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
        attributes = text({name: known[name] for name in known if name not in without}, depth + 1, left)
    except Unkeyable as error:
        raise Unkeyable(f"An attribute of {cls.__qualname__} cannot be keyed: {error.message}", hint=HINT) from error
    return tagged("self", class_identity(cls, depth, left), attributes)
