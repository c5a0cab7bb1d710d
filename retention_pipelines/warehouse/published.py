"""What readers see: one state of all datasets, replaced as a whole.

`_lake/published.json` pins the version of every table. In a folder, one generation below `.published/` holds that
manifest, `catalog.duckdb` and a tree of hard links per dataset, and one rename of the link `.published/current` shows
all of it at once; the paths people use lead through that link. A tree has a level `snapshot=<version>`: after the
switch none of the old paths exists, so that a reader in the middle of listing gets a clean error, never a mixture.
Where a file system has no links (FAT, SMB), only the manifest and `catalog.duckdb` are published: no raw glob there.
What does not belong here: which versions are fit to be shown (`lake.py`).
"""

import errno
import json
import os
import shutil
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace

from filelock import FileLock

from retention_pipelines.errors import LakeError, OutsideRestoreWindow
from retention_pipelines.warehouse.duck import beside, quote_name, quote_text
from retention_pipelines.warehouse.faults import storage_faults
from retention_pipelines.warehouse.files import refusing_text
from retention_pipelines.warehouse.objects import FolderObjects, StoreObjects, sync_path
from retention_pipelines.warehouse.table import Table

MANIFEST = "_lake/published.json"
KEEP_GENERATIONS = 3
_TRIES = 40


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """The published version of every table; a table that was never written is not in it.

    `trees` is False where the file system has no links, so that there are no folders for a raw glob.
    """

    generation: int = 0
    versions: Mapping[str, int] = field(default_factory=dict)
    trees: bool = True

    def advanced_to(self, versions: Mapping[str, int]) -> "Manifest":
        """The next manifest; versions never go back."""
        newest = {**self.versions}
        for name, version in versions.items():
            if version > newest.get(name, -1):
                newest[name] = version
        return self if newest == self.versions else Manifest(generation=self.generation + 1, versions=newest)

    def to_json(self) -> bytes:
        """The manifest's content."""
        return json.dumps(asdict(self)).encode()


def parse_manifest(content: bytes | None) -> Manifest:
    """The manifest in an object; the empty one where there is none."""
    try:
        return Manifest(**json.loads(content)) if content is not None else Manifest()
    except (ValueError, TypeError) as error:
        raise LakeError(
            f"{MANIFEST} is not a manifest: {error}.",
            hint="Delete it, then `retention lake publish` writes it anew; the data is not touched by that.",
        ) from error


def publish_to_store(objects: StoreObjects, versions: Mapping[str, int]) -> Manifest:
    """Replace the manifest in an object store."""
    for _ in range(_TRIES):
        found = objects.read_tagged(MANIFEST)
        old = parse_manifest(found[0] if found else None)
        new = old.advanced_to(versions)
        if new is old:
            return old
        tag = objects.replace(MANIFEST, new.to_json(), found[1]) if found else objects.create(MANIFEST, new.to_json())
        if tag is not None:
            return new
    raise LakeError("Others kept publishing first.", hint="Publish again.")


class _NoLinks(Exception):
    """This file system has no hard links or no symbolic links, or `.published` is another file system."""


def _linked(link: Callable[[str, str], None], source: str, target: str) -> None:
    try:
        link(source, target)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.EXDEV, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK):
            raise
        raise _NoLinks from error


def view_text(table: Table, version: int) -> str:
    """FROM-clause text of a dataset's view: what is published, or a refusal that names the file that is gone."""
    try:
        return table.scan(version=version)
    except OutsideRestoreWindow as error:
        return refusing_text(table.dataset, str(error))


