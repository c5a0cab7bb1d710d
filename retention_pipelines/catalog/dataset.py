"""What a dataset and a column are."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property


class ColumnType(StrEnum):
    """DuckDB types a lake column may have: those Delta and every reader agree on."""

    TEXT = "VARCHAR"
    TEXTS = "VARCHAR[]"
    DOUBLE = "DOUBLE"
    INTEGER = "INTEGER"
    BIGINT = "BIGINT"
    BOOLEAN = "BOOLEAN"
    INSTANT = "TIMESTAMP WITH TIME ZONE"
    DATE = "DATE"
    VECTOR = "FLOAT[]"


class Layer(StrEnum):
    """Station of the flow a dataset belongs to."""

    RAW = "raw"
    FEATURES = "features"
    SERIES = "series"


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column; `minimum`, `maximum` and `allowed` are checked by asset checks, `required` means never null."""

    name: str
    type: ColumnType
    description: str
    unit: str | None = None
    required: bool = False
    minimum: float | None = None
    maximum: float | None = None
    allowed: tuple[str, ...] | None = None


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """A dataset of the lake; `name` is also its folder, view and asset key.

    `key` names the columns that identify a row, `order` the sort order of rows in a file, `event_time` the
    column whose month is the Dagster partition (None where the dataset is not partitioned by month).
    """

    name: str
    layer: Layer
    description: str
    grain: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    partition_by: tuple[str, ...] = ()
    order: tuple[str, ...] = ()
    event_time: str | None = None
    owner: str = "team:data-engineering"

    @cached_property
    def types(self) -> Mapping[str, str]:
        """DuckDB type by column name, in order."""
        return {column.name: column.type.value for column in self.columns}

    @cached_property
    def column_names(self) -> tuple[str, ...]:
        """Names of the columns, in order."""
        return tuple(column.name for column in self.columns)


def text(name: str, description: str, *, required: bool = False, allowed: tuple[str, ...] | None = None) -> Column:
    """A text column."""
    return Column(name=name, type=ColumnType.TEXT, description=description, required=required, allowed=allowed)


def double(
    name: str,
    description: str,
    unit: str | None = None,
    *,
    required: bool = False,
    minimum: float | None = None,
    maximum: float | None = None,
) -> Column:
    """A double column."""
    return Column(
        name=name,
        type=ColumnType.DOUBLE,
        description=description,
        unit=unit,
        required=required,
        minimum=minimum,
        maximum=maximum,
    )


def count(name: str, description: str, *, required: bool = True, minimum: float | None = 0) -> Column:
    """A whole-number column that is never negative unless said so."""
    return Column(name=name, type=ColumnType.BIGINT, description=description, required=required, minimum=minimum)


def instant(name: str, description: str, *, required: bool = False) -> Column:
    """A UTC instant."""
    return Column(name=name, type=ColumnType.INSTANT, description=description, required=required)


def flag(name: str, description: str, *, required: bool = False) -> Column:
    """A true/false column."""
    return Column(name=name, type=ColumnType.BOOLEAN, description=description, required=required)
