"""Background: what a runtime does beside its callers, in few threads and tasks.

What belongs here: running work that blocks for coroutines, and work nobody waits for. What does not: which work
(`steps.py`, `answers.py`), and how long its end is waited for (`runtime.py`).
"""

import contextvars
import threading
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import asyncio
    from concurrent.futures import ThreadPoolExecutor

T = TypeVar("T")
_THREADS_FOR_COROUTINES = 8
_BACKGROUND_AT_ONCE = 4


class Background:
    """Threads and tasks of one runtime; none is started before it is needed, and none in a test."""

    testing: bool
    _lock: threading.Lock

    def _begin_background(self) -> None:
        self._pool: ThreadPoolExecutor | None = None
        self._slots = threading.BoundedSemaphore(_BACKGROUND_AT_ONCE)
        self._behind: list[threading.Thread] = []
        self._tasks: set[asyncio.Task[Any]] = set()

    async def in_thread(self, work: Callable[[], T]) -> T:
        """Run what blocks, for a coroutine; in a test right here."""
        if self.testing:
            return work()
        import asyncio

        try:
            future = self._threads().submit(work)
        except RuntimeError:
            # The interpreter is ending, or the runtime was closed meanwhile.
            return work()
        return await asyncio.wrap_future(future)

    def in_background(self, work: Callable[[], None]) -> bool:
        """Run work that nobody waits for, in the caller's context; False when too much is running already."""
        if self.testing:
            work()
            return True
        if not self._slots.acquire(blocking=False):
            return False
        context = contextvars.copy_context()

        def run() -> None:
            try:
                context.run(work)
            finally:
                self._slots.release()

        try:
            # A daemon: the end of the program waits for a refresh a moment only, in `close`.
            thread = threading.Thread(target=run, name="retention-refresh", daemon=True)
            self._behind = [one for one in self._behind if one.is_alive()] + [thread]
            thread.start()
        except RuntimeError:
            self._slots.release()
            return False
        return True

    def behind(self, work: Callable[[], None]) -> None:
        """Run a short piece of work that blocks and that nobody waits for: beside an event loop, else right here."""
        import asyncio

        try:
            asyncio.get_running_loop()
            self._threads().submit(work)
        except RuntimeError:
            # No loop here, or the interpreter is ending.
            work()

    def _threads(self) -> "ThreadPoolExecutor":
        from concurrent.futures import ThreadPoolExecutor

        with self._lock:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(_THREADS_FOR_COROUTINES, thread_name_prefix="retention-cache")
            return self._pool

    def start_task(self, work: Coroutine[Any, Any, None]) -> None:
        """The same for a coroutine, on the running loop."""
        import asyncio

        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
