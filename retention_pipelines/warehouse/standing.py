"""Which commits of a table are in effect: what was not taken back by an undo, a restore, or the undo of one of these.

The log says it all; nothing is kept beside it. What does not belong here: taking back (`undo.py`).
"""

from collections.abc import Iterable, Mapping, Sequence

from retention_pipelines.warehouse.log import LogEntry

RESTORE = "restore:"


def in_effect(entries: Iterable[LogEntry]) -> Mapping[int, frozenset[str]]:
    """Receipts of the commits in effect at each version, of those that the entries tell of."""
    now: frozenset[str] = frozenset()
    states: dict[int, frozenset[str]] = {}
    changes: dict[str, tuple[frozenset[str], frozenset[str]]] = {}  # by receipt: what came into effect, what ceased
    for entry in sorted(entries, key=lambda one: one.version):
        then = now
        if entry.undoes is not None:
            came, ceased = changes.get(entry.undoes, (frozenset(), frozenset()))
            now = (now - came) | ceased
        elif (back_to := restored_version(entry)) is not None:
            now = states.get(back_to, frozenset())
        if entry.receipt is not None:
            now |= {entry.receipt}
            changes[entry.receipt] = now - then, then - now
        states[entry.version] = now
    return states


def restored_version(entry: LogEntry) -> int | None:
    """The version a commit went back to; None where it is no restore."""
    return int(entry.op.removeprefix(RESTORE)) if entry.op and entry.op.startswith(RESTORE) else None


def standing(entries: Sequence[LogEntry], transaction: str | None = None) -> list[LogEntry]:
    """Those entries whose commits are in effect at the newest of them, in the order given; of one transaction only."""
    states = in_effect(entries)
    now = states[max(states)] if states else frozenset()
    return [
        entry for entry in entries if entry.receipt in now and (transaction is None or entry.transaction == transaction)
    ]


def is_delivery(entry: LogEntry) -> bool:
    """Whether a commit is an ingest's own, not one that takes others back."""
    ingest = entry.transaction is not None and entry.transaction.startswith("ingest:")
    return ingest and entry.undoes is None and restored_version(entry) is None
