"""Loading libraries in a thread of ours: never while the process forks.

A child that was forked while a thread loaded a module has half of it for ever: importing it again fails or hangs. So a
fork waits for that thread, for a bounded time.
"""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_LONGEST_WAIT = 5.0
_lock = threading.RLock()
_is_held = False


@contextmanager
def loading() -> Iterator[None]:
    """Import inside the block."""
    with _lock:
        yield


def _before_fork() -> None:
    global _is_held
    # Bounded: the thread may wait for a module that the one who forks is loading.
    _is_held = _lock.acquire(timeout=_LONGEST_WAIT)


def _in_parent() -> None:
    if _is_held:
        _lock.release()


def _in_child() -> None:
    global _lock
    _lock = threading.RLock()


os.register_at_fork(before=_before_fork, after_in_parent=_in_parent, after_in_child=_in_child)
