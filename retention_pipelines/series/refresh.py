"""Recompute the touched windows of a series table and replace exactly those, in one commit.

What belongs here: what every windowed series shares: which windows, which raw files, which files of the series are
replaced, what happens when two updates meet. What does not: what is computed (`aggregate.py`, `diversity.py`).
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from retention_pipelines.errors import CommitConflict, SeriesError
from retention_pipelines.period import Period, TimeWindow
from retention_pipelines.series.windows import TouchedWindow, chunks, touched_period, touched_windows
from retention_pipelines.warehouse import Commit, Lake, LakeFile
from retention_pipelines.warehouse.duck import bind, statement, threads_for
from retention_pipelines.warehouse.removed import how_to_bring_back, removed_months

ROWS_PER_CHUNK = 8_000_000
_TRIES = 8


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Windows to compute together.

    `raw` are the files their records can be in. `touched` is what changed, None for everything; outside of it the
    rows of `live`, the files of the series before the update, still hold.
    """

    windows: Sequence[TouchedWindow]
    raw: Sequence[LakeFile]
    touched: Sequence[Period] | None
    live: Sequence[LakeFile]


@dataclass(frozen=True, kw_only=True)
class WindowedSeries:
    """A series table and how its rows are computed.

    `rows` gets the lake and a batch and returns a SELECT of all columns in the catalog's types; it may read what
    `bind_windows` binds. `settings` are columns that hold the configuration a row was computed with: one table holds
    rows of one configuration only, another one means a full recompute. `reads` is about how many rows a batch reads.
    """

    target: str
    source: str
    rows: Callable[[Lake, Batch], str]
    reads: Callable[[Batch], int]
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
    Windows over months that raw rows were removed of, or archived, are left as they are: computed again they would be
    incomplete. Raises SeriesError when that is all that was asked for.
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
    table, source = lake.table(series.target), lake.table(series.source)
    # Opening a log takes longer than what is computed for one new day: both at once.
    with ThreadPoolExecutor(max_workers=1) as beside:
        opening = beside.submit(source.files)
        delta = table.delta()
        live = table.live(delta)
        opening.result()
    # Listed after `delta` was given: an update that landed before that may have read newer rows than the first listing.
    raw = source.files()
    rows_per_month: dict[str, int] = {}
    for file in raw:
        rows_per_month[file.partition["month"]] = rows_per_month.get(file.partition["month"], 0) + file.rows

    everything = months is None or not live or not all(_computed_with(file, series.settings) for file in live)
    lacking = removed_months(lake, series.source)
    if lacking:
        months = _still_whole(series, live, set(rows_per_month) if everything or months is None else months, lacking)
        everything = False
    keys = rows_per_month if everything or months is None else months
    wanted = [
        window
        for window in touched_windows(keys, windows)
        if not any(window.period.overlaps(touched_period(month)) for month in lacking)
    ]
    replaced = live if everything else [file for file in live if _may_hold(file, wanted)]

    # In files of their own: tomorrow's update then replaces this month's rows and not those of the whole year.
    mixed = [] if everything else [file for file in replaced if not _holds_only(file, wanted)]
    adds = table.write_files(_kept_rows(lake, table.scan_files(mixed), wanted)) if mixed else []
    for chunk in chunks(wanted, rows_per_month, ROWS_PER_CHUNK):
        batch = Batch(
            windows=chunk.windows,
            raw=[file for file in raw if file.partition["month"] in chunk.months],
            touched=None if everything else [touched_period(key) for key in keys],
            live=live,
        )
        with threads_for(lake.con, series.reads(batch)):
            adds += table.write_files(series.rows(lake, batch), as_declared=True)
    if not adds and not replaced:
        return Commit(version=delta.version())
    return table.commit(delta, adds, replaced, op=f"update:{series.target}", transactions=[f"update:{series.target}"])


def _still_whole(
    series: WindowedSeries, live: Sequence[LakeFile], asked: Collection[str], lacking: Mapping[str, str]
) -> set[str]:
    """Of the months asked for, those that have all their raw rows; raises SeriesError where there are none."""
    one = min(lacking)
    if not all(_computed_with(file, series.settings) for file in live):
        raise SeriesError(
            f"{series.target} cannot be computed anew with other settings: rows of {series.source} of {len(lacking)} "
            f"months were removed or archived, such as {one} ({lacking[one]}).",
            hint="Set cell_deg and surface_limit_m back to what its rows have, or restore those months first.",
        )
    whole = {key for key in asked if key[:7] not in lacking}
    if asked and not whole:
        first = min(asked)[:7]
        raise SeriesError(
            f"Rows of {series.source} of {first} were removed or archived: computed again, {series.target} would be "
            "incomplete. It was left as it is.",
            hint=how_to_bring_back(first, lacking[first]),
        )
    return whole


def bind_windows(lake: Lake, windows: Sequence[TouchedWindow]) -> None:
    """Temp tables `touched_window` (a numbered row per window) and `window_day` (a row per window and day in it)."""
    rows = [
        {
            "window_number": number,
            "time_window": window.time_window.value,
            "window_label": window.label,
            "window_start": window.period.start,
            "window_end": window.period.end,
            "year": window.year,
        }
        for number, window in enumerate(windows)
    ]
    lake.con.execute("create or replace temp table touched_window as select unnest($1, recursive := true)", [rows])
    lake.con.execute(statement("retention_pipelines.series", "window_day"))


def _kept_rows(lake: Lake, replaced: str, windows: Sequence[TouchedWindow]) -> str:
    """A SELECT of the rows in files to be replaced that belong to other windows than those computed again."""
    bind(lake.con, "replaced_row", replaced)
    bind_windows(lake, windows)
    return "from replaced_row anti join touched_window using (time_window, window_start)"


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


def _holds_only(file: LakeFile, windows: Sequence[TouchedWindow]) -> bool:
    """Whether every row of a file belongs to one of the windows, by its partition and statistics."""
    first, last = file.minimum.get("window_start"), file.maximum.get("window_start")
    return first == last and any(
        window.period.start == first and window.time_window == file.partition["time_window"] for window in windows
    )
