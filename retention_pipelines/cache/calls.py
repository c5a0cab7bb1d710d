"""Calls: one cached function, and the look into memory that most calls end with.

What belongs here: what is worked out once per function, the hot path (key, memory, counters), what a call that goes
further takes along, and invalidation. What does not: what happens after a miss (`steps.py`), who wraps the function
(`decorators.py`). The hot path takes no lock of ours, builds no event unless someone listens, and runs no user code but
the model version and key callables a function was decorated with.
"""

import logging
import math
import random
import re
import time
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from retention_pipelines.cache import caching
from retention_pipelines.cache import runtime as runtimes
from retention_pipelines.cache.coherence import Names
from retention_pipelines.cache.copying import copier
from retention_pipelines.cache.early import due
from retention_pipelines.cache.entry import Payload
from retention_pipelines.cache.events import CacheEvent, Counters, Outcome
from retention_pipelines.cache.info import CacheInfo, Counts, read
from retention_pipelines.cache.keys import FunctionKeys, code_version
from retention_pipelines.cache.negative import Exceptions
from retention_pipelines.cache.options import Options
from retention_pipelines.cache.readonly import readonly
from retention_pipelines.cache.spatial import Locator, Place, located
from retention_pipelines.errors import Unkeyable

LOG = logging.getLogger("retention_pipelines.cache")
SCHEMA_VERSION = "1"
_READS_BEFORE_A_BATCH = 256
_DAY_SECONDS = 86_400.0
# Longer lives lie in the partition of all other days, where asking for fewer days helps nobody.
_LONG_SECONDS = 7 * _DAY_SECONDS

Purpose = Literal["miss", "early", "revalidate", "refresh"]


_COUNTED = {
    ("hit", "memory"): "memory_hits",
    ("hit", "postgres"): "postgres_hits",
    ("hit", "lake"): "lake_hits",
    ("hit", "files"): "files_hits",
    ("miss", ""): "misses",
    ("shared", ""): "shared",
    ("negative", ""): "negative",
    ("stale", ""): "stale",
    ("bypass", ""): "bypassed",
    ("unstorable", ""): "unstorable",
}


class _Bypass:
    """What `look` answers when the function should just run."""


BYPASS = _Bypass()


class Call:
    """One call that memory did not answer, with all that was read once when it began."""

    __slots__ = (
        "args",
        "cached",
        "compute_seconds",
        "computed",
        "ended",
        "fallback",
        "has_turn",
        "key",
        "kwargs",
        "model_id",
        "model_version",
        "original",
        "place",
        "purpose",
        "runtime",
        "seen",
        "seen_seq",
        "started",
        "unreadable",
    )

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
        self.fallback = fallback
        self.seen = runtime.recent.applied
        self.seen_seq = runtime.seen_seq()
        self.computed = False
        self.compute_seconds = 0.0
        self.original: Any = None
        self.has_turn = False
        self.ended = False
        self.unreadable = False

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


@dataclass(frozen=True, slots=True)
class Identity:
    """What a key needs beside the arguments."""

    model_id: str = ""
    model_version: str = ""
    place: Place | None = None
    more: object = None


def _own(value: Any) -> Any:
    try:
        copy = copier(value)
        return value if copy is None else copy(value)
    except Exception:  # noqa: BLE001 - an object that cannot be copied; the key is compared again before its answer is kept
        return value


_PLAIN = Identity()
_REGISTRY: "weakref.WeakSet[CachedFunction]" = weakref.WeakSet()


def registered() -> "list[CachedFunction]":
    """The decorated functions of this process; others may be decorated at the same time."""
    with runtimes.BINDING:
        return list(_REGISTRY)


