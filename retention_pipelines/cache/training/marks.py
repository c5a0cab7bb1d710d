"""Marks: a file per thing that was invalidated, whose time says when; sets begun before it are not used any more.

So an invalidation by function, tag or model is one small file, reaches every process that can read the sets at once,
needs no database, and covers preparations that are still running.
"""

import hashlib
import os
from contextlib import suppress
from pathlib import Path

from retention_pipelines.cache.training.durable import list_folder, make_folder, sync_folder


class Marks:
    """The marks of one tenant."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def set(self, name: str, now_ns: int) -> None:
        """Invalidate everything of that name that was begun until now; a later mark is never set back."""
        make_folder(self._folder)
        path = self._path(name)
        fd = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            new = os.fstat(fd).st_size == 0
            if new or os.fstat(fd).st_mtime_ns < now_ns:
                os.ftruncate(fd, 1)  # tells a mark from a file whose maker died before it had a time
                os.utime(fd, ns=(now_ns, now_ns))
            os.fsync(fd)
        finally:
            os.close(fd)
        sync_folder(self._folder)

    def since(self, names: tuple[str, ...], started_ns: int) -> str | None:
        """A name of these that was invalidated at or after an instant; None when none was."""
        for name in names:
            try:
                found = os.lstat(self._path(name))
            except FileNotFoundError:
                continue
            if found.st_mtime_ns >= started_ns:
                return name
        return None

    def clean(self, before_ns: int) -> None:
        """Remove marks from before an instant; no set that was begun before it may be left, nor a preparation."""
        for entry in list_folder(self._folder):
            with suppress(FileNotFoundError):
                if entry.stat(follow_symlinks=False).st_mtime_ns < before_ns:
                    os.unlink(entry.path)

    def _path(self, name: str) -> str:
        return str(self._folder / hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest())
