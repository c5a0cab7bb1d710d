"""Faults of the storage below us, as errors a person can act on.

Three libraries write to the same disk and each words a full disk in its own way; this is the one place that knows.
"""

import errno
from collections.abc import Iterator
from contextlib import contextmanager

import duckdb
from deltalake.exceptions import DeltaError

from retention_pipelines.errors import StorageFull

_FULL = ("no space left", "disk quota exceeded", "storage full", "(os error 28)", "out of disk")


def is_storage_full(error: BaseException) -> bool:
    """Whether an error, or what caused it, says that the file system has no space left."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        if any(words in str(cause).lower() for words in _FULL):
            return True
        cause = cause.__cause__ or cause.__context__
    return False


@contextmanager
def storage_faults(where: str) -> Iterator[None]:
    """Turn a full disk into StorageFull; every other error passes."""
    try:
        yield
    except (duckdb.Error, DeltaError, OSError) as error:
        if not is_storage_full(error):
            raise
        raise StorageFull(
            f"No space left while writing to {where}; what was committed before is unharmed.",
            hint="Free some space (`retention lake vacuum` frees files nobody needs any more), then run it again.",
        ) from error
