"""The ledger `ingested_files`: one row per delivery, and copies of what was refused.

What belongs here: the identity of a delivery and its line in the ledger. What does not: counting (`ingest.py`).
"""

import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from retention_pipelines.catalog import dataset
from retention_pipelines.sources.report import FileReport
from retention_pipelines.sources.staging import RawFile, Recognition, Staged
from retention_pipelines.warehouse.duck import bind
from retention_pipelines.warehouse.lake import Lake


def fingerprint(file: RawFile, recognition: Recognition, parts: Sequence[Staged]) -> str:
    """Identity of a delivery: the same content, read in the same way, with the same files joined to it.

    A corrected mapping or haul table makes another delivery of the same file; its rows are compared one by one.
    """
    digest = hashlib.sha256()
    words = [file.sha256, recognition.format, recognition.role, recognition.mapping_digest or ""]
    for part in parts:
        words += [part.dataset_id, part.dataset, part.member or "", *sorted(lookup.sha256 for lookup in part.lookups)]
    for word in words:
        digest.update(f"{len(word)}:{word};".encode())
    return digest.hexdigest()


def already_ingested(lake: Lake, identity: str | None) -> bool:
    """Whether the same delivery was taken before."""
    bind(lake.con, "ledger_rows", lake.table("ingested_files").scan())
    found = lake.con.execute(
        "select count(*) from ledger_rows where fingerprint = $1 and status = 'ingested'", [identity]
    ).fetchall()
    return bool(found[0][0])


def record(lake: Lake, report: FileReport, *, op: str) -> None:
    """Write a file's line."""
    values = {name: getattr(report, name) for name in dataset("ingested_files").column_names}
    values["reasons"] = json.dumps(report.reasons, sort_keys=True)
    values["notes"] = " ".join(report.notes) or None
    lake.con.register("ledger_line", pa.table({name: [value] for name, value in values.items()}))
    try:
        lake.table("ingested_files").append("select * from ledger_line", op=op)
    finally:
        lake.con.unregister("ledger_line")


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
