"""Advice: what a patched function does instead: ask a cache, tell hooks, register a retrained model, queue a study.

What belongs here: from a target and the original function to the replacement. What does not: putting it in place
(`patching.py`), the caches themselves. Nothing here changes what the caller gets or raises but the cache, which gives
what the original would; what fails beside it is counted and logged.
"""

import inspect
import itertools
import logging
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

from retention_pipelines.cache import runtime as runtimes
from retention_pipelines.cache.decorators import cache_features, cache_predictions
from retention_pipelines.cache.in_use import Leases
from retention_pipelines.cache.info import read
from retention_pipelines.cache.logs import kind_and_place
from retention_pipelines.cache.spatial import Grid
from retention_pipelines.cache.training.used import UsedSets
from retention_pipelines.errors import IntegrationError, RetentionError
from retention_pipelines.integration.hooks import Happening, Hooks, Moment
from retention_pipelines.integration.places import ABSENT
from retention_pipelines.integration.spots import Spot, is_async
from retention_pipelines.integration.targets import Target, as_text, value_at

LOG = logging.getLogger(__name__)
Function = Callable[..., Any]
# More kinds of features than this from one function are a mistake in the mapping: an argument that is no type.
_MOST_FEATURE_TYPES = 64
_FURTHER = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
_AROUND: dict[str, tuple[Moment, Moment]] = {
    "prediction": ("before_prediction", "after_prediction"),
    "retraining": ("before_training", "after_training"),
}


@dataclass(frozen=True, slots=True)
class Tally:
    """Counts of one process: calls through patched functions, and what failed beside them."""

    calls: "itertools.count[int]" = field(default_factory=itertools.count)
    retrained: "itertools.count[int]" = field(default_factory=itertools.count)
    not_registered: "itertools.count[int]" = field(default_factory=itertools.count)
    not_queued: "itertools.count[int]" = field(default_factory=itertools.count)

    def read(self) -> dict[str, int]:
        """The counts now."""
        return {name: read(getattr(self, name)) for name in self.__slots__}


class Unregistered:
    """Versions of models that were retrained here and could not be registered: they count in this process.

    Until a registration of the model succeeds; so nothing that any queue or store still holds of the former version is
    served, however long the database is away.
    """

    def __init__(self) -> None:
        self._versions: dict[str, str] = {}

    def note(self, model: str, version: str) -> None:
        """This process has a version nobody else knows."""
        self._versions[model] = version

    def forget(self, model: str) -> None:
        """Everybody knows the version now."""
        self._versions.pop(model, None)

    def version(self, model: str) -> str:
        """The version to ask the caches for."""
        return self._versions.get(model) or runtimes.current().model_version(model)


