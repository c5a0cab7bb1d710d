"""The work of a new study: its four feature types, and the series its records enter.

What belongs here: which months a study touches, and the order of work. What does not: how a feature or a statistic is
computed, and when this is called (`worker.py`). Doing it again gives the same rows: features of unchanged content are
not stored twice, windows are replaced.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import pyarrow as pa

from retention_pipelines.features.affected import affected_months
from retention_pipelines.features.compute import compute_features
from retention_pipelines.series.aggregate import update_series
from retention_pipelines.series.diversity import update_biodiversity
from retention_pipelines.warehouse import Lake
from retention_pipelines.warehouse.duck import bind, statement

RAW = ("occurrences", "observations")


@dataclass(frozen=True, kw_only=True)
class StudiesProcessed:
    """What came of some studies; `without_records` are those of which the lake holds nothing."""

    months: tuple[str, ...]
    feature_rows_added: int
    without_records: tuple[str, ...]


def process_studies(lake: Lake, studies: Sequence[str], *, now: datetime) -> StudiesProcessed:
    """Compute what studies touch, together: features of their months and of those they reach, then the series."""
    months = months_of_studies(lake, studies)
    touched = {name: sorted({month for of in months.values() for month in of[name]}) for name in RAW}
    every = sorted({month for of in touched.values() for month in of})
    added = 0
    if every:
        added = compute_features(lake, months=affected_months(lake, every), now=now).rows_added
        if touched["observations"]:
            update_series(lake, months=touched["observations"])
        if touched["occurrences"]:
            update_biodiversity(lake, months=touched["occurrences"])
        lake.publish()
    return StudiesProcessed(
        months=tuple(every),
        feature_rows_added=added,
        without_records=tuple(one for one in studies if one not in months),
    )


def months_of_studies(lake: Lake, studies: Sequence[str]) -> dict[str, dict[str, set[str]]]:
    """Event months of the studies' records, by study and raw dataset; studies without records are left out."""
    parts = [one.partition("/") for one in studies]
    asked = pa.table(
        {
            "source_data_id": pa.array(studies, pa.string()),
            "dataset_id": pa.array([dataset for dataset, _, _ in parts], pa.string()),
            "event_id": pa.array([event for _, _, event in parts], pa.string()),
        }
    )
    for name in RAW:
        bind(lake.con, f"_of_{name}", lake.table(name).scan())
    lake.con.register("_asked_study", asked)
    try:
        rows = lake.con.execute(statement("retention_pipelines.integration", "months_of_studies")).fetchall()
    finally:
        lake.con.unregister("_asked_study")
    found: dict[str, dict[str, set[str]]] = {}
    for study, name, month in rows:
        found.setdefault(study, {raw: set() for raw in RAW})[name].add(month)
    return found
