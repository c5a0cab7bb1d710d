"""Which keys the lake holds, as sorted 64-bit numbers per file, and reading the newest row of one.

What belongs here: knowing and reading. What does not: whether an entry may be served (`lake_tier.py`). A number takes
eight bytes per row, so a million folded entries take 8 MB; a key that only shares the number of another is found out by
reading.
"""

import re
import threading
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from retention_pipelines.cache.fold import DATASET, PACKAGE
from retention_pipelines.settings import Settings
from retention_pipelines.warehouse import Lake, LakeFile
from retention_pipelines.warehouse.duck import bind, set_variables, statement

_DIGEST = re.compile(r"[0-9a-f]{16,}")


@dataclass(frozen=True, kw_only=True)
class _Known:
    file: LakeFile
    numbers: npt.NDArray[np.uint64]


class FoldedKeys:
    """The keys of one lake; `refresh` looks at files that are new only. Safe for threads."""

    def __init__(self, lake: Lake) -> None:
        self._lake = lake
        self._lock = threading.Lock()
        self._version = -1
        self._known: dict[str, _Known] = {}

    @classmethod
    def open(cls, settings: Settings) -> Self:
        """Open the lake, to read only."""
        return cls(Lake(settings.model_copy(update={"mode": "read_only", "memory_limit_mb": 256})))

    def may_hold(self, key: str) -> bool:
        """Whether the lake may hold the key; False is certain, as of the last refresh."""
        if not self._known:
            return False
        number = _number(key)
        return any(_has(known.numbers, number) for known in tuple(self._known.values()))

    def read(self, tenant: str, key: str) -> dict[str, Any] | None:
        """The newest row of a key of a tenant."""
        number = _number(key)
        holding = [known.file for known in tuple(self._known.values()) if _has(known.numbers, number)]
        with self._lock:
            con = self._lake.con
            bind(con, "_cached", self._lake.table(DATASET).scan_files(holding))
            set_variables(con, tenant=tenant, cache_key=key)
            rows: list[dict[str, Any]] = con.sql(statement(PACKAGE, "folded_row")).to_arrow_table().to_pylist()
        return rows[0] if rows else None

    def refresh(self) -> None:
        """Take note of files that came and went."""
        with self._lock:
            table = self._lake.table(DATASET)
            version = table.version()
            if version == self._version:
                return
            files = {file.path: file for file in table.files()}
            known = {path: one for path, one in self._known.items() if path in files}
            for path, file in files.items():
                if path not in known:
                    rows = self._lake.con.sql(f"from {table.scan_files([file])}").select("cache_key").to_arrow_table()
                    known[path] = _Known(file=file, numbers=_numbers(rows["cache_key"]))
            self._known, self._version = known, version

    def close(self) -> None:
        """Close the lake."""
        with self._lock:
            self._lake.close()


def _number(key: str) -> int:
    """The first 64 bits of a key, which is a hex digest."""
    return int(key[:16], 16)


def _numbers(keys: pa.ChunkedArray) -> npt.NDArray[np.uint64]:
    # What is no digest is nobody's key, and must not hide the others.
    return np.sort(np.array([_number(key) for key in keys.to_pylist() if _DIGEST.fullmatch(key)], np.uint64))


def _has(numbers: npt.NDArray[np.uint64], number: int) -> bool:
    place = int(np.searchsorted(numbers, np.uint64(number)))
    return place < len(numbers) and int(numbers[place]) == number
