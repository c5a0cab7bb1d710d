"""Options: what a decorator was told, checked once when the function is decorated.

What belongs here: the value object and its bounds. What does not: what the options do to a call (`calls.py`).
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Literal

from retention_pipelines.cache.entry import Kind
from retention_pipelines.cache.events import Hook
from retention_pipelines.cache.negative import Negative, declare
from retention_pipelines.cache.spatial import Grid
from retention_pipelines.cache.stale import Staleness
from retention_pipelines.errors import CacheError

CopyPolicy = Literal["copy", "readonly", "none"]
WritePolicy = Literal["behind", "through"]
Tier = Literal["memory", "postgres", "lake"]
Bound = Mapping[str, Any]
Seconds = float | timedelta
FromCall = str | Callable[[Bound], Any]
TIERS: tuple[Tier, ...] = ("memory", "postgres", "lake")


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """How one function is cached.

    Attributes:
        labels: what the cache is of, in the key: (feature_type, source_table) or (model_type,).
        ttl_seconds: life of an answer; None: the live value of the kind, read when an answer is stored.
        forever: the answer never expires by time.
        version: stands for the function's code in the key; None: a digest of its bytecode.
        key: names of the arguments that matter, or a callable of the bound arguments; None: all of them.
        model_id: the model's name, or a callable of the bound arguments; None: no model.
        model_version: its version or such a callable; None: what was registered for `model_id`.
        early: beta of XFetch; 0: off.
        below: whether there are tiers below memory.
    """

    kind: Kind
    labels: tuple[str, ...]
    ttl_seconds: float | None = None
    forever: bool = False
    version: str | None = None
    key: Sequence[str] | Callable[..., Any] | None = None
    ignore: tuple[str, ...] = ()
    spatial: Grid | None = None
    negative: Negative | None = None
    staleness: Staleness = Staleness()  # noqa: RUF009 - frozen
    early: float = 0.0
    tags: tuple[str, ...] = ()
    copy: CopyPolicy = "copy"
    write: WritePolicy = "behind"
    hooks: tuple[Hook, ...] = ()
    tiers: tuple[Tier, ...] = TIERS
    model_id: str | Callable[[Bound], Any] | None = None
    model_version: str | Callable[[Bound], Any] | None = None
    source: str | None = None
    below: bool = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "below", "postgres" in self.tiers or "lake" in self.tiers)


def checked(
    *,
    kind: Kind,
    labels: tuple[str, ...],
    ttl: Seconds | None,
    ttl_hours: float | None,
    version: str | int | None,
    key: Sequence[str] | Callable[..., Any] | None,
    ignore: Sequence[str],
    spatial: Grid | None,
    negative: Sequence[type[Exception] | None],
    negative_ttl: Seconds,
    stale_while_revalidate: Seconds,
    stale_if_error: Seconds,
    early: float,
    tags: Sequence[str],
    copy: CopyPolicy,
    write: WritePolicy,
    hooks: Sequence[Hook],
    tiers: Sequence[Tier],
    model_id: str | Callable[[Bound], Any] | None = None,
    model_version: str | int | Callable[[Bound], Any] | None = None,
    source: str | None = None,
) -> Options:
    """Options from a decorator's keywords; raises CacheError that says what to write instead."""
    for label in labels:
        if not isinstance(label, str) or not label:
            raise CacheError(
                f"A cache decorator was given {label!r} where a name belongs.",
                hint='Write it with its names, for example @cache_features("spatial", "occurrences").',
            )
    if ttl is not None and ttl_hours is not None:
        raise CacheError("Both ttl and ttl_hours are given.", hint="Give one of them.")
    life = ttl_hours * 3600.0 if ttl_hours is not None else None if ttl is None else _seconds("ttl", ttl)
    if life is not None and (math.isnan(life) or life <= 0):
        raise CacheError(f"A life of {life} seconds keeps nothing.", hint="Give a ttl above 0, or math.inf for ever.")
    _one_of("copy", copy, ("copy", "readonly", "none"))
    _one_of("write", write, ("behind", "through"))
    for tier in tiers:
        _one_of("tiers", tier, TIERS)
    if not tiers:
        raise CacheError("tiers is empty.", hint="Leave it out, or use bypass() to run a function uncached.")
    if isinstance(key, str) or isinstance(ignore, str) or isinstance(tags, str):
        raise CacheError(
            "key, ignore and tags are lists of names, and one of them is a text.", hint='Write ("name",) for one name.'
        )
    if key is not None and ignore:
        raise CacheError("Both key and ignore are given.", hint="key already says which arguments matter.")
    if not (early >= 0 and math.isfinite(early)):
        raise CacheError(f"early is {early!r}.", hint="Give a beta such as 1.0; 0 switches early refresh off.")
    return Options(
        kind=kind,
        labels=labels,
        ttl_seconds=None if life is None or math.isinf(life) else life,
        forever=life is not None and math.isinf(life),
        version=None if version is None else str(version),
        key=key if key is None or callable(key) else tuple(key),
        ignore=tuple(ignore),
        spatial=spatial,
        negative=declare(negative, _seconds("negative_ttl", negative_ttl)),
        staleness=Staleness(
            while_revalidate=_not_negative("stale_while_revalidate", stale_while_revalidate),
            if_error=_not_negative("stale_if_error", stale_if_error),
        ),
        early=float(early),
        tags=tuple(tags),
        copy=copy,
        write=write,
        hooks=tuple(hooks),
        tiers=tuple(tiers),
        model_id=model_id,
        model_version=str(model_version) if isinstance(model_version, int) else model_version,
        source=source,
    )


def _seconds(name: str, value: Seconds) -> float:
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise CacheError(f"{name} is {value!r}.", hint="Give seconds or a timedelta.")
    return float(value)


def _not_negative(name: str, value: Seconds) -> float:
    seconds = _seconds(name, value)
    if not (seconds >= 0 and math.isfinite(seconds)):
        raise CacheError(f"{name} is {value!r}.", hint="Give seconds of 0 or more; 0 serves nothing stale.")
    return seconds


def _one_of(name: str, value: object, known: Sequence[str]) -> None:
    if value not in known:
        raise CacheError(f"{name} is {value!r}.", hint=f"It is one of {', '.join(known)}.")
