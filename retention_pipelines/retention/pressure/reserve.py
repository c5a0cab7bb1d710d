"""A file kept aside on each disk that runs need, so that retention works on a full one: its space is given up first.

What belongs here: making it, giving it up, taking it again. What does not: who runs. The file is emptied, not removed:
that it is there says that somebody wants it, so whoever runs next takes the space again, also after a crash.
"""

import errno
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from retention_pipelines.disk import measure_disk
from retention_pipelines.settings import Settings

LOG = logging.getLogger(__name__)
NAME = ".reserve"


def places(settings: Settings) -> tuple[Path, ...]:
    """Where the files are: beside the lake and, where that is another disk, beside the embedded Postgres."""
    folders = [Path(settings.lake_root)] if settings.lake_is_local else []
    if settings.database_url is None or not folders:
        folders.append(settings.state_dir)
    by_disk: dict[int, Path] = {}
    for folder in folders:
        by_disk.setdefault(measure_disk(folder).device, folder.absolute() / NAME)
    return tuple(by_disk.values())


def ensure_reserve(settings: Settings) -> tuple[Path, ...]:
    """Make the files that are missing, where there is room; returns those that hold their space."""
    if not settings.reserve_mb or settings.mode == "read_only":
        return ()
    for place in places(settings):
        place.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(place, os.O_CREAT | os.O_WRONLY, 0o600))
    return _fill(settings)


@contextmanager
def reserve_given_up(settings: Settings) -> Iterator[None]:
    """Give the space up where less than it is free while the block runs, and take it again where there is room."""
    if settings.mode == "full":
        give_up_reserve(settings)
    try:
        yield
    finally:
        if settings.mode == "full":
            _fill(settings)


def owed_bytes(settings: Settings) -> Mapping[int, int]:
    """By disk, what was given up and is wanted again: nobody else's to use."""
    owed = {}
    for place in places(settings):
        with suppress(OSError):
            found = place.stat()
            owed[found.st_dev] = max(0, settings.reserve_mb * 1_000_000 - found.st_size)
    return owed


def give_up_reserve(settings: Settings) -> int:
    """Shorten the files on disks where less is free than half of what that gives; returns the bytes this gave back.

    A half at a time: whoever filled the disk may take the first one, too, before a run that died goes on.
    """
    freed, half = 0, settings.reserve_mb * 500_000
    for place in places(settings):
        try:
            size = place.stat().st_size
        except OSError:
            continue
        left = half if size > half else 0
        if size and measure_disk(place.parent).free_bytes < (size - left) // 2:
            os.truncate(place, left)
            freed += size - left
            LOG.warning("The disk of %s is full: %s bytes kept aside were given up.", place.parent, f"{size - left:,}")
    return freed


def _fill(settings: Settings) -> tuple[Path, ...]:
    """Take the space of files that are there, where the disk stays below the high mark with it."""
    wanted, full = settings.reserve_mb * 1_000_000, []
    for place in places(settings):
        try:
            lacking = wanted - place.stat().st_size
        except OSError:
            continue
        if lacking > 0:
            disk = measure_disk(place.parent)
            if disk.used_bytes + lacking >= settings.disk_high_share * disk.total_bytes or not _allocate(place, wanted):
                continue
        elif lacking < 0:
            os.truncate(place, wanted)
        full.append(place)
    return tuple(full)


def _allocate(place: Path, size: int) -> bool:
    with place.open("r+b") as file:
        try:
            os.posix_fallocate(file.fileno(), 0, size)
        except OSError as error:
            file.truncate(0)
            if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EOPNOTSUPP, errno.EINVAL):
                raise
            LOG.warning("%s: no space can be kept aside: %s", place, error)
            return False
    return True
