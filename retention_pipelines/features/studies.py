"""Studies: the sampling events features are about.

A study is one (dataset_id, event_id) of the occurrences, the observations or both; grids are no studies. Here: which
months hold which studies, and a study's position, interval and depth. Not here: any feature.
"""

from collections.abc import Collection

import pyarrow as pa

from retention_pipelines.warehouse import Lake
from retention_pipelines.warehouse.duck import bind, set_variables, statement

PACKAGE = "retention_pipelines.features"
_TABLES = {"occurrences": "_month_occurrences", "observations": "_month_observations"}
_MONTH_COLUMNS = ("dataset_id", "event_id", "source_type", "month")


class StudyReader:
    """Reads the studies of a lake's state, month by month; a study belongs to the month of its first record."""

    def __init__(self, lake: Lake) -> None:
        self._lake = lake
        self._files = {name: lake.table(name).files() for name in _TABLES}
        self._find_spanning()

    def _find_spanning(self) -> None:
        con = self._lake.con
        relations = [
            con.sql(f"from {self._lake.table(name).scan_files(files)}").select(
                "dataset_id", "event_id", "source_type", "month"
            )
            for name, files in self._files.items()
        ]
        relations[0].union(relations[1]).create_view("_record_months", replace=True)
        con.execute(statement(PACKAGE, "spanning_studies"))

    @property
    def all_months(self) -> list[str]:
        """Months that hold records, in order."""
        return sorted({file.partition["month"] for files in self._files.values() for file in files})

    def months_to_compute(self, touched: Collection[str] | None) -> list[str]:
        """Months whose studies have records in the touched months; None touches all."""
        present = self.all_months
        if touched is None:
            return present
        wanted = set(touched) & set(present)
        spanning = self._lake.con.execute("select distinct month, first_month from _spanning").fetchall()
        return sorted(wanted | {first for month, first in spanning if month in wanted})

    def load(self, month: str) -> pa.Table:
        """The studies that begin in a month, also as temp table `_study`; their records as `_occurrence_records`."""
        con = self._lake.con
        set_variables(con, month=month, cell_deg=self._lake.settings.cell_deg)
        spanning = con.execute("select distinct month from _spanning where first_month = $1", [month]).fetchall()
        months = {month, *(row[0] for row in spanning)}
        for name, view in _TABLES.items():
            files = [file for file in self._files[name] if file.partition["month"] in months]
            bind(con, view, self._lake.table(name).scan_files(files))
        con.execute(statement(PACKAGE, "month_records"))
        con.execute(statement(PACKAGE, "studies"))
        return con.sql("from _study order by source_data_id").to_arrow_table()
