"""Decorators: `@cache_features` and `@cache_predictions`.

What belongs here: what users write, its types and its documentation, and wrapping a function, coroutine, method or
callable object. What does not: what happens to a call (`calls.py`). Training sets have their own (`training/`).
"""

import functools
import inspect
import logging
from collections.abc import Callable, Sequence
from typing import Any

from retention_pipelines.cache import answers
from retention_pipelines.cache.calls import BYPASS, CachedFunction, Call
from retention_pipelines.cache.decorated import CacheDecorator
from retention_pipelines.cache.events import Hook
from retention_pipelines.cache.feature_row import FeatureRow
from retention_pipelines.cache.options import (
    TIERS,
    Bound,
    CopyPolicy,
    FromCall,
    Options,
    Seconds,
    Tier,
    WritePolicy,
    checked,
)
from retention_pipelines.cache.prediction_row import PredictionRow
from retention_pipelines.cache.spatial import Grid
from retention_pipelines.errors import CacheError, Unkeyable

LOG = logging.getLogger("retention_pipelines.cache")
_DEFAULT_NEGATIVE_TTL = 5.0


def cache_features(
    feature_type: str,
    source_table: str,
    *,
    ttl: Seconds | None = None,
    ttl_hours: float | None = None,
    version: str | int | None = None,
    key: Sequence[str] | Callable[..., Any] | None = None,
    ignore: Sequence[str] = (),
    spatial: Grid | None = None,
    negative: Sequence[type[Exception] | None] = (),
    negative_ttl: Seconds = _DEFAULT_NEGATIVE_TTL,
    stale_while_revalidate: Seconds = 0.0,
    stale_if_error: Seconds = 0.0,
    early: float = 0.0,
    tags: Sequence[str] = (),
    copy: CopyPolicy = "copy",
    write: WritePolicy = "behind",
    hooks: Sequence[Hook] = (),
    tiers: Sequence[Tier] = TIERS,
    source_data_id: FromCall | None = None,
    event_time: FromCall | None = None,
    temporal_window: FromCall | None = None,
    quality: Callable[[Any], Any] | None = None,
) -> CacheDecorator:
    """Cache what a feature function returns: in memory, in Postgres, and in the lake once it is folded there.

    The function gives what it would give undecorated, in any state of the caches. Arguments no key can be made of, and
    results that cannot be stored exactly, go past the cache and are counted.

    Args:
        feature_type: kind of features, such as "spatial"; part of the key.
        source_table: what they are computed from; part of the key, and what `source` invalidations name.
        ttl: life of an answer, in seconds or as a timedelta; math.inf: for ever. Default: `feature_ttl_hours`.
        ttl_hours: the same in hours.
        version: stands for the code in the key. Default: a digest of the function's bytecode.
        key: names of the arguments that matter, or a callable of the call whose result stands for them.
        ignore: names of arguments that do not matter.
        spatial: share answers among positions in one cell.
        negative: remember None or these exceptions, for `negative_ttl` seconds, 30 at most.
        negative_ttl: see there.
        stale_while_revalidate: serve an answer so long after its expiry while a fresh one is computed behind it.
        stale_if_error: serve an answer so long after its expiry when the function raises.
        early: beta of early refresh (XFetch), 1.0 is usual; 0: off.
        tags: further names to invalidate by.
        copy: "copy": every caller gets a value of his own; "readonly": arrays are shared and cannot be written;
            "none": all get the same object, for who never changes it.
        write: "through" waits until Postgres has the answer.
        hooks: called with every event.
        tiers: which tiers to use.
        source_data_id: name of the argument that identifies the study, or a callable of the bound arguments.
            Default: an argument of that name, or `study_id`.
        event_time: likewise; the start of the study. temporal_window: likewise, an ISO 8601 duration.
        temporal_window: see there.
        quality: gives the quality of a result: a score, or a mapping of its four parts. Default: what the result says.

    Raises:
        CacheError: at decoration, for options that make no sense and for generators, which cannot be cached.
    """
    options = checked(
        kind="features",
        labels=(feature_type, source_table),
        ttl=ttl,
        ttl_hours=ttl_hours,
        version=version,
        key=key,
        ignore=ignore,
        spatial=spatial,
        negative=negative,
        negative_ttl=negative_ttl,
        stale_while_revalidate=stale_while_revalidate,
        stale_if_error=stale_if_error,
        early=early,
        tags=tags,
        copy=copy,
        write=write,
        hooks=hooks,
        tiers=tiers,
        source=source_table,
    )
    row = FeatureRow(
        feature_type=feature_type,
        source_table=source_table,
        source_data_id=source_data_id,
        event_time=event_time,
        temporal_window=temporal_window,
        quality=quality,
    )
    return decorator(options, row)


