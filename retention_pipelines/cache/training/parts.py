"""Parts: what stands in the description of a set for a matrix, frame or pipeline that lies in files.

What belongs here: every class the codec may meet in one. They are together because it restores only classes of modules
that are loaded, and this one is loaded by whoever reads a set.
"""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class ArrayFile:
    """Stands for an array; `file` is its number in the set."""

    file: int


@dataclass(frozen=True)
class SparseFiles:
    """Stands for a sparse matrix; `arrays` are ArrayFile or small arrays."""

    parts: Any
    arrays: list[Any]


@dataclass(frozen=True)
class ArrowFile:
    """Stands for an Arrow table or record batch, a Polars frame or series."""

    file: int
    kind: str


@dataclass(frozen=True)
class PandasFiles:
    """Stands for a pandas frame or, with `series`, for its only column."""

    parts: Any
    arrays: list[Any]
    table: int | None
    series: bool
    name: Any = None


@dataclass(frozen=True)
class EstimatorFile:
    """Stands for a fitted scikit-learn estimator; another version of the libraries may understand it differently."""

    file: int
    made_with: str


@dataclass(frozen=True, kw_only=True)
class SparseParts:
    """What a sparse matrix is beside its arrays; `flags`: what it knows about the order of its entries."""

    kind: str
    shape: tuple[int, ...]
    blocks: tuple[int, int] | None
    flags: dict[str, bool]


@dataclass(frozen=True, kw_only=True)
class Labels:
    """Column labels of a pandas frame."""

    kind: str
    values: list[Any]
    names: list[Any]
    dtype: str


@dataclass(frozen=True, kw_only=True)
class PandasParts:
    """A pandas frame in parts: arrays of columns with one NumPy type, and an Arrow table with the rest.

    Attributes:
        positions: for each array the places of its columns in the frame.
        others: places of the columns of the table.
        index: start, stop, step and name of a RangeIndex; None: the table holds the index.
        frequency: of an index of instants that has one.
    """

    positions: list[list[int]]
    others: list[int]
    index: tuple[int, int, int, Any] | None
    frequency: str | None
    labels: Labels
    attributes: dict[Any, Any]
