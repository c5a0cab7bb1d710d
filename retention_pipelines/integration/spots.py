"""Spots: from `pkg.mod:Class.method` to the attribute it names, exactly as it is stored.

What belongs here: resolving names without running descriptors, and refusing what cannot be patched, in words. What does
not: which targets there are (`targets.py`), changing anything.
"""

import importlib
import inspect
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from retention_pipelines.errors import IntegrationError
from retention_pipelines.integration.places import ClassAttribute, DictItem, Ours, Place

_TARGET = re.compile(r"(?P<module>\w+(?:\.\w+)*):(?P<path>\w+(?:\.\w+)*)")


class ModuleNotLoaded(IntegrationError):
    """The module of a target is not imported yet, and it was not asked to import it."""


class NoSuchTarget(IntegrationError):
    """The module or attribute a target names does not exist."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Spot(Ours):
    """An attribute of a class or module.

    Attributes:
        target: as written.
        raw: what is stored: for a class the descriptor itself, not what attribute access makes of it.
        own: false for what a class inherits or a module makes on demand; undoing deletes it then.
        function: the callable in `raw`.
    """

    target: str
    owner: type | ModuleType
    name: str
    raw: object
    own: bool
    function: Callable[..., Any]

    @property
    def place(self) -> Place:
        """Where `raw` is, or would be."""
        if isinstance(self.owner, type):
            return ClassAttribute(self.owner, self.name)
        return DictItem(vars(self.owner), self.name, f"{self.owner.__name__}:{self.name}")


def split(target: str) -> tuple[str, list[str]]:
    """Module and path of a target; raises IntegrationError for what is not written as one."""
    match = _TARGET.fullmatch(target)
    if match is None:
        raise IntegrationError(
            f"{target!r} names no target.", hint="Write pkg.mod:function or pkg.mod:Class.method, with the colon."
        )
    return match["module"], match["path"].split(".")


def locate(target: str, *, load: bool = True) -> Spot:
    """The attribute `target` names.

    Raises:
        ModuleNotLoaded: its module is not imported, and `load` is false.
        NoSuchTarget: there is no such module or attribute.
        IntegrationError: it is nothing that can be patched.
    """
    module_name, path = split(target)
    owner: object = _module(module_name, target, load=load)
    for name in path[:-1]:
        owner, _ = _attribute(owner, name, target)
    if not isinstance(owner, (type, ModuleType)):
        raise IntegrationError(
            f"{target}: {'.'.join(path[:-1])} is an instance of {type(owner).__qualname__}.",
            hint=f"Name its class: {type(owner).__module__}:{type(owner).__qualname__}.{path[-1]}.",
        )
    raw, own = _attribute(owner, path[-1], target)
    return Spot(target=target, owner=owner, name=path[-1], raw=raw, own=own, function=_function(raw, owner, target))


def _module(name: str, target: str, *, load: bool) -> ModuleType:
    loaded = sys.modules.get(name)
    if loaded is not None:
        return loaded
    if not load:
        raise ModuleNotLoaded(f"{target}: module {name} is not imported yet.")
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise NoSuchTarget(f"{target}: module {name} cannot be imported: {error}.", hint="Check its name.") from error


def _attribute(owner: object, name: str, target: str) -> tuple[object, bool]:
    if isinstance(owner, type):
        for base in owner.__mro__:
            if name in vars(base):
                return vars(base)[name], base is owner
    elif isinstance(owner, ModuleType):
        if name in vars(owner):
            return vars(owner)[name], True
        try:
            return getattr(owner, name), False
        except AttributeError:
            pass
    else:
        try:
            return inspect.getattr_static(owner, name), name in getattr(owner, "__dict__", {})
        except AttributeError:
            pass
    label = getattr(owner, "__qualname__", None) or getattr(owner, "__name__", type(owner).__qualname__)
    raise NoSuchTarget(f"{target}: {label} has no attribute {name!r}.", hint="Nothing was changed.")


def _function(raw: object, owner: object, target: str) -> Callable[..., Any]:
    found: object = raw
    if isinstance(raw, (staticmethod, classmethod)):
        found = raw.__func__
    elif isinstance(raw, property):
        found = raw.fget
    if isinstance(found, type):
        raise IntegrationError(f"{target} is a class.", hint=f"Name one of its methods: {target}.<method>.")
    if not callable(found):
        raise IntegrationError(f"{target} is a {type(raw).__qualname__}, which cannot be called.")
    if isinstance(owner, type) and hasattr(type(found), "__get__") and not inspect.isroutine(found):
        raise IntegrationError(
            f"{target} is a {type(raw).__qualname__}: what it does with its instance is not known.",
            hint="Name a plain, static or class method or a property.",
        )
    return found


def is_async(function: Callable[..., Any]) -> bool:
    """Whether calling `function` gives a coroutine."""
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        getattr(type(function), "__call__", None)  # noqa: B004 - the method, not whether there is one
    )
