"""The key of a call: what a call depends on, as one digest.

What belongs here: binding a call to its function's parameters once per way of calling, which of them matter, the
digest. What does not: the encoding of the values (`encoding`), what a function is called (`identity`).
"""

import functools
import hashlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from retention_pipelines.cache.entry import Kind
from retention_pipelines.cache.keys import identity, state
from retention_pipelines.cache.keys.encoding import (
    CONTAINER_LIMIT,
    ENCODERS,
    HINT,
    PLAIN,
    guarded,
    joined,
    tagged,
    text,
)
from retention_pipelines.errors import CacheError, Unkeyable

_DIGEST_BYTES = 20
_PLANS = 256
_PREFIXES = 256

Arrange = Callable[[tuple[Any, ...], Mapping[str, Any]], tuple[Any, ...]]
Step = Callable[[tuple[Any, ...], Mapping[str, Any]], Any]


class FunctionKeys:
    """Makes the keys of one function's calls; made once, when the function is decorated.

    Args:
        function: a function, method, callable object or partial; not yet bound methods get `self` as an argument.
        kind: which cache the keys are for.
        name: what tells this cache from another of the same function (`feature_type` and source, `model_type`).
        code_version: what stands for the function's code; None: a digest of its bytecode.
        include: the names of the arguments that matter, or a callable that is called like the function, with defaults
            filled in, and returns what matters.
        ignore: names of arguments that don't matter.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        kind: Kind,
        name: str,
        code_version: str | None = None,
        include: Sequence[str] | Callable[..., object] | None = None,
        ignore: Sequence[str] = (),
    ) -> None:
        self.function = function
        self._signature = _signature(function)
        self._parameters = tuple(self._signature.parameters.values())
        self._include = include if callable(include) else None
        named = include if include is not None and not callable(include) else None
        if isinstance(named, str) or isinstance(ignore, str):
            raise CacheError(
                "Names of arguments are wanted as a list, not as one text.", hint=f"Say [{named or ignore!r}]."
            )
        self._only = None if named is None else frozenset(named)
        self._ignore = frozenset(ignore)
        self._check_names()
        plain = identity.unwrapped(function)
        self._plain = plain
        self._receiver = self._takes_receiver(plain)
        version = identity.code_version(function) if code_version is None else code_version
        called = identity.name_of(plain) if hasattr(plain, "__qualname__") else identity.name_of(type(plain))
        names = repr([parameter.name for parameter in self._parameters])
        self._identity = joined(("key1", kind, name, called, version, names, identity.closure(plain)))
        self._extra = self._has_state()
        self._plans: dict[Any, Arrange] = {}
        self._binders: dict[Any, tuple[tuple[str, Step], ...]] = {}
        self._prefixes: dict[tuple[str, str, str, str, str], Any] = {}
        self._names = frozenset(parameter.name for parameter in self._parameters)
        self._holds_names = any(
            parameter.kind is inspect.Parameter.VAR_KEYWORD or type(parameter.default) is dict
            for parameter in self._parameters
        )
        self._kinds = [parameter.kind for parameter in self._parameters]
        self._whole = len(self._parameters) if self._is_simple() else -1

    def key(
        self,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        *,
        namespace: str,
        tenant: str,
        schema_version: str = "",
        model: str = "",
        model_version: str = "",
        more: object = None,
    ) -> str:
        """The key of a call, as hexadecimal digits.

        Raises:
            Unkeyable: an argument has no key; the message names it.
        """
        where = (namespace, tenant, schema_version, model, model_version)
        prefix = self._prefixes.get(where) or self._prefix(where)
        if self._include is None:
            if not kwargs and len(args) == self._whole:
                values = args
            else:
                plan = self._plans.get((len(args), *kwargs)) or self._plan(args, kwargs)
                values = plan(args, kwargs)
        else:
            values = (self._chosen(args, kwargs),)
        try:
            if PLAIN.issuperset(map(type, values)):
                content = repr(values)
            elif len(values) == 1:
                content = text(values[0], 1, [CONTAINER_LIMIT])
                content = f"{len(content)}:{content}"
            else:
                left = [CONTAINER_LIMIT]
                content = "".join([f"{len(part)}:{part}" for part in [text(value, 1, left) for value in values]])
        except Exception as error:  # noqa: BLE001 - foreign code, or an int of thousands of digits: say which argument
            content = self._slowly(values, error)
        digest = prefix.copy()
        digest.update(content.encode())
        if more is not None or self._extra:
            digest.update(self._more(more).encode())
        found: str = digest.hexdigest()
        return found

    def bind(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, object]:
        """The arguments of a call by name, defaults filled in.

        Raises:
            Unkeyable: the arguments do not fit the function.
        """
        binder = self._binders.get((len(args), *kwargs)) or self._binder(args, kwargs)
        return {name: step(args, kwargs) for name, step in binder}

    def says_none_of(self, names: frozenset[str], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
        """Whether no argument of a call has one of these names, nor is a dict, which may have one inside."""
        return (
            not self._holds_names
            and names.isdisjoint(self._names)
            and dict not in map(type, args)
            and (not kwargs or dict not in map(type, kwargs.values()))
        )

    def _prefix(self, where: tuple[str, str, str, str, str]) -> Any:
        if len(self._prefixes) >= _PREFIXES:
            self._prefixes.clear()
        content = joined((self._identity, *where))
        prefix = hashlib.blake2b(
            f"{len(content)}:{content}".encode("utf-8", "surrogatepass"), digest_size=_DIGEST_BYTES
        )
        return self._prefixes.setdefault(where, prefix)

    def _is_simple(self) -> bool:
        """Whether a call with every parameter by position needs no arranging."""
        variable = {inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.KEYWORD_ONLY}
        return not variable.intersection(self._kinds) and self._only is None and not self._ignore and not self._receiver

    def _plan(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Arrange:
        """How the values of calls with so many positions and these names come into the order of the parameters."""
        bound = self._marked(args, kwargs)
        sources: list[Any] = []
        for parameter in self._parameters:
            if parameter.kind is inspect.Parameter.VAR_KEYWORD:
                names = {name for name in bound.arguments[parameter.name] if self._matters(name)}
                sources.append(_Named(tuple(sorted(names))))
            elif not self._matters(parameter.name):
                continue
            elif parameter.kind is inspect.Parameter.VAR_POSITIONAL:
                sources.append(_Rest(len(args) - len(bound.arguments[parameter.name])))
            else:
                sources.append(bound.arguments[parameter.name])
        if self._receiver and self._matters(self._parameters[0].name):
            sources[0] = _Receiver(sources[0], state.counted_attributes(self._plain))
        arrange = _arrange(tuple(sources))
        if len(self._plans) >= _PLANS:
            self._plans.clear()
        self._plans[(len(args), *kwargs)] = arrange
        return arrange

    def _binder(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[tuple[str, Step], ...]:
        """Where calls with so many positions and these names have the value of each parameter."""
        bound = self._marked(args, kwargs)
        binder = []
        for parameter in self._parameters:
            source = bound.arguments[parameter.name]
            if parameter.kind is inspect.Parameter.VAR_KEYWORD:
                source = _Named(tuple(source))
            elif parameter.kind is inspect.Parameter.VAR_POSITIONAL:
                source = _Rest(len(args) - len(source))
            binder.append((parameter.name, _step(source)))
        if len(self._binders) >= _PLANS:
            self._binders.clear()
        return self._binders.setdefault((len(args), *kwargs), tuple(binder))

    def _marked(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> inspect.BoundArguments:
        """The call with marks in place of its values, and defaults."""
        marks = tuple(_Mark(position) for position in range(len(args)))
        try:
            bound = self._signature.bind(*marks, **{name: _Mark(name) for name in kwargs})
        except TypeError as error:
            raise Unkeyable(f"The call does not fit {self._called()}: {error}.") from error
        bound.apply_defaults()
        return bound

    def _matters(self, name: str) -> bool:
        return name not in self._ignore and (self._only is None or name in self._only)

    def _chosen(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> object:
        positional: list[Any] = []
        named: dict[str, Any] = {}
        value: Any
        for kind, (name, value) in zip(self._kinds, self.bind(args, kwargs).items(), strict=True):
            if kind is inspect.Parameter.VAR_POSITIONAL:
                positional += value
            elif kind is inspect.Parameter.VAR_KEYWORD:
                named |= value
            elif kind is inspect.Parameter.KEYWORD_ONLY:
                named[name] = value
            else:
                positional.append(value)
        try:
            return self._include(*positional, **named)  # type: ignore[misc]
        except Exception as error:
            # Not its text, which is logged: it may hold what was passed.
            raise Unkeyable(f"The key of a call of {self._called()} cannot be made: {type(error).__name__}.") from error

    def _slowly(self, values: tuple[Any, ...], error: Exception) -> str:
        """The content again, one value at a time, to name the argument that has no key."""
        left = [CONTAINER_LIMIT]
        parts = []
        names = [parameter.name for parameter in self._parameters if self._matters(parameter.name)]
        if len(names) != len(values):
            names = ["key"] if self._include is not None else [p.name for p in self._parameters][: len(values)]
        for name, value in zip(names, values, strict=False):
            try:
                parts.append(text(value, 1, left))
            except Exception as reason:  # noqa: BLE001 - as above
                message = (
                    reason.message
                    if isinstance(reason, Unkeyable)
                    else f"{type(value).__name__}: {type(reason).__name__}."
                )
                raise Unkeyable(f"Argument {name!r} of {self._called()}: {message}", hint=HINT) from error
        return joined(parts)

    def _more(self, more: object) -> str:
        parts = [guarded(more)]
        if self._extra:
            parts.append(guarded(self._own()))
        return tagged("more", *parts)

    def _own(self) -> Any:
        """What the function itself brings to every call; a callable object is the receiver of its `__call__`."""
        if inspect.isroutine(self.function) or isinstance(self.function, functools.partial):
            return self.function
        called = inspect.getattr_static(type(self.function), "__call__", None)
        return _Self(self.function, state.counted_attributes(called))

    def _has_state(self) -> bool:
        """Whether the function brings values of its own that may change: a bound `self`, a partial, an object."""
        return self._plain is not self.function or not inspect.isroutine(self._plain)

    def _takes_receiver(self, plain: Any) -> bool:
        """Whether the first argument is the `self` of a method."""
        qualname = getattr(plain, "__qualname__", "")
        inside = qualname.rpartition(".")[0]
        method = bool(inside) and not inside.endswith("<locals>")
        return (
            method and bool(self._parameters) and plain is self.function and self._parameters[0].name in ("self", "cls")
        )

    def _check_names(self) -> None:
        if any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in self._parameters):
            return
        unknown = sorted((self._ignore | (self._only or frozenset())) - set(self._signature.parameters))
        if unknown:
            raise CacheError(
                f"{self._called()} has no argument {unknown[0]!r}.",
                hint=f"It has: {', '.join(self._signature.parameters)}.",
            )

    def _called(self) -> str:
        return str(getattr(self.function, "__qualname__", None) or type(self.function).__qualname__)


def _signature(function: Callable[..., Any]) -> inspect.Signature:
    try:
        return inspect.signature(function)
    except ValueError:  # some functions in C do not tell
        return inspect.signature(lambda *args, **kwargs: None)


class _Mark:
    """Stands for an argument while a plan is made."""

    __slots__ = ("source",)

    def __init__(self, source: int | str) -> None:
        self.source = source


class _Rest:
    """The positions from `start` on."""

    __slots__ = ("start",)

    def __init__(self, start: int) -> None:
        self.start = start


class _Named:
    """The further names."""

    __slots__ = ("names",)

    def __init__(self, names: tuple[str, ...]) -> None:
        self.names = names


class _Receiver:
    """The first argument of a method; on its way into a key it encodes as what a method is called on."""

    __slots__ = ("source", "without")

    def __init__(self, source: Any, without: frozenset[str]) -> None:
        self.source = source
        self.without = without


class _Self:
    """A receiver, ready for the encoding."""

    __slots__ = ("value", "without")

    def __init__(self, value: Any, without: frozenset[str]) -> None:
        self.value = value
        self.without = without


def _arrange(sources: tuple[Any, ...]) -> Arrange:
    steps = [_step(source) for source in sources]

    def arrange(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[Any, ...]:
        return tuple([step(args, kwargs) for step in steps])

    return arrange


def _step(source: Any) -> Step:
    if isinstance(source, _Mark):
        place = source.source
        if isinstance(place, int):
            return lambda args, kwargs: args[place]
        return lambda args, kwargs: kwargs[place]
    if isinstance(source, _Rest):
        start = source.start
        return lambda args, kwargs: args[start:]
    if isinstance(source, _Named):
        names = source.names
        return lambda args, kwargs: {name: kwargs[name] for name in names}
    if isinstance(source, _Receiver):
        inner = _step(source.source)
        without = source.without
        return lambda args, kwargs: _Self(inner(args, kwargs), without)
    return lambda args, kwargs: source


def _receiver_text(value: _Self, depth: int, left: list[int]) -> str:
    from retention_pipelines.cache.keys import objects

    return objects.receiver(value.value, depth, left, value.without)


ENCODERS[_Self] = _receiver_text
