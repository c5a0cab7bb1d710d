"""Hooks: what wants to be told before and after a study, a prediction or a training.

What belongs here: the registry and what a hook is told. What does not: when that is (`advice.py`, `work_queue.py`).
A hook runs on the caller's thread, so it must be quick; what it raises is counted and logged and reaches nobody else.
"""

import inspect
import logging
import threading
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from retention_pipelines.cache.logs import kind_and_place
from retention_pipelines.errors import IntegrationError

LOG = logging.getLogger(__name__)
Moment = Literal[
    "before_study", "after_study", "before_prediction", "after_prediction", "before_training", "after_training"
]
MOMENTS: tuple[Moment, ...] = get_args(Moment)


@dataclass(frozen=True, kw_only=True, slots=True)
class Happening:
    """What a hook is told; it must not change what it gets.

    Attributes:
        subject: the study or the model.
        source: the patched target, or what else it comes from.
        arguments: of the call, by name.
        result: what came of it, after it only; None when it failed.
        error: what it raised, after it only.
        elapsed_seconds: how long it took, after it only; a prediction from a cache takes as long as the cache does.
    """

    moment: Moment
    subject: str = ""
    source: str = ""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    result: Any = None
    error: BaseException | None = None
    elapsed_seconds: float | None = None


Hook = Callable[[Happening], object]


class Hooks:
    """The hooks of this process, by moment, in the order they were added."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._hooks: dict[Moment, tuple[Hook, ...]] = defaultdict(tuple)
        self.failures = 0

    def add(self, moment: Moment, hook: Hook) -> Hook:
        """Add a hook and return it; adding it twice is as once."""
        if moment not in MOMENTS:
            raise IntegrationError(f"{moment!r} is no moment of a hook.", hint=f"It is one of {', '.join(MOMENTS)}.")
        if not callable(hook) or inspect.iscoroutinefunction(hook):
            raise IntegrationError(
                f"{hook!r} cannot be a hook.", hint="Give a plain function; let it start what should go on behind it."
            )
        with self._lock:
            if hook not in self._hooks[moment]:
                self._hooks[moment] += (hook,)
        return hook

    def remove(self, moment: Moment, hook: Hook) -> None:
        """Take a hook away; one that is not there is passed over."""
        with self._lock:
            self._hooks[moment] = tuple(known for known in self._hooks[moment] if known != hook)

    def wanted(self, *moments: Moment) -> bool:
        """Whether anybody listens to one of these."""
        return any(self._hooks.get(moment) for moment in moments)

    def run(self, happening: Happening) -> None:
        """Tell all hooks of that moment."""
        for hook in self._hooks.get(happening.moment, ()):
            try:
                hook(happening)
            except Exception as error:  # noqa: BLE001 - counted
                with self._lock:
                    self.failures += 1
                name = getattr(hook, "__qualname__", type(hook).__qualname__)
                LOG.warning("The hook %s failed at %s: %s", name, happening.moment, kind_and_place(error))


HOOKS = Hooks()


def before_study(hook: Hook) -> Hook:
    """Call `hook` before a study is worked on; usable as a decorator, like the other five."""
    return HOOKS.add("before_study", hook)


def after_study(hook: Hook) -> Hook:
    """Call `hook` after a study was worked on, or failed."""
    return HOOKS.add("after_study", hook)


def before_prediction(hook: Hook) -> Hook:
    """Call `hook` before a patched prediction is answered, from a cache or not."""
    return HOOKS.add("before_prediction", hook)


def after_prediction(hook: Hook) -> Hook:
    """Call `hook` after a patched prediction was answered, or failed."""
    return HOOKS.add("after_prediction", hook)


def before_training(hook: Hook) -> Hook:
    """Call `hook` before a patched training begins."""
    return HOOKS.add("before_training", hook)


def after_training(hook: Hook) -> Hook:
    """Call `hook` after a patched training ended or failed."""
    return HOOKS.add("after_training", hook)
