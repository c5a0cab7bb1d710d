"""The live files of a table in a folder, read from its Delta log by our own code and kept up to date entry by entry.

Opening a table with deltalake costs 4 to 14 ms of CPU, this a fifth to two fifths of it, and most callers only want to
know which files there are. What belongs here: the newest state of the plain tables this package writes. What does not:
older versions, object stores, commits, and anything this package does not write; deltalake answers for those.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, date, datetime
from functools import cached_property
from typing import Any

import duckdb

from retention_pipelines.catalog import Dataset
from retention_pipelines.warehouse.listing import LakeFile
from retention_pipelines.warehouse.objects import Objects

_CHECKPOINT = re.compile(r"(\d{20})\.checkpoint\.parquet$")
_ROWS = re.compile(r'\{"numRecords": ?(\d+)[,}]')
_READ_CHECKPOINT = """
select protocol.minReaderVersion, add.path, add.partitionValues, add.size, add.modificationTime, add.stats
from read_parquet($1) where add is not null or protocol is not null
"""
_SAID = ("partitionValues", "size", "modificationTime", "stats")
# Tables that ask more of a reader may hold deleted rows, renamed columns or checkpoints in several parts.
_PLAIN = 1
_READ: dict[str, Callable[[Any], Any]] = {
    "TIMESTAMP WITH TIME ZONE": datetime.fromisoformat,
    "DATE": date.fromisoformat,
    "DOUBLE": float,
}


class _Unknown(Exception):
    """The log holds what this module does not read."""


class Snapshot:
    """The files of one table; `con` lends its DuckDB to read checkpoints with."""

    def __init__(self, con: duckdb.DuckDBPyConnection, objects: Objects, root: str, dataset: Dataset) -> None:
        self._con = con
        self._objects = objects
        self._root = root
        self._dataset = dataset
        self._version: int | None = None
        # What the log says of a file, until it is known to be live at the end.
        self._files: dict[str, LakeFile | tuple[Any, ...]] = {}

    def at(self, version: int) -> list[LakeFile] | None:
        """The live files of the newest version; None where deltalake must be asked."""
        try:
            if self._version is None or version < self._version:
                self._start(version)
            for following in range((-1 if self._version is None else self._version) + 1, version + 1):
                self._apply(following)
            return [self._file(path, said) for path, said in self._files.items()]
        except (_Unknown, KeyError, ValueError, duckdb.Error):
            self._version, self._files = None, {}
            return None

    def _start(self, version: int) -> None:
        """Begin at the newest checkpoint, or before the first entry."""
        found = map(_CHECKPOINT.match, self._objects.names("_delta_log"))
        newest = max((number for one in found if one and (number := int(one[1])) <= version), default=None)
        self._version, self._files = newest, {}
        if newest is None:
            return
        with self._con.cursor() as con:
            path = f"{self._root}/_delta_log/{newest:020d}.checkpoint.parquet"
            rows = con.execute(_READ_CHECKPOINT, [path]).fetchall()
        for reader, *add in rows:
            self._require_plain(reader)
            if add[0] is not None:
                self._files[add[0]] = tuple(add[1:])

    def _apply(self, version: int) -> None:
        content = self._objects.read(f"_delta_log/{version:020d}.json")
        if content is None:
            raise _Unknown
        for line in content.splitlines():
            action = json.loads(line)
            if add := action.get("add"):
                self._files[add["path"]] = tuple(add[key] for key in _SAID)
            elif remove := action.get("remove"):
                self._files.pop(remove["path"], None)
            elif protocol := action.get("protocol"):
                self._require_plain(protocol["minReaderVersion"])
        self._version = version

    def _require_plain(self, reader: int | None) -> None:
        if reader is not None and reader > _PLAIN:
            raise _Unknown

    def _file(self, path: str, found: LakeFile | tuple[Any, ...]) -> LakeFile:
        if isinstance(found, LakeFile):
            return found
        partition, size, written, stats = found
        if "%" in path or stats is None or (rows := _ROWS.match(stats)) is None:
            raise _Unknown
        said = _Said(stats, self._dataset.types)
        self._files[path] = file = LakeFile(
            path=path,
            bytes=size,
            rows=int(rows[1]),
            partition={key: partition[key] for key in self._dataset.partition_by},
            written_at=datetime.fromtimestamp(written / 1000, UTC),
            minimum=_Values(said, "minValues"),
            maximum=_Values(said, "maxValues"),
            nulls=_Values(said, "nullCount"),
        )
        return file


class _Said:
    """The statistics of one file, parsed when they are first asked for."""

    def __init__(self, text: str, types: Mapping[str, str]) -> None:
        self._text = text
        self.types = types

    @cached_property
    def sides(self) -> dict[str, dict[str, Any]]:
        """Smallest and largest values and counts of nulls, by name."""
        found: dict[str, dict[str, Any]] = json.loads(self._text)
        return found


class _Values(Mapping[str, Any]):
    """Statistics of one kind."""

    __slots__ = ("_said", "_side")

    def __init__(self, said: _Said, side: str) -> None:
        self._said = said
        self._side = side

    def _known(self) -> dict[str, Any]:
        return self._said.sides.get(self._side, {})

    def __getitem__(self, name: str) -> Any:
        value = self._known()[name]
        read = None if self._side == "nullCount" else _READ.get(self._said.types.get(name, ""))
        return value if read is None else read(value)

    def __iter__(self) -> Iterator[str]:
        return iter(self._known())

    def __len__(self) -> int:
        return len(self._known())
