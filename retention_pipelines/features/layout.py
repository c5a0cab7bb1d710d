"""How a row of the feature store lies in Postgres: a tag, a mask of nulls, a slot per column, then the texts.

What belongs here: bytes out of columns and values out of bytes, exactly. What does not: where the bytes are kept and
who signs them (`hot_rows.py`, `online_reader.py`). The tag is a digest of names and types: after a change of the
catalog old rows are recognised as such and loaded again.
"""

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from hashlib import blake2b
from operator import itemgetter
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from retention_pipelines.catalog.dataset import Column, ColumnType
from retention_pipelines.catalog.features import FEATURE_COLUMNS, FEATURE_STORE
from retention_pipelines.features.names import ROW_COLUMNS

_ARROW = {
    ColumnType.TEXT: pa.string(),
    ColumnType.DOUBLE: pa.float64(),
    ColumnType.INTEGER: pa.int32(),
    ColumnType.BIGINT: pa.int64(),
    ColumnType.BOOLEAN: pa.bool_(),
    ColumnType.INSTANT: pa.timestamp("us", "UTC"),
}
TAG_BYTES = 8
_HEAD = 2  # slots before the first column: tag and mask


@dataclass(frozen=True, kw_only=True)
class Layout:
    """The columns of a feature type, those every type has first, and how they are packed."""

    feature_type: str
    columns: tuple[Column, ...]
    tag: bytes
    slots: struct.Struct
    texts: tuple[int, ...]

    def index(self, name: str) -> int:
        """Place of a column."""
        return next(i for i, column in enumerate(self.columns) if column.name == name)

    def arrow(self, index: int) -> pa.DataType:
        """Arrow type of a column, as point-in-time reads give it."""
        return _ARROW[self.columns[index].type]

    def reader(self, wanted: Sequence[int]) -> Callable[[bytes], list[Any] | None]:
        """What reads these columns out of a payload: None for a null, instants as microseconds since 1970.

        It answers None for a row of another layout. The columns are worked out once: it is called for every row.
        """
        tag, unpack, size = self.tag, self.slots.unpack_from, self.slots.size
        pick = itemgetter(*(_HEAD + index for index in wanted), 0)
        needed = sum(1 << index for index in set(wanted))
        flags = [i for i, index in enumerate(wanted) if self.columns[index].type is ColumnType.BOOLEAN]
        texts = [
            (i, _HEAD + index, [_HEAD + other for other in self.texts if other < index])
            for i, index in enumerate(wanted)
            if index in self.texts
        ]

        def read(payload: bytes) -> list[Any] | None:
            if payload[:TAG_BYTES] != tag:
                return None
            slots = unpack(payload)
            values = list(pick(slots))
            values.pop()
            for i in flags:
                values[i] = values[i] == 1
            for i, place, before in texts:
                start = size
                for other in before:
                    start += slots[other]
                values[i] = str(payload[start : start + slots[place]], "utf-8")
            mask = slots[1]
            if mask & needed != needed:
                for i, index in enumerate(wanted):
                    if not mask >> index & 1:
                        values[i] = None
            return values

        return read

    def write(self, rows: pa.RecordBatch) -> list[bytes]:
        """The payloads of rows that have the columns of this layout."""
        n = rows.num_rows
        slots = np.empty((n, _HEAD + len(self.columns)), dtype="<i8")
        slots[:, 0] = np.frombuffer(self.tag, "<i8")[0]
        mask = np.zeros(n, dtype=np.uint64)
        texts: list[pa.Array] = []
        for index, column in enumerate(self.columns):
            values = rows.column(column.name)
            present = values.is_valid().to_numpy(zero_copy_only=False)
            mask |= present.astype(np.uint64) << np.uint64(index)
            if index in self.texts:
                filled = pc.cast(pc.fill_null(values, ""), pa.binary())
                texts.append(filled)
                slots[:, _HEAD + index] = pc.binary_length(filled).to_numpy()
            else:
                slots[:, _HEAD + index] = _bits(values, column.type)
        slots[:, 1] = mask.view(np.int64)
        heaps = pc.binary_join_element_wise(*texts, b"").to_pylist()
        fixed, size = slots.tobytes(), self.slots.size
        return [fixed[i * size : (i + 1) * size] + heap for i, heap in enumerate(heaps)]


def _bits(values: pa.Array, kind: ColumnType) -> npt.NDArray[np.int64]:
    """The values as eight bytes each; whatever for nulls."""
    if kind is ColumnType.DOUBLE:
        floats: npt.NDArray[np.float64] = pc.fill_null(values, 0.0).to_numpy()
        return floats.view(np.int64)
    if kind is ColumnType.BOOLEAN:
        values = pc.cast(values, pa.int8())
    elif kind is ColumnType.INSTANT:
        values = pc.cast(values, pa.int64())
    whole: npt.NDArray[np.int64] = pc.fill_null(values, 0).to_numpy().astype(np.int64)
    return whole


@cache
def layout_of(feature_type: str) -> Layout:
    """The layout of a feature type."""
    common = {column.name: column for column in FEATURE_STORE.columns}
    columns = (*(common[name] for name in ROW_COLUMNS), *FEATURE_COLUMNS[feature_type])
    if len(columns) > 64:
        raise AssertionError("the mask of nulls has 64 bits")
    described = "\n".join(f"{column.name} {column.type.value}" for column in columns)
    kinds = "".join("d" if column.type is ColumnType.DOUBLE else "q" for column in columns)
    return Layout(
        feature_type=feature_type,
        columns=columns,
        tag=blake2b(f"1\n{feature_type}\n{described}".encode(), digest_size=TAG_BYTES).digest(),
        slots=struct.Struct(f"<qQ{kinds}"),
        texts=tuple(i for i, column in enumerate(columns) if column.type is ColumnType.TEXT),
    )
