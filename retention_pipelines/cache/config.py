"""Live values: the few numbers of the caches that may change while a process runs; changes take effect at once.

What belongs here: names, bounds and who is told. What does not: everything that is fixed when a process starts
(`settings.py`, which also gives the first values of these).
"""

import difflib
import math
import threading
from collections.abc import Callable, Iterator, MutableMapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from retention_pipelines.cache.entry import Kind
from retention_pipelines.errors import SettingsError

if TYPE_CHECKING:
    from retention_pipelines.settings import Settings

Value = float | int | bool


@dataclass(frozen=True, kw_only=True, slots=True)
class _Bounds:
    whole: bool = False
    truth: bool = False
    above: float = 0.0

    def check(self, name: str, value: object) -> Value:
        if self.truth:
            if isinstance(value, bool):
                return value
            raise SettingsError(f"{name} is {value!r}.", hint="Give True or False.")
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise SettingsError(f"{name} is {value!r}.", hint="Give a finite number.")
        if value <= self.above:
            raise SettingsError(f"{name} is {value!r}.", hint=f"It must be above {self.above:g}.")
        if not self.whole:
            return float(value)
        if value != int(value):
            raise SettingsError(f"{name} is {value!r}.", hint="It must be a whole number.")
        return int(value)


_BOUNDS = {
    "enabled": _Bounds(truth=True),
    "feature_ttl_hours": _Bounds(),
    "prediction_ttl_hours": _Bounds(),
    "training_ttl_hours": _Bounds(),
    "memory_cache_size": _Bounds(whole=True),
    "memory_cache_mb": _Bounds(whole=True),
}
_TTL_OF: dict[Kind, str] = {
    "features": "feature_ttl_hours",
    "predictions": "prediction_ttl_hours",
    "training": "training_ttl_hours",
}


class UnknownValue(SettingsError, KeyError):
    """A name that is no live value; a KeyError as well, so that `in` and `.get()` work as for every mapping."""


class CacheConfig(MutableMapping[str, Value]):
    """The live values, as a mapping with a fixed set of names.

    A life (`*_ttl_hours`) holds for what is stored from then on; sizes (`memory_cache_size` entries, `memory_cache_mb`)
    shrink or grow the memory tier right away; `enabled = False` lets decorated functions just run. Deleting a value
    brings back the one of the settings.
    """

    def __init__(self, settings: "Settings", *, changed: Callable[["CacheConfig"], None] | None = None) -> None:
        self._lock = threading.Lock()
        self._first: dict[str, Value] = {
            "enabled": settings.cache_enabled,
            "feature_ttl_hours": settings.feature_ttl_hours,
            "prediction_ttl_hours": settings.prediction_ttl_hours,
            "training_ttl_hours": settings.training_ttl_hours,
            "memory_cache_size": settings.cache_memory_entries,
            "memory_cache_mb": settings.cache_memory_mb,
        }
        self._values = dict(self._first)
        self._changed = changed

    def ttl_seconds(self, kind: Kind) -> float:
        """Life of entries of a kind that name none themselves."""
        return float(self._values[_TTL_OF[kind]]) * 3600.0

    def __getitem__(self, name: str) -> Value:
        return self._values[self._known(name)]

    def __setitem__(self, name: str, value: Value) -> None:
        checked = _BOUNDS[self._known(name)].check(name, value)
        with self._lock:
            self._values[name] = checked
            if self._changed is not None:
                self._changed(self)

    def __delitem__(self, name: str) -> None:
        self[name] = self._first[self._known(name)]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"CacheConfig({self._values!r})"

    @staticmethod
    def _known(name: str) -> str:
        if name in _BOUNDS:
            return name
        near = difflib.get_close_matches(str(name), _BOUNDS, n=1, cutoff=0.0)
        raise UnknownValue(f"{name!r} is no live value of the caches.", hint=f"Did you mean {near[0]!r}?")
