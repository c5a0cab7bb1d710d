"""Which training sets a piece of code used: what a model that it trains is trained on.

What belongs here: noting keys in the context of the code. What does not: what is done with them (`integration`).
"""

from collections.abc import Callable
from contextvars import ContextVar

_USED: "ContextVar[UsedSets | None]" = ContextVar("retention_training_used", default=None)


class UsedSets:
    """Collects the keys of the sets that are served or kept from its making until its end, in their order.

    `told` is called with each, once.
    """

    def __init__(self, told: Callable[[str], None] | None = None) -> None:
        self._keys: dict[str, None] = {}
        self._told = told
        self._token = _USED.set(self)

    def add(self, key: str) -> None:
        """Note a set."""
        if key not in self._keys:
            self._keys[key] = None
            if self._told is not None:
                self._told(key)

    def end(self) -> tuple[str, ...]:
        """Stop collecting, in the context it was made in; returns the keys."""
        _USED.reset(self._token)
        return tuple(self._keys)


def note_set(key: str) -> None:
    """Note that a set was used, if anybody wants to know."""
    used = _USED.get()
    if used is not None:
        used.add(key)
