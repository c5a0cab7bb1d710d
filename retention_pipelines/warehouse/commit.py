"""Committing files to a table's Delta log: all of them or none, exactly once, whatever other writers do.

The rules here were paid for: see hazards H1, H2 and H4 in docs/adr/0001-storage-format.md. What does not belong here:
which files to commit.
"""

import json
import os
import random
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from deltalake import CommitProperties, DeltaTable, Transaction
from deltalake.exceptions import CommitFailedError, DeltaError
from deltalake.transaction import AddAction, RemoveAction

from retention_pipelines.errors import CommitConflict
from retention_pipelines.warehouse.faults import is_read_only, is_storage_full, storage_faults
from retention_pipelines.warehouse.listing import LakeFile
from retention_pipelines.warehouse.log import DeltaLog
from retention_pipelines.warehouse.objects import sync_path

TRIES = 40
# Two commits that remove files hold this id, so that both never land (hazard H1).
REWRITE = "rewrite"
# What commits are called that merge files and change no row.
COMPACT = "compact"


@dataclass(frozen=True, kw_only=True)
class Commit:
    """What one commit did; `version` is unchanged where there was nothing to do."""

    version: int
    rows_added: int = 0
    rows_removed: int = 0
    bytes_added: int = 0
    bytes_removed: int = 0
    partitions: tuple[tuple[str, ...], ...] = ()


@dataclass(frozen=True, kw_only=True)
class Change:
    """Files to add and to remove. `transactions` are ids of which no two open commits may hold the same.

    `metadata` is written beside the commit; it must hold `fs_op`.
    """

    adds: Sequence[AddAction]
    removes: Sequence[LakeFile]
    metadata: Mapping[str, str]
    transactions: Sequence[str] = ()
    partition_by: Sequence[str] = ()

    @property
    def locks(self) -> list[str]:
        """Ids the commit holds."""
        return sorted({*self.transactions, REWRITE} if self.removes else set(self.transactions))

    def describe(self, version: int) -> Commit:
        """The change as a landed commit."""
        keys = self.partition_by
        partitions = {tuple(add.partition_values.get(key) or "" for key in keys) for add in self.adds}
        partitions |= {tuple(file.partition[key] for key in keys) for file in self.removes}
        return Commit(
            version=version,
            rows_added=sum(json.loads(add.stats)["numRecords"] for add in self.adds),
            rows_removed=sum(file.rows for file in self.removes),
            bytes_added=sum(add.size for add in self.adds),
            bytes_removed=sum(file.bytes for file in self.removes),
            partitions=tuple(sorted(partitions)),
        )


def pause(attempt: int, seconds: float) -> None:
    """Wait a random moment that grows with the attempt, so that writers in a race part."""
    time.sleep(random.uniform(0, seconds * (attempt + 1)))  # noqa: S311 - jitter


def try_commit(delta: DeltaTable, log: DeltaLog, change: Change) -> int | None:
    """Try to commit against the state of `delta`; the version it landed as, or None on a conflict.

    An error does not mean that the commit did not land (hazard H4), so the log is asked for our receipt. Files written
    for the commit are never removed on an error: vacuum collects them if they are orphans.
    """
    receipt = uuid.uuid4().hex
    now = int(time.time() * 1000)
    actions: list[AddAction | RemoveAction] = [
        *change.adds,
        *(
            RemoveAction(
                path=file.path,
                data_change=True,  # without it delta-rs sees no conflict between two rewrites (hazard H1)
                deletion_timestamp=now,
                size=file.bytes,
                partition_values=dict(file.partition),
            )
            for file in change.removes
        ),
    ]
    failure: Exception | None = None
    try:
        delta.create_write_transaction(
            actions,
            mode="append",
            schema=delta.schema(),
            partition_by=list(change.partition_by),
            commit_properties=CommitProperties(
                custom_metadata={**change.metadata, "fs_commit": receipt},
                app_transactions=[Transaction(key, (delta.transaction_version(key) or 0) + 1) for key in change.locks]
                or None,
            ),
        )
    except (CommitFailedError, DeltaError, OSError) as error:
        failure = error
    landed = log.find(receipt, after=delta.version())
    if landed is None and failure is None:
        raise CommitConflict("A commit was accepted but is not in the log.", hint="Look at the table's history.")
    if landed is None and failure is not None and not isinstance(failure, CommitFailedError):
        with storage_faults("the Delta log"):
            if is_storage_full(failure) or is_read_only(failure) or isinstance(failure, OSError):
                raise failure
    return landed


def sync_log(root: str, version: int) -> None:
    """Make a landed commit of a local table durable, and the checkpoint after it, which is read instead of the log."""
    folder = f"{root}/_delta_log"
    sync_path(f"{folder}/{version:020d}.json")
    if os.path.exists(checkpoint := f"{folder}/{version:020d}.checkpoint.parquet"):
        sync_path(checkpoint)
        sync_path(f"{folder}/_last_checkpoint")
    sync_path(folder)
