"""Files of a table as the Delta log knows them: names, sizes and partitions at once, statistics when asked for.

A table of a thousand files has a hundred thousand statistics, and most callers look at none or at one column of them;
so the log's answer stays the Arrow table it is, and a column becomes Python values when it is first read. What does not
belong here: reading and writing the files (`files.py`).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
from deltalake import DeltaTable
from deltalake.transaction import AddAction


@dataclass(frozen=True, kw_only=True, slots=True)
class LakeFile:
    """A Parquet file of a table; `minimum` and `maximum` hold what its statistics say per column.

    `written_at` is when its rows were written, the youngest of them where files were merged; None where the log does
    not say.
    """

    path: str
    bytes: int
    rows: int
    partition: Mapping[str, str]
    written_at: datetime | None = field(default=None, compare=False)
    minimum: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)
    maximum: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)
    nulls: Mapping[str, int] = field(default_factory=dict, compare=False, repr=False)


Keep = Callable[[LakeFile], bool]


def live_files(delta: DeltaTable, partition_by: Sequence[str]) -> list[LakeFile]:
    """Files of one version of a table."""
    # pa.table() would import pandas first, a quarter of a second, to ask whether this is a frame.
    known = pa.RecordBatchReader.from_stream(delta.get_add_actions(flatten=True)).read_all()
    minimum, maximum, nulls = (_Columns(known, prefix) for prefix in ("min.", "max.", "null_count."))
    partitions = zip(*(known[f"partition.{key}"].to_pylist() for key in partition_by), strict=True)
    rows = zip(
        *(known[name].to_pylist() for name in ("path", "size_bytes", "num_records", "modification_time")), strict=True
    )
    return [
        LakeFile(
            path=path,
            bytes=size,
            rows=records,
            partition=dict(zip(partition_by, next(partitions, ()), strict=True)),
            written_at=None if written is None else datetime.fromtimestamp(written / 1000, UTC),
            minimum=_Row(minimum, number),
            maximum=_Row(maximum, number),
            nulls=_Row(nulls, number),
        )
        for number, (path, size, records, written) in enumerate(rows)
    ]


def keep_age(adds: Sequence[AddAction], replaced: Sequence[LakeFile]) -> None:
    """Let files that only hold rows of others be as old as the youngest of those in their partition.

    Otherwise data whose age is that of its file would be young again whenever it is merged or packed.
    """
    youngest: dict[tuple[str, ...], datetime] = {}
    unknown: set[tuple[str, ...]] = set()
    for file in replaced:
        place = tuple(file.partition.values())
        if file.written_at is None:
            unknown.add(place)
        elif place not in youngest or file.written_at > youngest[place]:
            youngest[place] = file.written_at
    for add in adds:
        keys = next((tuple(file.partition) for file in replaced), ())
        place = tuple(str(add.partition_values.get(key)) for key in keys)
        if place in youngest and place not in unknown:
            add.modification_time = int(youngest[place].timestamp() * 1000)


class _Columns:
    """The columns of one kind of statistic, each made into Python values once."""

    def __init__(self, known: pa.Table, prefix: str) -> None:
        self.names = tuple(name.removeprefix(prefix) for name in known.column_names if name.startswith(prefix))
        self._known = known
        self._prefix = prefix
        self._read: dict[str, list[Any]] = {}

    def read(self, name: str) -> list[Any]:
        """The values of a column, one per file; KeyError where the log has no such statistic."""
        if name not in self._read:
            if name not in self.names:
                raise KeyError(name)
            self._read[name] = self._known[self._prefix + name].to_pylist()
        return self._read[name]


class _Row(Mapping[str, Any]):
    """One file's statistics of one kind."""

    __slots__ = ("_columns", "_number")

    def __init__(self, columns: _Columns, number: int) -> None:
        self._columns = columns
        self._number = number

    def __getitem__(self, name: str) -> Any:
        return self._columns.read(name)[self._number]

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns.names)

    def __len__(self) -> int:
        return len(self._columns.names)
