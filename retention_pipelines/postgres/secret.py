"""The secret that authenticates cached payloads: given as a setting, or made once per state folder.

What belongs here: finding or making it. What does not: signing (`seal.py`). Machines that share a database
share the secret through RETENTION_CACHE_SECRET; with a secret each, one's entries are corrupt to the other.
"""

import contextlib
import os
import secrets
from pathlib import Path

from retention_pipelines.errors import CacheError
from retention_pipelines.settings import Settings

FILE_NAME = "cache_secret"
_BYTES = 32


def load_secret(settings: Settings) -> bytes:
    """The secret of these settings; the first process of a state folder makes it, any others read the same one."""
    if settings.cache_secret is not None:
        return settings.cache_secret.get_secret_value().encode()
    path = settings.state_dir / FILE_NAME
    try:
        found = _read(path)
        return _make(path, settings) if found is None else found
    except OSError as error:
        raise CacheError(
            f"The secret of the caches in {path} cannot be used: {error.strerror or error}.",
            hint="Make the folder writable once, or set RETENTION_CACHE_SECRET.",
        ) from error


def _read(path: Path) -> bytes | None:
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    with os.fdopen(handle, "rb") as file:
        status = os.fstat(file.fileno())
        if status.st_mode & 0o077 or status.st_uid not in (os.geteuid(), 0):
            raise CacheError(
                f"The secret of the caches in {path} can be read or was made by others.",
                hint=f"If you trust it: chmod 600 {path}. If not, remove it; cached entries are computed again.",
            )
        found = file.read(_BYTES + 1)
    if len(found) != _BYTES:
        raise CacheError(
            f"The secret of the caches in {path} has {len(found)} bytes instead of {_BYTES}.",
            hint="Remove the file; cached entries are computed again.",
        )
    return found


def _make(path: Path, settings: Settings) -> bytes:
    if settings.mode == "read_only":
        raise CacheError(
            f"There is no secret of the caches in {path}, and read_only mode makes none.",
            hint="Set RETENTION_CACHE_SECRET to that of the process that fills the caches.",
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    # Written beside and linked: whoever loses the race reads what the winner made, never half of it.
    unfinished = path.with_name(f"{FILE_NAME}.{os.getpid()}.{secrets.token_hex(4)}")
    handle = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(secrets.token_bytes(_BYTES))
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(unfinished, path)
    finally:
        os.unlink(unfinished)
    found = _read(path)
    if found is None:
        raise FileNotFoundError(2, "it went away while it was made", str(path))
    return found
