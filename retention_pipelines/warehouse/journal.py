"""The journal of unfinished transactions: which tables one has touched, and whether its process is still alive.

A transaction is several commits over several tables. Delta commits one table at a time, so a marker is written before
the first commit and removed after the last: while it is there, readers leave the transaction's files out; when its
process is dead, whoever comes next takes its commits back. One transaction at a time per lake. What belongs here: the
marker and the lock. What does not: undoing commits (`table.py`) and when to do it (`lake.py`).
"""

import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from typing import Protocol

import psutil
from filelock import FileLock, Timeout

from retention_pipelines.errors import CommitConflict, LakeError
from retention_pipelines.warehouse.objects import FolderObjects, StoreObjects

_MARKER = "_lake/_transactions/current.json"
_LOCK = "_lake/_transactions/lock"
# A marker of another machine counts as dead when it was not renewed for this long; it is renewed every minute.
_LEASE_SECONDS = 600
_RENEW_SECONDS = 60
# Owner of a marker whose transaction could not be rolled back by its own process.
_NOBODY = 0


@dataclass(frozen=True, kw_only=True)
class Unfinished:
    """A transaction whose marker exists. `tables` maps each touched table to its version before."""

    op: str
    host: str
    pid: int
    started: float
    tables: Mapping[str, int] = field(default_factory=dict)

    def to_json(self) -> bytes:
        """The marker's content."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def from_json(cls, content: bytes) -> "Unfinished":
        """The transaction a marker tells of."""
        return cls(**json.loads(content))


def _of_this_process(op: str) -> Unfinished:
    process = psutil.Process()
    return Unfinished(op=op, host=socket.gethostname(), pid=process.pid, started=process.create_time())


def _runs_here(marker: Unfinished) -> bool:
    try:
        return abs(psutil.Process(marker.pid).create_time() - marker.started) < 1.0
    except psutil.NoSuchProcess:
        return False


class _Guard(Protocol):
    """Mutual exclusion of transactions, and the marker's storage."""

    def hold(self, op: str, wait_seconds: float) -> Unfinished | None:
        """Become the only holder; returns the marker a dead holder left. Raises Timeout when a live one stays."""

    def mark(self, marker: Unfinished) -> None:
        """Write the holder's marker, durably."""

    def clear(self) -> None:
        """Remove the marker."""

    def release(self) -> None:
        """Stop being the holder."""

    def read(self) -> Unfinished | None:
        """The marker, whoever wrote it."""


class _FolderGuard:
    """A lock of the operating system: a process that dies, however it dies, lets go of it."""

    def __init__(self, root: str) -> None:
        self._root = root
        self._objects = FolderObjects(root)
        self._lock = FileLock(f"{root}/{_LOCK}", is_singleton=False, thread_local=False)

    def hold(self, op: str, wait_seconds: float) -> Unfinished | None:
        os.makedirs(os.path.dirname(f"{self._root}/{_LOCK}"), exist_ok=True)
        self._lock.acquire(timeout=wait_seconds, poll_interval=0.02)
        return self.read()

    def mark(self, marker: Unfinished) -> None:
        self._objects.write(_MARKER, marker.to_json())

    def clear(self) -> None:
        self._objects.delete(_MARKER)

    def release(self) -> None:
        self._lock.release()

    def read(self) -> Unfinished | None:
        content = self._objects.read(_MARKER)
        return Unfinished.from_json(content) if content else None


