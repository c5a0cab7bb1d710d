"""Small files of the lake by name, in a folder or in an object store: markers, the manifest, entries of the log.

What belongs here: reading and replacing one whole object so that a reader sees the old or the new one. What does not:
Parquet files, which DuckDB reads and writes, and the Delta log's commits, which deltalake writes.
"""

import os
import uuid
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any, Protocol

import obstore
from obstore.exceptions import AlreadyExistsError, PreconditionError
from obstore.store import S3Store

# As much of a large object is in memory while it is read.
_PIECE_BYTES = 4 * 2**20


class Objects(Protocol):
    """Named blobs under one root."""

    def read(self, name: str) -> bytes | None:
        """Content, or None where there is no such object."""

    def write(self, name: str, content: bytes) -> None:
        """Create or replace an object; it is durable when this returns."""

    def pieces(self, name: str) -> Iterator[bytes]:
        """Content, a piece at a time. Raises FileNotFoundError at the first one where there is no such object."""

    def write_pieces(self, name: str, pieces: Iterable[bytes]) -> None:
        """Create or replace an object of any size, as `write` does; none is left when the pieces end in an error."""

    def delete(self, name: str) -> None:
        """Remove an object; no error where there is none."""

    def exists(self, name: str) -> bool:
        """Whether there is such an object."""

    def names(self, folder: str) -> list[str]:
        """Names directly in a folder, in no order; none where there is no such folder."""

    def folders(self, folder: str) -> list[str]:
        """Names of the folders directly in a folder, in no order."""


class FolderObjects:
    """Objects as files of a folder."""

    def __init__(self, root: str) -> None:
        self._root = root

    def read(self, name: str) -> bytes | None:
        """Content, or None where there is no such object."""
        try:
            with open(f"{self._root}/{name}", "rb") as file:
                return file.read()
        except (FileNotFoundError, NotADirectoryError):
            return None

    def write(self, name: str, content: bytes) -> None:
        """Create or replace an object; it is durable when this returns."""
        self.write_pieces(name, (content,))

    def pieces(self, name: str) -> Iterator[bytes]:
        """Content, a piece at a time. Raises FileNotFoundError at the first one where there is no such object."""
        with open(f"{self._root}/{name}", "rb") as file:
            while piece := file.read(_PIECE_BYTES):
                yield piece

    def write_pieces(self, name: str, pieces: Iterable[bytes]) -> None:
        """Create or replace an object of any size, as `write` does; none is left when the pieces end in an error."""
        path = f"{self._root}/{name}"
        folder = os.path.dirname(path)
        os.makedirs(folder, exist_ok=True)
        draft = f"{path}.{uuid.uuid4().hex}.tmp"
        try:
            with open(draft, "wb") as file:
                file.writelines(pieces)
                file.flush()
                os.fsync(file.fileno())
            os.replace(draft, path)
        except BaseException:
            if os.path.exists(draft):
                os.unlink(draft)
            raise
        sync_path(folder)

    def delete(self, name: str) -> None:
        """Remove an object; no error where there is none."""
        path = f"{self._root}/{name}"
        if os.path.lexists(path):
            os.unlink(path)
            sync_path(os.path.dirname(path))

    def exists(self, name: str) -> bool:
        """Whether there is such an object."""
        return os.path.exists(f"{self._root}/{name}")

    def names(self, folder: str) -> list[str]:
        """Names directly in a folder, in no order; none where there is no such folder."""
        try:
            return os.listdir(f"{self._root}/{folder}")
        except (FileNotFoundError, NotADirectoryError):
            return []

    def folders(self, folder: str) -> list[str]:
        """Names of the folders directly in a folder, in no order."""
        return [name for name in self.names(folder) if os.path.isdir(f"{self._root}/{folder}/{name}")]


class StoreObjects:
    """Objects of an S3 bucket, with the conditional writes that locks are made of."""

    def __init__(self, root: str, options: dict[str, str]) -> None:
        bucket, _, prefix = root.removeprefix("s3://").partition("/")
        self._prefix = prefix.strip("/")
        self._store = S3Store(bucket, **store_options(options))

    def _key(self, name: str) -> str:
        return f"{self._prefix}/{name}" if self._prefix else name

    def read(self, name: str) -> bytes | None:
        """Content, or None where there is no such object."""
        found = self.read_tagged(name)
        return found[0] if found else None

    def read_tagged(self, name: str) -> tuple[bytes, str, datetime] | None:
        """Content, entity tag and time of last change (by the store's clock)."""
        try:
            found = obstore.get(self._store, self._key(name))
        except FileNotFoundError:
            return None
        return bytes(found.bytes()), str(found.meta["e_tag"]), found.meta["last_modified"]

    def write(self, name: str, content: bytes) -> None:
        """Create or replace an object; it is durable when this returns."""
        obstore.put(self._store, self._key(name), content)

    def pieces(self, name: str) -> Iterator[bytes]:
        """Content, a piece at a time. Raises FileNotFoundError at the first one where there is no such object."""
        for piece in obstore.get(self._store, self._key(name)).stream(min_chunk_size=_PIECE_BYTES):
            yield bytes(piece)

    def write_pieces(self, name: str, pieces: Iterable[bytes]) -> None:
        """Create or replace an object of any size, as `write` does; none is left when the pieces end in an error."""
        obstore.put(self._store, self._key(name), iter(pieces))

    def create(self, name: str, content: bytes) -> str | None:
        """Create an object unless it exists; its entity tag, or None where it exists."""
        try:
            return str(obstore.put(self._store, self._key(name), content, mode="create")["e_tag"])
        except AlreadyExistsError:
            return None

    def replace(self, name: str, content: bytes, tag: str) -> str | None:
        """Replace an object that still has that entity tag; the new tag, or None where it changed meanwhile."""
        try:
            return str(obstore.put(self._store, self._key(name), content, mode={"e_tag": tag})["e_tag"])
        except (PreconditionError, FileNotFoundError):
            return None

    def delete(self, name: str) -> None:
        """Remove an object; no error where there is none."""
        obstore.delete(self._store, self._key(name))

    def exists(self, name: str) -> bool:
        """Whether there is such an object."""
        try:
            obstore.head(self._store, self._key(name))
        except FileNotFoundError:
            return False
        return True

    def names(self, folder: str) -> list[str]:
        """Names directly in a folder, in no order; none where there is no such folder."""
        found = obstore.list_with_delimiter(self._store, prefix=f"{self._key(folder)}/")["objects"]
        return [meta["path"].rpartition("/")[2] for meta in found]

    def folders(self, folder: str) -> list[str]:
        """Names of the folders directly in a folder, in no order."""
        place = self._key(folder).strip("/")
        prefix = f"{place}/" if place else None
        found = obstore.list_with_delimiter(self._store, prefix=prefix)["common_prefixes"]
        return [path.rstrip("/").rpartition("/")[2] for path in found]


def store_options(options: dict[str, str]) -> dict[str, Any]:
    """Keyword arguments of an obstore S3 store for the lake's storage options."""
    allow_http = options.get("AWS_ALLOW_HTTP") == "true"
    config = {name.lower(): value for name, value in options.items() if name != "AWS_ALLOW_HTTP"}
    return {"config": config, "client_options": {"allow_http": allow_http}}


def open_objects(root: str, options: dict[str, str] | None) -> FolderObjects | StoreObjects:
    """The objects under a root: a folder, or `s3://bucket/prefix`."""
    return StoreObjects(root, options or {}) if "://" in root else FolderObjects(root)


def sync_path(path: str) -> None:
    """Make a file or folder durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
