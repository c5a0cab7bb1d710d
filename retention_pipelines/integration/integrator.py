"""The integrator: puts the caches into existing code by configuration, and takes them out again.

What belongs here: which targets are patched, wait or are passed over, and the counts. What does not: the mechanism
(`patching.py`), what a patched function does (`advice.py`), the names of the original guide (`guide/`).
"""

import importlib
import logging
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from retention_pipelines.errors import IntegrationError
from retention_pipelines.integration.advice import Advice, Tally, Unregistered
from retention_pipelines.integration.config import Modules, load_targets, parsed
from retention_pipelines.integration.hooks import HOOKS, Hooks
from retention_pipelines.integration.patching import Left, Patcher, Request, Undone
from retention_pipelines.integration.spots import ModuleNotLoaded, NoSuchTarget, Spot, locate, split
from retention_pipelines.integration.targets import Target
from retention_pipelines.integration.waiting import Watcher

LOG = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class PassedOver:
    """An optional target that was not patched, and why."""

    target: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class IntegrationStatus:
    """What is patched.

    Attributes:
        enabled: between `enable` and `disable`.
        patched: targets that are patched now.
        waiting: targets whose module nobody has imported yet; they are patched when somebody does.
        passed_over: optional targets that do not exist or do not fit.
        covered: patched places where somebody else has put something on top since.
        source: where the list of targets comes from.
    """

    enabled: bool = False
    patched: tuple[str, ...] = ()
    waiting: tuple[str, ...] = ()
    passed_over: tuple[PassedOver, ...] = ()
    covered: tuple[Left, ...] = ()
    source: str = ""


class Integrator:
    """Patches the targets of one list; safe for threads."""

    def __init__(self, *, hooks: Hooks = HOOKS) -> None:
        self._lock = threading.RLock()
        self._patcher = Patcher()
        self._hooks = hooks
        self._watcher = Watcher(self._imported)
        self._waiting: tuple[Target, ...] = ()
        self._passed_over: dict[str, PassedOver] = {}
        self._enabled = False
        self._source = ""
        self._unregistered = Unregistered()
        self.tally = Tally()

    def enable(
        self,
        file: Path | None = None,
        *,
        targets: Sequence[Target | dict[str, Any]] | None = None,
        modules: Modules | None = None,
    ) -> IntegrationStatus:
        """Patch all targets or, if one cannot be, none; what is patched already stays, with the mapping it has.

        Args:
            file: YAML with the targets; None: the packaged ones.
            targets: use these instead of a file.
            modules: where the platform keeps things, for the packaged list: `{"models": "my.models"}`.

        Raises:
            IntegrationError: a target that is not optional does not exist, or one cannot be patched; nothing changed.
        """
        if targets is None:
            listed = load_targets(file, modules)
            wanted, source = listed.targets, listed.source
        else:
            source = "the program"
            wanted = tuple(parsed(target, f"{source}, target {n}") for n, target in enumerate(targets, start=1))
        for target in wanted:
            if target.load:
                _load(target)
        with self._lock:
            was_enabled = self._enabled
            waiting, passed_over = self._apply(wanted)
            self._enabled = True
            self._waiting = waiting if not was_enabled else _joined(self._waiting, waiting, self._patcher.targets)
            self._passed_over = {**(self._passed_over if was_enabled else {}), **passed_over}
            self._source = source
            self._watch()
            return self.status()

    def disable(self) -> Undone:
        """Give every place its original object back; a second time changes nothing."""
        with self._lock:
            self._enabled = False
            self._waiting, self._passed_over = (), {}
            self._watch()
            return self._patcher.undo()

    def status(self) -> IntegrationStatus:
        """What is patched now."""
        with self._lock:
            return IntegrationStatus(
                enabled=self._enabled,
                patched=self._patcher.targets,
                waiting=tuple(target.target for target in self._waiting),
                passed_over=tuple(self._passed_over.values()),
                covered=self._patcher.covered(),
                source=self._source,
            )

    def _apply(self, wanted: Sequence[Target]) -> tuple[tuple[Target, ...], dict[str, PassedOver]]:
        requests: dict[tuple[int, str], Request] = {}
        waiting: list[Target] = []
        passed_over: dict[str, PassedOver] = {}
        for target in wanted:
            try:
                spot = locate(target.target, load=False)
                request = self._request(target, spot)
            except ModuleNotLoaded:
                waiting.append(target)
            except IntegrationError as error:
                if not target.optional:
                    raise
                passed_over[target.target] = PassedOver(target=target.target, reason=error.message)
                if not isinstance(error, NoSuchTarget):
                    LOG.warning("Passed over: %s", error)
            else:
                key = id(spot.owner), spot.name
                if key not in requests or not target.optional:
                    requests[key] = request
        self._patcher.apply(list(requests.values()))
        return tuple(waiting), passed_over

    def _request(self, target: Target, spot: Spot) -> Request:
        advice = Advice(target, spot, tally=self.tally, hooks=self._hooks, unregistered=self._unregistered)
        return Request(spot=spot, replacement=advice.replacement, aliases=target.aliases)

    def _imported(self, module: str) -> None:
        with self._lock:
            if not self._enabled:
                return
            arrived = [target for target in self._waiting if split(target.target)[0] == module]
            self._waiting = tuple(target for target in self._waiting if target not in arrived)
            self._watch()
            for target in arrived:
                try:
                    _, passed_over = self._apply([target])
                    self._passed_over |= passed_over
                except IntegrationError as error:
                    # The program that imports is not the one that asked: it must not fail for it.
                    LOG.warning("Not patched: %s", error)
                    self._passed_over[target.target] = PassedOver(target=target.target, reason=error.message)

    def _watch(self) -> None:
        self._watcher.watch({split(target.target)[0] for target in self._waiting})


def _load(target: Target) -> None:
    # Not under our lock: another thread may hold the lock of that import and wait for ours.
    try:
        importlib.import_module(split(target.target)[0])
    except ImportError as error:
        if not target.optional:
            raise NoSuchTarget(f"{target.target}: its module cannot be imported: {error}.") from error


def _joined(former: Sequence[Target], new: Sequence[Target], patched: Sequence[str]) -> tuple[Target, ...]:
    joined = {target.target: target for target in (*former, *new)}
    return tuple(target for name, target in joined.items() if name not in patched)