def cache_predictions(
    model_type: str,
    ttl_hours: float | None = None,
    *,
    ttl: Seconds | None = None,
    model_id: str | Callable[[Bound], Any] | None = None,
    model_version: str | int | Callable[[Bound], Any] | None = None,
    version: str | int | None = None,
    key: Sequence[str] | Callable[..., Any] | None = None,
    ignore: Sequence[str] = (),
    spatial: Grid | None = None,
    negative: Sequence[type[Exception] | None] = (),
    negative_ttl: Seconds = _DEFAULT_NEGATIVE_TTL,
    stale_while_revalidate: Seconds = 0.0,
    stale_if_error: Seconds = 0.0,
    early: float = 0.0,
    tags: Sequence[str] = (),
    copy: CopyPolicy = "copy",
    write: WritePolicy = "behind",
    hooks: Sequence[Hook] = (),
    tiers: Sequence[Tier] = ("memory", "postgres"),
    confidence: Callable[[Any], Any] | None = None,
    prediction_metadata: Callable[[Any], Any] | None = None,
    input_summary: Callable[[Bound], Any] | None = None,
) -> CacheDecorator:
    """Cache what a model predicts, under the model's version; see `cache_features` for what is not said here.

    Args:
        model_type: kind of model; part of the key.
        ttl_hours: life of a prediction. Default: `prediction_ttl_hours`.
        ttl: the same in seconds or as a timedelta.
        model_id: which model, or a callable of the bound arguments (a mapping of name to value). Default: `model_type`.
        model_version: its version or such a callable, read once per call before the model runs. Default: the version
            registered for `model_id`.
        version: see `cache_features`.
        key: see there.
        ignore: see there.
        spatial: share predictions among positions in one cell; never across models, versions or other arguments.
        negative: see there.
        negative_ttl: see there.
        stale_while_revalidate: see there.
        stale_if_error: see there.
        early: see there.
        tags: see there.
        copy: see there.
        write: see there.
        hooks: see there.
        tiers: see there.
        confidence: gives the confidence of a result, 0 to 1. Default: its `confidence`, where it has one.
        prediction_metadata: gives what else the model said. Default: the result's `prediction_metadata` or `metadata`.
        input_summary: gives what to note of the bound arguments. Default: types, sizes and rounded numbers.
    """
    options = checked(
        kind="predictions",
        labels=(model_type,),
        ttl=ttl,
        ttl_hours=ttl_hours,
        version=version,
        key=key,
        ignore=ignore,
        spatial=spatial,
        negative=negative,
        negative_ttl=negative_ttl,
        stale_while_revalidate=stale_while_revalidate,
        stale_if_error=stale_if_error,
        early=early,
        tags=tags,
        copy=copy,
        write=write,
        hooks=hooks,
        tiers=tiers,
        model_id=model_type if model_id is None else model_id,
        model_version=model_version,
    )
    row = PredictionRow(
        model_type=model_type,
        confidence=confidence,
        prediction_metadata=prediction_metadata,
        input_summary=input_summary,
    )
    return decorator(options, row)


def decorator(options: Options, describe: Callable[[Call, Any, Any], Any] | None = None) -> CacheDecorator:
    """A decorator with checked options; `describe` gives the further columns of an entry."""

    def decorate(function: Any) -> Any:
        if isinstance(function, staticmethod | classmethod):
            return type(function)(decorate(function.__func__))
        return wrap(function, options, describe)

    return decorate


def wrap(
    function: Any,
    options: Options,
    describe: Callable[[Call, Any, Any], Any] | None = None,
    *,
    answering: Any = answers,
) -> Any:
    """The decorated function; `answering` has the four ways to answer a call that `answers.py` has."""
    called = _check(function)
    cached = CachedFunction(function, options, describe=describe)
    return _dressed(function, cached, answering, is_async=inspect.iscoroutinefunction(called))


def _check(function: Any) -> Any:
    """What runs when `function` is called; raises CacheError for what cannot be cached."""
    if isinstance(function, type) or not callable(function):
        raise CacheError(
            f"{function!r} cannot be cached.",
            hint="Decorate a function, coroutine function, method, functools.partial or an object with __call__.",
        )
    called = function
    while isinstance(called, functools.partial):
        called = called.func
    if not inspect.isroutine(called):
        called = type(called).__call__
    if inspect.isgeneratorfunction(called) or inspect.isasyncgenfunction(called):
        raise CacheError(
            f"{getattr(called, '__qualname__', called)} is a generator, which can be consumed only once.",
            hint="Return a list, or cache the function that computes one item.",
        )
    return called


def _dressed(function: Any, cached: CachedFunction, answering: Any, *, is_async: bool) -> Any:
    look = cached.look
    if is_async:

        @functools.wraps(function)
        async def decorated(*args: Any, **kwargs: Any) -> Any:
            found = look(args, kwargs)
            if type(found) is Call:
                return await answering.answer_async(found)
            if found is BYPASS:
                return await function(*args, **kwargs)
            return found

        async def refresh(*args: Any, **kwargs: Any) -> Any:
            call = _call(cached, args, kwargs)
            return await (function(*args, **kwargs) if call is None else answering.refresh_async(call))

    else:

        @functools.wraps(function)
        def decorated(*args: Any, **kwargs: Any) -> Any:
            found = look(args, kwargs)
            if type(found) is Call:
                return answering.answer(found)
            if found is BYPASS:
                return function(*args, **kwargs)
            return found

        def refresh(*args: Any, **kwargs: Any) -> Any:  # type: ignore[misc]
            call = _call(cached, args, kwargs)
            return function(*args, **kwargs) if call is None else answering.refresh(call)

    decorated.refresh = refresh  # type: ignore[attr-defined]
    decorated.invalidate = cached.invalidate  # type: ignore[attr-defined]
    decorated.cache_info = cached.cache_info  # type: ignore[attr-defined]
    decorated.key = cached.key  # type: ignore[attr-defined]
    decorated.bypass = cached.bypass  # type: ignore[attr-defined]
    decorated.cached = cached  # type: ignore[attr-defined]
    return decorated


def _call(cached: CachedFunction, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call | None:
    try:
        return cached.call(args, kwargs, "refresh")
    except Unkeyable as error:
        cached.count("bypass", reason=str(error.message))
    except Exception as error:  # noqa: BLE001 - wrong arguments, or a failing callable: the function itself will tell
        cached.count("bypass", reason=f"the key could not be made: {type(error).__name__}")
    return None
