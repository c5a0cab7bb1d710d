"""Turns: of all processes that could use the same files, one prepares a set and the others wait for it.

The lock is a file beside the sets, not one in Postgres: it reaches exactly those who share the files, holds while
Postgres is away, and goes with its process.
"""

import contextlib
import fcntl
import os
import time
from pathlib import Path

from retention_pipelines.cache.training.durable import list_folder, make_folder

_POLL_SECONDS = 0.02


class Turn:
    """The turn to prepare one set; not for several threads at once."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd: int | None = None

    def take(self, wait_seconds: float) -> bool:
        """Whether this process has the turn now. Raises OSError where locks cannot be had."""
        if self._fd is not None:
            return True
        make_folder(self._path.parent)
        ends = time.monotonic() + wait_seconds
        while True:
            fd = os.open(self._path, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                # Whoever had it before removed the file: this is then the lock of nobody else.
                with contextlib.suppress(FileNotFoundError):
                    if os.path.samestat(os.fstat(fd), os.lstat(self._path)):
                        self._fd, fd = fd, -1
                        return True
            except BlockingIOError:
                if time.monotonic() >= ends:
                    return False
                time.sleep(_POLL_SECONDS)
            finally:
                if fd >= 0:
                    os.close(fd)

    def end(self) -> None:
        """Let the next process have its turn. Idempotent."""
        fd, self._fd = self._fd, None
        if fd is not None:
            with contextlib.suppress(OSError):
                os.unlink(self._path)
            # Spelled out: a child that was forked meanwhile holds the same lock open.
            with contextlib.suppress(OSError):
                fcntl.flock(fd, fcntl.LOCK_UN)
            os.close(fd)


def clean_turns(folder: Path, before_ns: int) -> None:
    """Remove the locks of processes that died with their turn before an instant."""
    for entry in list_folder(folder):
        with contextlib.suppress(OSError):
            turn = Turn(Path(entry.path))
            if entry.stat(follow_symlinks=False).st_ctime_ns < before_ns and turn.take(0.0):
                turn.end()
