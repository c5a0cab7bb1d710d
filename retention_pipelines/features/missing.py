"""Features that were asked for and are not there: told to whoever wants to know, at no cost where nobody does.

What belongs here: telling. What does not: whether retention took them, which the caches ask behind the caller
(`cache/access.py`).
"""

import os
import weakref
from collections.abc import Iterable
from typing import Protocol

DATASET = "feature_store"


class Misses(Protocol):
    """Who notes what was asked for in vain."""

    def miss(self, dataset: str, key: str, recompute_seconds: float | None) -> None:
        """Note one key of a dataset; what computing it again costs, where that is known."""


# Replaced whole, never changed: another thread may be telling them.
_listeners: tuple["weakref.ref[Misses]", ...] = ()


def listen(listener: Misses) -> None:
    """Tell this one from now on, for as long as it lives."""
    global _listeners
    _listeners = (*(one for one in _listeners if one() is not None), weakref.ref(listener))


def tell_missing(feature_ids: Iterable[str]) -> None:
    """Say that these features, `<study>/<feature type>`, were asked for in vain."""
    listeners = [listener for one in _listeners if (listener := one()) is not None]
    if not listeners:
        return
    for feature_id in feature_ids:
        for listener in listeners:
            listener.miss(DATASET, feature_id, None)


def _forget() -> None:
    global _listeners
    _listeners = ()


# Those of a parent process would come to life again in its child.
os.register_at_fork(after_in_child=_forget)
