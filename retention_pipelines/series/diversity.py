"""Diversity per cell and window, from records and from abundance, kept apart by name.

What belongs here: `biodiversity_statistics`. A record counts when it is a presence with a name and not a subtotal;
the abundance basis sums what the source mapping calls an abundance, never a density, and only where it is above 0.
"""

from collections.abc import Collection

from retention_pipelines.series.refresh import Batch, WindowedSeries, bind_windows, refresh
from retention_pipelines.warehouse import Commit, Lake
from retention_pipelines.warehouse.duck import bind, set_variables, statement


def update_biodiversity(lake: Lake, *, months: Collection[str] | None = None) -> Commit:
    """Bring `biodiversity_statistics` up to date with `occurrences`; months as in `update_series`."""
    series = WindowedSeries(
        target="biodiversity_statistics",
        source="occurrences",
        rows=_rows,
        reads=lambda batch: sum(file.rows for file in batch.raw),
        settings={"cell_deg": lake.settings.cell_deg},
    )
    return refresh(lake, series, months=months)


def _rows(lake: Lake, batch: Batch) -> str:
    bind(lake.con, "source", lake.table("occurrences").scan_files(batch.raw))
    bind_windows(lake, batch.windows)
    set_variables(lake.con, cell_deg=lake.settings.cell_deg)
    return statement("retention_pipelines.series", "diversity")
