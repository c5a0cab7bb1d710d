"""Answers to calls for training sets: from the files, or prepared by one caller for all that wait.

What belongs here: the order of things for a set, in the form of `cache/steps.py`, so that its loops serve functions and
coroutines alike; and failing open. What does not: keys, counting and the hot path (`cache/calls.py`), storing
(`store.py`). Nothing is kept in memory: the files are in the system's page cache, and mapping them is the copy.
"""

import logging
import time
import weakref
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from retention_pipelines.cache import answers
from retention_pipelines.cache.calls import Call
from retention_pipelines.cache.keep import Answer
from retention_pipelines.cache.memory import Scope
from retention_pipelines.cache.runtime import CacheRuntime
from retention_pipelines.cache.steps import COMPUTE, RAISE, Failed, Steps, lead, lead_async
from retention_pipelines.cache.training.used import note_set
from retention_pipelines.errors import CacheError, RetentionError, StorageFull, Unstorable

if TYPE_CHECKING:
    from retention_pipelines.cache.training.store import StoredTrainingSet, TrainingSets

LOG = logging.getLogger("retention_pipelines.cache")
# How long a thread waits at a time, so that few threads serve many waiting coroutines.
_SLICE_SECONDS = 0.25
# Keys of the sets that the present thread or task is preparing.
_PREPARING: ContextVar[frozenset[str]] = ContextVar("retention_training_preparing", default=frozenset())
_SETS: "weakref.WeakKeyDictionary[CacheRuntime, TrainingSets]" = weakref.WeakKeyDictionary()


def sets_of(runtime: CacheRuntime) -> "TrainingSets | None":
    """The store of a runtime; None where there are no files to be used: in a test, or without usable settings."""
    if runtime.testing or runtime.hot is None:
        return None
    found = _SETS.get(runtime)
    if found is None:
        from retention_pipelines.cache.training.store import TrainingSets

        # Without a lock, which a fork may leave locked: a second store beside the first does no harm.
        found = _SETS[runtime] = TrainingSets(runtime.settings, hot=runtime.hot, counters=runtime.counters)
        if not runtime.read_only:
            runtime.also_told.append(partial(_mark, found))
    return found


def _mark(sets: "TrainingSets", scope: Scope, target: str | None, version: str | None) -> None:
    """Mark the sets that an invalidation names. A model's new version says nothing about what it is trained on."""
    if scope == "model" and version is not None:
        return
    try:
        sets.invalidate(scope, target)
    except (RetentionError, OSError) as error:
        sets.counters.add("training", "degraded", "files")
        LOG.warning("Training sets of %s %s could not be marked as invalid: %s", scope, target, error)


@contextmanager
def _preparing(key: str) -> Iterator[None]:
    token = _PREPARING.set(_PREPARING.get() | {key})
    try:
        yield
    finally:
        _PREPARING.reset(token)


@dataclass(frozen=True, kw_only=True)
class _Found:
    """A set from the files."""

    answer: Answer
    lake_versions: Mapping[str, int]

    def used(self) -> Answer:
        """The answer; a set that is being prepared from it is built from the same lake tables."""
        from retention_pipelines.warehouse.reads import note_read

        for name, version in self.lake_versions.items():
            note_read(name, partial(int, version))
        return self.answer


@dataclass(frozen=True, kw_only=True)
class _Began:
    """What was true when a preparation began."""

    started_ns: int
    lake_versions: dict[str, int]
    as_of_seq: int | None


