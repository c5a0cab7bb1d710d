"""The ledger `ingested_files`: one row per delivery, and copies of what was refused.

What belongs here: the identity of a delivery and its line in the ledger. What does not: counting (`ingest.py`).

A line's `fingerprint` begins with two hashes, `<identity>:<look>`; what follows is in `rests.py`. The identity is of
what was read: these rows were taken. The look is of what can be told before anything is read, and narrower: a file not
known by its look is read, and may then be known by its identity.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path

from retention_pipelines.catalog import dataset
from retention_pipelines.sources.report import FileReport
from retention_pipelines.sources.rests import fingerprint_of, read_lines
from retention_pipelines.sources.staging import RawFile, Recognition, Staged
from retention_pipelines.warehouse.deliveries import LEDGER
from retention_pipelines.warehouse.duck import quote_name, statement
from retention_pipelines.warehouse.lake import Lake


@dataclass(frozen=True, kw_only=True)
class Taken:
    """What the ledger has of a delivery that was taken."""

    fingerprint: str
    read: int
    dataset_id: str | None
    licence: str | None
    bibliographic_citation: str | None
    notes: str | None


def identity_of(file: RawFile, recognition: Recognition, parts: Iterable[Staged]) -> str:
    """Identity of a delivery: the same content, read in the same way, with the same files joined to it.

    A corrected mapping or haul table makes another delivery of the same file; its rows are compared one by one.
    """
    words = [file.sha256, recognition.format, recognition.role, recognition.mapping_digest or ""]
    for part in parts:
        words += [part.dataset_id, part.dataset, part.member or "", *sorted(lookup.sha256 for lookup in part.lookups)]
    return _digest(words)


def look_of(file: RawFile, recognition: Recognition) -> str:
    """What a file looks like unread: content, the names a data set may be named by, mapping and the files beside it.

    The release is part of it, as another one may read the same in another way.
    """
    words = [file.sha256, recognition.format, recognition.role, recognition.mapping_digest or ""]
    words += [_release(), file.name, Path(file.folder).name]
    for other in recognition.beside:
        # Of several lookups the one in the same folder is joined.
        words += [other.name, other.sha256, "here" if other.folder == file.folder else "elsewhere"]
    return _digest(words)


@cache
def _release() -> str:
    return version("retention_pipelines")


def _digest(words: Iterable[str]) -> str:
    digest = hashlib.sha256()
    for word in words:
        digest.update(f"{len(word)}:{word};".encode())
    return digest.hexdigest()


def taken_by_look(lake: Lake, contents: Iterable[str]) -> dict[str, Taken]:
    """Deliveries of these contents (SHA-256) that were taken and are whole, by what they looked like."""
    if not read_lines(lake):
        return {}
    rows = lake.con.execute(statement("retention_pipelines.sources", "taken_by_look"), [list(contents)]).fetchall()
    names = ("fingerprint", "read", "dataset_id", "licence", "bibliographic_citation", "notes")
    return {row[0]: Taken(**dict(zip(names, row[1:], strict=True))) for row in rows}


def identities_taken(lake: Lake, identities: Collection[str]) -> set[str]:
    """Those of the identities whose deliveries were taken before and are whole."""
    if not read_lines(lake, identities):
        return set()
    return {row[0] for row in lake.con.execute(_TAKEN, [list(identities)]).fetchall()}


_TAKEN = "select distinct identity from whole_lines where identity in (select unnest($1::varchar[]))"


def record(lake: Lake, reports: Sequence[FileReport], *, op: str) -> None:
    """Write the lines of files."""
    types = dataset(LEDGER).types
    lines = []
    for report in reports:
        line = {name: getattr(report, name) for name in types}
        line |= {"reasons": json.dumps(report.reasons, sort_keys=True), "notes": " ".join(report.notes) or None}
        line["fingerprint"] = fingerprint_of(report, op)
        lines.append(line)
    # Not by way of Arrow: making an array imports pandas, which takes longer than reading a small file.
    columns = ", ".join(f"{quote_name(name)} {kind}" for name, kind in types.items())
    rows = f"unnest($1::struct({columns})[], recursive := true)"
    lake.con.execute(f"create or replace temp table ledger_line as select {rows}", [lines])
    lake.table(LEDGER).append("select * from ledger_line", op=op)


def keep_aside(source: Path, sha256: str, why: str, folder: Path, *, name: str | None = None) -> str | None:
    """Copy a refused file, with a text that says why; returns where it is, None where nothing could be copied."""
    if not source.is_file():
        return None
    folder.mkdir(parents=True, exist_ok=True)
    # A name may have 255 bytes, of which `.why.txt` and the hash need some.
    stem, suffix = os.path.splitext(os.path.basename(name or source.name))
    kept = os.fsencode(stem)[:180].decode("utf-8", errors="ignore") + suffix[:20]
    target = folder / f"{sha256[:12]}-{kept}"
    try:
        shutil.copyfile(source, target)
    except PermissionError:
        return None  # what may not be read cannot be copied either
    target.with_name(target.name + ".why.txt").write_text(why + "\n", encoding="utf-8")
    return str(target)
