"""A value and its matrices: what is large goes to files, the rest through the codec of the caches.

What belongs here: the walk over tuples, lists, dicts, named tuples and dataclasses that finds arrays, sparse matrices,
frames and fitted pipelines, wherever they are in what a function returned, and puts them back. What does not: the
formats (`arrays.py`, `frames.py`, `sparse.py`, `pipeline.py`) and everything small (`cache/codec`).
"""

import copy
import dataclasses
import mmap
import sys
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import IO, Any

import numpy as np

from retention_pipelines.cache import codec
from retention_pipelines.cache.codec.wire import UnknownClass
from retention_pipelines.cache.entry import Payload
from retention_pipelines.cache.training.arrays import require_storable, view_array, write_array
from retention_pipelines.cache.training.files import Folder, StoredFile
from retention_pipelines.cache.training.parts import ArrayFile, ArrowFile, EstimatorFile, PandasFiles, SparseFiles
from retention_pipelines.errors import CorruptEntry, Unstorable

# Smaller arrays are part of the description: a file for each would cost more than it saves.
SMALLEST_FILE = 16 * 1024


@dataclass(frozen=True, kw_only=True)
class Packed:
    """A value as the bytes of its small parts and the files of its large ones."""

    payload: Payload
    files: tuple[StoredFile, ...]


def pack(value: object, folder: Folder, *, trusted: Collection[str] = ()) -> Packed:
    """Write a value's matrices and encode the rest. Raises Unstorable; files written until then are orphans."""
    packing = _Packing(folder, trusted)
    try:
        rest = packing.replace(value)
        payload = codec.encode(rest, spill=lambda array: str(packing.array(np.asarray(array))))
    except RecursionError as error:
        raise Unstorable("The value is nested too deeply, or holds itself.") from error
    return Packed(payload=payload, files=tuple(packing.files))


def unpack(payload: Payload, files: Sequence[StoredFile], folder: Folder, *, trusted: Collection[str] = ()) -> Any:
    """The value, its matrices mapped. Raises CorruptEntry."""
    unpacking = _Unpacking(files, folder, trusted)
    value = codec.decode(payload, fetch=lambda name: unpacking.array(int(name)))
    try:
        return unpacking.restore(value)
    except (IndexError, TypeError, ValueError, AttributeError) as error:
        raise CorruptEntry(f"The parts of a training set do not fit together: {error}") from error


class _Packing:
    def __init__(self, folder: Folder, trusted: Collection[str]) -> None:
        self._folder = folder
        self._trusted = trusted
        self.files: list[StoredFile] = []

    def array(self, array: np.ndarray) -> int:
        require_storable(array)
        return self._put("npy", lambda file: write_array(file, array))

    def _put(self, suffix: str, write: Callable[[IO[bytes]], object]) -> int:
        self.files.append(self._folder.put(suffix, write))
        return len(self.files) - 1

    def replace(self, value: Any) -> Any:
        """The value with stand-ins for its matrices; parts without any stay the same objects."""
        kind = type(value)
        if kind is np.ndarray:
            if value.dtype == object:
                return value  # labels and names, item by item, or Unstorable: the codec says which
            require_storable(value)
            return value if value.nbytes < SMALLEST_FILE else ArrayFile(self.array(value))
        if kind is dict:
            return _changed(value, {key: self.replace(one) for key, one in value.items()})
        if kind in (list, tuple):
            return _changed(value, kind(self.replace(one) for one in value))
        if isinstance(value, tuple) and hasattr(kind, "_make"):
            return _changed(value, kind._make(self.replace(one) for one in value))
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            return _with_fields(value, self.replace)
        return self._replace_foreign(value)

    def _replace_foreign(self, value: Any) -> Any:
        """Stand-in for a value of a library's own class; a library that was never imported made none."""
        if _is(value, "pyarrow", "Table", "RecordBatch"):
            return self._arrow(value)
        if _is(value, "polars", "DataFrame", "Series"):
            return self._polars(value)
        if _is(value, "pandas", "DataFrame", "Series"):
            return self._pandas(value)
        if "scipy.sparse" in sys.modules:
            from retention_pipelines.cache.training.sparse import is_sparse, split_sparse

            if is_sparse(value):
                parts, arrays = split_sparse(value)
                return SparseFiles(parts, [self.replace(array) for array in arrays])
        if "sklearn.base" in sys.modules:
            from retention_pipelines.cache.training.pipeline import dump_pipeline, is_estimator, library_versions

            if is_estimator(value):
                content = dump_pipeline(value, self._trusted)
                return EstimatorFile(self._put("skops", lambda file: file.write(content)), library_versions())
        return value

    def _arrow(self, value: Any) -> ArrowFile:
        import pyarrow as pa

        from retention_pipelines.cache.training.frames import require_arrow, write_arrow

        require_arrow(value.schema)
        table = value if type(value) is pa.Table else pa.Table.from_batches([value])
        return ArrowFile(self._put("arrow", lambda file: write_arrow(file, table)), type(value).__name__)

    def _polars(self, value: Any) -> ArrowFile:
        from retention_pipelines.cache.training.frames import write_polars

        series = type(value).__name__ == "Series"
        frame = value.to_frame() if series else value
        number = self._put("arrow", lambda file: write_polars(file, frame))
        return ArrowFile(number, "polars series" if series else "polars frame")

    def _pandas(self, value: Any) -> PandasFiles:
        from retention_pipelines.cache.training.frames import split_pandas, write_arrow

        series = type(value).__name__ == "Series"
        parts, arrays, table = split_pandas(value.to_frame(name=0) if series else value)
        return PandasFiles(
            parts,
            [self.replace(array) for array in arrays],
            None if table is None else self._put("arrow", lambda file: write_arrow(file, table)),
            series,
            value.name if series else None,
        )


