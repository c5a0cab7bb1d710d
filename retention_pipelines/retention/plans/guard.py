"""Guards: whether a plan may be executed, decided over facts that somebody else measured.

Pure. Every guard refuses in a sentence that says what to do. Some can be overruled by naming the plan's hash, because a
person who read the plan may know better: how much goes, how unusual that is, how alive the evidence is. Clocks that
disagree, missing space and an old plan cannot.
"""

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

_LIVE_KEYS = 20
_MIN_SCORED = 20


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Numbers of the guards.

    Attributes:
        max_fraction: share of a dataset that goes in one run without being asked about.
        times_median: how many times the median of earlier runs goes without being asked about.
        min_runs: earlier runs that a median is believed from.
        clock_slack: how far host and database may differ.
        longest_gap: time since the last run from which on the clock is doubted.
        plan_life: age from which on a plan is made anew.
        lost_share: share of counted reads that may vanish between two runs.
        bad_scores: share of scores that may be 0 or NaN, and by how much it may rise between two runs.
        scratch_factor: free bytes wanted per byte that is rewritten.
    """

    max_fraction: float = 0.05
    times_median: float = 5.0
    min_runs: int = 3
    clock_slack: timedelta = timedelta(seconds=60)
    longest_gap: timedelta = timedelta(days=366)
    plan_life: timedelta = timedelta(days=7)
    lost_share: float = 0.5
    bad_scores: float = 0.2
    scratch_factor: float = 1.1


@dataclass(frozen=True, kw_only=True, slots=True)
class Evidence:
    """How alive the figures are that policies decide by.

    Attributes:
        keys_read: entries with a counted read; None where the policies do not ask for reads.
        last_read_at: the newest counted read.
        scored: rows with a score; None where the policies do not ask for scores.
        bad: those of them that are 0 or NaN.
    """

    keys_read: int | None = None
    last_read_at: datetime | None = None
    scored: int | None = None
    bad: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Facts:
    """What the guards look at.

    Attributes:
        rows: of the dataset.
        removed: rows the plan takes out, but for those whose own expiry is past: nobody can read them any more.
        earlier: what the last runs took out, counted alike.
        host_now, database_now: both clocks, read together.
        as_of: of the plan.
        last_as_of: of the last run; None before the first.
        rewritten_bytes: of the partitions that are rewritten or copied.
        free_bytes: where they are written; None: not known.
        confirmed: a person named the plan's hash.
    """

    rows: int
    removed: int
    earlier: tuple[int, ...]
    host_now: datetime
    database_now: datetime
    as_of: datetime
    last_as_of: datetime | None
    rewritten_bytes: int
    free_bytes: int | None
    evidence: Evidence
    last_evidence: Evidence | None
    confirmed: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Refusal:
    """A guard that says no; `can_confirm` where naming the plan's hash overrules it."""

    guard: str
    reason: str
    hint: str
    can_confirm: bool


def refusals(facts: Facts, limits: Limits | None = None) -> tuple[Refusal, ...]:
    """Every guard that refuses, the ones that nobody can overrule first; empty: the plan may be executed."""
    chosen = limits or Limits()
    found = [refusal for guard in _GUARDS if (refusal := guard(facts, chosen)) is not None]
    standing = [one for one in found if not (one.can_confirm and facts.confirmed)]
    return tuple(sorted(standing, key=lambda one: one.can_confirm))


def _clocks(facts: Facts, limits: Limits) -> Refusal | None:
    apart = abs(facts.host_now - facts.database_now)
    if apart <= limits.clock_slack:
        return None
    return Refusal(
        guard="clock",
        reason=f"This machine and the database differ by {_written(apart)}.",
        hint="Set the clocks right, then plan again.",
        can_confirm=False,
    )


def _backwards(facts: Facts, limits: Limits) -> Refusal | None:
    last = max(filter(None, (facts.last_as_of, facts.as_of)))
    if last - facts.database_now <= limits.clock_slack:
        return None
    return Refusal(
        guard="clock",
        reason=f"The database's clock is {_written(last - facts.database_now)} behind an earlier plan or run.",
        hint="Set the clock right, then plan again.",
        can_confirm=False,
    )


