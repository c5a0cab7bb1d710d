"""Recompute the touched windows of a series table and replace exactly those, in one commit.

What belongs here: what every windowed series shares: which windows, which raw files, which files of the series are
replaced, what happens when two updates meet. What does not: what is computed (`aggregate.py`, `diversity.py`).
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import pyarrow as pa
from deltalake.transaction import AddAction

from retention_pipelines.errors import CommitConflict
from retention_pipelines.period import TimeWindow
from retention_pipelines.series.windows import TouchedWindow, chunks, touched_windows
from retention_pipelines.warehouse import Commit, Lake, LakeFile
from retention_pipelines.warehouse.duck import bind

ROWS_PER_CHUNK = 8_000_000
_TRIES = 8


@dataclass(frozen=True, kw_only=True)
class WindowedSeries:
    """A series table and how its rows are computed.

    `rows` gets the connection's lake and returns a SELECT over the temp views `source` (raw rows of the chunk's
    months) and `touched_window` (time_window, window_start). `settings` are columns that hold the configuration a
    row was computed with: one table holds rows of one configuration only, another one means a full recompute.
    """

    target: str
    source: str
    rows: Callable[[Lake, Sequence[TimeWindow]], str]
    settings: dict[str, float]


def refresh(
    lake: Lake,
    series: WindowedSeries,
    *,
    months: Collection[str] | None,
    windows: Sequence[TimeWindow] = tuple(TimeWindow),
) -> Commit:
    """Recompute the windows that overlap `months` (None: all) from the newest raw rows, as a full run would.

    Two updates at once: the later one sees the conflict and computes again, so no older state overwrites a newer one.
    """
    for _ in range(_TRIES):
        try:
            return _refresh_once(lake, series, months, windows)
        except CommitConflict:
            continue
    raise CommitConflict(
        f"{series.target}: other updates kept committing first.", hint="Run one update of this series at a time."
    )


def _refresh_once(
    lake: Lake, series: WindowedSeries, months: Collection[str] | None, windows: Sequence[TimeWindow]
) -> Commit:
    table = lake.table(series.target)
    delta = table.delta()
    live = table.files(version=delta.version())
    source = lake.table(series.source)
    raw = source.files()
    rows_per_month: dict[str, int] = {}
    for file in raw:
        rows_per_month[file.partition["month"]] = rows_per_month.get(file.partition["month"], 0) + file.rows

    everything = months is None or not live or not all(_computed_with(file, series.settings) for file in live)
    wanted = touched_windows(rows_per_month if everything else months or (), windows)
    replaced = live if everything else [file for file in live if _may_hold(file, wanted)]

    adds: list[AddAction] = []
    kept = None if everything or not replaced else table.scan_files(replaced)
    for chunk in chunks(wanted, rows_per_month, ROWS_PER_CHUNK):
        bind(lake.con, "source", source.scan_files([file for file in raw if file.partition["month"] in chunk.months]))
        _bind_windows(lake, chunk.windows)
        adds += table.write_files(series.rows(lake, windows))
    if kept is not None:
        _bind_windows(lake, wanted)
        adds += table.write_files(f"from {kept} anti join touched_window using (time_window, window_start)")
    if not adds and not replaced:
        return Commit(version=delta.version())
    return table.commit(delta, adds, replaced, op=f"update:{series.target}", transactions=[f"update:{series.target}"])


def _bind_windows(lake: Lake, windows: Sequence[TouchedWindow]) -> None:
    rows = pa.table(
        {
            "time_window": pa.array([window.time_window.value for window in windows], pa.string()),
            "window_start": pa.array([window.period.start for window in windows], pa.timestamp("us", "UTC")),
        }
    )
    lake.con.register("_touched_window_rows", rows)
    lake.con.execute("create or replace temp table touched_window as from _touched_window_rows")
    lake.con.unregister("_touched_window_rows")


def _computed_with(file: LakeFile, settings: dict[str, float]) -> bool:
    """Whether every row of a file was computed with these settings, by its statistics."""
    return all(file.minimum.get(name) == value == file.maximum.get(name) for name, value in settings.items())


def _may_hold(file: LakeFile, windows: Sequence[TouchedWindow]) -> bool:
    """Whether a file may hold rows of one of the windows, by its partition and statistics."""
    mine = [w for w in windows if w.time_window == file.partition["time_window"] and w.year == file.partition["year"]]
    if not mine:
        return False
    first, last = file.minimum.get("window_start"), file.maximum.get("window_start")
    if first is None or last is None:
        return True
    return any(first <= window.period.start <= last for window in mine)
