"""Studies: the sampling events features are about.

A study is one (dataset_id, event_id) of the occurrences, the observations or both; grids are no studies. Here: which
months hold which studies, and a study's position, interval and depth. Not here: any feature.
"""

from collections.abc import Collection, Iterator, Sequence

import pyarrow as pa

from retention_pipelines.warehouse import Lake
from retention_pipelines.warehouse.duck import bind, set_variables, statement

PACKAGE = "retention_pipelines.features"
_TABLES = {"occurrences": "_month_occurrences", "observations": "_month_observations"}


class StudyReader:
    """Reads the studies of a lake's state, some months at a time; a study belongs to the month of its first record."""

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

    def batches(self, months: Sequence[str], studies_at_once: int) -> Iterator[tuple[str, ...]]:
        """The months in order, as many at once as hold at most `studies_at_once` studies, but at least one."""
        beginning = dict(self._lake.con.execute("from _beginning").fetchall())
        batch: list[str] = []
        held = 0
        for month in months:
            if batch and held + beginning.get(month, 0) > studies_at_once:
                yield tuple(batch)
                batch, held = [], 0
            batch.append(month)
            held += beginning.get(month, 0)
        if batch:
            yield tuple(batch)

    def load(self, months: Collection[str]) -> pa.Table:
        """The studies that begin in the months, also as temp table `_study`; their records as `_occurrence_records`."""
        con = self._lake.con
        set_variables(con, months=list(months), cell_deg=self._lake.settings.cell_deg)
        spanning = con.execute("select distinct month, first_month from _spanning").fetchall()
        needed = {*months, *(month for month, first_month in spanning if first_month in months)}
        for name, view in _TABLES.items():
            files = [file for file in self._files[name] if file.partition["month"] in needed]
            bind(con, view, self._lake.table(name).scan_files(files))
        con.execute(statement(PACKAGE, "month_records"))
        con.execute(statement(PACKAGE, "studies"))
        return con.sql("from _study order by source_data_id").to_arrow_table()
