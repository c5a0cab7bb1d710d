"""Answers: what a caller gets after memory had none: the value of a flight, a stale value with a refresh behind it.

What belongs here: who computes and who waits, and counting what came of a call. What does not: the steps of the one
who computes (`steps.py`). Each function has a twin for coroutines that differs in its awaits only; all they decide is
shared.
"""

import time
from functools import partial
from typing import Any

from retention_pipelines.cache.calls import Call
from retention_pipelines.cache.events import Outcome
from retention_pipelines.cache.keep import Answer
from retention_pipelines.cache.stale import use_of
from retention_pipelines.cache.steps import held_answer, lead, lead_async


def answer(call: Call) -> Any:
    """The value of a call to a function."""
    cached = call.cached
    if call.purpose == "revalidate":
        value = served(call, held_answer(call))
        if cached.begins_renewal(call.key):
            _behind(call)
        return value
    if call.purpose == "early":
        try:
            renewed = lead(call)
        except Exception as error:  # noqa: BLE001 - what memory holds is still fresh, so the caller gets that
            return _still_fresh(call, error)
        finally:
            cached.renewing.discard(call.key)
        return after_renewal(call, renewed)
    try:
        found, leader = call.runtime.flights.run(call.flight, partial(lead, call))
    except BaseException as error:
        failed(call, error)
        raise
    if not leader and not found.shareable:
        return _unshared(call)(*call.args, **call.kwargs)
    value = served(call, found, leader=leader)
    if _wants_renewal(call, found) and cached.begins_renewal(call.key):
        _behind(call)
    return value


async def answer_async(call: Call) -> Any:
    """The value of a call to a coroutine function."""
    cached = call.cached
    if call.purpose == "revalidate":
        value = served(call, held_answer(call))
        if cached.begins_renewal(call.key):
            await _behind_async(call)
        return value
    if call.purpose == "early":
        try:
            renewed = await lead_async(call)
        except Exception as error:  # noqa: BLE001 - as above
            return _still_fresh(call, error)
        finally:
            cached.renewing.discard(call.key)
        return after_renewal(call, renewed)
    try:
        found, leader = await call.runtime.flights.run_async(call.flight, partial(lead_async, call))
    except BaseException as error:
        failed(call, error)
        raise
    if not leader and not found.shareable:
        return await _unshared(call)(*call.args, **call.kwargs)
    value = served(call, found, leader=leader)
    if _wants_renewal(call, found) and cached.begins_renewal(call.key):
        await _behind_async(call)
    return value


def refresh(call: Call) -> Any:
    """Compute whatever is cached, keep and return it."""
    try:
        return after_renewal(call, lead(call))
    except BaseException as error:
        failed(call, error)
        raise


async def refresh_async(call: Call) -> Any:
    """The same for a coroutine function."""
    try:
        return after_renewal(call, await lead_async(call))
    except BaseException as error:
        failed(call, error)
        raise


def _behind(call: Call) -> None:
    renewal = call.renewal()

    def renew() -> None:
        try:
            after_renewal(renewal, lead(renewal))
        except Exception as error:  # noqa: BLE001 - nobody waits for it; the next caller tries again
            failed(renewal, error)
        finally:
            call.cached.renewing.discard(call.key)

    if not call.runtime.in_background(renew):
        call.cached.renewing.discard(call.key)


async def _behind_async(call: Call) -> None:
    renewal = call.renewal()

    async def renew() -> None:
        try:
            after_renewal(renewal, await lead_async(renewal))
        except Exception as error:  # noqa: BLE001 - nobody waits for it; the next caller tries again
            failed(renewal, error)
        finally:
            call.cached.renewing.discard(call.key)

    if call.runtime.testing:
        await renew()
    else:
        call.runtime.start_task(renew())


def _wants_renewal(call: Call, found: Answer) -> bool:
    return (
        bool(found.tier)
        and not call.computed
        and call.cached.options.staleness.while_revalidate > 0
        and use_of(found.remaining_seconds, call.cached.options.staleness) == "revalidate"
    )


def served(call: Call, found: Answer, *, leader: bool = True) -> Any:
    """What this caller gets of an answer; counted."""
    cached = call.cached
    elapsed = time.perf_counter() - call.started
    if leader and call.computed:
        counts = cached.counts
        counts.miss_seconds += elapsed
        counts.compute_seconds += call.compute_seconds
        cached.tally("miss")
        if cached.is_heard():
            cached.tell(
                "miss",
                key=call.key,
                place=call.place,
                elapsed_seconds=max(0.0, elapsed - call.compute_seconds),
                compute_seconds=call.compute_seconds,
                size_bytes=found.size_bytes,
            )
        return call.original
    value = found.handed_out()
    if not leader:
        cached.count("shared", key=call.key, place=call.place, elapsed_seconds=elapsed)
        return value
    fresh = found.remaining_seconds is None or found.remaining_seconds > 0
    counts = cached.counts
    counts.below_seconds += elapsed
    counts.avoided_seconds += found.compute_seconds
    outcome: Outcome = "hit" if fresh else "stale"
    if fresh and found.tier == "postgres":
        next(counts.postgres_hits)
    else:
        cached.tally(outcome, found.tier)
    if cached.is_heard():
        cached.tell(
            outcome,
            tier=found.tier,
            key=call.key,
            place=call.place,
            elapsed_seconds=elapsed,
            saved_seconds=found.compute_seconds - elapsed,
            size_bytes=found.size_bytes,
            age_seconds=found.age_seconds,
        )
    cached.read(call.key)
    return value


def after_renewal(call: Call, found: Answer) -> Any:
    """What a caller gets who asked for a new answer; counted."""
    if not call.computed:
        # Another process had renewed it already.
        return found.handed_out()
    cached = call.cached
    next(cached.counts.renewed)
    cached.counts.compute_seconds += call.compute_seconds
    if call.purpose == "early":
        # Its caller waits for it, which is a miss to him.
        cached.counts.miss_seconds += time.perf_counter() - call.started
    cached.count(
        "miss",
        counted=call.purpose == "early",
        key=call.key,
        place=call.place,
        compute_seconds=call.compute_seconds,
        size_bytes=found.size_bytes,
        reason=call.purpose,
    )
    return call.original


def _still_fresh(call: Call, error: Exception) -> Any:
    _tell_failure(call, error)
    return served(call, held_answer(call))


def _unshared(call: Call) -> Any:
    """The function itself, for one who waited for a result that each caller must have his own of."""
    call.cached.count("bypass", key=call.key, reason="results of this function cannot be shared")
    return call.cached.function


def failed(call: Call, error: BaseException) -> None:
    """Count that the function raised."""
    if call.purpose == "miss":
        next(call.cached.counts.errors)
    _tell_failure(call, error)


def _tell_failure(call: Call, error: BaseException) -> None:
    call.cached.count("error", counted=False, key=call.key, reason=type(error).__name__)