@dataclass(frozen=True, kw_only=True)
class TrainingAnswers:
    """The four ways to answer a call, as `cache/answers.py` has them."""

    model_type: str
    depends_on: tuple[str, ...] = ()
    trusted: tuple[str, ...] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)
    wait_seconds: float = 600.0

    def answer(self, call: Call) -> Any:
        """The value of a call to a function."""
        sets = self._sets(call)
        if sets is None:
            return answers.answer(call)
        try:
            found, leader = call.runtime.flights.run(call.flight, lambda: lead(call, self._steps(call, sets)))
        except BaseException as error:
            answers.failed(call, error)
            raise
        if leader:
            return self._served(call, found)
        again = self._find(call, sets)
        return call.cached.function(*call.args, **call.kwargs) if again is None else self._shared(call, again)

    async def answer_async(self, call: Call) -> Any:
        """The value of a call to a coroutine function."""
        sets = self._sets(call)
        if sets is None:
            return await answers.answer_async(call)
        try:
            found, leader = await call.runtime.flights.run_async(
                call.flight, lambda: lead_async(call, self._steps(call, sets))
            )
        except BaseException as error:
            answers.failed(call, error)
            raise
        if leader:
            return self._served(call, found)
        again = await call.runtime.in_thread(partial(self._find, call, sets))
        return await call.cached.function(*call.args, **call.kwargs) if again is None else self._shared(call, again)

    def refresh(self, call: Call) -> Any:
        """Prepare whatever is cached, keep and return it."""
        sets = self._sets(call)
        if sets is None:
            return answers.refresh(call)
        try:
            return answers.after_renewal(call, lead(call, self._steps(call, sets)))
        except BaseException as error:
            answers.failed(call, error)
            raise

    async def refresh_async(self, call: Call) -> Any:
        """The same for a coroutine function."""
        sets = self._sets(call)
        if sets is None:
            return await answers.refresh_async(call)
        try:
            return answers.after_renewal(call, await lead_async(call, self._steps(call, sets)))
        except BaseException as error:
            answers.failed(call, error)
            raise

    # -- the steps of one call ------------------------------------------------------------------------------------

    def _steps(self, call: Call, sets: "TrainingSets") -> Steps:
        """What one caller does for all that wait; see `cache/steps.py`."""
        from retention_pipelines.cache.in_use import Leases
        from retention_pipelines.cache.training.turn import Turn
        from retention_pipelines.warehouse.reads import recording

        found: _Found | None
        if call.purpose != "refresh":
            found = yield partial(self._find, call, sets)
            if found is not None:
                yield found.used()
                return
        turn, leases = Turn(sets.root / "turns" / call.key), None
        try:
            alone = call.runtime.read_only or call.key in _PREPARING.get()  # the turn is the outer call's already
            if not alone and (yield from self._take(call, turn)) and call.purpose != "refresh":
                # Another process had its turn: what it prepared may be there.
                found = yield partial(self._find, call, sets)
                if found is not None:
                    turn.end()
                    yield found.used()
                    return
            began = yield partial(self._begin, call, sets)
            started = time.perf_counter()
            # What is read now is in use until the set is stored: several readings then see the same rows.
            leases = Leases(call.runtime, f"building a training set of {call.cached.name}")
            with recording(leases.table) as reads, _preparing(call.key):
                result = yield COMPUTE
            seconds = time.perf_counter() - started
            if type(result) is Failed:
                # Not left to the end of this generator: whoever holds the exception keeps it alive.
                call.runtime.behind(leases.end)
                turn.end()
                yield RAISE
                return
            call.computed, call.original, call.compute_seconds = True, result, seconds
            if call.purpose == "miss" and call.runtime.access is not None:
                call.runtime.access.miss("training_cache", call.key, seconds)
            kept = yield partial(self._keep, call, sets, result, began, reads)
            turn.end()
            yield kept
        finally:
            turn.end()
            if leases is not None:
                call.runtime.behind(leases.end)

    def _take(self, call: Call, turn: Any) -> Generator[Callable[[], Any], Any, bool]:
        """Wait for the turn to prepare, so long and no longer; returns whether another process had it meanwhile."""
        ends = time.monotonic() + self.wait_seconds
        waited = False
        while True:
            left = ends - time.monotonic()
            try:
                mine = yield partial(turn.take, max(0.0, min(_SLICE_SECONDS if waited else 0.0, left)))
            except OSError as error:
                call.cached.count("degraded", "files", reason="no turns can be had", key=call.key, error=error)
                return waited
            if mine or (waited and left <= 0):
                return waited
            waited = True

    def _find(self, call: Call, sets: "TrainingSets") -> _Found | None:
        """The set of a call, mapped anew; None, and counted, whatever goes wrong."""
        try:
            stored = sets.find(call.key, trusted=self.trusted)
            if stored is None and call.purpose == "miss" and not call.runtime.read_only and sets.resurrect(call.key):
                # Retention took it out and its grace lasts: it is back, and was regretted.
                stored = sets.find(call.key, trusted=self.trusted)
                if stored is not None and call.runtime.access is not None:
                    call.runtime.access.miss("training_cache", call.key, 0.0)
        except Exception as error:  # noqa: BLE001 - fails open: the function runs instead
            call.cached.count("degraded", "files", reason=type(error).__name__, key=call.key, error=error)
            return None
        return None if stored is None else _found(stored)

    def _begin(self, call: Call, sets: "TrainingSets") -> _Began | None:
        """Note the time and what the lake is like before anything is read; None: it cannot be told."""
        try:
            return _Began(
                started_ns=sets.clock_ns(),
                lake_versions=sets.versions.now(self.depends_on),
                as_of_seq=call.runtime.first_seq(),
            )
        except Exception as error:  # noqa: BLE001 - the set is prepared and not kept
            call.cached.count("degraded", "lake", reason=type(error).__name__, key=call.key, error=error)
            return None

    def _keep(
        self, call: Call, sets: "TrainingSets", result: Any, began: _Began | None, reads: Mapping[str, int]
    ) -> Answer:
        """Store what was prepared; whatever goes wrong costs the cache a set, never the caller."""
        cached = call.cached
        if call.runtime.read_only or began is None:
            return Answer(shareable=False)
        if not cached.still_asks(call):
            cached.count("unstorable", reason="the arguments were changed while it was prepared", key=call.key)
            return Answer(shareable=False)
        # Of two versions the older: what was committed between them may not have been read.
        versions = {name: min(reads.get(name, version), version) for name, version in began.lake_versions.items()}
        try:
            stored = self._save(call, sets, result, began, {**reads, **versions})
        except Unstorable as error:
            cached.count("unstorable", reason=str(error), key=call.key)
        except StorageFull as error:
            LOG.warning("%s: the disk is full, the training set is returned uncached: %s", cached.name, error)
            cached.count("dropped", "files", reason="disk full", key=call.key)
        except Exception as error:  # noqa: BLE001 - code of the result's own class may run; the caller has its result
            cached.count("degraded", "files", reason=type(error).__name__, key=call.key, error=error)
        else:
            if stored is not None:
                return Answer(
                    compute_seconds=call.compute_seconds,
                    remaining_seconds=stored.remaining_seconds,
                    size_bytes=stored.size_bytes,
                )
        return Answer(shareable=False)

    def _save(
        self, call: Call, sets: "TrainingSets", result: Any, began: _Began, versions: dict[str, int]
    ) -> "StoredTrainingSet | None":
        from retention_pipelines.cache.training.description import Description, describe
        from retention_pipelines.cache.training.store import Preparation

        cached = call.cached
        try:
            told = describe(result, parameters=_parameters(call), data_versions=versions, provenance=self.provenance)
        except Exception as error:  # noqa: BLE001 - descriptions are for people; a set without one is still right
            cached.count("error", counted=False, reason=f"{type(error).__name__} while describing", key=call.key)
            told = Description(data_versions=versions)
        return sets.save(
            call.key,
            result,
            description=told,
            preparation=Preparation(
                started_ns=began.started_ns,
                compute_seconds=call.compute_seconds,
                function=cached.name,
                model_type=self.model_type,
                model_version=cached.options.version,
                code_version=cached.code_version,
                ttl_seconds=cached.ttl_seconds(call.runtime),
                tags=cached.options.tags,
                lake_versions=versions,
                as_of_seq=began.as_of_seq,
                trusted=self.trusted,
            ),
        )

    # -- what callers get -----------------------------------------------------------------------------------------

    def _sets(self, call: Call) -> "TrainingSets | None":
        try:
            return sets_of(call.runtime)
        except (CacheError, ImportError) as error:
            call.cached.count("degraded", "files", reason=type(error).__name__, key=call.key, error=error)
            return None

    @staticmethod
    def _served(call: Call, found: Answer) -> Any:
        value = answers.served(call, found)
        if found.shareable:
            note_set(call.key)
        if not call.computed:
            call.cached.drain(call.runtime)
        return value

    @staticmethod
    def _shared(call: Call, again: _Found) -> Any:
        found = again.used()
        note_set(call.key)
        elapsed = time.perf_counter() - call.started
        call.cached.count("shared", key=call.key, elapsed_seconds=elapsed, size_bytes=found.size_bytes)
        return found.value


def _found(stored: "StoredTrainingSet") -> _Found:
    answer = Answer(
        value=stored.value,
        tier="files",
        age_seconds=stored.age_seconds,
        remaining_seconds=stored.remaining_seconds,
        compute_seconds=stored.compute_seconds,
        size_bytes=stored.size_bytes,
    )
    return _Found(answer=answer, lake_versions=stored.lake_versions)


def _parameters(call: Call) -> dict[str, Any]:
    return {name: value for name, value in call.bound().items() if name not in ("self", "cls")}
