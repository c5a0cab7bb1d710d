"""Sparse matrices of SciPy in parts: each part is an array, so that it is mapped like any other one."""

from typing import Any

import numpy as np
from scipy import sparse

from retention_pipelines.cache.training.parts import SparseParts
from retention_pipelines.errors import CorruptEntry, Unstorable

_PARTS = {
    "csr": ("data", "indices", "indptr"),
    "csc": ("data", "indices", "indptr"),
    "bsr": ("data", "indices", "indptr"),
    "dia": ("data", "offsets"),
    "coo": ("data",),
}
_KINDS = {
    f"{layout}_{family}": getattr(sparse, f"{layout}_{family}") for layout in _PARTS for family in ("array", "matrix")
}


def is_sparse(value: object) -> bool:
    """Whether it is a sparse matrix or array that is stored here, of exactly SciPy's own class."""
    return _KINDS.get(type(value).__name__) is type(value)


def split_sparse(matrix: Any) -> tuple[SparseParts, list[np.ndarray]]:
    """Take a matrix apart. Raises Unstorable when it would not come back the same."""
    kind = type(matrix).__name__
    arrays = [np.asarray(getattr(matrix, part)) for part in _PARTS[matrix.format]]
    if matrix.format == "coo":
        arrays += [np.asarray(coordinates) for coordinates in matrix.coords]
    flags = {
        name.lstrip("_"): bool(value)
        for name, value in vars(matrix).items()
        if name.lstrip("_") in ("has_sorted_indices", "has_canonical_format")
    }
    parts = SparseParts(
        kind=kind,
        shape=tuple(int(n) for n in matrix.shape),
        blocks=(int(matrix.blocksize[0]), int(matrix.blocksize[1])) if matrix.format == "bsr" else None,
        flags=flags,
    )
    restored = join_sparse(parts, arrays)
    if restored.shape != matrix.shape or restored.dtype != matrix.dtype or restored.nnz != matrix.nnz:
        raise Unstorable(f"The {kind} would not come back exactly.")
    return parts, arrays


def join_sparse(parts: SparseParts, arrays: list[np.ndarray]) -> Any:
    """Put a matrix together over its arrays, without copying them: SciPy's own constructors may copy."""
    if parts.kind not in _KINDS:
        raise CorruptEntry(f"There is no sparse matrix of the kind {parts.kind!r}.")
    layout = parts.kind.partition("_")[0]
    options = {"blocksize": parts.blocks} if parts.blocks else {}
    matrix = _KINDS[parts.kind](parts.shape, dtype=arrays[0].dtype, **options)
    for name, array in zip(_PARTS[layout], arrays, strict=False):
        setattr(matrix, name, array)
    if layout == "coo":
        matrix.coords = tuple(arrays[1:])
    for name, value in parts.flags.items():
        setattr(matrix, name, value)
    return matrix
