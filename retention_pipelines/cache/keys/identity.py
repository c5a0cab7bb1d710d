"""Identity: what a function or class is called, and which code it runs.

What belongs here: names that survive a restart, the digest of a function's code, the state of a plain Python object.
What does not: the encoding itself.
"""

import dis
import hashlib
import inspect
import os
import sys
import uuid
from collections.abc import Callable
from types import CodeType, FunctionType, ModuleType
from typing import Any
from weakref import WeakKeyDictionary

from retention_pipelines.cache.keys.encoding import CONTAINER_LIMIT, HINT, enter, joined, tagged, text
from retention_pipelines.errors import Unkeyable

_HEAP_TYPE = 1 << 9
_IMMUTABLE_TYPE = 1 << 8
_POINTER = 8
_LOGS = frozenset({"append", "add", "extend", "appendleft", "insert"})
_DECIDES_NOTHING = frozenset({"_thread", "threading", "logging", "asyncio.locks", "asyncio.events"})
_tokens: WeakKeyDictionary[Any, str] = WeakKeyDictionary()
_versions: WeakKeyDictionary[Any, tuple[CodeType, str]] = WeakKeyDictionary()


def module_name(module: str | None) -> str:
    """The module's name; for a script the file it runs from, because every script is called `__main__`."""
    if module != "__main__":
        return module or ""
    main = sys.modules.get("__main__")
    spec = getattr(main, "__spec__", None)
    if spec is not None:
        return str(spec.name)
    file = getattr(main, "__file__", None)
    return f"__main__:{os.path.realpath(file)}" if file else "__main__"


def name_of(thing: Any) -> str:
    """Module and qualified name of a function or class."""
    return joined((module_name(getattr(thing, "__module__", None)), thing.__qualname__))


def code_version(function: Callable[..., Any]) -> str:
    """Digest of a function's code: bytecode, constants, names, defaults, nested functions.

    Line numbers and file names are not in it, so a comment or a move within the file changes nothing. What the function
    calls is not in it either: say `version=` when a function it depends on changes what it returns.
    """
    plain = unwrapped(function)
    code = getattr(plain, "__code__", None)
    if code is None:
        code = getattr(inspect.getattr_static(type(plain), "__call__", None), "__code__", None)
    parts = [_code(code)] if code is not None else [name_of(plain) if hasattr(plain, "__qualname__") else ""]
    for defaults in (getattr(plain, "__defaults__", None), getattr(plain, "__kwdefaults__", None)):
        try:
            parts.append(text(defaults, 0, [10_000]))
        except Unkeyable:  # a default no key can be made of: the key of a call that uses it will say so
            parts.append("#")
    return hashlib.blake2b(joined(parts).encode(), digest_size=8).hexdigest()


def unwrapped(function: Any) -> Any:
    """The function inside static, class and bound methods and partials."""
    while True:
        inner = getattr(function, "__func__", None)
        if inner is None:
            inner = getattr(function, "func", None) if type(function).__module__ == "functools" else None
        if inner is None:
            return function
        function = inner


def _code(code: CodeType) -> str:
    constants = [
        _code(constant) if isinstance(constant, CodeType) else _constant(constant) for constant in code.co_consts
    ]
    return tagged(
        "code",
        code.co_code.hex(),
        code.co_exceptiontable.hex(),
        joined(constants),
        repr((code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars)),
        repr((code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags, code.co_name)),
    )


def _constant(constant: Any) -> str:
    try:
        return text(constant, 0, [10_000])
    except Unkeyable:
        return repr(constant)


def function_identity(function: Any, depth: int, left: list[int]) -> str:
    """A Python function as a value: name, code and what it closes over."""
    own = vars(function).get("__cache_key__")
    if own is not None:
        return tagged("function", name_of(function), text(own(), depth + 1, left))
    enter(depth, left)
    return tagged("function", name_of(function), _version_of(function), closure(function, depth + 1, left))


def _version_of(function: Any) -> str:
    known = _versions.get(function)
    if known is None or known[0] is not function.__code__:
        known = _versions[function] = (function.__code__, code_version(function))
    return known[1]


def closure(function: Any, depth: int = 0, left: list[int] | None = None) -> str:
    """What a function closes over. A value no key can be made of makes it different from every other function.

    A lock or a logger does not decide a result, and a cell may still be empty or hold the function itself.
    """
    parts = []
    for cell in getattr(function, "__closure__", None) or ():
        try:
            value = cell.cell_contents
            module = type(value).__module__
            if value is function:
                parts.append("#itself")
            elif isinstance(value, ModuleType):
                parts.append(tagged("module", value.__name__))
            elif module in _DECIDES_NOTHING:
                parts.append(tagged("tool", module, type(value).__qualname__))
            else:
                parts.append(text(value, depth, left or [CONTAINER_LIMIT]))
        except ValueError:
            parts.append("#empty")
        except Unkeyable:
            parts.append(tagged("only", _own_token(function)))
    return joined(parts)


def _own_token(function: Any) -> str:
    """What stands for this very function in this process."""
    return _tokens.setdefault(function, uuid.uuid4().hex)


def class_identity(cls: type, depth: int, left: list[int]) -> str:
    """A class as a value. One made inside a function is told apart by the code of its methods as well."""
    if "<locals>" not in cls.__qualname__:
        return tagged("class", name_of(cls))
    code = []
    for name, member in sorted(vars(cls).items()):
        plain = unwrapped(member)
        if isinstance(plain, FunctionType):
            cells = [cell.cell_contents for cell in plain.__closure__ or ()]
            code.append(tagged(name, code_version(plain), *[_cell(cell, cls, depth, left) for cell in cells]))
    return tagged("class", name_of(cls), joined(code))


def _cell(value: Any, cls: type, depth: int, left: list[int]) -> str:
    return "#__class__" if value is cls else text(value, depth + 1, left)


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
    steps = [
        step
        for step in dis.get_instructions(code)
        if step.opname not in ("CACHE", "PRECALL", "EXTENDED_ARG", "PUSH_NULL", "NOP")
    ]
    found = set()
    for place, step in enumerate(steps[:-2]):
        if not step.opname.startswith("LOAD_FAST") or step.argval != code.co_varnames[0]:
            continue
        after = steps[place + 1 : place + 5]
        names = [each.opname for each in after]
        if names[:2] == ["COPY", "LOAD_ATTR"] and _is_counted(steps[place + 3 :], after[1].argval):
            found.add(after[1].argval)
        elif names[0] == "LOAD_ATTR" and names[1] in ("LOAD_METHOD", "LOAD_ATTR") and after[1].argval in _LOGS:
            found.add(after[0].argval)
        elif names[0] == "LOAD_ATTR" and names[2:4] == ["COPY", "COPY"] and names[1].startswith("LOAD_"):
            found.add(after[0].argval)
    return frozenset(found)


def _is_counted(steps: list[dis.Instruction], name: str) -> bool:
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
