"""A call that memory did not answer: what was read once when it began, and who may share what comes of it.

What belongs here: the call and the identity its key was made with. What does not: looking into memory (`calls.py`) and
what happens next (`steps.py`).
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from retention_pipelines.cache.coherence import Names
from retention_pipelines.cache.copying import copier
from retention_pipelines.cache.spatial import Place

if TYPE_CHECKING:
    from retention_pipelines.cache import runtime as runtimes
    from retention_pipelines.cache.calls import CachedFunction

Purpose = Literal["miss", "early", "revalidate", "refresh"]


@dataclass(frozen=True, slots=True)
class Identity:
    """What a key needs beside the arguments."""

    model_id: str = ""
    model_version: str = ""
    place: Place | None = None
    more: object = None


class Call:
    """One call that memory did not answer, with all that was read once when it began."""

    # What most calls leave as it is; an attribute is made where one does not.
    fallback: Any = None
    computed = False
    compute_seconds = 0.0
    original: Any = None
    has_turn = False
    ended = False
    unreadable = False

    def __init__(
        self,
        cached: "CachedFunction",
        runtime: "runtimes.CacheRuntime",
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        key: str,
        identity: "Identity",
        started: float,
        purpose: Purpose,
        fallback: Any = None,
    ) -> None:
        self.cached = cached
        self.runtime = runtime
        self.args = args
        self.kwargs = kwargs
        self.key = key
        self.model_id = identity.model_id
        self.model_version = identity.model_version
        self.place = identity.place
        self.started = started
        self.purpose = purpose
        if fallback is not None:
            self.fallback = fallback
        self.seen = runtime.recent.applied
        log = runtime.log
        self.seen_seq = None if log is None else log.seq()

    @property
    def flight(self) -> str:
        """Whom this call may share a computation with: callers who know the same invalidations."""
        return f"{self.key}:{self.seen}"

    def is_outdated(self) -> bool:
        """Whether what its answer rests on was invalidated since it began; hold `recent.lock` over this and the use."""
        recent = self.runtime.recent
        # Most of the time nothing was said, and the names need not be put together.
        return recent.applied != self.seen and recent.touched(self.seen, self.names())

    def names(self) -> Names:
        """All this call's answer can be invalidated by."""
        options = self.cached.options
        return Names(
            key=self.key,
            function=self.cached.name,
            tags=options.tags,
            model_id=self.model_id,
            model_version=self.model_version,
            source=options.source or "",
        )

    def bound(self) -> dict[str, Any]:
        """The arguments by name, with defaults."""
        return self.cached.keys.bind(self.args, self.kwargs)

    def renewal(self) -> "Call":
        """The same call to be computed behind the caller's back, with arguments of its own: he may change his."""
        identity = Identity(self.model_id, self.model_version, self.place)
        args = tuple(_own(value) for value in self.args)
        kwargs = {name: _own(value) for name, value in self.kwargs.items()}
        return Call(self.cached, self.runtime, args, kwargs, self.key, identity, time.perf_counter(), "revalidate")


def _own(value: Any) -> Any:
    try:
        copy = copier(value)
        return value if copy is None else copy(value)
    except Exception:  # noqa: BLE001 - an object that cannot be copied; the key is compared again before its answer is kept
        return value
