"""Single flight: of all who want the same cold key at the same time, one computes and the others wait for it.

What belongs here: sharing a computation among the threads and coroutines of a process. What does not: other processes
(`process_lock.py`), storing the value, copying it for each caller. Waiting never deadlocks: whoever would wait for
itself, directly or through other keys, computes.
"""

import asyncio
import copy
import threading
from collections.abc import Awaitable, Callable, Iterable
from contextvars import ContextVar
from typing import Any, TypeVar

from retention_pipelines.cache.process_lock import ProcessLock

__all__ = ["Flight", "Flights", "ProcessLock"]
T = TypeVar("T")


class Flight:
    """One computation under way, and who waits for it; most are never waited for, so that is made when needed."""

    landed = False
    done: threading.Event | None = None
    # Event loop of a leading coroutine: a plain call on that loop would keep it from ever finishing.
    loop: asyncio.AbstractEventLoop | None = None
    waits_for: "list[Flight] | None" = None
    waiters: "list[tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]] | None" = None
    value: Any = None
    error: Exception | None = None
    abandoned = False


# The flights the current thread or task is computing, outermost first; tasks and `to_thread` inherit it.
_LEADING: ContextVar[tuple[Flight, ...]] = ContextVar("retention_flights", default=())


class Flights:
    """The computations under way in this process, by key."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._flights: dict[str, Flight] = {}

    def __len__(self) -> int:
        return len(self._flights)

    def run(self, key: str, compute: Callable[[], T]) -> tuple[T, bool]:
        """The value of a key and whether this call computed it; the others share its value or its exception.

        What is no `Exception`, such as KeyboardInterrupt, concerns the leader alone: one who waits takes over.
        """
        while True:
            mine = Flight()
            # One step for all threads.
            flight = self._flights.setdefault(key, mine)
            if flight is mine:
                return self._lead(key, flight, compute), True
            if flight in _LEADING.get():
                # Computed inside itself: as without a cache, the function runs.
                return compute(), True
            if _runs_on(flight.loop) or not self._may_wait(flight):
                return compute(), True
            try:
                done = self._done(flight)
                if done is not None:
                    done.wait()
            finally:
                self._waited(flight)
            if not flight.abandoned:
                return _landed(flight), False

    async def run_async(self, key: str, compute: Callable[[], Awaitable[T]]) -> tuple[T, bool]:
        """The same for coroutines; both kinds share a key's flight. One who waits succeeds a cancelled leader."""
        while True:
            loop = asyncio.get_running_loop()
            mine = Flight()
            mine.loop = loop
            flight = self._flights.setdefault(key, mine)
            if flight is mine:
                return await self._lead_async(key, flight, compute), True
            if flight in _LEADING.get():
                return await compute(), True
            if not self._may_wait(flight):
                return await compute(), True
            future = loop.create_future()
            with self._lock:
                landed = flight.landed
                if not landed:
                    flight.waiters = [*(flight.waiters or ()), (loop, future)]
            try:
                if not landed:
                    await future
            finally:
                self._waited(flight)
            if not flight.abandoned:
                return _landed(flight), False

    def _lead(self, key: str, flight: Flight, compute: Callable[[], T]) -> T:
        token = _LEADING.set((*_LEADING.get(), flight))
        try:
            value = flight.value = compute()
        except Exception as error:
            flight.error = error
            raise
        except BaseException:
            flight.abandoned = True
            raise
        finally:
            _LEADING.reset(token)
            self._land(key, flight)
        return value

    async def _lead_async(self, key: str, flight: Flight, compute: Callable[[], Awaitable[T]]) -> T:
        token = _LEADING.set((*_LEADING.get(), flight))
        try:
            value = flight.value = await compute()
        except Exception as error:
            flight.error = error
            raise
        except BaseException:
            flight.abandoned = True
            raise
        finally:
            _LEADING.reset(token)
            self._land(key, flight)
        return value

    def _land(self, key: str, flight: Flight) -> None:
        with self._lock:
            del self._flights[key]
            flight.landed = True
        # Nobody begins to wait after this.
        if flight.done is not None:
            flight.done.set()
        for loop, future in flight.waiters or ():
            if not loop.is_closed():
                loop.call_soon_threadsafe(_wake, future)

    def _done(self, flight: Flight) -> threading.Event | None:
        """What to wait for; None when the flight has landed."""
        with self._lock:
            if flight.landed:
                return None
            if flight.done is None:
                flight.done = threading.Event()
            return flight.done

    def _may_wait(self, flight: Flight) -> bool:
        """Note that what this caller computes waits for `flight`, unless that waits for it already."""
        mine = _LEADING.get()
        if not mine:
            return True
        with self._lock:
            if _reaches(flight, mine):
                return False
            for one in mine:
                one.waits_for = [*(one.waits_for or ()), flight]
        return True

    def _waited(self, flight: Flight) -> None:
        mine = _LEADING.get()
        if mine:
            with self._lock:
                for one in mine:
                    if one.waits_for is not None:
                        one.waits_for.remove(flight)


def _reaches(start: Flight, goals: Iterable[Flight]) -> bool:
    wanted, seen, todo = set(map(id, goals)), set[int](), [start]
    while todo:
        flight = todo.pop()
        if id(flight) in wanted:
            return True
        if id(flight) not in seen:
            seen.add(id(flight))
            todo += flight.waits_for or ()
    return False


def _runs_on(loop: asyncio.AbstractEventLoop | None) -> bool:
    if loop is None:
        return False
    try:
        return asyncio.get_running_loop() is loop
    except RuntimeError:
        return False


def _wake(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_result(None)


def _landed(flight: Flight) -> Any:
    if flight.error is None:
        return flight.value
    raise _own(flight.error)


def _own(error: Exception) -> Exception:
    """The error for another caller: a copy, because raising one object in many threads mixes their tracebacks."""
    try:
        mine = copy.copy(error)
        faithful = type(mine) is type(error) and mine.args == error.args and str(mine) == str(error)
    except Exception:  # noqa: BLE001 - whatever a stranger's class does when copied
        return error
    if not faithful:
        return error
    mine.__cause__, mine.__context__ = error.__cause__, error.__context__
    mine.__suppress_context__ = error.__suppress_context__
    return mine.with_traceback(error.__traceback__)
