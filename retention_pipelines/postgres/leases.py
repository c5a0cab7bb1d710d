"""Leases as rows: written when something is taken into use, renewed by a thread, removed at the end.

What belongs here: their life. What does not: what they keep, which plans and runs look up (`retention`); who takes them
(`cache/in_use.py`, `retention/protection/leases.py`). A lease whose holder was killed ends within `seconds` by itself.
"""

import logging
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from retention_pipelines.errors import RetentionError

LOG = logging.getLogger(__name__)
# Long enough to sleep through a restart of the database, short enough that a dead reader blocks nothing for long.
SECONDS = 300.0
# Runs a statement in a transaction of its own.
Execute = Callable[[str, Mapping[str, object]], Sequence[tuple[Any, ...]]]
_TAKE = """
with dead as (
    delete from public.leases where leased_until < now() - interval '1 day'
)
insert into public.leases (dataset, match, reason, placed_by, leased_until)
values (
    %(dataset)s, %(match)s, %(reason)s, %(placed_by)s,
    clock_timestamp() + make_interval(secs => %(seconds)s::float8)
)
returning lease_id
"""
_RENEW = """
update public.leases set leased_until = clock_timestamp() + make_interval(secs => %(seconds)s::float8)
where lease_id = any(%(numbers)s::bigint[])
returning lease_id
"""
_END = "delete from public.leases where lease_id = any(%(numbers)s::bigint[]) returning lease_id"


class InUse:
    """What one piece of work uses, until its end. Safe for threads; nothing is written before the first `keep`."""

    def __init__(self, execute: Execute, *, reason: str, placed_by: str, seconds: float = SECONDS) -> None:
        self._execute = execute
        self._told: dict[str, object] = {"reason": reason, "placed_by": placed_by, "seconds": seconds}
        self._seconds = seconds
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._numbers: dict[tuple[str, str], int] = {}
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def keep(self, dataset: str, match: str) -> int:
        """Let no run that looks at its protections from now on remove what matches; returns the lease's number.

        Raises what the database raises, and RetentionError when the work has ended.
        """
        with self._lock:
            if self._ended.is_set():
                raise RetentionError("The work that would use it has ended.")
            if (dataset, match) not in self._numbers:
                rows = self._execute(_TAKE, {**self._told, "dataset": dataset, "match": match})
                self._numbers[dataset, match] = int(rows[0][0])
            if self._thread is None:
                thread = threading.Thread(target=self._renew, name="retention-lease", daemon=True)
                thread.start()
                self._thread = thread
            return self._numbers[dataset, match]

    def _renew(self) -> None:
        """Three times in `seconds`; what fails is tried again, and the lease ends when none succeeded for so long."""
        while not self._ended.wait(self._seconds / 3):
            self._write(_RENEW, "could not be renewed")

    def _write(self, statement: str, failing: str) -> None:
        with self._lock:
            numbers = list(self._numbers.values())
        try:
            self._execute(statement, {"numbers": numbers, "seconds": self._seconds})
        except Exception as error:  # noqa: BLE001 - without the database leases end by themselves
            LOG.warning("Leases %s %s: %s", ", ".join(map(str, numbers)), failing, type(error).__name__)

    def end(self) -> None:
        """Give everything back. Idempotent."""
        if os.getpid() != self._pid:
            return  # a child's copy: its parent goes on using it
        with self._lock:
            if self._ended.is_set():
                return
            self._ended.set()
        if self._thread is not None:
            self._thread.join()
        if self._numbers:
            self._write(_END, "end by themselves")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.end()


__all__ = ["SECONDS", "Execute", "InUse"]
