"""Metrics: what the caches of this process did, measured; and writing it to `ml_performance_metrics` in batches.

What belongs here: adding up the counters. What does not: counting (`cache`), health (`health.py`). Every number is a
measurement: what was not measured is None, no number is assumed, and time spent computing is never time saved.
"""

import functools
import json
import logging
import operator
import threading
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import UTC, date, datetime, timedelta
from importlib import resources
from weakref import ref

from retention_pipelines.cache.calls import CachedFunction, registered
from retention_pipelines.cache.info import CacheInfo
from retention_pipelines.cache.runtime import CacheRuntime
from retention_pipelines.errors import CacheError
from retention_pipelines.postgres.bounded import BoundedConnection
from retention_pipelines.postgres.partitions import add_day_partitions

LOG = logging.getLogger(__name__)

_KINDS = ("features", "predictions", "training")


@dataclass(frozen=True, kw_only=True, slots=True)
class Figures:
    """Sums over the cached functions of one kind, or of all.

    Attributes:
        memory_hits, postgres_hits, lake_hits, files_hits: answered from that tier with a fresh value.
        answer_seconds: time the callers in `timed` waited; what is renewed behind them is not in it.
        timed: calls whose time was measured.
        avoided_seconds: measured compute time of the answers that hits gave.
        lookup_seconds: time those hits took.
    """

    memory_hits: int = 0
    postgres_hits: int = 0
    lake_hits: int = 0
    files_hits: int = 0
    misses: int = 0
    shared: int = 0
    negative: int = 0
    stale: int = 0
    errors: int = 0
    bypassed: int = 0
    unstorable: int = 0
    timed: int = 0
    answer_seconds: float = 0.0
    lookup_seconds: float = 0.0
    avoided_seconds: float = 0.0

    @property
    def hits(self) -> int:
        """Fresh answers of all tiers."""
        return self.memory_hits + self.postgres_hits + self.lake_hits + self.files_hits

    @property
    def calls(self) -> int:
        """Calls that asked a cache."""
        return self.hits + self.misses + self.shared + self.negative + self.stale + self.errors

    @property
    def hit_ratio(self) -> float | None:
        """Share of the calls for which the function need not run; None before the first."""
        return (self.calls - self.misses - self.errors) / self.calls if self.calls else None

    @property
    def mean_response_seconds(self) -> float | None:
        """Mean time of a timed call; None before the first."""
        return self.answer_seconds / self.timed if self.timed else None

    @property
    def saved_seconds(self) -> float:
        """Compute time that hits avoided, less the time they took; negative where the cache costs more than that."""
        return self.avoided_seconds - self.lookup_seconds

    def __add__(self, other: "Figures") -> "Figures":
        return Figures(**{f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields(self)})

    def __sub__(self, other: "Figures") -> "Figures":
        return Figures(**{f.name: getattr(self, f.name) - getattr(other, f.name) for f in fields(self)})


def figures_of(info: CacheInfo) -> Figures:
    """The figures of one function."""
    lookup = info.memory_seconds + info.below_seconds
    return Figures(
        memory_hits=info.memory_hits,
        postgres_hits=info.postgres_hits,
        lake_hits=info.lake_hits,
        files_hits=info.files_hits,
        misses=info.misses,
        shared=info.shared,
        negative=info.negative,
        stale=info.stale,
        errors=info.errors,
        bypassed=info.bypassed,
        unstorable=info.unstorable,
        timed=info.hits + info.stale + info.misses,
        answer_seconds=lookup + info.miss_seconds,
        lookup_seconds=lookup,
        avoided_seconds=info.avoided_seconds,
    )


class Totals:
    """Sums since this object was made, also over functions that are gone since."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seen: dict[int, tuple[ref[CachedFunction], str, Figures]] = {}
        self._gone: dict[str, Figures] = {}
        self._before = self._all()

    def read(self) -> dict[str, Figures]:
        """The sums by kind: features, predictions, training."""
        now = self._all()
        return {kind: now[kind] - self._before[kind] for kind in _KINDS}

    def _all(self) -> dict[str, Figures]:
        with self._lock:
            for cached in registered():
                figures = figures_of(cached.counts.info(cached.name))
                self._seen[id(cached)] = ref(cached), cached.options.kind, figures
            sums = {kind: self._gone.get(kind, Figures()) for kind in _KINDS}
            for key, (alive, kind, figures) in list(self._seen.items()):
                sums[kind] += figures
                if alive() is None:
                    self._gone[kind] = self._gone.get(kind, Figures()) + figures
                    del self._seen[key]
            return sums


def total(by_kind: Mapping[str, Figures]) -> Figures:
    """The figures of all kinds together."""
    return functools.reduce(operator.add, by_kind.values(), Figures())


@dataclass(frozen=True, kw_only=True, slots=True)
class Measurement:
    """A row for `ml_performance_metrics`; the name ends with the unit."""

    metric: str
    value: float
    kind: str


class Recorder:
    """Writes what happened since the last time, one row per metric and kind, in one statement."""

    def __init__(self, runtime: CacheRuntime, totals: Totals) -> None:
        self._runtime = runtime
        self._totals = totals
        self._lock = threading.Lock()
        self._written = {kind: Figures() for kind in _KINDS}
        self._made_until = date.min

    def flush(self) -> int:
        """Write; returns the number of rows. Raises `Unavailable` when nothing was written: it is in the next flush."""
        with self._lock:
            now = self._totals.read()
            rows = [row for kind, figures in now.items() for row in measurements(kind, figures - self._written[kind])]
            if not rows or self._runtime.hot is None:
                return 0
            statement = resources.files(__package__).joinpath("record_metrics.sql").read_bytes()
            values = {
                "metrics": [row.metric for row in rows],
                "values": [row.value for row in rows],
                "labels": [json.dumps({"kind": row.kind, "tenant": self._runtime.tenant}) for row in rows],
            }
            self._make_days()
            self._runtime.hot.change(lambda con: con.execute(statement, values))
            self._written = now
            return len(rows)

    def _make_days(self) -> None:
        """Make the partitions of today and tomorrow, once a day: retention takes days out whole, in no time."""
        today = datetime.now(UTC).date()
        if self._runtime.hot is None or self._made_until > today:
            return
        tomorrow = today + timedelta(days=1)

        def make(con: BoundedConnection) -> int:
            con.execute("set local lock_timeout = '100ms'")
            return add_day_partitions(con, "ml_performance_metrics", today, tomorrow)

        try:
            self._runtime.hot.change(make)
        except CacheError as error:
            # Without them rows lie in the default partition, and are found and removed there.
            LOG.info("The partitions of performance metrics were not made: %s", error)
            return
        self._made_until = tomorrow


def measurements(kind: str, figures: Figures) -> list[Measurement]:
    """The rows for what happened in an interval; none for a kind that was not called."""
    if not figures.calls and not figures.bypassed:
        return []
    values = {
        "cache_calls": figures.calls,
        "cache_hits": figures.hits,
        "cache_misses": figures.misses,
        "cache_errors": figures.errors,
        "cache_bypassed": figures.bypassed,
        "cache_hit_ratio": figures.hit_ratio,
        "cache_response_seconds": figures.mean_response_seconds,
        "cache_saved_seconds": figures.saved_seconds if figures.hits else None,
    }
    return [Measurement(metric=name, value=float(v), kind=kind) for name, v in values.items() if v is not None]
