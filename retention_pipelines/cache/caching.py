"""Switches: off for the process, off for a block of code, and the mode for tests. Public as `caching`.

What belongs here: whether the caches are asked at all. What does not: how they answer (`calls.py`), or what a call
holds on to (`runtime.py`). Nothing here starts a thread or opens a connection.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from retention_pipelines.cache.runtime import CacheRuntime
    from retention_pipelines.settings import Settings

__all__ = ["bypass", "close", "configure", "disable", "disabled", "enable", "flush", "is_enabled", "testing"]


class _Process:
    """The kill switch: a plain attribute, because every call reads it."""

    __slots__ = ("by_hand", "lock", "off", "scopes")

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.by_hand = False
        self.scopes = 0
        self.off = False

    def change(self, *, by_hand: bool | None = None, scopes: int = 0) -> None:
        with self.lock:
            self.by_hand = self.by_hand if by_hand is None else by_hand
            self.scopes += scopes
            self.off = self.by_hand or self.scopes > 0


PROCESS = _Process()
EVERYTHING = "everything"
# What this context bypasses: None, names of decorated functions, or EVERYTHING.
BYPASSED: ContextVar[frozenset[str] | None] = ContextVar("retention_cache_bypassed", default=None)


@contextmanager
def bypass(*functions: str) -> Iterator[None]:
    """Let decorated functions just run inside the block: nothing is read from a cache and nothing written.

    Holds for this thread or task and for tasks started inside; other threads go on as before.

    Args:
        functions: names (`module.qualname`) of decorated functions; none: all of them.
    """
    before = BYPASSED.get()
    token = BYPASSED.set((before or frozenset()) | (frozenset(functions) or {EVERYTHING}))
    try:
        yield
    finally:
        BYPASSED.reset(token)


def disable() -> None:
    """Switch the caches of this process off until `enable()`: every decorated function just runs."""
    PROCESS.change(by_hand=True)


def enable() -> None:
    """Take `disable()` back. Idempotent; blocks of `disabled()` still hold."""
    PROCESS.change(by_hand=False)


@contextmanager
def disabled() -> Iterator[None]:
    """Switch the caches of the whole process off inside the block; blocks may nest and overlap."""
    PROCESS.change(scopes=1)
    try:
        yield
    finally:
        PROCESS.change(scopes=-1)


def is_enabled() -> bool:
    """Whether decorated functions ask the caches here and now."""
    from retention_pipelines.cache import runtime

    return not PROCESS.off and BYPASSED.get() is None and runtime.current().enabled


@contextmanager
def testing(settings: "Settings | None" = None) -> Iterator["CacheRuntime"]:  # noqa: PT028 - not a test
    """Run the block with empty caches of its own: memory only, no thread, no connection, no file.

    What would run in the background (revalidation) runs inline instead, so that a test sees its effects. The former
    caches are back afterwards as they were.
    """
    from retention_pipelines.cache import runtime

    with runtime.replaced(runtime.CacheRuntime(settings or runtime.default_settings(), testing=True)) as own:
        yield own


def configure(settings: "Settings") -> "CacheRuntime":
    """Use these settings from now on; what waits to be written under the former ones is written first."""
    from retention_pipelines.cache import runtime

    return runtime.configure(settings)


def flush(timeout_seconds: float = 10.0) -> bool:
    """Write what waits to be written; returns whether all of it was."""
    from retention_pipelines.cache import runtime

    return runtime.current().flush(timeout_seconds)


def close() -> None:
    """Write what waits and let go of threads and connections; the next call of a decorated function starts anew."""
    from retention_pipelines.cache import runtime

    runtime.close()
