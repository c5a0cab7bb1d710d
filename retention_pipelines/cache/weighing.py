"""What a value weighs in memory, for the bound of the memory tier.

What belongs here: an estimate that is quick and not far too low: bytes on the wire say little about Python objects (a
small int is two bytes there and up to 36 here). What does not: who has to go (`memory`).
"""

import sys
from typing import Any

_LOOKED_AT = 2000
_LIBRARIES = frozenset({"numpy", "pandas", "polars", "pyarrow"})
_PLAIN = frozenset({int, float, str, bytes, bool, type(None)})


def weight_of(value: Any) -> int:
    """Bytes of a value with all it holds; of very large containers, an estimate from their first items."""
    return _weight(value, [_LOOKED_AT], set())


def _weight(value: Any, left: list[int], met: set[int]) -> int:
    left[0] -= 1
    kind = type(value)
    if kind in _PLAIN:
        return sys.getsizeof(value)
    builtin = kind is dict or kind is list or kind is tuple
    if not builtin and kind.__module__.partition(".")[0] in _LIBRARIES:
        return _library_weight(value)
    size = sys.getsizeof(value, 64)
    if id(value) in met:
        return size
    met.add(id(value))
    if builtin:
        inside = _flat_weight(value, kind, left)
        if inside is not None:
            return size + inside
    children: Any
    if isinstance(value, dict):
        children = [part for pair in value.items() for part in pair]
    elif isinstance(value, list | tuple | set | frozenset):
        children = value
    else:
        children = [getattr(value, "__dict__", None)] if hasattr(value, "__dict__") else ()
    total = looked_at = 0
    for child in children:
        if left[0] <= 0:
            break
        total += _weight(child, left, met)
        looked_at += 1
    return size + (total * len(children) // looked_at if looked_at else 64 * len(children))


def _flat_weight(value: Any, kind: type, left: list[int]) -> int | None:
    """What is in a container of plain values; None where it holds something else or more than may be looked at."""
    count = len(value)
    if kind is dict:
        if (
            2 * count <= left[0]
            and _PLAIN.issuperset(map(type, value.values()))
            and _PLAIN.issuperset(map(type, value))
        ):
            left[0] -= 2 * count
            return sum(map(sys.getsizeof, value.values())) + sum(map(sys.getsizeof, value))
    elif count <= left[0] and _PLAIN.issuperset(map(type, value)):
        left[0] -= count
        return sum(map(sys.getsizeof, value))
    return None


def _library_weight(value: Any) -> int:
    for name in ("nbytes", "estimated_size", "memory_usage"):
        found = getattr(value, name, None)
        if found is None:
            continue
        size = found(deep=True) if name == "memory_usage" else found() if callable(found) else found
        try:
            return int(getattr(size, "sum", lambda size=size: size)()) + 200
        except (TypeError, ValueError):
            continue
    return sys.getsizeof(value, 200)
