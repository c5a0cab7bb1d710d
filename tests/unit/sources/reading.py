"""Read a raw file with one reader, outside of ingestion: what it stages, row by row."""

import hashlib
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from retention_pipelines.sources.staging import RawFile, Reader, Recognition, Staged


@dataclass(frozen=True, kw_only=True)
class Read:
    """One staging table and its rows."""

    staged: Staged
    rows: list[Mapping[str, Any]]

    def values(self, variable: str) -> list[Mapping[str, Any]]:
        """Measurements of a variable, in the order of the rows."""
        return [one for row in self.rows for one in row["measurements"] if one["variable"] == variable]


def raw_file(path: Path) -> RawFile:
    content = path.read_bytes()
    members = tuple(zipfile.ZipFile(path).namelist()) if zipfile.is_zipfile(path) else ()
    return RawFile(
        path=str(path),
        local=path,
        sha256=hashlib.sha256(content).hexdigest(),
        size=len(content),
        head=content[:65536],
        members=members,
    )


def recognise(reader: Reader, path: Path, around: Sequence[Path] = ()) -> Recognition | None:
    return reader.recognises(raw_file(path), [raw_file(one) for one in around])


def read(reader: Reader, path: Path, con: duckdb.DuckDBPyConnection, around: Sequence[Path] = ()) -> list[Read]:
    """Everything the reader stages; `read` equals the rows of the table, as the contract asks."""
    file, near = raw_file(path), [raw_file(one) for one in around]
    recognition = reader.recognises(file, near)
    assert recognition is not None, f"{path.name} is not recognised"
    assert recognition.role == "records"
    found = []
    for staged in reader.read(file, recognition, near, con):
        table = con.table(staged.relation).order("source_row")
        rows = [dict(zip(table.columns, row, strict=True)) for row in table.fetchall()]
        assert len(rows) == staged.read
        assert len({row["source_row"] for row in rows}) == staged.read
        assert staged.raw is not None
        assert {row["source_row"] for row in rows} <= {row[0] for row in con.table(staged.raw).fetchall()}
        found.append(Read(staged=staged, rows=rows))
    return found


def read_one(reader: Reader, path: Path, con: duckdb.DuckDBPyConnection, around: Sequence[Path] = ()) -> Read:
    (only,) = read(reader, path, con, around)
    return only
