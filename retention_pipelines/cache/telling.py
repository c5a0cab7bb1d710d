"""Telling: what a cached function counts, and who hears of it.

What belongs here: counting outcomes and reads off the hot path, events for hooks and the log. What does not: the
counters themselves (`info.py`, `events.py`) and what is counted when (`calls.py`, `answers.py`).
"""

import logging
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from retention_pipelines.cache import runtime as runtimes
from retention_pipelines.cache.events import CacheEvent, Counters, Outcome
from retention_pipelines.cache.info import Counts, read
from retention_pipelines.cache.spatial import Place

if TYPE_CHECKING:
    from retention_pipelines.cache.options import Options

LOG = logging.getLogger("retention_pipelines.cache")
READS_BEFORE_A_BATCH = 256
COUNTED_HERE = ("memory", "postgres")
_counted = read  # in the class below, `read` is something else
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
# Where a message goes on with the text of somebody else's exception.
_QUOTED_ERROR = re.compile(r"(: \w+)\(.*", re.DOTALL)


def without_values(reason: str) -> str:
    """A reason for events and logs, without the text of exceptions: that may hold an argument."""
    return _QUOTED_ERROR.sub(r"\1", reason)


class Telling:
    """What a cached function says of its calls; the attributes are the function's own."""

    name: str
    options: "Options"
    counts: Counts
    _runtime: "runtimes.CacheRuntime | None" = None
    _reads: list[str]
    _reported: dict[str, int]

    def read(self, key: str) -> None:
        """Note that an answer was read, for the access counts."""
        self._reads.append(key)
        if len(self._reads) >= READS_BEFORE_A_BATCH:
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
        if runtime is not None and not (outcome == "hit" and counted and tier in COUNTED_HERE):
            runtime.counters.add(self.options.kind, outcome, tier)

    def is_heard(self) -> bool:
        """Whether somebody listens to events."""
        runtime = self._runtime
        return bool(self.options.hooks or (runtime is not None and runtime.hooks) or LOG.isEnabledFor(logging.DEBUG))

    def report(self, counters: Counters) -> None:
        """Add the hits since last time to the counts of the process, which would cost each of them a lock."""
        if self._runtime is None or counters is not self._runtime.counters:
            return
        for tier in COUNTED_HERE:
            with runtimes.BINDING:
                hits = read(getattr(self.counts, f"{tier}_hits"))
                news, self._reported[tier] = hits - self._reported[tier], hits
            if news:
                counters.add(self.options.kind, "hit", tier, news)

    # The defaults: at the end of the interpreter a module's names may be gone.
    def __del__(self, counted: Callable[[Any], int] = _counted, tiers: Sequence[str] = COUNTED_HERE) -> None:
        """Leave what was not reported; without a lock, which the thread that this happens in may hold."""
        runtime = self._runtime
        if runtime is not None:
            for tier in tiers:
                news = counted(getattr(self.counts, f"{tier}_hits")) - self._reported[tier]
                if news:
                    runtime.counters.left.append((self.options.kind, tier, news))
            if self._reads:
                runtime.left_reads.append((self.options.kind, self._reads))

    def drain(self, runtime: "runtimes.CacheRuntime | None") -> None:
        """Hand the reads counted since last time to the access counts."""
        reads, self._reads = self._reads, []
        if runtime is not None and reads:
            runtime.count_reads(self.options.kind, reads)

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
