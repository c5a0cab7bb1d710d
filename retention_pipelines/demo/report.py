"""What a lake holds, in one value: read from the datasets' views, nothing made up.

Belongs here: the queries and what they mean. Not here: how it is printed (`report_page.py`), words (`language.py`).
Works on any lake, simulated or real; what is not there is an empty tuple or None, and the page says so.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import duckdb

from retention_pipelines.catalog import DATASETS
from retention_pipelines.demo.holdings import holdings
from retention_pipelines.settings import Settings
from retention_pipelines.warehouse import Lake
from retention_pipelines.warehouse.duck import set_variables, statement

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class DatasetSize:
    """Rows that readers see, and bytes of its live Parquet files."""

    name: str
    rows: int
    bytes: int
    files: int


@dataclass(frozen=True, kw_only=True)
class Deliveries:
    """Delivered files of one status, with the rows in them."""

    status: str
    files: int
    read: int
    accepted: int
    quarantined: int
    duplicates: int


@dataclass(frozen=True, kw_only=True)
class Quarantined:
    """Rows in quarantine for one reason."""

    reason: str
    dataset_id: str
    rows: int


@dataclass(frozen=True, kw_only=True)
class MonthMean:
    """A month of a climatology."""

    month: int
    mean: float
    n_years: int


@dataclass(frozen=True, kw_only=True)
class SeasonalCycle:
    """A cell's climatology at the surface."""

    dataset_id: str
    variable: str
    location_grid: str
    center_lat: float
    center_lon: float
    months: tuple[MonthMean, ...]


@dataclass(frozen=True, kw_only=True)
class RichCell:
    """A cell and its taxa over all time."""

    location_grid: str
    richness: int
    n_records: int
    commonest: str
    commonest_records: int


@dataclass(frozen=True, kw_only=True)
class TypeQuality:
    """Newest feature rows of one type."""

    feature_type: str
    rows: int
    mean_quality: float
    median_quality: float
    high: int
    medium: int
    low: int


@dataclass(frozen=True, kw_only=True)
class Report:
    """Everything the page shows.

    `simulated` says how much of the lake is; `disk_bytes` is measured on disk, None on object storage.
    """

    root: str
    simulated: Literal["none", "some", "all"]
    datasets: tuple[DatasetSize, ...]
    deliveries: tuple[Deliveries, ...]
    quarantined: tuple[Quarantined, ...]
    cycle: SeasonalCycle | None
    richest: tuple[RichCell, ...]
    quality: tuple[TypeQuality, ...]
    disk_bytes: int | None


def build_report(con: duckdb.DuckDBPyConnection, settings: Settings) -> Report:
    """Read the report; `con` is what `retention_pipelines.connect()` returns."""
    set_variables(con, cell_deg=settings.cell_deg)
    with Lake(settings) as lake:
        simulated = holdings(lake).share
        datasets = []
        for name in DATASETS:
            files = lake.table(name).files()
            rows = con.view(name).count("*").fetchall()[0][0]
            datasets.append(DatasetSize(name=name, rows=rows, bytes=sum(f.bytes for f in files), files=len(files)))
    return Report(
        root=settings.lake_root,
        simulated=simulated,
        datasets=tuple(datasets),
        deliveries=_rows(con, "deliveries", Deliveries),
        quarantined=_rows(con, "quarantined", Quarantined),
        cycle=_cycle(con),
        richest=_rows(con, "richest_cells", RichCell),
        quality=_rows(con, "feature_quality", TypeQuality),
        disk_bytes=disk_bytes(Path(settings.lake_root)) if settings.lake_is_local else None,
    )


def disk_bytes(folder: Path) -> int:
    """Bytes a folder takes; a file with several names (the published tree is hard links) counts once."""
    seen: dict[tuple[int, int], int] = {}
    for parent, _, names in os.walk(folder):
        for name in names:
            found = os.lstat(os.path.join(parent, name))
            seen[found.st_dev, found.st_ino] = found.st_size
    return sum(seen.values())


def _rows(con: duckdb.DuckDBPyConnection, name: str, of: Callable[..., T]) -> tuple[T, ...]:
    answer = con.execute(statement("retention_pipelines.demo", name))
    columns = [column[0] for column in answer.description or ()]
    return tuple(of(**dict(zip(columns, row, strict=True))) for row in answer.fetchall())


def _cycle(con: duckdb.DuckDBPyConnection) -> SeasonalCycle | None:
    rows: list[Any] = con.execute(statement("retention_pipelines.demo", "seasonal_cycle")).fetchall()
    if not rows:
        return None
    dataset_id, variable, location_grid, center_lat, center_lon = rows[0][:5]
    return SeasonalCycle(
        dataset_id=dataset_id,
        variable=variable,
        location_grid=location_grid,
        center_lat=center_lat,
        center_lon=center_lon,
        months=tuple(MonthMean(month=row[5], mean=row[6], n_years=row[7]) for row in rows),
    )
