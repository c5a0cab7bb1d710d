"""Steps: what happens to a call that memory did not answer, once for functions and coroutines alike.

What belongs here: the order of things (tiers below, turn among processes, the function, keeping the answer), written
as a generator that yields what must be waited for, and the two small loops that wait: one calls, one awaits. What does
not: how a tier is asked (`below.py`), what a caller finally gets (`answers.py`). The user's function runs in the loops,
inside no `try` of ours but one that raises again, so that its exceptions come out as they are.
"""

import time
from collections.abc import Callable, Generator
from functools import partial
from typing import Any

from retention_pipelines.cache import below
from retention_pipelines.cache.calls import LOG, Call
from retention_pipelines.cache.keep import Answer, keep
from retention_pipelines.cache.stale import use_of


class _Compute:
    """Yielded where the function must run."""


class _Raise:
    """Yielded last where the function's exception must come out."""


class Pause:
    """Yielded where nothing is to be done for some seconds."""

    __slots__ = ("seconds",)

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds


class Failed:
    """Sent in where the function raised."""

    __slots__ = ("error",)

    def __init__(self, error: BaseException) -> None:
        self.error = error


class _Unasked:
    """Instead of an answer where nobody has looked for one."""


COMPUTE, RAISE, UNASKED = _Compute(), _Raise(), _Unasked()
Steps = Generator[Callable[[], Any] | _Compute | _Raise | Pause | Answer, Any, None]


def steps(call: Call, first: Answer | _Unasked | None = UNASKED) -> Steps:
    """What one caller does for all that wait; the last thing yielded is an Answer or RAISE.

    `first` is what the tiers below said, where they were asked already.
    """
    options = call.cached.options
    stale: Answer | None = None
    if call.purpose in ("miss", "revalidate") and options.below:
        # Twice: after another process had its turn, what it computed may be there.
        for _ in range(2):
            found: Answer | None
            if isinstance(first, _Unasked):
                found = yield partial(below.find, call)
            else:
                found, first = first, UNASKED
            if found is not None:
                use = use_of(found.remaining_seconds, options.staleness)
                if use == "fresh" or (use == "revalidate" and call.purpose == "miss"):
                    yield found
                    return
                stale = found if use != "no" else None
            turn = below.take_turn(call)
            while type(ready := (yield partial(_advance, turn))) is float:
                yield Pause(ready)
            if not ready:
                break
    started = time.perf_counter()
    result = yield COMPUTE
    seconds, computed_monotonic = time.perf_counter() - started, time.monotonic()
    if type(result) is Failed:
        yield _after_failure(call, result.error, stale)
        return
    call.computed, call.original = True, result
    call.compute_seconds = seconds
    if options.kind == "predictions" and call.purpose == "miss" and not call.unreadable:
        runtime = call.runtime
        if runtime.access is not None:
            runtime.access.miss("inference_cache", call.key, seconds)
    answer = keep(call, result, seconds, computed_monotonic)
    if answer.entry is not None:
        if options.write == "through":
            yield partial(below.write_now, call, answer.entry)
        else:
            below.write_behind(call, answer.entry)
    yield answer


def _advance(turn: Generator[float, None, bool]) -> float | bool:
    """The seconds until the turn should be asked for again, or how it ended."""
    try:
        return next(turn)
    except StopIteration as ended:
        return bool(ended.value)


def _after_failure(call: Call, error: BaseException, stale: Answer | None) -> Answer | _Raise:
    options = call.cached.options
    if not isinstance(error, Exception):
        return RAISE
    if options.negative is not None and options.negative.remembers(error):
        with call.runtime.recent.lock:
            if not call.is_outdated():
                call.cached.exceptions.remember(call.key, error, options.negative.ttl_seconds)
    if call.purpose != "miss" or not options.staleness.if_error:
        return RAISE
    if stale is None and call.fallback is not None:
        stale = held_answer(call)
    if stale is None or use_of(stale.remaining_seconds, options.staleness) == "no":
        return RAISE
    LOG.warning("%s raised %s; an expired answer is served instead.", call.cached.name, type(error).__name__)
    return stale


def held_answer(call: Call) -> Answer:
    """What memory still holds for a call: expired, or fresh and due to be renewed."""
    held = call.fallback
    return Answer(
        value=held.value,
        copier=held.copier,
        tier="memory",
        age_seconds=held.age,
        remaining_seconds=held.remaining,
        compute_seconds=held.compute_seconds,
    )


def lead(call: Call, going: Steps | None = None) -> Answer:
    """Take the steps of a call to a function; returns the answer or raises what the function raised."""
    if going is None:
        found: Answer | _Unasked | None = UNASKED
        if call.purpose == "miss" and call.cached.options.below:
            found = below.find(call)
            if found is not None and (found.remaining_seconds is None or found.remaining_seconds > 0):
                # The short way of a hit: nothing of what follows is needed.
                return found
        going = steps(call, found)
    step: Any = next(going)
    try:
        while type(step) is not Answer:
            if step is COMPUTE:
                try:
                    result = call.cached.function(*call.args, **call.kwargs)
                except BaseException as error:
                    step = going.send(Failed(error))
                    if step is RAISE:
                        raise
                    return step  # type: ignore[no-any-return]
                step = going.send(result)
            elif type(step) is Pause:
                time.sleep(step.seconds)
                step = going.send(None)
            else:
                step = going.send(step())
        return step
    finally:
        below.end_turn(call)


async def lead_async(call: Call, going: Steps | None = None) -> Answer:
    """The same for a coroutine function: what blocks runs in the runtime's few threads."""
    import asyncio

    going = steps(call) if going is None else going
    step: Any = next(going)
    try:
        while type(step) is not Answer:
            if step is COMPUTE:
                try:
                    result = await call.cached.function(*call.args, **call.kwargs)
                except BaseException as error:
                    step = going.send(Failed(error))
                    if step is RAISE:
                        raise
                    return step  # type: ignore[no-any-return]
                step = going.send(result)
            elif type(step) is Pause:
                await asyncio.sleep(step.seconds)
                step = going.send(None)
            else:
                step = going.send(await call.runtime.in_thread(step))
        return step
    finally:
        below.end_turn(call)
