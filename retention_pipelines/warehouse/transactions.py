"""Several commits over several tables as one: seen together, or taken back together.

Commit point: the marker's removal. Until then readers leave the transaction's files out; a process that dies before it
is rolled back by whoever opens, publishes or writes next. One transaction at a time per lake.
"""

import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from retention_pipelines.errors import CommitConflict, StorageFull
from retention_pipelines.warehouse.journal import Journal, Unfinished

# How long to wait for another process's transaction, whose commits take seconds, not minutes.
WAIT_SECONDS = 3600.0


def delivery_id(transaction: str) -> str:
    """Sixteen signs that tell a transaction from all others, for rows that name it."""
    return transaction.rpartition("#")[2][:16]


class Transactions:
    """Transactions of one lake as one process sees them.

    `roll_back` takes back one table: (table, transaction, version before it).
    """

    def __init__(self, journal: Journal, roll_back: Callable[[str, str, int], None]) -> None:
        self._journal = journal
        self._roll_back = roll_back
        self._recovering = False

    @contextmanager
    def run(self, name: str, publish: Callable[[], object]) -> Iterator[str]:
        """Run a transaction; yields its id. An exception takes every commit back, success publishes."""
        op = f"{name}#{uuid.uuid4().hex}"
        with self._journal.exclusively(op, wait_seconds=WAIT_SECONDS) as left:
            if left is not None:
                self._take_back(left)
            self._journal.begin(op)
            try:
                yield op
            except BaseException:
                own = self._journal.abandon()
                if own is not None and own.tables:
                    self._take_back(own)
                raise
            self._journal.finish()
        publish()

    def recover(self) -> None:
        """Take back what a dead process left, unless a live one is in a transaction."""
        if self._journal.own_op is not None or self._recovering:
            return
        left = self._journal.unfinished()
        if left is None:
            return
        try:
            with self._journal.exclusively("recover", wait_seconds=0) as found:
                if found is not None:
                    self._take_back(found)
        except (CommitConflict, StorageFull):
            return  # its process lives, or the disk is full: readers leave its files out until it is taken back

    def _take_back(self, transaction: Unfinished) -> None:
        self._recovering = True
        try:
            for table, version in transaction.tables.items():
                self._roll_back(table, transaction.op, version)
            self._journal.forget()
        finally:
            self._recovering = False

    def unfinished(self) -> Unfinished | None:
        """The transaction whose marker exists, this process's own included."""
        return self._journal.unfinished()

    # -- what tables ask (see table.Bystanders) ---------------------------------------------------------------------

    def own(self, table: str, version: int) -> str | None:
        """The transaction this process is in, after noting that it is about to commit to a table."""
        self._journal.touch(table, version)
        return self._journal.own_op

    def hidden(self, table: str) -> tuple[str, int] | None:
        """Someone else's unfinished transaction and the table's version before it."""
        other = None if self._recovering else self._journal.foreign()
        return (other.op, other.tables[table]) if other is not None and table in other.tables else None

    def settle(self, table: str) -> None:
        """Wait until nobody else's transaction has the table in hand; a dead one is taken back."""
        waited = 0.0
        while self.hidden(table) is not None:
            self.recover()
            if waited > WAIT_SECONDS:
                raise CommitConflict(f"{table}: another transaction does not finish.", hint="Run it again later.")
            time.sleep(0.05)
            waited += 0.05
