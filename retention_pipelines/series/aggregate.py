"""One generic aggregation: every quantity, layer, cell and window, over single observations.

What belongs here: `aggregated_time_series`. What does not: which windows are touched (`windows.py`), how they are
replaced (`refresh.py`), anything about one variable: a quantity that a source adds tomorrow is aggregated as it is.
The table holds rows of one cell size and one surface limit; a change of either setting recomputes it whole, because
rows of the old setting would no longer be updated and would go stale beside the new ones.
"""

from collections.abc import Collection, Sequence

from retention_pipelines.period import TimeWindow
from retention_pipelines.series.refresh import WindowedSeries, refresh
from retention_pipelines.warehouse import Commit, Lake
from retention_pipelines.warehouse.duck import set_variables, statement

_PACKAGE = "retention_pipelines.series"


def update_series(
    lake: Lake, *, months: Collection[str] | None = None, windows: Sequence[TimeWindow] = tuple(TimeWindow)
) -> Commit:
    """Bring `aggregated_time_series` up to date with `observations`.

    `months` are the touched event months `YYYY-MM`: their days, their own month, and the weeks and seasons that
    overlap them are computed again; None computes everything. Nothing outside is read or rewritten, and the result
    is that of a full run. `windows` restricts a full run to some lengths; other lengths are then left out.
    """
    series = WindowedSeries(
        target="aggregated_time_series",
        source="observations",
        rows=_rows,
        settings={"cell_deg": lake.settings.cell_deg, "surface_limit_m": lake.settings.surface_limit_m},
    )
    return refresh(lake, series, months=months, windows=windows)


def _rows(lake: Lake, _: Sequence[TimeWindow]) -> str:
    set_variables(lake.con, cell_deg=lake.settings.cell_deg, surface_limit_m=lake.settings.surface_limit_m)
    lake.con.execute(statement(_PACKAGE, "partials"))
    return statement(_PACKAGE, "windows")
