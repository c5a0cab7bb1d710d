"""How full the disk of a folder is, and refusing to write where it is too full.

What belongs here: measuring, cheap enough to be asked before every write, and the sentence a refused writer gets. What
does not: what goes when it is too full (`retention/pressure/state.py`). Deleting is never refused.
"""

import os
import time
from dataclasses import dataclass
from pathlib import Path

from retention_pipelines.errors import WritesStopped

# How old a measurement may be; a disk does not fill by much in this time.
FRESH_SECONDS = 1.0
_measured: dict[str, tuple[float, "Disk"]] = {}
_statvfs = os.statvfs


@dataclass(frozen=True, kw_only=True, slots=True)
class Disk:
    """A file system, as `df` shows it: what only its administrator may use counts neither as used nor as free."""

    device: int
    used_bytes: int
    free_bytes: int

    @property
    def total_bytes(self) -> int:
        """What can be used at all."""
        return self.used_bytes + self.free_bytes

    @property
    def used_share(self) -> float:
        """The share of it in use."""
        return self.used_bytes / self.total_bytes if self.total_bytes else 1.0


def measure_disk(folder: str | Path) -> Disk:
    """The file system of a folder, or of the nearest one above it that exists."""
    place = Path(folder).absolute()
    while not place.exists() and place != place.parent:
        place = place.parent
    found = _statvfs(place)
    return Disk(
        device=place.stat().st_dev,
        used_bytes=(found.f_blocks - found.f_bfree) * found.f_frsize,
        free_bytes=found.f_bavail * found.f_frsize,
    )


def require_space(folder: str | Path, stop_share: float) -> None:
    """Raise WritesStopped where that share of the disk is in use; a share of 1 never stops anybody."""
    if stop_share >= 1 or "://" in str(folder):
        return
    name, now = str(folder), time.monotonic()
    known = _measured.get(name)
    if known is None or now - known[0] >= FRESH_SECONDS:
        if len(_measured) > 1000:
            _measured.clear()
        known = _measured[name] = (now, measure_disk(name))
    disk = known[1]
    if disk.used_share >= stop_share:
        raise WritesStopped(
            f"Writing stops where {stop_share:.0%} of a disk are in use, and of that of {name} {disk.used_share:.1%} "
            f"are; {disk.free_bytes:,} bytes are free.",
            hint="Free some space: `retention pressure` says what may go, `retention run HASH` removes it even now. "
            "RETENTION_DISK_STOP_SHARE sets the share; 1 never stops.",
        )
