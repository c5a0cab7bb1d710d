"""What a call and its result say about themselves: arguments and members of well-known names.

What belongs here: looking such values up without running code of the user's, but for the callables he gave for it.
"""

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from retention_pipelines.cache.options import FromCall

_LONGEST_TEXT = 512
# Where results say what else a model said.
METADATA = ("prediction_metadata", "metadata")


class Said:
    """The bound arguments and the result of a call."""

    __slots__ = ("_members", "_named", "bound", "result")

    def __init__(self, *, bound: Mapping[str, Any], result: Any) -> None:
        self.bound = bound
        self.result = result
        # Asked for a handful of names at each miss, so what does not depend on the name is found out once.
        self._named = [value for value in bound.values() if type(value) is dict]
        self._members = result.get if type(result) is dict else partial(member, result)

    def value(self, told: "FromCall | None", *names: str) -> Any:
        """What the decorator's keyword leads to; without one, an argument or member of the result of these names."""
        if callable(told):
            return told(self.bound)
        if told is not None:
            return self.argument(told)
        for name in names:
            found = self.argument(name)
            if found is None:
                found = self._members(name)
            if found is not None:
                return found
        return None

    def argument(self, name: str) -> Any:
        """An argument by name, also one that the function takes as `**kwargs`."""
        if name in self.bound:
            return self.bound[name]
        for value in self._named:
            if name in value:
                return value[name]
        return None

    def text(self, told: "FromCall | None", *names: str) -> str | None:
        """The same as a short text; what is no text, number or member of an enumeration says nothing."""
        found = self.value(told, *names)
        if found is None:
            return None
        found = getattr(found, "value", found) if hasattr(type(found), "__members__") else found
        if isinstance(found, bool) or not isinstance(found, str | int):
            return None
        text = str(found)
        return text if 0 < len(text) <= _LONGEST_TEXT else None


def member(thing: Any, name: str, default: Any = None) -> Any:
    """A key of a mapping, or an attribute that is stored data: no property is run."""
    if type(thing) is dict:
        return thing.get(name, default)
    if isinstance(thing, Mapping):
        try:
            return thing.get(name, default)
        except (TypeError, KeyError):
            return default
    if isinstance(thing, tuple) and name in getattr(type(thing), "_fields", ()):
        return getattr(thing, name)
    try:
        return vars(thing).get(name, default)
    except TypeError:
        slots = getattr(type(thing), "__dataclass_fields__", {})
        return getattr(thing, name, default) if name in slots else default
