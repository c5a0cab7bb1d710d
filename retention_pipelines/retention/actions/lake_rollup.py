"""Raw rows may go only behind their rollup, with proof: it exists, counts and sums up the same, and is not older.

What belongs here: taking back what was chosen to go but is not proven, with the reasons. What does not: choosing rows
(`act_lake.py`), computing the series (`series/`). A day of a cell goes whole or stays: the rest could not be proven
later. Rows that enter no statistic of a day (bad quality, no value, an interval of days) stay.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence

import pyarrow as pa

from retention_pipelines.errors import SeriesError
from retention_pipelines.retention.policies.governed import Governed
from retention_pipelines.series.aggregate import update_series
from retention_pipelines.warehouse import Lake, LakeFile
from retention_pipelines.warehouse.duck import bind, set_variables, statement
from retention_pipelines.warehouse.files import scan_text
from retention_pipelines.warehouse.table import Table

_PACKAGE = "retention_pipelines.retention.actions"
_WINDOWS = ("daily", "monthly")
UNCOUNTED = "they enter no daily statistic"


def keep_unproven(lake: Lake, table: Table, dataset: Governed, files: Sequence[LakeFile]) -> Mapping[str, int]:
    """Take rows out of `_retention_gone` again that the rollup does not stand in for; returns why, with how many.

    `files` are all live files of the partitions that rows go from. Where the rollup lacks rows, it is brought up to
    date once, and asked again.
    """
    con = lake.con
    chosen = con.execute("select count(*) from _retention_gone").fetchall()[0][0]
    if not chosen:
        return {}
    months = sorted({file.partition["month"] for file in files})
    doubts = _doubts(lake, table, dataset, files, months)
    if set(doubts) - {UNCOUNTED, "not all rows of their cell and day may go"}:
        try:
            update_series(lake, months=months)
        except SeriesError:
            pass  # retention took raw rows of these months before: what is not proven stays
        else:
            doubts = _doubts(lake, table, dataset, files, months)
    con.execute(statement(_PACKAGE, "lake_rollup_keep"))
    left = con.execute("select count(*) from _retention_gone").fetchall()[0][0]
    reasons = Counter(doubts)
    reasons[UNCOUNTED] = chosen - left - sum(doubts.values())
    return {reason: rows for reason, rows in sorted(reasons.items()) if rows}


def _doubts(
    lake: Lake, table: Table, dataset: Governed, files: Sequence[LakeFile], months: Collection[str]
) -> Mapping[str, int]:
    """Rows that go and are not proven, by reason; leaves `_rollup_rows` and `_rollup_proof`."""
    con, rollup = lake.con, lake.table(str(dataset.rollup))
    years = {month[:4] for month in months}
    series = [
        file for file in rollup.files() if file.partition["time_window"] in _WINDOWS and file.partition["year"] in years
    ]
    set_variables(con, cell_deg=lake.settings.cell_deg, surface_limit_m=lake.settings.surface_limit_m)
    bind(con, "_rollup_raw", scan_text(table.dataset, table.root, files, named=True, numbered=True))
    bind(con, "_rollup_series", scan_text(rollup.dataset, rollup.root, series, named=True))
    schema = pa.schema([("filename", pa.string()), ("written_at", pa.timestamp("us", tz="UTC"))])
    written = {
        "filename": [f"{rollup.root}/{file.path}" for file in series],
        "written_at": [file.written_at for file in series],
    }
    con.register("_rollup_written", pa.table(written, schema=schema))
    try:
        con.execute(statement(_PACKAGE, "lake_rollup_raw"))
        con.execute(statement(_PACKAGE, "lake_rollup_proof"))
    finally:
        con.unregister("_rollup_written")
    return dict(
        con.execute(
            "select doubt, sum(n_goes)::bigint from _rollup_proof where doubt is not null group by doubt"
        ).fetchall()
    )