class _StoreGuard:
    """A marker object that only one process can create; it is renewed while its process lives."""

    def __init__(self, objects: StoreObjects) -> None:
        self._objects = objects
        self._tag: str | None = None
        self._marker: Unfinished | None = None
        self._stop = threading.Event()
        self._mutex = threading.Lock()

    def hold(self, op: str, wait_seconds: float) -> Unfinished | None:
        mine, waited = _of_this_process(op), 0.0
        while True:
            left: Unfinished | None = None
            held, tag = mine, self._objects.create(_MARKER, mine.to_json())
            if tag is None and (found := self._objects.read_tagged(_MARKER)) is not None:
                left = Unfinished.from_json(found[0])
                if self._is_dead(left, found[2].timestamp()):
                    # Keep its tables in the marker until they are rolled back: we may die on the way, too.
                    held = replace(left, host=mine.host, pid=mine.pid, started=mine.started)
                    tag = self._objects.replace(_MARKER, held.to_json(), found[1])
            if tag is not None:
                self._tag, self._marker, self._stop = tag, held, threading.Event()
                threading.Thread(
                    target=self._renew, args=(self._stop,), name="retention-lake-lease", daemon=True
                ).start()
                return left
            if waited >= wait_seconds:
                raise Timeout(_MARKER)
            time.sleep(0.1)
            waited += 0.1

    def _is_dead(self, marker: Unfinished, renewed_at: float) -> bool:
        if marker.pid == _NOBODY:
            return True
        if marker.host == socket.gethostname():
            return not _runs_here(marker)
        # Both times by the store's clock: machines disagree about theirs.
        probe = f"_lake/_transactions/clock-{uuid.uuid4().hex}"
        self._objects.write(probe, b"")
        found = self._objects.read_tagged(probe)
        self._objects.delete(probe)
        return found is not None and found[2].timestamp() - renewed_at > _LEASE_SECONDS

    def _renew(self, stop: threading.Event) -> None:
        while not stop.wait(_RENEW_SECONDS):
            with self._mutex:
                if stop.is_set() or self._marker is None or self._tag is None:
                    return
                self._tag = self._objects.replace(_MARKER, self._marker.to_json(), self._tag)

    def mark(self, marker: Unfinished) -> None:
        with self._mutex:
            self._tag = self._tag and self._objects.replace(_MARKER, marker.to_json(), self._tag)
            if self._tag is None:
                raise LakeError(
                    "This transaction was taken for dead by another machine and taken back.",
                    hint="Run it again; nothing of it was kept.",
                )
            self._marker = marker

    def clear(self) -> None:
        # The object stays: on a store it is the lock as well.
        if self._marker is not None:
            self.mark(replace(self._marker, tables={}))

    def release(self) -> None:
        self._stop.set()
        if self._marker is not None and self._tag is not None:
            if self._marker.tables:
                self.mark(replace(self._marker, pid=_NOBODY))
            else:
                self._objects.delete(_MARKER)
        self._marker = self._tag = None

    def read(self) -> Unfinished | None:
        content = self._objects.read(_MARKER)
        return Unfinished.from_json(content) if content else None


class Journal:
    """This process's view of the lake's transactions."""

    def __init__(self, root: str, objects: FolderObjects | StoreObjects) -> None:
        self._guard: _Guard = _StoreGuard(objects) if isinstance(objects, StoreObjects) else _FolderGuard(root)
        self._own: Unfinished | None = None

    @property
    def own_op(self) -> str | None:
        """The transaction this lake is in, if any."""
        return self._own.op if self._own else None

    def unfinished(self) -> Unfinished | None:
        """The transaction whose marker exists, this lake's own included."""
        return self._guard.read()

    def foreign(self) -> Unfinished | None:
        """The unfinished transaction of someone else, if any."""
        found = self._guard.read()
        return None if found is None or found.op == self.own_op else found

    @contextmanager
    def exclusively(self, op: str, *, wait_seconds: float) -> Iterator[Unfinished | None]:
        """Hold the right to be in a transaction; yields what a dead process left to be rolled back."""
        if self._own is not None:
            raise LakeError("A transaction is already open on this lake.", hint="Transactions do not nest.")
        try:
            left = self._guard.hold(op, wait_seconds)
        except Timeout:
            other = self._guard.read()
            who = f"{other.op.partition('#')[0]} (process {other.pid} on {other.host})" if other else "a writer"
            raise CommitConflict(
                f"Another transaction did not finish in time: {who}.", hint="Wait for it, or stop that process."
            ) from None
        try:
            yield left
        finally:
            self._guard.release()

    def begin(self, op: str) -> None:
        """Start the transaction `op`; call inside `exclusively`."""
        self._own = _of_this_process(op)

    def touch(self, table: str, version: int) -> None:
        """Note a table before the transaction's first commit to it."""
        if self._own is None or table in self._own.tables:
            return
        noted = replace(self._own, tables={**self._own.tables, table: version})
        self._guard.mark(noted)
        self._own = noted

    def finish(self) -> None:
        """Remove the marker: from here on everybody sees the transaction."""
        if self._own is not None:
            self._guard.clear()
        self._own = None

    def forget(self) -> None:
        """Remove the marker of a dead transaction that was rolled back."""
        self._guard.clear()

    def abandon(self) -> Unfinished | None:
        """Leave the own transaction without removing its marker; it is to be rolled back, by us or by the next."""
        own, self._own = self._own, None
        return own
