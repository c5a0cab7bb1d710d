"""Manifest of a set: which files it has, what is in them, and how long it may be used; sealed as a whole.

A set exists when its manifest does. It is the last thing written and the first thing read, and nothing in it is
believed before its seal is.
"""

import base64
import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from retention_pipelines.cache.entry import Payload
from retention_pipelines.cache.training.description import Description
from retention_pipelines.cache.training.files import Inode, StoredFile
from retention_pipelines.errors import CorruptEntry
from retention_pipelines.postgres.seal import SEAL_BYTES, Seal, header

_MAGIC = b"RTRAIN01"
# A value whose small parts are larger than this is no training set with matrices, but a long list.
LARGEST_PAYLOAD = 64 * 1024 * 1024
LARGEST_MANIFEST = 2 * LARGEST_PAYLOAD


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """A set as it is written down.

    Attributes:
        key: digest of the call.
        started_ns, computed_ns: when the preparation began and ended, in nanoseconds since 1970 (UTC).
        ttl_seconds: life from `computed_ns` on; None: never by time.
        lake_versions: lake tables it was built from, with their versions when the preparation began.
        as_of_seq: last line of the invalidation log that was known when the preparation began.
        names: what an invalidation may call it by, such as `tag:weekly`.
    """

    key: str
    model_type: str
    model_version: str | None
    code_version: str | None
    function: str
    started_ns: int
    computed_ns: int
    ttl_seconds: float | None
    compute_seconds: float
    lake_versions: Mapping[str, int]
    as_of_seq: int | None
    names: tuple[str, ...]
    description: Description
    files: tuple[StoredFile, ...]
    payload: Payload

    @property
    def size_bytes(self) -> int:
        """Bytes of the set's files."""
        return sum(file.size for file in self.files)


def seal_manifest(manifest: Manifest, seal: Seal, tenant: str) -> bytes:
    """The manifest as bytes."""
    fields = {field.name: getattr(manifest, field.name) for field in dataclasses.fields(manifest)}
    fields["description"] = dataclasses.asdict(manifest.description)
    fields["files"] = [_file_fields(file) for file in manifest.files]
    fields["payload"] = {"codec": manifest.payload.codec}
    head = json.dumps(fields, allow_nan=False, separators=(",", ":")).encode()
    body = len(head).to_bytes(8, "big") + head + bytes(manifest.payload.data)
    return _MAGIC + seal.sign(_place(tenant, manifest.key), body) + body


def open_manifest(content: bytes, seal: Seal, tenant: str, key: str) -> Manifest:
    """The manifest of a key in bytes. Raises CorruptEntry unless they were sealed for this tenant and key."""
    body = content[len(_MAGIC) + SEAL_BYTES :]
    mac = content[len(_MAGIC) : len(_MAGIC) + SEAL_BYTES]
    if not content.startswith(_MAGIC) or not seal.verify(_place(tenant, key), body, mac):
        raise CorruptEntry("The description of a training set is damaged, foreign or forged.")
    length = int.from_bytes(body[:8], "big")
    fields: dict[str, Any] = json.loads(body[8 : 8 + length])
    described = fields["description"]
    for name in ("feature_names", "preprocessing"):
        described[name] = tuple(described[name])
    fields["description"] = Description(**described)
    fields["files"] = tuple(_file(one) for one in fields["files"])
    fields["names"] = tuple(fields["names"])
    fields["payload"] = Payload(codec=fields["payload"]["codec"], data=body[8 + length :])
    return Manifest(**fields)


def _place(tenant: str, key: str) -> bytes:
    return header(tenant, "training", key, _MAGIC.decode())


def _file_fields(file: StoredFile) -> dict[str, Any]:
    return {
        "name": file.name,
        "size": file.size,
        "block_bytes": file.block_bytes,
        "blocks": base64.b64encode(file.blocks).decode(),
        "inode": [file.inode.number, file.inode.size, file.inode.modified_ns, file.inode.changed_ns],
    }


def _file(fields: Mapping[str, Any]) -> StoredFile:
    number, size, modified_ns, changed_ns = fields["inode"]
    return StoredFile(
        name=fields["name"],
        size=fields["size"],
        block_bytes=fields["block_bytes"],
        blocks=base64.b64decode(fields["blocks"]),
        inode=Inode(number=number, size=size, modified_ns=modified_ns, changed_ns=changed_ns),
    )