class _Unpacking:
    def __init__(self, files: Sequence[StoredFile], folder: Folder, trusted: Collection[str]) -> None:
        self._files = files
        self._folder = folder
        self._trusted = trusted

    def _map(self, number: int, *, writable: bool = False) -> mmap.mmap:
        if not 0 <= number < len(self._files):
            raise CorruptEntry("A training set names a file it does not have.")
        return self._folder.map(self._files[number], writable=writable)

    def array(self, number: int) -> np.ndarray:
        return view_array(self._map(number, writable=True))

    def restore(self, value: Any) -> Any:
        """The value with its matrices in place of the stand-ins."""
        kind = type(value)
        if kind is dict:
            return _changed(value, {key: self.restore(one) for key, one in value.items()})
        if kind in (list, tuple):
            return _changed(value, kind(self.restore(one) for one in value))
        if kind is ArrayFile:
            return self.array(value.file)
        if kind is SparseFiles:
            from retention_pipelines.cache.training.sparse import join_sparse

            return join_sparse(value.parts, [self.restore(array) for array in value.arrays])
        if kind is ArrowFile:
            return self._arrow(value)
        if kind is PandasFiles:
            return self._pandas(value)
        if kind is EstimatorFile:
            from retention_pipelines.cache.training.pipeline import library_versions, load_pipeline

            if value.made_with != library_versions():
                raise UnknownClass(f"A pipeline of {value.made_with} is not restored by {library_versions()}.")
            return load_pipeline(bytes(self._map(value.file)), self._trusted)
        if isinstance(value, tuple) and hasattr(kind, "_make"):
            return _changed(value, kind._make(self.restore(one) for one in value))
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            return _with_fields(value, self.restore)
        return value

    def _arrow(self, value: ArrowFile) -> Any:
        from retention_pipelines.cache.training.frames import read_arrow, read_polars

        content = self._map(value.file)
        if value.kind.startswith("polars"):
            frame = read_polars(content)
            return frame.to_series() if value.kind == "polars series" else frame
        table = read_arrow(content)
        if value.kind == "Table":
            return table
        batches = table.to_batches()
        return batches[0] if batches else table.schema.empty_table().to_batches()[0]

    def _pandas(self, value: PandasFiles) -> Any:
        from retention_pipelines.cache.training.frames import join_pandas, read_arrow

        table = None if value.table is None else read_arrow(self._map(value.table))
        frame = join_pandas(value.parts, [self.restore(array) for array in value.arrays], table)
        return frame.iloc[:, 0].rename(value.name) if value.series else frame


def _is(value: object, library: str, *names: str) -> bool:
    """Whether a value is of exactly one of a library's classes."""
    module = sys.modules.get(library)
    return module is not None and any(type(value) is getattr(module, name, None) for name in names)


def _changed(old: Any, new: Any) -> Any:
    """The new container, or the old one when its items are the same objects."""
    items = (old.values(), new.values()) if isinstance(old, dict) else (old, new)
    return old if all(one is other for one, other in zip(*items, strict=True)) else new


def _with_fields(value: Any, replace: Callable[[Any], Any]) -> Any:
    """A dataclass with replaced fields: a copy, made without calling its constructor; itself when nothing changed."""
    old = {field.name: getattr(value, field.name) for field in dataclasses.fields(value) if hasattr(value, field.name)}
    new = {name: replace(one) for name, one in old.items()}
    if all(old[name] is new[name] for name in old):
        return value
    changed = copy.copy(value)
    for name, one in new.items():
        object.__setattr__(changed, name, one)
    return changed
