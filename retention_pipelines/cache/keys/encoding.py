"""The typed, length-prefixed encoding of a value, as text.

What belongs here: plain values and builtin containers, fast, and the dispatch by exact type. What does not: the other
types of the standard library and user classes (`objects`), NumPy (`arrays`), pandas, Polars and Arrow (`frames`).

Grammar: a plain value (None, bool, int, float, str) is its Python literal, which ends where it ends; a container is a
tag with its children, each behind its length, or, when all of them are plain, one literal; everything else starts with
`#`, which no literal does. So different values have different texts: 1, 1.0, True and "1", -0.0 and 0.0, (1,) and [1].
"""

from collections.abc import Callable, Iterable
from operator import itemgetter
from typing import Any

from retention_pipelines.cache.loading import loading
from retention_pipelines.errors import Unkeyable

DEPTH_LIMIT = 100
# Steps: a container costs one and its depth, so that a value which holds the same part over and over is soon refused.
CONTAINER_LIMIT = 1_500_000
_SHAPE_LIMIT = 4096
_LONG = 512

PLAIN = frozenset({type(None), bool, int, float, str})
_STR = frozenset({str})

Encoder = Callable[[Any, int, list[int]], str]


def encode(value: object) -> bytes:
    """The encoding of `value`.

    Raises:
        Unkeyable: nothing exact can be said about it.
    """
    return guarded(value).encode()


def guarded(value: object) -> str:
    """The encoding as text; whatever a foreign object raises on the way becomes `Unkeyable`."""
    try:
        return text(value, 0, [CONTAINER_LIMIT])
    except Unkeyable:
        raise
    except Exception as error:
        raise Unkeyable(f"A value of type {type(value).__name__} cannot be keyed: {type(error).__name__}.") from error


def text(value: Any, depth: int, left: list[int]) -> str:
    """The encoding of `value` at `depth`; `left[0]` steps may still be made."""
    kind = type(value)
    if kind in PLAIN:
        try:
            return repr(value)
        except ValueError:  # ints of more than 4300 digits
            return f"#int:{value:x}"
    return (ENCODERS.get(kind) or _encoder_of(kind))(value, depth, left)


def sequence(values: tuple[Any, ...] | list[Any], depth: int, left: list[int]) -> str:
    """The children of a tuple or list, in order, without saying which of the two."""
    if PLAIN.issuperset(map(type, values)):
        try:
            return repr(tuple(values))
        except ValueError:
            pass
    enter(depth, left)
    return "*" + joined([text(value, depth + 1, left) for value in values])


def joined(parts: Iterable[str]) -> str:
    """Parts behind their lengths."""
    return "".join([f"{len(part)}:{part}" for part in parts])


def tagged(tag: str, *parts: str) -> str:
    """A value of a type of its own: its tag and its parts."""
    return f"#{tag}:{joined(parts)}"


def enter(depth: int, left: list[int]) -> None:
    """Refuse what is too deep (or holds itself) or too large to walk."""
    if depth >= DEPTH_LIMIT:
        raise Unkeyable(f"The value is nested more than {DEPTH_LIMIT} deep, or contains itself.", hint=HINT)
    left[0] -= depth + 1
    if left[0] < 0:
        raise Unkeyable("The value holds more containers than a key is made of.", hint=HINT)


HINT = "Say with key=... which arguments matter, or give the class a method __cache_key__()."


def _list(value: list[Any], depth: int, left: list[int]) -> str:
    return "l" + sequence(value, depth, left)


def _tuple(value: tuple[Any, ...], depth: int, left: list[int]) -> str:
    return "t" + sequence(value, depth, left)


_SHAPES: dict[tuple[str, ...], tuple[str, Callable[[Any], Any]]] = {}


def _dict(value: dict[Any, Any], depth: int, left: list[int]) -> str:
    if not _STR.issuperset(map(type, value)):
        return mapping(value, depth, left)
    names = tuple(value)
    shape = _SHAPES.get(names)
    if shape is None:
        shape = _shape(names)
    values = shape[1](value)
    if PLAIN.issuperset(map(type, values)):
        try:
            return shape[0] + repr(values)
        except ValueError:
            pass
    return shape[0] + sequence(values, depth, left)


def _shape(names: tuple[str, ...]) -> tuple[str, Callable[[Any], Any]]:
    """The text of sorted names and a getter of their values: functions see the same few sets of names again."""
    order = tuple(sorted(names))
    keys = repr(order)
    getter: Callable[[Any], Any]
    if len(order) > 1:
        getter = itemgetter(*order)
    else:

        def getter(value: dict[str, Any]) -> tuple[Any, ...]:
            return tuple(value.values())

    shape = (f"d{len(keys)}:{keys}", getter)
    if len(keys) < _LONG:
        if len(_SHAPES) >= _SHAPE_LIMIT:
            _SHAPES.clear()
        _SHAPES[names] = shape
    return shape


def mapping(value: Any, depth: int, left: list[int]) -> str:
    """A mapping with keys of any type; its order does not matter."""
    enter(depth, left)
    pairs = [(text(key, depth + 1, left), text(item, depth + 1, left)) for key, item in value.items()]
    pairs.sort()
    return "D" + joined([part for pair in pairs for part in pair])


def _set(value: set[Any], depth: int, left: list[int]) -> str:
    return "s" + unordered(value, depth, left)


def _frozenset(value: frozenset[Any], depth: int, left: list[int]) -> str:
    return "z" + unordered(value, depth, left)


def unordered(values: Iterable[Any], depth: int, left: list[int]) -> str:
    """Children whose order does not matter."""
    enter(depth, left)
    return joined(sorted([text(value, depth + 1, left) for value in values]))


ENCODERS: dict[type, Encoder] = {list: _list, tuple: _tuple, dict: _dict, set: _set, frozenset: _frozenset}


def _encoder_of(kind: type) -> Encoder:
    """The encoder of a type met for the first time; the rare types are loaded only now."""
    with loading():
        from retention_pipelines.cache.keys import objects

        return objects.encoder_of(kind)
