"""What a piece of code reads from the lake: noted for those who ask, at no cost for anybody else.

What belongs here: the note. What does not: who needs it; cached training sets do, to know what they were built from.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_READS: ContextVar[dict[str, int] | None] = ContextVar("retention_lake_reads", default=None)


@contextmanager
def recording() -> Iterator[dict[str, int]]:
    """Note the tables that are read inside, in this thread or task, each with its version before the first reading."""
    reads: dict[str, int] = {}
    token = _READS.set(reads)
    try:
        yield reads
    finally:
        _READS.reset(token)
        outer = _READS.get()
        for name, version in reads.items():
            if outer is not None:
                outer.setdefault(name, version)


def note_read(name: str, version: Callable[[], int]) -> None:
    """Note that a table is about to be read; `version` is asked only where somebody records."""
    reads = _READS.get()
    if reads is not None and name not in reads:
        reads[name] = version()
