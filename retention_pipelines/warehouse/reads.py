"""What a piece of code reads from the lake: noted for those who ask, at no cost for anybody else.

What belongs here: the note. What does not: who needs it; cached training sets do, to know what they were built from.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_Told = Callable[[str], None]
_READS: ContextVar[tuple[dict[str, int], _Told | None] | None] = ContextVar("retention_lake_reads", default=None)


@contextmanager
def recording(told: _Told | None = None) -> Iterator[dict[str, int]]:
    """Note the tables that are read inside, in this thread or task, each with its version before the first reading.

    `told` is called with the name of each before that; without one, that of whoever records around it.
    """
    reads: dict[str, int] = {}
    outer = _READS.get()
    token = _READS.set((reads, told or (outer[1] if outer else None)))
    try:
        yield reads
    finally:
        _READS.reset(token)
        for name, version in reads.items():
            if outer is not None:
                outer[0].setdefault(name, version)


def note_read(name: str, version: Callable[[], int]) -> None:
    """Note that a table is about to be read; `version` is asked only where somebody records."""
    recorded = _READS.get()
    if recorded is None:
        return
    reads, told = recorded
    if name not in reads:
        if told is not None:
            told(name)
        reads[name] = version()
