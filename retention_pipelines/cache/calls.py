"""Calls: one cached function, and the look into memory that most calls end with.

What belongs here: what is worked out once per function, the hot path (key, memory, counters), and invalidation. What
does not: what a call that goes further takes along (`call.py`), what happens to it (`steps.py`), counting and telling
(`telling.py`), who wraps the function (`decorators.py`). The hot path takes no lock of ours, builds no event unless
someone listens, and runs no user code but the model version and key callables a function was decorated with.
"""

import logging
import math
import random
import time
import weakref
from collections.abc import Callable, Mapping
from typing import Any

from retention_pipelines.cache import caching
from retention_pipelines.cache import runtime as runtimes
from retention_pipelines.cache.call import Call, Identity, Purpose
from retention_pipelines.cache.copying import copier
from retention_pipelines.cache.early import due
from retention_pipelines.cache.entry import Payload
from retention_pipelines.cache.info import CacheInfo, Counts, read
from retention_pipelines.cache.keys import FunctionKeys, code_version
from retention_pipelines.cache.negative import Exceptions
from retention_pipelines.cache.options import Options
from retention_pipelines.cache.readonly import readonly
from retention_pipelines.cache.spatial import Locator, located
from retention_pipelines.cache.telling import COUNTED_HERE, LOG, READS_BEFORE_A_BATCH, Telling
from retention_pipelines.errors import Unkeyable

SCHEMA_VERSION = "1"
_DAY_SECONDS = 86_400.0
# Longer lives lie in the partition of all other days, where asking for fewer days helps nobody.
_LONG_SECONDS = 7 * _DAY_SECONDS


class _Bypass:
    """What `look` answers when the function should just run."""


BYPASS = _Bypass()


_PLAIN = Identity()
_REGISTRY: "weakref.WeakSet[CachedFunction]" = weakref.WeakSet()


def registered() -> "list[CachedFunction]":
    """The decorated functions of this process; others may be decorated at the same time."""
    with runtimes.BINDING:
        return list(_REGISTRY)


class CachedFunction(Telling):
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
        self._reported = dict.fromkeys(COUNTED_HERE, 0)
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
        if next(counts.memory_hits) % READS_BEFORE_A_BATCH == 0:
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
                self._reported = {tier: read(getattr(self.counts, f"{tier}_hits")) for tier in COUNTED_HERE}
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
        fixed = self.options.ttl_seconds
        if fixed is None:
            if self.options.forever:
                return None
            fixed = runtime.config.ttl_seconds(self.options.kind)
        if fixed > _LONG_SECONDS:
            return None
        if fixed > self._longest_ttl:
            self._longest_ttl = fixed
            self._longest_days = math.ceil(fixed / _DAY_SECONDS)
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
        policy = self.options.copy
        if policy == "copy":
            return copier(value)
        return None if policy == "none" else readonly(value)


def name_of(function: Any) -> str:
    """`module.qualname` of a function, partial or callable object."""
    while hasattr(function, "func") and not hasattr(function, "__qualname__"):
        function = function.func
    named = function if hasattr(function, "__qualname__") else type(function)
    return f"{getattr(named, '__module__', None) or ''}.{named.__qualname__}"


__all__ = ["BYPASS", "LOG", "CachedFunction", "Call", "Identity", "name_of", "registered"]