def _leap(facts: Facts, limits: Limits) -> Refusal | None:
    if facts.last_as_of is None or facts.as_of - facts.last_as_of <= limits.longest_gap:
        return None
    gap = _written(facts.as_of - facts.last_as_of)
    return Refusal(
        guard="clock",
        reason=f"The last run was {gap} ago: either nothing ran for that long, or a clock leapt.",
        hint="If the clock is right, confirm the plan by its hash.",
        can_confirm=True,
    )


def _stale(facts: Facts, limits: Limits) -> Refusal | None:
    age = facts.database_now - facts.as_of
    if age <= limits.plan_life:
        return None
    return Refusal(
        guard="age",
        reason=f"The plan is {_written(age)} old.",
        hint="Make a new one: `retention plan`.",
        can_confirm=False,
    )


def _scratch(facts: Facts, limits: Limits) -> Refusal | None:
    wanted = round(facts.rewritten_bytes * limits.scratch_factor)
    if facts.free_bytes is None or facts.free_bytes >= wanted:
        return None
    return Refusal(
        guard="space",
        reason=f"Rewriting needs about {wanted:,} bytes, {facts.free_bytes:,} are free.",
        hint="Free some space; policies whose partitions go whole need none.",
        can_confirm=False,
    )


def _fraction(facts: Facts, limits: Limits) -> Refusal | None:
    if facts.removed <= limits.max_fraction * facts.rows:
        return None
    return Refusal(
        guard="max_fraction",
        reason=f"{facts.removed:,} of {facts.rows:,} rows would go, {facts.removed / facts.rows:.1%} of the dataset; "
        f"more than {limits.max_fraction:.0%} needs a person.",
        hint="Read the plan, then confirm it by its hash.",
        can_confirm=True,
    )


def _unusual(facts: Facts, limits: Limits) -> Refusal | None:
    if len(facts.earlier) < limits.min_runs:
        return None
    median = statistics.median(facts.earlier)
    if facts.removed <= limits.times_median * median:
        return None
    return Refusal(
        guard="median",
        reason=f"{facts.removed:,} rows would go; the last {len(facts.earlier)} runs took {median:,.0f} (median).",
        hint=f"More than {limits.times_median:g} times as many needs a person: read the plan, confirm it by its hash.",
        can_confirm=True,
    )


def _reads(facts: Facts, limits: Limits) -> Refusal | None:
    now, before = facts.evidence, facts.last_evidence
    if before is None or now.keys_read is None or before.keys_read is None or before.keys_read < _LIVE_KEYS:
        return None
    if now.keys_read < (1 - limits.lost_share) * before.keys_read:
        reason = f"Counted reads fell from {before.keys_read:,} entries to {now.keys_read:,} since the last run."
    elif (
        now.last_read_at is not None
        and facts.last_as_of is not None
        and facts.as_of - facts.last_as_of >= timedelta(days=1)
        and now.last_read_at < facts.last_as_of - timedelta(days=1)
    ):
        reason = f"Nothing was read since {now.last_read_at:%Y-%m-%d}, before the last run."
    else:
        return None
    return Refusal(
        guard="evidence",
        reason=f"{reason} Policies decide by reads: either nobody reads, or counting broke.",
        hint="See whether reads are counted (`retention doctor`); if nobody reads, confirm the plan by its hash.",
        can_confirm=True,
    )


def _scores(facts: Facts, limits: Limits) -> Refusal | None:
    now, before = facts.evidence, facts.last_evidence
    if now.scored is None or now.bad is None or now.scored < _MIN_SCORED:
        return None
    share = now.bad / now.scored
    was = before.bad / before.scored if before and before.scored and before.bad is not None else None
    allowed = limits.bad_scores if was is None else was + limits.bad_scores
    # Without an earlier run only a majority of worthless scores says that scoring broke.
    if share <= (max(allowed, 0.5) if was is None else allowed):
        return None
    rose = "" if was is None else f", {was:.0%} at the last run"
    return Refusal(
        guard="evidence",
        reason=f"{share:.0%} of the quality scores are 0 or NaN{rose}: scoring may have broken.",
        hint="Look at the newest scores; if they are right, confirm the plan by its hash.",
        can_confirm=True,
    )


_GUARDS: tuple[Callable[[Facts, Limits], Refusal | None], ...] = (
    _clocks,
    _backwards,
    _stale,
    _scratch,
    _leap,
    _fraction,
    _unusual,
    _reads,
    _scores,
)


def _written(span: timedelta) -> str:
    seconds = span.total_seconds()
    for size, unit in ((86_400, "days"), (3_600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} seconds"
