"""Rows of the feature store: a study's values with identity, times and quality, each content stored once.

`feature_hash` is a hash of everything but computed_at and code_version, plus the version number. Unchanged content
gives the hash of the latest version and is not written again; changed content is the next version. Because the version
is part of the hash, content that changes and changes back is a new version as well, and the latest row is the truth.
"""

from dataclasses import dataclass, field
from datetime import datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from retention_pipelines.catalog.features import FEATURE_COLUMNS
from retention_pipelines.features.options import FeatureOptions
from retention_pipelines.features.score import Quality, precision, support
from retention_pipelines.features.studies import PACKAGE
from retention_pipelines.features.values import FeatureValues, floats
from retention_pipelines.warehouse import Commit, Lake, LakeFile
from retention_pipelines.warehouse.duck import bind, set_variables, statement

_COMMON = (
    "source_table",
    "dataset_id",
    "event_time",
    "event_end",
    "date_precision",
    "known_at",
    "location_grid",
    "month",
)


def quality_of(values: FeatureValues, studies: pa.Table, *, cell_deg: float, options: FeatureOptions) -> Quality:
    """The quality parts of feature rows; `studies` has the same rows in the same order."""
    start, end = (floats(studies[name].cast(pa.int64())) / 1e6 for name in ("event_time", "event_end"))
    # A study of exact dates over several days is as precise as its records are.
    exact = np.isin(studies["date_precision"].to_pylist(), ("day", "time"))
    radius = np.fmax(floats(studies["uncertainty_m"]), floats(studies["spread_m"]))
    return Quality(
        completeness=values.completeness,
        validity=values.validity,
        support=support(values.support, options.support_n0[values.feature_type]),
        precision=precision(np.where(exact, 0.0, end - start), radius, cell_deg),
    )


@dataclass
class RowWriter:
    """Collects feature rows of all types and commits them together."""

    lake: Lake
    now: datetime
    code_version: str
    options: FeatureOptions
    commits: list[Commit] = field(default_factory=list)
    _months: set[str] = field(default_factory=set)
    _pending: int = 0

    def __post_init__(self) -> None:
        self._table = self.lake.table("feature_store")
        # Only what was there before this run can hold an earlier version of a study.
        self._before = self._table.files()
        bind(self.lake.con, "_no_rows", self._table.scan_files([]))
        self.lake.con.execute("create or replace temp table _pending as from _no_rows")

    def add(self, values: FeatureValues, studies: pa.Table) -> int:
        """Stage the rows of one feature type for loaded studies; returns their number."""
        if values.table.num_rows == 0:
            return 0
        if values.table.num_rows < studies.num_rows:
            wanted = pc.is_in(studies["source_data_id"], value_set=values.table["source_data_id"].combine_chunks())
            studies = studies.filter(wanted)
        if not studies["source_data_id"].equals(values.table["source_data_id"]):
            raise AssertionError("feature rows and studies are out of step")
        cell_deg = self.lake.settings.cell_deg
        quality = quality_of(values, studies, cell_deg=cell_deg, options=self.options)
        table = values.table.select(
            ["source_data_id", *(column.name for column in FEATURE_COLUMNS[values.feature_type])]
        )
        for name in _COMMON:
            table = table.append_column(name, studies[name])
        for name, column in quality.columns().items():
            table = table.append_column(name, column)
        con = self.lake.con
        con.register("_staged", table)
        set_variables(
            con,
            feature_type=values.feature_type,
            temporal_window=values.temporal_window,
            spatial_resolution=values.spatial_resolution,
            cell_deg=cell_deg,
        )
        try:
            con.execute(statement(PACKAGE, "stage_rows"))
        finally:
            con.unregister("_staged")
        self._pending += table.num_rows
        self._months |= set(studies["month"].unique().to_pylist())
        return int(table.num_rows)

    def commit(self) -> None:
        """Commit what is staged."""
        if not self._pending:
            return
        con = self.lake.con
        bind(
            con,
            "_stored",
            self._table.scan_files([file for file in self._before if file.partition["month"] in self._months]),
        )
        set_variables(con, computed_at=self.now, code_version=self.code_version)
        con.execute(statement(PACKAGE, "stored_versions"))
        if elsewhere := self._files_elsewhere():
            bind(con, "_stored", self._table.scan_files(elsewhere))
            con.execute(statement(PACKAGE, "stored_versions_elsewhere"))
        con.execute(statement(PACKAGE, "changed_rows"))
        if con.execute("select count(*) from _changed").fetchall()[0][0]:
            self.commits.append(
                self._table.append_new("from _changed", key="feature_hash", within="month", op="compute_features")
            )
        con.execute("truncate _pending")
        self._pending, self._months = 0, set()

    def _files_elsewhere(self) -> list[LakeFile]:
        """Files of other months, if some staged study is new to its own month and may have moved there."""
        missing = self.lake.con.execute("from _pending anti join _latest using (feature_id) limit 1").fetchall()
        return [file for file in self._before if file.partition["month"] not in self._months] if missing else []