class Advice:
    """What is done at one target."""

    def __init__(
        self, target: Target, spot: Spot, *, tally: Tally, hooks: Hooks, unregistered: Unregistered | None = None
    ) -> None:
        self.target = target
        self._unregistered = unregistered or Unregistered()
        self._tally = tally
        self._hooks = hooks
        try:
            self._signature = inspect.signature(spot.function)
        except (TypeError, ValueError) as error:
            raise IntegrationError(
                f"{target.target} has no signature Python knows, so that its arguments have no names."
            ) from error
        parameters = self._signature.parameters
        self._takes_more = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values())
        self._receiver = next(iter(parameters), None) if _is_bound(spot) else None
        target.check(parameters, open_ended=self._takes_more)
        called = spot.function
        if inspect.isgeneratorfunction(called) or inspect.isasyncgenfunction(called):
            raise IntegrationError(f"{target.target} is a generator, which can be consumed only once.")

    def replacement(self, function: Function) -> Function:
        """What to call instead of `function`."""
        match self.target.kind:
            case "prediction":
                inner = self._prediction(function)
            case "features":
                inner = self._features(function)
            case "training":
                inner = self._training(function)
            case _:
                inner = function
        return self._around(function, inner)

    # --- what is cached -----------------------------------------------------------------------------------------------

    def _prediction(self, function: Function) -> Function:
        target = self.target
        version = target.version
        return cache_predictions(
            target.model_type or target.name,
            target.ttl_hours,
            model_id=target.model_id,
            model_version=lambda bound: (
                self._unregistered.version(target.model_id(bound)) if version is None else self._text_at(version, bound)
            ),
            spatial=None if target.cell_deg is None else Grid(target.cell_deg),
            **self._what_matters(),
        )(function)

    def _features(self, function: Function) -> Function:
        target = self.target
        assert target.feature_type is not None  # noqa: S101 - a target of features has one
        decorated: dict[tuple[str, str], Function] = {}

        def by_type(*args: Any, **kwargs: Any) -> Any:
            try:
                bound = self.bind(args, kwargs)
                labels = target.feature_type.read(bound), target.source_table.read(bound)  # type: ignore[union-attr]
            except (TypeError, IntegrationError):
                return function(*args, **kwargs)  # a call that does not fit: the function itself will tell
            chosen = decorated.get(labels)
            if chosen is None:
                if len(decorated) >= _MOST_FEATURE_TYPES:
                    return function(*args, **kwargs)
                wrapped = cache_features(*labels, ttl_hours=target.ttl_hours, **self._what_matters())(function)
                chosen = decorated.setdefault(labels, wrapped)
            return chosen(*args, **kwargs)

        return by_type

    def _training(self, function: Function) -> Function:
        from retention_pipelines.cache.training.decorator import cache_training_data

        target = self.target
        more: dict[str, Any] = {} if target.ttl_hours is None else {"ttl_hours": target.ttl_hours}
        decorated: dict[str, Function] = {}

        def by_model(*args: Any, **kwargs: Any) -> Any:
            try:
                model = target.model_id(self.bind(args, kwargs))
            except (TypeError, IntegrationError):
                return function(*args, **kwargs)
            chosen = decorated.get(model)
            if chosen is None:
                if len(decorated) >= _MOST_FEATURE_TYPES:
                    return function(*args, **kwargs)
                wrapped: Function = cache_training_data(model, **more, **self._what_matters())(function)
                chosen = decorated.setdefault(model, wrapped)
            return chosen(*args, **kwargs)

        return by_model

    def _what_matters(self) -> dict[str, Any]:
        """Options `key` and `ignore` of the decorators."""
        target, receiver = self.target, self._receiver
        if receiver is None or target.receiver == "state":
            if target.also:
                raise IntegrationError(
                    f"{target.target}: `also` is for methods with `receiver: class`.",
                    hint="Without it everything a call depends on is in the key already.",
                )
            if target.only:
                return {"key": [*([receiver] if receiver else []), *target.only]}
            return {"ignore": list(target.ignore)}
        kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        positional = [p.name for p in self._signature.parameters.values() if p.kind in kinds]
        by_name = any(p.kind in _FURTHER for p in self._signature.parameters.values())
        ignored, only, also = {receiver, *target.ignore}, target.only, target.also

        def matters(*args: Any, **kwargs: Any) -> object:
            # Called with all arguments there are, those that can be by position: no need to bind them again.
            bound = dict(zip(positional, args, strict=False))
            rest = args[len(positional) :]
            on = bound[receiver]
            bound |= kwargs
            if only:
                named = {name: bound[name] for name in only}
            else:
                named = {name: value for name, value in bound.items() if name not in ignored}
            more = [(path, value) for path in also if (value := value_at(path, bound)) is not ABSENT]
            kind = on if isinstance(on, type) else type(on)
            if by_name:
                return kind, named, rest, more
            # Without further arguments the values alone, in the order of the parameters, say which is which.
            return kind, more, *named.values()

        return {"key": matters}

    # --- what is done beside it ---------------------------------------------------------------------------------------

    def _around(self, function: Function, inner: Function) -> Function:
        moments = _AROUND.get(self.target.kind)
        after = {"retraining": self._retrained, "study": self._studied}.get(self.target.kind)
        trains = self.target.kind == "retraining"

        def begin(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> _Work:
            next(self._tally.calls)
            told = None
            if moments is not None and self._hooks.wanted(*moments):
                told = _Told(self, moments, args, kwargs)
                told.before(self._hooks)
            return _Work(self._hooks, told, *(self._sets_in_use() if trains else (None, None)))

        def run(*args: Any, **kwargs: Any) -> Any:
            work = begin(args, kwargs)
            try:
                with work:
                    result = inner(*args, **kwargs)
                if after is not None:
                    after(args, kwargs, result, work.used)
            finally:
                if work.leases is not None:
                    work.leases.end()
            work.done(result)
            return result

        async def run_async(*args: Any, **kwargs: Any) -> Any:
            work = begin(args, kwargs)
            try:
                with work:
                    result = await inner(*args, **kwargs)
                if after is not None:
                    await runtimes.current().in_thread(lambda: after(args, kwargs, result, work.used))
            finally:
                if work.leases is not None:
                    runtimes.current().behind(work.leases.end)
            work.done(result)
            return result

        return run_async if is_async(function) else run

    def _sets_in_use(self) -> tuple[UsedSets, Leases]:
        """Collects what a training uses; that stays until the model is registered, which keeps it from then on."""
        leases = Leases(runtimes.current(), f"training by {self.target.target}")
        return UsedSets(leases.training_set), leases

    def _retrained(self, args: tuple[Any, ...], kwargs: Mapping[str, Any], result: Any, used: tuple[str, ...]) -> None:
        """Register a new version, for which no prediction of the former is served and the sets it used are kept."""
        if result is False:
            return  # how platforms say that a training failed
        runtime = runtimes.current()
        model, version = "", f"retrained-{uuid.uuid4().hex[:16]}"
        try:
            bound = {**self.bind(args, kwargs), "result": result}
            model = self.target.model_id(bound)
            if self.target.version is not None:
                version = self._text_at(self.target.version, bound)
            if runtime.models is None or runtime.read_only:
                raise IntegrationError("There is no database to register it in.")
            runtime.models.register(model, version, model_type=self.target.model_type or model, trained_on=used)
            self._unregistered.forget(model)
            next(self._tally.retrained)
        except Exception as error:  # noqa: BLE001 - counted; the training itself is done and must be returned
            next(self._tally.not_registered)
            LOG.warning(
                "%s: the retrained model %r could not be registered: %s",
                self.target.target,
                model,
                error.message if isinstance(error, RetentionError) else kind_and_place(error),
            )
            if model:
                # Here it counts now; elsewhere its predictions are forgotten when the database answers again.
                self._unregistered.note(model, f"{version}-{uuid.uuid4().hex[:8]}")
                runtime.invalidate("model", model)

    def _studied(self, args: tuple[Any, ...], kwargs: Mapping[str, Any], result: Any, _: tuple[str, ...]) -> None:
        try:
            study = value_at(self.target.study, {**self.bind(args, kwargs), "result": result})
            if study is ABSENT or study is None:
                raise IntegrationError(f"There is no study at {self.target.study!r} in this call.")
            runtime = runtimes.current()
            if runtime.read_only:
                raise IntegrationError("The mode is read_only.", hint="Set RETENTION_MODE=full.")
            from retention_pipelines.integration.work_queue import WorkQueue, process_new_study

            with WorkQueue(runtime.settings) as queue:
                process_new_study(study, queue=queue)
        except Exception as error:  # noqa: BLE001 - counted; the study itself is made and must be returned
            next(self._tally.not_queued)
            LOG.warning("%s: the study could not be queued: %s", self.target.target, kind_and_place(error))

    def bind(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments by name with defaults; further keywords stand beside the others."""
        bound = self._signature.bind(*args, **kwargs)
        bound.apply_defaults()
        named = dict(bound.arguments)
        for parameter in self._signature.parameters.values():
            if parameter.kind is inspect.Parameter.VAR_KEYWORD:
                named |= {name: value for name, value in named.pop(parameter.name).items() if name not in named}
        return named

    def _text_at(self, path: str, bound: Mapping[str, Any]) -> str:
        found = value_at(path, bound)
        if found is ABSENT or found is None:
            raise IntegrationError(f"{self.target.target}: there is nothing at {path!r} in this call.")
        return as_text(found)


@dataclass(slots=True)
class _Work:
    """One call of the original: a block that tells of what it raises and collects the training sets it uses."""

    hooks: Hooks
    told: "_Told | None"
    sets: UsedSets | None
    leases: Leases | None
    used: tuple[str, ...] = ()

    def __enter__(self) -> None:
        return None

    def __exit__(self, _: type[BaseException] | None, error: BaseException | None, __: TracebackType | None) -> None:
        try:
            if error is not None and self.told is not None:
                self.told.after(self.hooks, error=error)
        finally:
            if self.sets is not None:
                self.used = self.sets.end()

    def done(self, result: Any) -> None:
        """Tell of what it returned."""
        if self.told is not None:
            self.told.after(self.hooks, result=result)


class _Told:
    """What the hooks around one call are told."""

    __slots__ = ("_arguments", "_moments", "_source", "_started", "_subject")

    def __init__(
        self, advice: Advice, moments: tuple[Moment, Moment], args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> None:
        self._moments = moments
        self._source = advice.target.target
        self._subject = ""
        self._arguments: dict[str, Any] = {}
        try:
            self._arguments = advice.bind(args, kwargs)
            self._subject = advice.target.model_id(self._arguments)
        except (TypeError, IntegrationError):
            pass  # a call that does not fit: the function itself will tell
        self._started = time.perf_counter()

    def before(self, hooks: Hooks) -> None:
        hooks.run(
            Happening(moment=self._moments[0], subject=self._subject, source=self._source, arguments=self._arguments)
        )

    def after(self, hooks: Hooks, *, result: Any = None, error: BaseException | None = None) -> None:
        hooks.run(
            Happening(
                moment=self._moments[1],
                subject=self._subject,
                source=self._source,
                arguments=self._arguments,
                result=result,
                error=error,
                elapsed_seconds=time.perf_counter() - self._started,
            )
        )


def _is_bound(spot: Spot) -> bool:
    """Whether the first argument is `self` or `cls`."""
    return isinstance(spot.owner, type) and not isinstance(spot.raw, staticmethod) and inspect.isroutine(spot.function)
