"""Faults of the storage below us, as errors a person can act on.

Three libraries write to the same disk and each words a full disk in its own way; this is the one place that knows.
"""

import errno
from collections.abc import Iterator
from contextlib import contextmanager

import duckdb
from deltalake.exceptions import DeltaError

from retention_pipelines.errors import LakeError, StorageFull

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


def is_read_only(error: BaseException) -> bool:
    """Whether an error says that this process may not write there."""
    if isinstance(error, OSError) and error.errno in (errno.EROFS, errno.EACCES):
        return True
    return any(words in str(error).lower() for words in ("read-only file system", "permission denied"))


@contextmanager
def storage_faults(where: str) -> Iterator[None]:
    """Turn a full disk into StorageFull and a place that must not be written to into LakeError; others pass."""
    try:
        yield
    except (duckdb.Error, DeltaError, OSError) as error:
        if is_read_only(error):
            raise LakeError(
                f"{where} cannot be written to.",
                hint="Make it writable for you, or set RETENTION_MODE=read_only to only read.",
            ) from error
        if not is_storage_full(error):
            raise
        raise StorageFull(
            f"No space left while writing to {where}; what was committed before is unharmed.",
            hint="Free some space (`retention lake vacuum` frees files nobody needs any more), then run it again.",
        ) from error
