"""Training sets that retention took out: unusable at once, and for a while to be had back.

A set is its description; moved away, nobody finds it, and its files stay because the description still needs them.
Every call is harmless when repeated. What does not belong here: which sets go (`retention`).
"""

import os
import re
import shutil
from collections.abc import Iterator
from typing import TYPE_CHECKING

from retention_pipelines.cache.training.durable import list_folder, locked, make_folder, sync_folder
from retention_pipelines.errors import CacheError

if TYPE_CHECKING:
    from retention_pipelines.cache.training.manifest import Manifest
    from retention_pipelines.cache.training.store import TrainingSets

_PLAN = re.compile(r"[0-9a-f]{64}")


def bury(sets: "TrainingSets", key: str, *, plan: str, content_sha256: bytes) -> bool:
    """Take a set out, if it is still the one that was decided about; a set prepared anew since stays."""
    from retention_pipelines.cache.training.store import content_sha256 as content_of

    target = sets.root / "buried" / _checked(plan)
    with locked(sets.root / "lock", shared=True):
        try:
            manifest = sets.manifest(key)
        except CacheError:
            manifest = None  # nobody can use it; its row is gone, and cleaning takes the file
        if manifest is None or content_of(manifest) != content_sha256:
            return False
        make_folder(target)
        os.replace(sets.root / "sets" / key, target / key)
        sync_folder(target)
        sync_folder(sets.root / "sets")
    return True


def dig_up(sets: "TrainingSets", key: str, *, plan: str) -> bool:
    """Put a set back, unless it was prepared anew since; returns whether it is the old one that is there now."""
    source = sets.root / "buried" / _checked(plan) / key
    target = sets.root / "sets" / key
    with locked(sets.root / "lock", shared=True):
        try:
            os.link(source, target)
        except FileExistsError:
            return os.path.exists(source) and os.path.samefile(source, target)
        except FileNotFoundError:
            return False
        sync_folder(target.parent)
        os.unlink(source)
    return True


def plans_of(sets: "TrainingSets", key: str) -> list[str]:
    """Plans that took a set out and have not let go of it, the last one first."""
    found = []
    for folder in list_folder(sets.root / "buried"):
        try:
            buried_ns = os.stat(f"{folder.path}/{key}", follow_symlinks=False).st_ctime_ns
        except (FileNotFoundError, NotADirectoryError):
            continue
        if _PLAN.fullmatch(folder.name):
            found.append((buried_ns, folder.name))
    return [name for _, name in sorted(found, reverse=True)]


def forget(sets: "TrainingSets", *, plan: str, clean: bool = True) -> int:
    """Let go of the sets of a plan for good and, with `clean`, free what nobody else needs; returns the bytes."""
    shutil.rmtree(sets.root / "buried" / _checked(plan), ignore_errors=True)
    return sets.clean() if clean else 0


def buried_manifests(sets: "TrainingSets") -> Iterator["Manifest"]:
    """Descriptions of all sets that were taken out."""
    for folder in list_folder(sets.root / "buried"):
        if not _PLAN.fullmatch(folder.name):
            continue
        for entry in list_folder(sets.root / "buried" / folder.name):
            try:
                found = sets.manifest(entry.name, folder=sets.root / "buried" / folder.name)
            except CacheError:
                continue
            if found is not None:
                yield found


def _checked(plan: str) -> str:
    if not _PLAN.fullmatch(plan):
        raise CacheError(f"{plan!r} is no plan's hash.")
    return plan
