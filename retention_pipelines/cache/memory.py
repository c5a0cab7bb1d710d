"""The memory tier: answers of this process, bounded by bytes and entries, with exact lives.

What belongs here: who is let in and who has to go (W-TinyLFU, by moka), lives by the monotonic clock, removal by what
an entry was made of. What does not: what a hit or a miss leads to (`calls.py`), how values are copied (`copying`).

An entry weighs its bytes, and at least an n-th of the room, so that one bound holds for bytes and for n entries. A
removal by function, model, source or tag is a mark with a number; an entry that was put before it is gone when it is
asked for. So a removal costs the same whatever it removes, and no list of keys grows beside the entries.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

from moka_py import Moka

from retention_pipelines.cache.weighing import weight_of

Scope = Literal["key", "function", "model", "source", "tag", "all"]

_OVERHEAD_BYTES = 600
_LARGEST_SHARE = 64
_MAINTENANCE_SHARE = 32
_MARKS = 4096
_ANY_STUDY = "*"  # stands for every study: no table has this name
_LONG_SECONDS = 1e8
# No value takes so many times the bytes of its encoding, not even dicts in lists in dicts.
_MOST_EXPANSION = 48


class Held:
    """An answer in memory.

    Attributes:
        value: the cache's own object; hand out `answer()`.
        copier: how to copy it; None: it cannot change.
        computed_monotonic: when it was computed, by this process's monotonic clock.
        expires_monotonic: when its life ends; infinite: never.
        compute_seconds: how long the function took.
        size_bytes: what it weighs.
    """

    __slots__ = (
        "checked",
        "compute_seconds",
        "computed_monotonic",
        "copier",
        "expires_monotonic",
        "number",
        "scopes",
        "size_bytes",
        "value",
        "weight",
    )

    value: Any
    copier: Callable[[Any], Any] | None
    computed_monotonic: float
    expires_monotonic: float
    compute_seconds: float
    size_bytes: int
    weight: int
    scopes: tuple[tuple[str, str], ...]
    number: int
    checked: int

    @property
    def age(self) -> float:
        """Seconds since it was computed."""
        return time.monotonic() - self.computed_monotonic

    @property
    def remaining(self) -> float | None:
        """Seconds until its life ends, negative when it has; None: never."""
        return None if self.expires_monotonic == _NEVER else self.expires_monotonic - time.monotonic()

    def answer(self) -> Any:
        """The value for a caller: a copy where it could be changed."""
        return self.value if self.copier is None else self.copier(self.value)


@dataclass(frozen=True, kw_only=True, slots=True)
class MemoryStats:
    """What the memory tier holds and did.

    Attributes:
        entries: now, those removed by a mark or expired and not met since included.
        size_bytes: of those, with what each entry costs beside its value.
        refused: puts that were too large or removed before they arrived.
    """

    entries: int
    size_bytes: int
    max_entries: int
    max_bytes: int
    hits: int
    misses: int
    expired: int
    puts: int
    refused: int


_NEVER = float("inf")


@lru_cache(maxsize=1024)
def _scopes(function: str, model: str, source: str, tags: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    """All an answer may be removed by: one object for the answers of a function, which are many."""
    return (
        ("function", function),
        ("model", model),
        ("source", source),
        *([("source", _ANY_STUDY)] if source else []),
        *[("tag", tag) for tag in tags],
    )


def _weight(key: str, held: Held) -> int:
    return held.weight


class MemoryTier:
    """Bounded answers of this process; safe for threads."""

    def __init__(self, *, max_entries: int, max_bytes: int) -> None:
        self._lock = threading.Lock()
        self._marks: dict[tuple[str, str], int] = {}
        self._tables: set[str] = set()
        self._removed: dict[str, int] = {}
        self._floor = 0
        self._number = 0
        self._since_maintenance = 0
        self._hits = self._misses = self._expired = self._puts = self._refused = 0
        self._former: Moka[str, Held] | None = None
        self._set_bounds(max_entries, max_bytes)

    def _set_bounds(self, max_entries: int, max_bytes: int) -> None:
        self.max_entries = max(1, max_entries)
        self.max_bytes = max(1, max_bytes)
        self._least = max(1, self.max_bytes // self.max_entries)
        self._largest = self.max_bytes // _LARGEST_SHARE
        self._maintained = self.max_bytes // _MAINTENANCE_SHARE
        # An encoding of so many bytes cannot be of a value that counts as more than the least.
        self._unweighed = min(self._least - _OVERHEAD_BYTES, self._largest) / _MOST_EXPANSION
        self._cache: Moka[str, Held] = Moka(min(self.max_bytes, self._least * self.max_entries), weigher=_weight)
        self._get = self._cache.get

    def get(self, key: str, *, stale_seconds: float = 0.0) -> Held | None:
        """The answer under `key`, if its life has not ended more than `stale_seconds` ago."""
        held = self._get(key)
        if held is None:
            held = self._from_former(key) if self._former is not None else None
            if held is None:
                self._misses += 1
                return None
        if held.checked != self._number and self._is_marked(held):
            self._cache.remove(key)
            self._misses += 1
            return None
        if held.expires_monotonic + stale_seconds <= time.monotonic():
            self._expired += 1
            self._misses += 1
            return None
        self._hits += 1
        return held

    def put(
        self,
        key: str,
        value: Any,
        *,
        size_bytes: int,
        ttl_seconds: float | None,
        computed_monotonic: float,
        compute_seconds: float,
        copy: Callable[[Any], Any] | None,
        function: str,
        tags: tuple[str, ...] = (),
        model: str = "",
        source: str = "",
        since: int | None = None,
        stale_seconds: float = 0.0,
        owned: bool = False,
        encoded: bool = False,
    ) -> bool:
        """Keep an answer, if it is small enough and nothing removed it meanwhile.

        Args:
            key: of the call.
            value: copied with `copy` on the way in, because the caller gets this very object.
            size_bytes: of the value, where somebody knows; it counts with what it weighs in memory, if that is more.
            ttl_seconds: life from `computed_monotonic` on; None: never ends by time.
            computed_monotonic: when it was computed.
            compute_seconds: how long that took.
            copy: what `copying.copier` said.
            function: qualified name.
            tags: further names it may be removed by.
            model: id of the model it was computed with.
            source: table it was computed from.
            since: `number()` before the computation began: what was removed since is not put.
            stale_seconds: how long after its life it may still be asked for.
            owned: nobody else has `value`; no copy is needed.
            encoded: `size_bytes` are those of its encoding; a value that counts as the least whatever it weighs is
                then not weighed, which costs more than all the rest.
        """
        expires = _NEVER if ttl_seconds is None else computed_monotonic + ttl_seconds
        left = expires + stale_seconds - time.monotonic()
        if not encoded or size_bytes > self._unweighed:
            size_bytes = max(size_bytes, weight_of(value))
        weight = size_bytes + _OVERHEAD_BYTES
        if weight < self._least:
            weight = self._least
        if left <= 0 or size_bytes > self._largest:
            self._refused += 1
            if self._get(key) is not None:
                self._cache.remove(key)  # what was there is older
            return False
        held = Held()
        held.value = value if owned or copy is None else copy(value)
        held.copier = copy
        held.computed_monotonic = computed_monotonic
        held.expires_monotonic = expires
        held.compute_seconds = compute_seconds
        held.size_bytes = size_bytes
        held.weight = weight
        if source:
            self._tables.add(source)
        held.scopes = _scopes(function, model, source, tags)
        now = self._number
        held.number = now if since is None else since
        held.checked = held.number
        if held.number != now and (held.number < self._floor or self._was_removed(key, held) or self._is_marked(held)):
            self._refused += 1
            return False
        if left > _LONG_SECONDS:
            self._cache.set(key, held)
        else:
            self._cache.set(key, held, ttl=left + 1.0)  # the exact end is looked at by `get`
        if self._number != now and self._was_removed(key, held):  # while this was going on
            self._cache.remove(key)
        self._puts += 1
        self._since_maintenance += weight
        if self._since_maintenance > self._maintained:
            self._since_maintenance = 0
            self._cache.run_pending_tasks()
        return True

    def number(self) -> int:
        """How many removals there were; hand it to `put` as `since` when the computation is done."""
        return self._number

    def remove(self, key: str) -> None:
        """Forget one answer, also one that is still being computed."""
        with self._lock:
            if len(self._removed) >= _MARKS:
                self._removed.clear()
                self._floor = self._number
            self._removed[key] = self._number + 1
            self._number += 1
        self._cache.remove(key)
        if self._former is not None:
            self._former.remove(key)

    def remove_where(self, scope: Scope, target: str | None) -> None:
        """Forget all answers made of `target`."""
        if scope == "all" or target is None:
            self.clear()
            return
        if scope == "key":
            self.remove(target)
            return
        if scope == "source" and target not in self._tables:
            # A study, which only the rows below memory name: all that has a source may be of it.
            target = _ANY_STUDY
        with self._lock:
            if len(self._marks) >= _MARKS:
                self._forget_all()
            self._marks[scope, target] = self._number + 1
            self._number += 1

    def clear(self) -> None:
        """Forget all answers, and those that are still being computed."""
        with self._lock:
            self._forget_all()

    def _forget_all(self) -> None:
        self._marks.clear()
        self._marks["all", ""] = self._number + 1
        self._number += 1
        self._former = None
        self._cache.clear()
        self._cache.run_pending_tasks()

    def resize(self, *, max_entries: int | None = None, max_bytes: int | None = None) -> None:
        """Change the bounds now. Answers move to the new room when they are asked for, if it is at least as large."""
        with self._lock:
            entries, size = max_entries or self.max_entries, max_bytes or self.max_bytes
            if (entries, size) == (self.max_entries, self.max_bytes):
                return
            grows = entries >= self.max_entries and size >= self.max_bytes
            former = self._cache
            self._set_bounds(entries, size)
            self._former = former if grows else None

    def stats(self) -> MemoryStats:
        """What is there and what happened; counts of threads at the same instant may be a few short."""
        self._cache.run_pending_tasks()
        return MemoryStats(
            entries=self._cache.count(),
            size_bytes=self._cache.weighted_size(),
            max_entries=self.max_entries,
            max_bytes=self.max_bytes,
            hits=self._hits,
            misses=self._misses,
            expired=self._expired,
            puts=self._puts,
            refused=self._refused,
        )

    def _from_former(self, key: str) -> Held | None:
        former = self._former
        held: Held | None = former.remove(key) if former is not None else None
        if held is not None:
            # The least was another there.
            held.size_bytes = max(held.size_bytes, weight_of(held.value))
            held.weight = max(held.size_bytes + _OVERHEAD_BYTES, self._least)
            self._cache.set(key, held)
        return held

    def _was_removed(self, key: str, held: Held) -> bool:
        return self._removed.get(key, 0) > held.number

    def _is_marked(self, held: Held) -> bool:
        """Whether a removal after it was put names it."""
        now = self._number
        marks = self._marks
        number = held.number
        if marks.get(("all", ""), 0) > number:
            return True
        for scope in held.scopes:
            if marks.get(scope, 0) > number:
                return True
        held.checked = now
        return False
