"""Handing out arrays without copying them: views that cannot be written (`copy="readonly"`).

What belongs here: values that hold NumPy arrays in plain containers. What does not: every other value, which is
copied as always (`copying.py`). A caller who writes into such an array gets NumPy's own error instead of changing the
cache.
"""

import sys
from collections.abc import Callable
from typing import Any

from retention_pipelines.cache.copying import copier

_CONTAINERS = (dict, list, tuple)


def readonly(value: Any) -> Callable[[Any], Any] | None:
    """How to hand out a value of the cache's own, whose arrays are locked by this; None: as it is."""
    if not _holds_array(value):
        return copier(value)
    _lock(value)
    return _view


def _is_array(value: Any) -> bool:
    numpy = sys.modules.get("numpy")
    return numpy is not None and type(value) is numpy.ndarray


def _holds_array(value: Any) -> bool:
    if type(value) is dict:
        return any(_holds_array(item) for item in value.values())
    if type(value) in (list, tuple):
        return any(_holds_array(item) for item in value)
    return _is_array(value)


def _lock(value: Any) -> None:
    if _is_array(value):
        # A view of a locked array cannot be unlocked again by whoever has it.
        value.flags.writeable = False
    elif type(value) in _CONTAINERS:
        for item in value.values() if type(value) is dict else value:
            _lock(item)


def _view(value: Any) -> Any:
    if _is_array(value):
        return value.view()
    if type(value) is dict:
        return {name: _view(item) for name, item in value.items()}
    if type(value) in (list, tuple):
        return type(value)(_view(item) for item in value)
    copy = copier(value)
    return value if copy is None else copy(value)
