"""One generic aggregation: every quantity, layer, cell and window, over single observations.

What belongs here: `aggregated_time_series`. What does not: which windows are touched (`windows.py`), how they are
replaced (`refresh.py`), anything about one variable: a quantity that a source adds tomorrow is aggregated as it is.
The table holds rows of one cell size and one surface limit; a change of either setting recomputes it whole, because
rows of the old setting would no longer be updated and would go stale beside the new ones.
"""

from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

from retention_pipelines.period import Period, TimeWindow
from retention_pipelines.series.refresh import Batch, WindowedSeries, bind_windows, refresh
from retention_pipelines.series.windows import TouchedWindow
from retention_pipelines.warehouse import Commit, Lake, LakeFile
from retention_pipelines.warehouse.duck import beside, bind, set_variables, statement

_PACKAGE = "retention_pipelines.series"
# Columns that previous_rows.sql and partials.sql read: binding all of them takes longer than a day's rows.
_PREVIOUS = (
    *("time_window", "window_start", "source_type", "dataset_id", "variable", "layer", "center_lat", "center_lon"),
    *("n", "mean", "std", "min", "max"),
)
_RAW = (
    *("source_type", "dataset_id", "variable", "depth_m", "pressure_dbar", "decimal_latitude", "decimal_longitude"),
    *("event_start", "event_end", "value", "qc_good"),
)
_DAY = 86_400_000_000  # in microseconds
_ALWAYS = Period(datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC))


def update_series(
    lake: Lake, *, months: Collection[str] | None = None, windows: Sequence[TimeWindow] = tuple(TimeWindow)
) -> Commit:
    """Bring `aggregated_time_series` up to date with `observations`.

    `months` are the touched event months `YYYY-MM`, or single days `YYYY-MM-DD` where they are known: their days,
    and the weeks, months and seasons that overlap them are computed again; None computes everything. Nothing else is
    rewritten, and the result is that of a full run. `windows` restricts a full run to some lengths; other lengths are
    then left out.
    """
    series = WindowedSeries(
        target="aggregated_time_series",
        source="observations",
        rows=_rows,
        reads=_expected_rows,
        settings={"cell_deg": lake.settings.cell_deg, "surface_limit_m": lake.settings.surface_limit_m},
    )
    return refresh(lake, series, months=months, windows=windows)


def _expected_rows(batch: Batch) -> int:
    """Rows of the files that are read, unless records of several days force the rest to be read, too."""
    hulls = batch.touched or [_hull(batch)]
    raw = sum(file.rows for file in batch.raw if any(_starts_in(file, period) for period in hulls))
    return raw + sum(file.rows for file in _near(batch))


def _rows(lake: Lake, batch: Batch) -> str:
    set_variables(lake.con, cell_deg=lake.settings.cell_deg, surface_limit_m=lake.settings.surface_limit_m)
    if batch.touched is None:
        bind_windows(lake, batch.windows)
        _add_up(lake, batch, _ALWAYS)
        lake.con.execute(statement(_PACKAGE, "places"))
        return statement(_PACKAGE, "windows")
    hull = _hull(batch)
    touched = [period for period in batch.touched if period.overlaps(hull)]
    read = Period(min(one.start for one in touched), max(one.end for one in touched))
    # A day is two chains of statements that are too short for several threads each.
    with ThreadPoolExecutor(max_workers=1) as pool:
        reading = pool.submit(_read_previous, lake, batch, read)
        bind_windows(lake, batch.windows)
        _add_up(lake, batch, read)
        accounted = reading.result()
    if not accounted:
        lake.con.execute("truncate previous_row")
        _add_up(lake, batch, _ALWAYS)
    return statement(_PACKAGE, "windows_touched")


def _add_up(lake: Lake, batch: Batch, read: Period) -> None:
    """Partial statistics of the raw rows of a period."""
    files = [file for file in batch.raw if _starts_in(file, read)]
    bind(lake.con, "source", lake.table("observations").scan_files(files, columns={name: name for name in _RAW}))
    set_variables(lake.con, touched_from=read.start, touched_to=read.end)
    lake.con.execute(statement(_PACKAGE, "partials"))


def _hull(batch: Batch) -> Period:
    return Period(
        min(window.period.start for window in batch.windows), max(window.period.end for window in batch.windows)
    )


def _near(batch: Batch) -> list[LakeFile]:
    """Files of the series that may hold rows of the touched windows and their days."""
    hull = _hull(batch)
    return [file for file in batch.live if _window_starts_in(file, hull)] if batch.touched else []


def _read_previous(lake: Lake, batch: Batch, read: Period) -> bool:
    """Read what the series has so far into `previous_row`; whether its days account for its longer windows.

    Daily rows are partial statistics of their days, so untouched days need not be read again. That holds as long as
    the longer windows hold nothing but records of single days: as many observations as their days.
    """
    hull, table = _hull(batch), lake.table("aggregated_time_series")
    with beside(lake.con) as con:
        bind(con, "previous", table.scan_files(_near(batch), columns={name: name for name in _PREVIOUS}))
        set_variables(con, cell_deg=lake.settings.cell_deg)
        set_variables(con, hull_from=hull.start, hull_to=hull.end, touched_from=read.start, touched_to=read.end)
        con.execute(statement(_PACKAGE, "previous_rows"))
        counted = con.execute(
            "select time_window, epoch_us(window_start), sum(n) from previous_row where layer = 'all' group by all"
        ).fetchall()
    found = {(time_window, start): n for time_window, start, n in counted}
    return all(_is_accounted_for(window, found) for window in batch.windows if window.time_window != TimeWindow.DAILY)


def _is_accounted_for(window: TouchedWindow, found: Mapping[tuple[str, int], int]) -> bool:
    """Whether a window holds as many observations as its days do; others where it was never computed."""
    start, end = (int(instant.timestamp()) * 1_000_000 for instant in (window.period.start, window.period.end))
    in_days = sum(found.get((TimeWindow.DAILY, day), 0) for day in range(start, end, _DAY))
    return found.get((window.time_window, start), 0) == in_days


def _starts_in(file: LakeFile, period: Period) -> bool:
    """Whether a raw file may hold records that start in a period."""
    first, last = file.minimum.get("event_start"), file.maximum.get("event_start")
    return first is None or last is None or (first < period.end and period.start <= last)


def _window_starts_in(file: LakeFile, period: Period) -> bool:
    """Whether a file of the series may hold windows that start in a period."""
    first, last = file.minimum.get("window_start"), file.maximum.get("window_start")
    return first is None or last is None or (first < period.end and period.start <= last)
