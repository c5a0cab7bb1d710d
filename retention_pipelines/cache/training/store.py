"""The store of training sets: files that suffice by themselves, and a row in Postgres that tells of them.

What belongs here: saving a set so that it is there whole or not at all, finding it when it may still be used, and
cleaning. What does not: keys, flights and events (`decorator.py`), formats (`matrices.py`). Postgres may be away: a hit
needs the files alone.
"""

import hashlib
import json
import logging
import os
import re
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from retention_pipelines.cache.codec.wire import UnknownClass
from retention_pipelines.cache.events import Counters
from retention_pipelines.cache.memory import Scope
from retention_pipelines.cache.secret import load_secret
from retention_pipelines.cache.training.burial import buried_manifests, dig_up, plans_of
from retention_pipelines.cache.training.description import Description
from retention_pipelines.cache.training.durable import is_temporary, list_folder, locked, open_to_read, write_whole
from retention_pipelines.cache.training.files import FileGone, Folder
from retention_pipelines.cache.training.manifest import (
    LARGEST_MANIFEST,
    LARGEST_PAYLOAD,
    Manifest,
    open_manifest,
    seal_manifest,
)
from retention_pipelines.cache.training.marks import Marks
from retention_pipelines.cache.training.matrices import pack, unpack
from retention_pipelines.cache.training.sources import LakeVersions
from retention_pipelines.cache.training.turn import clean_turns
from retention_pipelines.disk import require_space
from retention_pipelines.errors import CacheError, CorruptEntry, StorageFull, Unstorable
from retention_pipelines.postgres.seal import Seal
from retention_pipelines.settings import Settings
from retention_pipelines.warehouse.faults import storage_faults

LOG = logging.getLogger(__name__)
_KEY = re.compile(r"[0-9a-f]{32,128}")
_REMEMBERED_SECONDS = 1.0
_MOST_REMEMBERED = 1_000
_SAFE_AGE_SECONDS = 24 * 3600.0
# A clock that is set back by more than this makes ages meaningless.
_CLOCK_SLACK_NS = 60 * 10**9


@dataclass(frozen=True, kw_only=True)
class Preparation:
    """What is known about how a value came to be, beside the value.

    Attributes:
        started_ns: `time.time_ns()` when the function was called, before it read anything.
        lake_versions: of the tables it was built from, read before it was called.
        as_of_seq: last line of the invalidation log that was known then.
        trusted: names of further types its pipelines may hold.
    """

    started_ns: int
    compute_seconds: float
    function: str = ""
    model_type: str = ""
    model_version: str | None = None
    code_version: str | None = None
    ttl_seconds: float | None = None
    tags: tuple[str, ...] = ()
    lake_versions: Mapping[str, int] = field(default_factory=dict)
    as_of_seq: int | None = None
    trusted: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class StoredTrainingSet:
    """A set that is in the cache; `value` is as the function returned it, its matrices mapped."""

    key: str
    value: Any
    description: Description
    lake_versions: Mapping[str, int]
    computed_at: datetime
    age_seconds: float
    remaining_seconds: float | None
    compute_seconds: float
    size_bytes: int
    content_sha256: str
    files: tuple[str, ...]


