"""Identity: what a function or class is called, and which code it runs.

What belongs here: names that survive a restart, the digest of a function's code, what it closes over. What does not:
what an object knows (`state`), the encoding itself.
"""

import hashlib
import inspect
import os
import sys
import uuid
from collections.abc import Callable
from types import CodeType, FunctionType, ModuleType
from typing import Any
from weakref import WeakKeyDictionary

from retention_pipelines.cache.keys.encoding import CONTAINER_LIMIT, enter, joined, tagged, text
from retention_pipelines.errors import Unkeyable

_DECIDES_NOTHING = frozenset({"_thread", "threading", "logging", "asyncio.locks", "asyncio.events"})
_tokens: WeakKeyDictionary[Any, str] = WeakKeyDictionary()
_classes: WeakKeyDictionary[type, str] = WeakKeyDictionary()
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
    known = _classes.get(cls)
    if known is not None:
        return known
    if "<locals>" not in cls.__qualname__:
        return _classes.setdefault(cls, tagged("class", name_of(cls)))
    code = []
    for name, member in sorted(vars(cls).items()):
        plain = unwrapped(member)
        if isinstance(plain, FunctionType):
            cells = [cell.cell_contents for cell in plain.__closure__ or ()]
            code.append(tagged(name, code_version(plain), *[_cell(cell, cls, depth, left) for cell in cells]))
    return tagged("class", name_of(cls), joined(code))


def _cell(value: Any, cls: type, depth: int, left: list[int]) -> str:
    return "#__class__" if value is cls else text(value, depth + 1, left)