class Folder:
    """The published generations of a lake in a folder."""

    def __init__(self, root: str, tables: Mapping[str, Table]) -> None:
        self._root = root
        self._base = f"{root}/.published"
        self._tables = tables
        self._objects = FolderObjects(root)

    def publish(self, versions: Mapping[str, int]) -> Manifest:
        """Show these versions; returns what is shown, which may be newer."""
        with storage_faults(self._root):
            os.makedirs(self._base, exist_ok=True)
            with FileLock(f"{self._base}/lock", is_singleton=False):
                old = parse_manifest(self._objects.read(MANIFEST))
                new = old.advanced_to(versions)
                if new is not old:
                    new = replace(new, generation=max([old.generation, *self._generations()]) + 1)
                    try:
                        self._write_generation(new)
                        self._switch_to(new)
                    except _NoLinks:
                        new = replace(new, trees=False)
                        self._publish_without_links(new)
                    self._rotate(new.generation)
                return new

    def forget_past(self) -> None:
        """Remove every generation but the one that is shown, and the trees that only they show."""
        with storage_faults(self._root), FileLock(f"{self._base}/lock", is_singleton=False):
            newest = parse_manifest(self._objects.read(MANIFEST)).generation
            if newest in self._generations():
                self._rotate(newest, keep=1)

    def _generations(self) -> list[int]:
        return [int(entry.name) for entry in os.scandir(self._base) if entry.name.isdigit()]

    def _publish_without_links(self, manifest: Manifest) -> None:
        for name in manifest.versions:
            path = f"{self._root}/{name}"
            if os.path.islink(path):
                os.unlink(path)  # it would show an old state for ever
        draft = f"{self._root}/catalog.duckdb.{uuid.uuid4().hex}.tmp"
        try:
            self._write_catalog(draft, manifest)
            os.replace(draft, f"{self._root}/catalog.duckdb")
        except BaseException:
            if os.path.exists(draft):
                os.unlink(draft)
            raise
        self._objects.write(MANIFEST, manifest.to_json())

    def _write_generation(self, manifest: Manifest) -> None:
        for name, version in manifest.versions.items():
            self._grow_tree(self._tables[name], version)
        draft = f"{self._base}/.tmp-{uuid.uuid4().hex}"
        os.makedirs(draft)
        try:
            for name, version in manifest.versions.items():
                _linked(os.symlink, f"../{name}/{version:012d}", f"{draft}/{name}")
            self._write_catalog(f"{draft}/catalog.duckdb", manifest)
            with open(f"{draft}/manifest.json", "wb") as file:
                file.write(manifest.to_json())
                file.flush()
                os.fsync(file.fileno())
            sync_path(draft)
            place = self._generation(manifest.generation)
            os.rename(draft, place)
        except BaseException:
            shutil.rmtree(draft, ignore_errors=True)
            raise

    def _generation(self, number: int) -> str:
        return f"{self._base}/{number:012d}"

    def _grow_tree(self, table: Table, version: int) -> None:
        place = f"{self._base}/{table.name}/{version:012d}"
        if os.path.exists(place):
            return
        draft = f"{self._base}/{table.name}/.tmp-{uuid.uuid4().hex}"
        os.makedirs(f"{draft}/snapshot={version}")
        try:
            files = table.files(version=version)
            for file in files:
                link = f"{draft}/snapshot={version}/{file.path}"
                os.makedirs(os.path.dirname(link), exist_ok=True)
                _linked(os.link, f"{table.root}/{file.path}", link)
            if not files:
                # A glob without files is an error; one empty file makes it an empty result.
                empty = quote_text(f"{draft}/snapshot={version}/empty.parquet")
                table.con.execute(f"copy (select * from {table.scan_files([])}) to {empty} (format parquet)")
            os.rename(draft, place)
        except BaseException:
            shutil.rmtree(draft, ignore_errors=True)
            raise

    def _write_catalog(self, path: str, manifest: Manifest) -> None:
        # storage_version: readable by DuckDB 1.4 and newer (hazard H10).
        with beside(next(iter(self._tables.values())).con) as con:
            con.execute(f"attach {quote_text(path)} as catalog_file (storage_version 'v1.4.0')")
            try:
                for name, table in self._tables.items():
                    rows = view_text(table, manifest.versions.get(name, -1))
                    con.execute(f"create view catalog_file.{quote_name(name)} as select * from {rows}")
            finally:
                con.execute("detach catalog_file")
        sync_path(path)

    def _switch_to(self, manifest: Manifest) -> None:
        self._link(f"{self._base}/current", f"{manifest.generation:012d}")
        for name in manifest.versions:
            self._link(f"{self._root}/{name}", f".published/current/{name}")
        self._link(f"{self._root}/catalog.duckdb", ".published/current/catalog.duckdb")
        self._link(f"{self._root}/{MANIFEST}", "../.published/current/manifest.json")
        sync_path(self._base)

    def _link(self, path: str, target: str) -> None:
        if os.path.islink(path) and os.readlink(path) == target:
            return
        if os.path.isdir(path) and not os.path.islink(path):
            raise LakeError(f"{path} is in the way: it must be a link that publishing makes.", hint="Move it away.")
        draft = f"{path}.{uuid.uuid4().hex}.tmp"
        os.makedirs(os.path.dirname(path), exist_ok=True)
        os.symlink(target, draft)
        os.replace(draft, path)

    def _rotate(self, newest: int, *, keep: int = KEEP_GENERATIONS) -> None:
        """Remove all but the last generations and the trees they show: hard links hold disk space."""
        kept = range(newest, newest - keep, -1)
        shown: set[tuple[str, int]] = set()
        for number in kept:
            content = self._objects.read(f".published/{number:012d}/manifest.json")
            with suppress(LakeError):  # a damaged manifest of the past shows nothing any more
                shown |= set(parse_manifest(content).versions.items())
        for entry in os.scandir(self._base):
            dead_draft = entry.name.startswith(".tmp-")  # ours is renamed by now, and we hold the lock
            if dead_draft or (entry.name.isdigit() and int(entry.name) not in kept):
                shutil.rmtree(entry.path, ignore_errors=True)
            elif entry.name.endswith(".tmp"):
                os.unlink(entry.path)
            elif entry.is_dir(follow_symlinks=False) and entry.name in self._tables:
                for tree in os.scandir(entry.path):
                    if not tree.name.isdigit() or (entry.name, int(tree.name)) not in shown:
                        shutil.rmtree(tree.path, ignore_errors=True)
