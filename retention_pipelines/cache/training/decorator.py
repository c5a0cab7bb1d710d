"""`@cache_training_data`: prepared once, then mapped from files by every process that asks.

What belongs here: what users write, its types and documentation. What does not: what happens to a call (`answers.py`),
what is stored and how (`store.py`). Light to import: arrays and frames are loaded when a set is.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from retention_pipelines.cache import runtime
from retention_pipelines.cache.decorated import CacheDecorator
from retention_pipelines.cache.decorators import wrap
from retention_pipelines.cache.events import Hook
from retention_pipelines.cache.options import Seconds, checked
from retention_pipelines.cache.training.answers import TrainingAnswers, sets_of
from retention_pipelines.catalog import dataset
from retention_pipelines.errors import CacheError


def cache_training_data(
    model_type: str,
    *,
    depends_on: Sequence[str] = (),
    ttl: Seconds | None = None,
    ttl_hours: float | None = None,
    version: str | int | None = None,
    key: Sequence[str] | Callable[..., Any] | None = None,
    ignore: Sequence[str] = (),
    trusted: Sequence[str] = (),
    provenance: Mapping[str, Any] | None = None,
    tags: Sequence[str] = (),
    hooks: Sequence[Hook] = (),
    wait_seconds: float = 600.0,
) -> CacheDecorator:
    """Cache the training set a function prepares: arrays, frames and fitted pipelines as files that are mapped.

    The function gives what it would give undecorated, in any state of the caches: same types, same values, writable,
    and nobody's edits reach anybody else. A set is prepared anew when an argument, the code or a lake table it was
    built from changed. See docs/training_sets.md.

    Args:
        model_type: kind of model the set is for; part of the key, beside all arguments.
        depends_on: lake tables the function reads, such as "feature_store". What it reads through `FeatureStore` is
            found out by itself.
        ttl: life of a set, in seconds or as a timedelta; math.inf: for ever. Default: `training_ttl_hours`.
        ttl_hours: the same in hours.
        version: stands for the code in the key. Default: a digest of the function's bytecode; functions it calls are
            not in that, so give a version and raise it when they change.
        key: names of the arguments that matter, or a callable of the call whose result stands for them.
        ignore: names of arguments that do not matter.
        trusted: full names of classes of your own that fitted pipelines may hold and that may be restored.
        provenance: datasets, licences or runs to note with the set.
        tags: further names to invalidate by.
        hooks: called with every event.
        wait_seconds: how long to wait for another process that is preparing the same set before preparing it here.

    Raises:
        CacheError: at decoration, for options that make no sense and for generators, which cannot be cached.
        CatalogError: at decoration, for a name in `depends_on` that is no table of the lake.
    """
    options = checked(
        kind="training",
        labels=(model_type,),
        ttl=ttl,
        ttl_hours=ttl_hours,
        version=version,
        key=key,
        ignore=ignore,
        spatial=None,
        negative=(),
        negative_ttl=1.0,
        stale_while_revalidate=0.0,
        stale_if_error=0.0,
        early=0.0,
        tags=tags,
        copy="copy",
        write="through",
        hooks=hooks,
        tiers=("memory",),
    )
    for name, names in (("depends_on", depends_on), ("trusted", trusted)):
        if isinstance(names, str):
            raise CacheError(f"{name} is a list of names, and a text was given.", hint='Write ("name",) for one name.')
    for name in depends_on:
        dataset(name)
    if not wait_seconds >= 0:
        raise CacheError(f"wait_seconds is {wait_seconds!r}.", hint="Give seconds of 0 or more.")
    answering = TrainingAnswers(
        model_type=model_type,
        depends_on=tuple(depends_on),
        trusted=tuple(trusted),
        provenance=dict(provenance or {}),
        wait_seconds=wait_seconds,
    )

    def decorate(function: Any) -> Any:
        if isinstance(function, staticmethod | classmethod):
            return type(function)(decorate(function.__func__))
        decorated = wrap(function, options, answering=answering)
        forget = decorated.invalidate

        def invalidate(*args: Any, **kwargs: Any) -> None:
            """Forget the set of a call, everywhere; without arguments, all sets of this function."""
            # A process that only invalidates has no store yet, and it is the store that marks the files.
            sets_of(runtime.current())
            forget(*args, **kwargs)

        decorated.invalidate = invalidate
        return decorated

    return decorate