class CachedFunction:
    """One decorated function: its keys, options and counters."""

    def __init__(
        self,
        function: Callable[..., Any],
        options: Options,
        *,
        describe: Callable[[Call, Any, Payload], Mapping[str, Any]] | None = None,
    ) -> None:
        self.function = function
        self.options = options
        self.name = name_of(function)
        self.locator = None if options.spatial is None else Locator(options.spatial, function)
        ignored = options.ignore if self.locator is None else (*options.ignore, *self.locator.names)
        self.code_version = options.version or code_version(function)
        self.keys = FunctionKeys(
            function,
            kind=options.kind,
            name="/".join(f"{len(label)}:{label}" for label in options.labels),
            code_version=self.code_version,
            include=options.key,
            ignore=ignored,
        )
        # Where a row's position is found, for functions that share no answers by it.
        self.located = located(function)
        self.counts = Counts()
        self.exceptions = Exceptions()
        self.renewing: set[str] = set()
        self._plain = self.locator is None and options.model_id is None and options.model_version is None
        self.in_memory = "memory" in options.tiers
        self._describe = describe
        self._reported_hits = 0
        self.stale_seconds = options.staleness.longest
        self._reads: list[str] = []
        self._runtime: runtimes.CacheRuntime | None = None
        self._longest_ttl, self._longest_days = 0.0, 0
        with runtimes.BINDING:
            _REGISTRY.add(self)

    # --- the hot path -------------------------------------------------------------------------------------------------

    def look(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """The answer from memory; else a `Call` to go on with, or BYPASS. Raises a remembered exception."""
        if caching.PROCESS.off or (caching.BYPASSED.get() is not None and self._is_bypassed()):
            return self._bypass("switched off")
        runtime = runtimes.CURRENT
        if runtime is None or runtime is not self._runtime:
            runtime = self._bind()
        if not runtime.enabled:
            return self._bypass("switched off")
        if runtime.polls:
            runtime.poll()
        started = time.perf_counter()
        try:
            identity = _PLAIN if self._plain else self._identity(runtime, args, kwargs)
            key = self.keys.key(
                args,
                kwargs,
                namespace=runtime.namespace,
                tenant=runtime.tenant,
                schema_version=SCHEMA_VERSION,
                model=identity.model_id,
                model_version=identity.model_version,
                more=identity.more,
            )
            held = runtime.memory.get(key, stale_seconds=self.stale_seconds) if self.in_memory else None
        except Unkeyable as error:
            return self._bypass(str(error.message))
        except Exception as error:  # noqa: BLE001 - wrong arguments, or a failing callable: the function itself will tell
            return self._bypass(f"the key could not be made: {type(error).__name__}")
        if held is None:
            if self.options.negative is not None:
                self._raise_remembered(key, started)
            return Call(self, runtime, args, kwargs, key, identity, started, "miss")
        if self.options.early or self.stale_seconds:
            purpose = self._renewal(key, held)
            if purpose is not None:
                return Call(self, runtime, args, kwargs, key, identity, started, purpose, held)
        copy = held.copier
        value = held.value if copy is None else copy(held.value)
        counts = self.counts
        elapsed = time.perf_counter() - started
        counts.memory_seconds += elapsed
        counts.avoided_seconds += held.compute_seconds
        self._reads.append(key)
        if next(counts.memory_hits) % _READS_BEFORE_A_BATCH == 0:
            self.drain(runtime)
        if self.options.hooks or runtime.hooks or LOG.isEnabledFor(logging.DEBUG):
            self.tell(
                "hit",
                key=key,
                tier="memory",
                elapsed_seconds=elapsed,
                saved_seconds=held.compute_seconds - elapsed,
                place=identity.place,
                runtime=runtime,
            )
        return value

    def _identity(self, runtime: "runtimes.CacheRuntime", args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Identity:
        model_id, version = self._model(runtime, lambda: self.keys.bind(args, kwargs))
        place, more = None, None
        if self.locator is not None:
            position = self.locator.position(args, kwargs)
            place = self.locator.place(*position)
            # A position that is none shares with equal positions only.
            more = ("at", *position) if place is None else ("cell", self.locator.grid.cell_deg, place.cell.name)
        return Identity(model_id, version, place, more)

    def _model(self, runtime: "runtimes.CacheRuntime", bind: Callable[[], Mapping[str, Any]]) -> tuple[str, str]:
        model_id, version = self.options.model_id or "", self.options.model_version
        bound = bind() if callable(model_id) or callable(version) else {}
        if callable(model_id):
            model_id = str(model_id(bound))
        if version is None:
            return model_id, runtime.model_version(model_id) if model_id else ""
        return model_id, str(version(bound)) if callable(version) else version

    def _renewal(self, key: str, held: Any) -> Purpose | None:
        """Why this caller should renew what memory holds, if it should; one caller at a time does."""
        remaining = held.remaining
        if remaining is not None and remaining <= 0:
            if -remaining >= self.options.staleness.while_revalidate:
                return "miss"
            purpose: Purpose = "revalidate"
        elif self.options.early and due(
            remaining_seconds=remaining,
            compute_seconds=held.compute_seconds,
            beta=self.options.early,
            u=random.random(),  # noqa: S311 - spreads load, guards nothing
        ):
            purpose = "early"
        else:
            return None
        with runtimes.BINDING:
            if key in self.renewing:
                return "revalidate" if purpose == "revalidate" else None
            if purpose == "early":
                self.renewing.add(key)
        return purpose

    def _raise_remembered(self, key: str, started: float) -> None:
        error = self.exceptions.recall(key)
        if error is not None:
            self.count("negative", "memory", key=key, elapsed_seconds=time.perf_counter() - started)
            raise error

    def _bypass(self, reason: str) -> _Bypass:
        self.count("bypass", reason=reason)
        return BYPASS

    def _is_bypassed(self) -> bool:
        bypassed = caching.BYPASSED.get()
        return bypassed is not None and (caching.EVERYTHING in bypassed or self.name in bypassed)

    def _bind(self) -> "runtimes.CacheRuntime":
        runtime = runtimes.current()
        with runtimes.BINDING:
            if runtime is not self._runtime:
                self._runtime = runtime
                # Not cleared: in a child after a fork a thread that is not here may hold its lock.
                self.exceptions = Exceptions()
                self.renewing.clear()
                self._reads = []
                self._reported_hits = read(self.counts.memory_hits)
        return runtime

    # --- what calls.look leaves to others -----------------------------------------------------------------------------

    def call(self, args: tuple[Any, ...], kwargs: Mapping[str, Any], purpose: Purpose) -> Call:
        """A call that computes whatever memory holds; raises Unkeyable or what the key callables raise."""
        runtime = self._bind()
        identity = _PLAIN if self._plain else self._identity(runtime, args, kwargs)
        return Call(
            self,
            runtime,
            args,
            kwargs,
            self._key(runtime, args, kwargs, identity),
            identity,
            time.perf_counter(),
            purpose,
        )

    def key(self, /, *args: Any, **kwargs: Any) -> str:
        """The key of a call with these arguments: what `invalidate` would name; raises Unkeyable."""
        runtime = self._bind()
        return self._key(runtime, args, kwargs, _PLAIN if self._plain else self._identity(runtime, args, kwargs))

    def _key(
        self, runtime: "runtimes.CacheRuntime", args: tuple[Any, ...], kwargs: Mapping[str, Any], identity: Identity
    ) -> str:
        return self.keys.key(
            args,
            kwargs,
            namespace=runtime.namespace,
            tenant=runtime.tenant,
            schema_version=SCHEMA_VERSION,
            model=identity.model_id,
            model_version=identity.model_version,
            more=identity.more,
        )

    def invalidate(self, /, *args: Any, **kwargs: Any) -> None:
        """Forget the answer of a call, everywhere; without arguments, all answers of this function."""
        runtime = self._bind()
        if args or kwargs:
            runtime.invalidate("key", self.key(*args, **kwargs))
        else:
            runtime.invalidate("function", self.name)

    def cache_info(self) -> CacheInfo:
        """What the caches did for this function in this process since it was decorated."""
        return self.counts.info(self.name)

    def bypass(self) -> Any:
        """A block in which this function just runs, in this thread or task."""
        return caching.bypass(self.name)

    def begins_renewal(self, key: str) -> bool:
        """Whether this caller is the one to renew a key; he takes it out of `renewing` when done."""
        with runtimes.BINDING:
            if key in self.renewing:
                return False
            self.renewing.add(key)
            return True

    def ttl_seconds(self, runtime: "runtimes.CacheRuntime") -> float | None:
        """Life of an answer stored now; None: for ever."""
        if self.options.forever:
            return None
        fixed = self.options.ttl_seconds
        return runtime.config.ttl_seconds(self.options.kind) if fixed is None else fixed

    def within_days(self, runtime: "runtimes.CacheRuntime") -> int | None:
        """Days in which what this function stored expires, by the longest life it had in this process; None: any."""
        ttl = self.ttl_seconds(runtime)
        if ttl is None or ttl > _LONG_SECONDS:
            return None
        if ttl > self._longest_ttl:
            self._longest_ttl = ttl
            self._longest_days = math.ceil(ttl / _DAY_SECONDS)
        return self._longest_days

    def same_model(self, call: Call) -> bool:
        """Whether the model still has the version that was read when the call began."""
        options = self.options
        if not call.model_id and options.model_version is None:
            return True
        try:
            bound = call.bound() if callable(options.model_id) or callable(options.model_version) else {}
            return self._model(call.runtime, lambda: bound) == (call.model_id, call.model_version)
        except Exception:  # noqa: BLE001 - what cannot be told any more may have changed
            return False

    def still_asks(self, call: Call) -> bool:
        """Whether arguments and model version are what they were when the call began."""
        try:
            identity = _PLAIN if self._plain else self._identity(call.runtime, call.args, call.kwargs)
            return self._key(call.runtime, call.args, call.kwargs, identity) == call.key
        except Exception:  # noqa: BLE001 - what cannot be keyed any more is not what was asked
            return False

    def describe(self, call: Call, result: Any, payload: Payload) -> Mapping[str, Any]:
        """Further columns of the entry."""
        return {} if self._describe is None else self._describe(call, result, payload)

    def read(self, key: str) -> None:
        """Note that an answer was read, for the access counts."""
        self._reads.append(key)
        if len(self._reads) >= _READS_BEFORE_A_BATCH:
            # Many different keys, none of them asked for twice: nobody else would.
            self.drain(self._runtime)

    def count(
        self,
        outcome: Outcome,
        tier: str = "",
        *,
        counted: bool = True,
        error: BaseException | None = None,
        **details: Any,
    ) -> None:
        """Count an outcome off the hot path, and tell of it."""
        if "reason" in details:
            details["reason"] = without_values(details["reason"])
        self.tally(outcome, tier, counted=counted)
        if error is not None:
            # Without its text and traceback, which may hold what the user passed.
            LOG.warning("%s: %s (%s): %s", self.name, outcome, details.get("reason", ""), type(error).__name__)
        if self.is_heard():
            self.tell(outcome, tier=tier, **details)

    def tally(self, outcome: Outcome, tier: str = "", *, counted: bool = True) -> None:
        """Count an outcome without telling of it."""
        name = _COUNTED.get((outcome, tier)) or _COUNTED.get((outcome, ""))
        if counted and name is not None:
            next(getattr(self.counts, name))
        runtime = self._runtime
        if runtime is not None:
            runtime.counters.add(self.options.kind, outcome, tier)

    def is_heard(self) -> bool:
        """Whether somebody listens to events."""
        runtime = self._runtime
        return bool(self.options.hooks or (runtime is not None and runtime.hooks) or LOG.isEnabledFor(logging.DEBUG))

    def report(self, counters: Counters) -> None:
        """Add the memory hits since last time to the counts of the process."""
        if self._runtime is None or counters is not self._runtime.counters:
            return
        with runtimes.BINDING:
            hits = read(self.counts.memory_hits)
            news, self._reported_hits = hits - self._reported_hits, hits
        if news:
            counters.add(self.options.kind, "hit", "memory", news)

    def drain(self, runtime: "runtimes.CacheRuntime | None") -> None:
        """Hand the reads counted since last time to the access counts."""
        reads, self._reads = self._reads, []
        if runtime is not None and reads:
            runtime.count_reads(self.options.kind, reads)

    def own(self, value: Any) -> tuple[Any, Callable[[Any], Any] | None]:
        """A value for the cache to hold, which no caller can change, and how it is handed out.

        It is the same object where the function said `none`.
        """
        if self.options.copy == "none":
            return value, None
        copy = copier(value)
        own = value if copy is None else copy(value)
        # What copies the value copies its copy.
        return own, readonly(own) if self.options.copy == "readonly" else copy

    def copier_of(self, value: Any) -> Callable[[Any], Any] | None:
        """How this function's answers are handed out: None where the same object may be."""
        match self.options.copy:
            case "none":
                return None
            case "readonly":
                return readonly(value)
            case _:
                return copier(value)

    def tell(
        self,
        outcome: Outcome,
        *,
        runtime: "runtimes.CacheRuntime | None" = None,
        place: Place | None = None,
        **details: Any,
    ) -> None:
        """Tell hooks and the log; what a hook raises is counted and logged, never passed on."""
        runtime = runtime or self._runtime
        hooks = (*self.options.hooks, *(runtime.hooks if runtime is not None else ()))
        debug = LOG.isEnabledFor(logging.DEBUG)
        if not hooks and not debug:
            return
        event = CacheEvent(
            kind=self.options.kind,
            outcome=outcome,
            function=self.name,
            location_grid="" if place is None else place.cell.name,
            **details,
        )
        if debug:
            from retention_pipelines.cache.logs import log_event

            log_event(LOG, event)
        for hook in hooks:
            try:
                hook(event)
            except Exception as error:  # noqa: BLE001 - a hook is a guest
                next(self.counts.hook_errors)
                LOG.warning("A cache hook failed on %s of %s: %s", outcome, self.name, type(error).__name__)


# Where a message goes on with the text of somebody else's exception.
_QUOTED_ERROR = re.compile(r"(: \w+)\(.*", re.DOTALL)


def without_values(reason: str) -> str:
    """A reason for events and logs, without the text of exceptions: that may hold an argument."""
    return _QUOTED_ERROR.sub(r"\1", reason)


def name_of(function: Any) -> str:
    """`module.qualname` of a function, partial or callable object."""
    while hasattr(function, "func") and not hasattr(function, "__qualname__"):
        function = function.func
    named = function if hasattr(function, "__qualname__") else type(function)
    return f"{getattr(named, '__module__', None) or ''}.{named.__qualname__}"


__all__ = ["BYPASS", "LOG", "CachedFunction", "Call", "Identity", "name_of", "registered"]
