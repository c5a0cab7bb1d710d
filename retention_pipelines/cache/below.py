"""Below memory: asking Postgres and the lake for a call's answer, taking turns with other processes, and writing.

What belongs here: the order of the lower tiers and failing open. What does not: how a tier works (`hot.py`,
`writer.py`, `flight.py`, `lake_tier.py`). Every function here ends in bounded time and raises nothing: what fails is
counted, and the call goes on as if nothing had been found.
"""

import time
from collections.abc import Generator
from typing import TYPE_CHECKING

from retention_pipelines.cache import codec
from retention_pipelines.cache.entry import NewEntry, StoredEntry
from retention_pipelines.cache.keep import Answer, remember
from retention_pipelines.errors import CacheError, CorruptEntry

if TYPE_CHECKING:
    from retention_pipelines.cache.calls import Call
    from retention_pipelines.cache.hot import HotTier

# The longest a process waits for another one's computation before it computes itself.
TURN_SECONDS = 10.0


def find(call: "Call") -> Answer | None:
    """The newest answer of the tiers below, fresh ones in memory now; stale ones only as the function opted in."""
    try:
        return _find(call)
    except Exception as error:  # noqa: BLE001 - fails open: the function runs instead
        _degraded(call, error)
        return None


def _find(call: "Call") -> Answer | None:
    runtime, cached = call.runtime, call.cached
    options = cached.options
    hot = runtime.hot
    if hot is None or not runtime.may_read(call):
        return None
    writer = runtime.writer
    if writer is not None:
        waiting = writer.pending(options.kind, call.key)
        if waiting is not None:
            return _answer(call, _as_stored(waiting), "postgres")
    if call.seen_seq is None:
        call.seen_seq = runtime.first_seq()
    stored, tier = None, "postgres"
    if "postgres" in options.tiers:
        try:
            stored = hot.get(
                options.kind, call.key, stale_seconds=cached.stale_seconds, within_days=cached.within_days(runtime)
            )
        except CacheError as error:
            _degraded(call, error)
            # Nobody knows whether it is there, so the lake is not asked: it is only for what Postgres has let go.
            return None
    if stored is not None and stored.is_buried:
        _regret(call)
    if stored is None and "lake" in options.tiers and options.kind == "features":
        lake = runtime.lake_tier
        try:
            stored, tier = (None if lake is None else lake.get(call.key)), "lake"
        except CorruptEntry as error:
            cached.count("corrupt", "lake", reason=str(error.message), key=call.key, error=error)
    return None if stored is None else _answer(call, stored, tier)


def _regret(call: "Call") -> None:
    """Have what retention took out back, behind the caller, and count that it was asked for again."""
    runtime = call.runtime
    if runtime.hot is None or runtime.read_only:
        return
    if runtime.access is not None:
        runtime.access.miss("inference_cache", call.key, 0.0)

    def dig_up(hot: "HotTier" = runtime.hot) -> None:
        try:
            hot.dig_up(call.key)
        except Exception as error:  # noqa: BLE001 - it is served from where it lies, the next time, too
            _degraded(call, error)

    runtime.in_background(dig_up)


def _answer(call: "Call", stored: StoredEntry, tier: str) -> Answer | None:
    try:
        value = codec.decode(stored.payload)
    except codec.UnknownClass as error:
        # Written by a process that has loaded more classes than this one: no alert, the function runs.
        call.unreadable = True
        call.cached.count("unstorable", tier, reason=str(error.message), key=call.key)
        return None
    except CorruptEntry as error:
        call.unreadable = True
        call.cached.count("corrupt", tier, reason=str(error.message), key=call.key, error=error)
        return None
    answer = Answer(
        value=value,
        copier=call.cached.copier_of(value),
        tier=tier,
        age_seconds=stored.age_seconds,
        remaining_seconds=stored.remaining_seconds,
        compute_seconds=stored.compute_seconds,
        size_bytes=len(stored.payload.data),
    )
    if (stored.remaining_seconds is None or stored.remaining_seconds > 0) and not remember(
        call, answer, time.monotonic() - stored.age_seconds
    ):
        # Invalidated between the call's begin and now: what was read may be from before.
        return None
    return answer


def _as_stored(entry: NewEntry) -> StoredEntry:
    age = time.monotonic() - entry.computed_monotonic
    return StoredEntry(
        key=entry.key,
        payload=entry.payload,
        age_seconds=age,
        remaining_seconds=None if entry.ttl_seconds is None else entry.ttl_seconds - age,
        compute_seconds=entry.compute_seconds,
    )


def take_turn(call: "Call") -> Generator[float, None, bool]:
    """Take the turn to compute a key among all processes; True when another had it, so that looking again pays.

    Asks when resumed, and yields the seconds to wait before that: a coroutine's wait must not hold one of the threads
    that the lookups of all others need.
    """
    lock = call.runtime.process_lock
    if lock is None or call.has_turn:
        return False
    try:
        # An entry of a class this process has not loaded would be found again and again.
        looks = "postgres" in call.cached.options.tiers and not call.unreadable
        standing = yield from lock.attempts(
            call.key,
            TURN_SECONDS,
            kind=call.cached.options.kind if looks else None,
            within_days=call.cached.within_days(call.runtime),
        )
    except Exception as error:  # noqa: BLE001 - fails open: two processes may compute
        _degraded(call, error)
        return False
    call.has_turn = standing == "leader"
    if call.ended:
        # Cancelled while this thread asked: nobody else gives it back.
        end_turn(call)
    return standing == "ready"


def end_turn(call: "Call") -> None:
    """Let the next process have its turn, if the call still has it: nothing was handed to the queue."""
    call.ended = True
    lock, runtime = call.runtime.process_lock, call.runtime
    if lock is not None and call.has_turn:
        call.has_turn = False
        runtime.behind(lambda: lock.release([call.key]))


def write_behind(call: "Call", entry: NewEntry) -> None:
    """Hand an entry to the queue; the turn ends when it is stored, so that the next process finds it."""
    writer, lock = call.runtime.writer, call.runtime.process_lock
    if writer is None:
        return
    then = lock.release if lock is not None and call.has_turn else None
    try:
        # In one step with the look back: an entry put after an invalidation that names it would be read from the queue.
        with call.runtime.recent.lock:
            taken = not call.is_outdated() and writer.put(entry, then=then)
    except Exception as error:  # noqa: BLE001 - the answer is in memory and on its way to the caller
        _degraded(call, error)
        taken = False
    if taken:
        call.has_turn = False


def write_now(call: "Call", entry: NewEntry) -> None:
    """Store an entry before the caller goes on; an entry that could not be stored goes behind."""
    writer = call.runtime.writer
    if writer is None:
        return
    try:
        stored = writer.put_now(entry)
    except Exception as error:  # noqa: BLE001 - as above
        _degraded(call, error)
        stored = False
    if not stored:
        write_behind(call, entry)


def _degraded(call: "Call", error: Exception) -> None:
    # What is expected of a store that is down has a reason and needs no traceback.
    reason = getattr(error, "reason", None)
    call.cached.count(
        "degraded",
        "postgres",
        reason=reason or type(error).__name__,
        key=call.key,
        error=None if reason else error,
    )
