"""Forgetting a table's past for good: no undo, no time travel, and nothing left in the log of what was in its files.

For erasure orders only; everything else keeps its 7 days (`Lake.vacuum`). What does not belong here: which rows go.
Every call may be repeated after a crash. The log keeps its commits: only statistics of files that are gone, and names
that tell what was erased, are replaced, so that replaying it gives the same state.
"""

import hashlib
import io
import json
import os
import re
from collections.abc import Callable, Collection
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import DeltaTable

from retention_pipelines.warehouse.objects import open_objects
from retention_pipelines.warehouse.published import Folder
from retention_pipelines.warehouse.table import Table

_COMMIT = re.compile(r"\d{20}\.json$")
_CHECKPOINT = re.compile(r"\d{20}\.checkpoint.*\.parquet$")
# What nobody committed for so long belongs to a writer that died.
ORPHAN_HOURS = 1
Tells = Callable[[str], bool]


def purge_table(table: Table, storage_options: dict[str, str] | None, tells: Tells) -> list[str]:
    """Delete every file the newest state does not need, and forget what the log says about them; returns their names.

    `tells` says of a text whether it names what was erased. Files that no commit knows stay for an hour: their writer
    may be about to commit them.
    """
    if table.version() < 0:
        return []
    handle = DeltaTable(table.root, storage_options=storage_options)
    gone: list[str] = handle.vacuum(retention_hours=0, enforce_retention_duration=False, dry_run=False)
    handle = DeltaTable(table.root, storage_options=storage_options)
    gone += handle.vacuum(retention_hours=ORPHAN_HOURS, enforce_retention_duration=False, dry_run=False, full=True)
    redact_log(table, storage_options, tells)
    return gone


def redact_log(table: Table, storage_options: dict[str, str] | None, tells: Tells) -> int:
    """Forget in the log what files held that are gone; returns how many entries were changed."""
    objects = open_objects(table.root, storage_options)
    live = frozenset(file.path for file in table.files())
    changed = 0
    for name in sorted(objects.names("_delta_log")):
        place = f"_delta_log/{name}"
        content = objects.read(place) if _COMMIT.match(name) or _CHECKPOINT.match(name) else None
        if content is None:
            continue
        redacted = (
            _redacted_commit(content, live, tells)
            if _COMMIT.match(name)
            else _redacted_checkpoint(content, live, tells)
        )
        if redacted is not None:
            objects.write(place, redacted)
            changed += 1
    return changed


def forget_generations(root: str, tables: Collection[Table]) -> None:
    """Remove the published states but the newest: their links hold files that are gone everywhere else."""
    if os.path.isdir(f"{root}/.published"):
        Folder(root, {table.name: table for table in tables}).forget_past()


def _redacted_commit(content: bytes, live: Collection[str], tells: Tells) -> bytes | None:
    lines = []
    changed = False
    for line in content.splitlines():
        action = json.loads(line)
        changed = _redact(action, live, tells) or changed
        lines.append(json.dumps(action, separators=(",", ":"), ensure_ascii=False).encode())
    return b"\n".join(lines) + b"\n" if changed else None


def _redacted_checkpoint(content: bytes, live: Collection[str], tells: Tells) -> bytes | None:
    found = pq.read_table(io.BytesIO(content))
    actions = found.to_pylist()
    changed = False
    for action in actions:
        changed = _redact(action, live, tells) or changed
    if not changed:
        return None
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(actions, schema=found.schema), buffer, compression="zstd")
    return buffer.getvalue()


def _redact(action: dict[str, Any], live: Collection[str], tells: Tells) -> bool:
    """Forget what one action says about a file that is gone; whether anything changed."""
    changed = False
    for kind in ("add", "remove"):
        file = action.get(kind)
        if not file or not file.get("path") or file["path"] in live:
            continue
        stats = file.get("stats")
        if isinstance(stats, str) and ("minValues" in stats or "maxValues" in stats):
            file["stats"] = json.dumps({"numRecords": json.loads(stats).get("numRecords")})
            changed = True
        for parsed in ("stats_parsed", "partitionValues_parsed"):
            if file.get(parsed) is not None:
                file[parsed] = None
                changed = True
        values = file.get("partitionValues")
        pairs = list(values.items()) if isinstance(values, dict) else list(values or ())
        if tells(file["path"]) or any(isinstance(value, str) and tells(value) for _, value in pairs):
            told = hashlib.sha256(file["path"].encode()).hexdigest()[:32]
            file["path"] = f"erased-{told}.parquet"
            blank = [(key, "erased" if isinstance(value, str) and tells(value) else value) for key, value in pairs]
            file["partitionValues"] = dict(blank) if isinstance(values, dict) else blank
            changed = True
    return changed


__all__ = ["forget_generations", "purge_table", "redact_log"]