class TrainingSets:
    """The training sets of one tenant. Safe for threads and processes; opens nothing until first asked."""

    def __init__(
        self,
        settings: Settings,
        *,
        hot: Any = None,
        counters: Counters | None = None,
        clock_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self.settings = settings
        self.tenant = settings.tenant
        self.root = Path(os.path.abspath(settings.training_sets_dir)) / settings.tenant
        self.folder = Folder(self.root / "files")
        self.marks = Marks(self.root / "marks")
        self.versions = LakeVersions(settings)
        self.counters = counters or Counters()
        self.clock_ns = clock_ns
        self._hot = hot
        self._warned = False
        self._asked: dict[str, tuple[float, int]] = {}
        self._seal: Seal | None = None

    # -- finding --------------------------------------------------------------------------------------------------

    def find(self, key: str, *, trusted: Collection[str] = ()) -> StoredTrainingSet | None:
        """The set of a key that may be used; None: there is none, or it is expired, invalid or damaged.

        Each call maps the files anew, so nobody's edits reach anybody else or the files.
        """
        try:
            manifest = self._read(key)
            if manifest is None or self._unusable(manifest) is not None:
                return None
            value = unpack(manifest.payload, manifest.files, self.folder, trusted=trusted)
        except (UnknownClass, FileGone) as error:
            LOG.info("The cached training set %s was not used: %s", key, error)
            return None
        except CorruptEntry as error:
            self.counters.add("training", "corrupt", "files")
            LOG.error("The cached training set %s is damaged and was not used: %s", key, error)
            return None
        return self._stored(manifest, value)

    def manifest(self, key: str, *, folder: Path | None = None) -> Manifest | None:
        """The description of a set, usable or not; None where there is none. Raises CorruptEntry."""
        return self._read(key, folder=folder)

    def _read(self, key: str, *, folder: Path | None = None) -> Manifest | None:
        path = self._manifest(key) if folder is None else folder / self._manifest(key).name
        try:
            fd = open_to_read(path)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise CorruptEntry(f"{path.name} cannot be opened: {error.strerror}.") from error
        with os.fdopen(fd, "rb") as file:
            content = file.read(LARGEST_MANIFEST + 1)
        if len(content) > LARGEST_MANIFEST:
            raise CorruptEntry("The description of a training set is too large to be one.")
        return open_manifest(content, self.seal, self.tenant, key)

    def _unusable(self, manifest: Manifest) -> str | None:
        """Why a set must not be used any more; None when it may."""
        age_ns = self.clock_ns() - manifest.computed_ns
        if age_ns < -_CLOCK_SLACK_NS:
            return "it is from the future"
        if manifest.ttl_seconds is not None and age_ns >= manifest.ttl_seconds * 1e9:
            return "expired"
        if name := self.marks.since(manifest.names, manifest.started_ns):
            return f"{name} was invalidated"
        if table := self.versions.changed(manifest.lake_versions):
            return f"{table} changed"
        return "it was invalidated" if self._was_invalidated(manifest) else None

    def _was_invalidated(self, manifest: Manifest) -> bool:
        """Whether another process said so in Postgres, a second ago at most; without it the marks have to do."""
        if self._hot is None:
            return False
        asked_at, computed_ns = self._asked.get(manifest.key, (float("-inf"), 0))
        if computed_ns == manifest.computed_ns and time.monotonic() - asked_at < _REMEMBERED_SECONDS:
            return False
        from retention_pipelines.cache.training.rows import was_invalidated

        asked_at = time.monotonic()
        try:
            if was_invalidated(self._hot, manifest):
                return True
        except CacheError:
            self.counters.add("training", "degraded", "postgres")
            return False
        if len(self._asked) >= _MOST_REMEMBERED:
            self._asked.clear()
        self._asked[manifest.key] = asked_at, manifest.computed_ns
        return False

    def _stored(self, manifest: Manifest, value: Any) -> StoredTrainingSet:
        age_seconds = max(0.0, (self.clock_ns() - manifest.computed_ns) / 1e9)
        ttl = manifest.ttl_seconds
        return StoredTrainingSet(
            key=manifest.key,
            value=value,
            description=manifest.description,
            lake_versions=manifest.lake_versions,
            computed_at=datetime.fromtimestamp(manifest.computed_ns / 1e9, tz=UTC),
            age_seconds=age_seconds,
            remaining_seconds=None if ttl is None else ttl - age_seconds,
            compute_seconds=manifest.compute_seconds,
            size_bytes=manifest.size_bytes,
            content_sha256=content_sha256(manifest).hex(),
            files=tuple(file.name for file in manifest.files),
        )

    # -- saving ---------------------------------------------------------------------------------------------------

    def save(
        self, key: str, value: object, *, description: Description, preparation: Preparation
    ) -> StoredTrainingSet | None:
        """Store a set; when this returns it is on the disk, or, killed at any moment, not there at all.

        None: it was invalidated while it was prepared. Raises Unstorable for a value that would not come back exactly,
        StorageFull, and CacheError where the folder cannot be written to.
        """
        self.settings.require_full("Storing a training set")
        require_space(self.root, self.settings.disk_stop_share)
        computed_ns = self.clock_ns()
        with storage_faults(str(self.root)), locked(self.root / "lock", shared=True):
            packed = pack(value, self.folder, trusted=preparation.trusted)
            if len(packed.payload.data) > LARGEST_PAYLOAD:
                raise Unstorable(
                    f"What is no matrix in the training set has {len(packed.payload.data)} bytes.",
                    hint="Return arrays or frames instead of lists.",
                )
            manifest = Manifest(
                key=key,
                model_type=preparation.model_type,
                model_version=preparation.model_version,
                code_version=preparation.code_version,
                function=preparation.function,
                started_ns=preparation.started_ns,
                computed_ns=computed_ns,
                ttl_seconds=preparation.ttl_seconds,
                compute_seconds=preparation.compute_seconds,
                lake_versions=dict(preparation.lake_versions),
                as_of_seq=preparation.as_of_seq,
                names=_names(key, preparation),
                description=description,
                files=packed.files,
                payload=packed.payload,
            )
            if self.marks.since(manifest.names, manifest.started_ns):
                self.counters.add("training", "dropped", "files")
                return None
            write_whole(self._manifest(key), seal_manifest(manifest, self.seal, self.tenant))
        self.counters.add("training", "stored", "files")
        self._tell(manifest)
        return self._stored(manifest, value)

    def _tell(self, manifest: Manifest) -> None:
        """Write the row that tells of a set; without Postgres the set is there all the same."""
        if self._hot is None:
            return
        from retention_pipelines.cache.training.rows import put_row

        age = max(0.0, (self.clock_ns() - manifest.computed_ns) / 1e9)
        try:
            put_row(self._hot, manifest, content_sha256=content_sha256(manifest), age_seconds=age)
        except Exception as error:  # noqa: BLE001 - whatever the database says, the set is stored
            self.counters.add("training", "degraded", "postgres")
            level, self._warned = (logging.DEBUG if self._warned else logging.WARNING), True
            LOG.log(level, "The row of the training set %s was not written: %s", manifest.key, error)
        else:
            self._warned = False

    def resurrect(self, key: str) -> bool:
        """Put a set back that retention took out, if its grace lasts and it may be used; whether it is there."""
        if not os.path.isdir(self.root / "buried"):
            return False
        for plan in plans_of(self, key):
            if dig_up(self, key, plan=plan):
                manifest = self._readable(key)
                if manifest is None or self._unusable(manifest) is not None:
                    return False
                self._tell(manifest)
                return True
        return False

    # -- forgetting -----------------------------------------------------------------------------------------------

    def invalidate(self, scope: Scope, target: str | None = None) -> None:
        """Let no set of that key, function, model, lake table or tag be used that was begun until now.

        Reaches every process that can read the folder, without Postgres; the runtime tells the others and the rows.
        """
        self.settings.require_full("Invalidating training sets")
        with storage_faults(str(self.root)):
            self.marks.set(_name(scope, target), self.clock_ns())

    def clean(
        self, *, safe_age_seconds: float = _SAFE_AGE_SECONDS, keep: Collection[str] = (), wait: bool = False
    ) -> int:
        """Delete sets that may not be used any more, files no set needs and what dead writers left; bytes freed.

        What is younger than the safe age stays, and so do the sets of the keys `keep`. While a set is being saved
        nothing is done, or with `wait` it is waited for.
        """
        self.settings.require_full("Cleaning training sets")
        before_ns = time.time_ns() - round(safe_age_seconds * 1e9)
        freed = 0
        with storage_faults(str(self.root)), locked(self.root / "lock", wait=wait) as alone:
            if not alone:
                return 0
            needed: set[str] = set()
            oldest_ns = before_ns
            for entry in list_folder(self.root / "sets"):
                if not (_KEY.fullmatch(entry.name) or is_temporary(entry.name)):
                    continue
                found = entry.stat(follow_symlinks=False)
                manifest = self._readable(entry.name)
                usable = entry.name in keep or (manifest is not None and self._unusable(manifest) is None)
                if not usable and found.st_ctime_ns < before_ns:
                    os.unlink(entry.path)
                    freed += found.st_size
                elif manifest is not None:
                    needed.update(file.name for file in manifest.files)
                    oldest_ns = min(oldest_ns, manifest.started_ns)
            for manifest in buried_manifests(self):
                needed.update(file.name for file in manifest.files)
                oldest_ns = min(oldest_ns, manifest.started_ns)
            self.marks.clean(oldest_ns)
            freed += self.folder.clean(needed.__contains__, written_before_ns=before_ns)
            clean_turns(self.root / "turns", before_ns)
        return freed

    def verify(self) -> list[str]:
        """Read every set in full; returns what is damaged, in words."""
        damaged: list[str] = []
        for entry in list_folder(self.root / "sets"):
            if not _KEY.fullmatch(entry.name):
                continue
            try:
                manifest = self._read(entry.name)
                for file in manifest.files if manifest else ():
                    self.folder.verify(file)
            except CorruptEntry as error:
                damaged.append(f"{entry.name}: {error.message}")
        return damaged

    def _readable(self, name: str) -> Manifest | None:
        try:
            return self._read(name) if _KEY.fullmatch(name) else None
        except CorruptEntry:
            return None

    # -- places ---------------------------------------------------------------------------------------------------

    def _manifest(self, key: str) -> Path:
        if not _KEY.fullmatch(key):
            raise CacheError(f"{key!r} is no key of a training set.", hint="Keys are hexadecimal digests.")
        return self.root / "sets" / key

    @property
    def seal(self) -> Seal:
        """What signs and verifies descriptions; its secret is read when first needed."""
        if self._seal is None:
            self._seal = Seal(load_secret(self.settings))
        return self._seal


def content_sha256(manifest: Manifest) -> bytes:
    """Digest of a set's content: the names of its files, which are digests, and its small parts."""
    names = json.dumps([file.name for file in manifest.files]).encode()
    return hashlib.sha256(len(names).to_bytes(8, "big") + names + bytes(manifest.payload.data)).digest()


def _name(scope: Scope, target: str | None) -> str:
    return "all" if scope == "all" else f"{scope}:{target}"


def _names(key: str, preparation: Preparation) -> tuple[str, ...]:
    return (
        "all",
        f"key:{key}",
        f"function:{preparation.function}",
        f"model:{preparation.model_type}",
        *(f"source:{table}" for table in preparation.lake_versions),
        *(f"tag:{tag}" for tag in preparation.tags),
    )


__all__ = ["Preparation", "StorageFull", "StoredTrainingSet", "TrainingSets", "content_sha256"]
