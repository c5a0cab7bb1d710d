"""The reading queries of this package: the `.sql` files beside this module, run over datasets of the lake."""

from datetime import datetime
from typing import Any

from retention_pipelines.warehouse import Lake
from retention_pipelines.warehouse.duck import bind, set_variables, statement


def run(lake: Lake, name: str, *, datasets: tuple[str, ...] = (), **variables: object) -> list[tuple[Any, ...]]:
    """Result of the statement `name`, which reads the datasets under their own names."""
    for dataset in datasets:
        bind(lake.con, dataset, lake.table(dataset).scan())
    set_variables(lake.con, cell_deg=lake.settings.cell_deg, **variables)
    return lake.con.execute(statement("retention_pipelines.defs", name)).fetchall()


def bound(lake: Lake, name: str, *, rows: str) -> list[tuple[Any, ...]]:
    """Result of the statement `name`, which reads one dataset under the name `rows`."""
    bind(lake.con, "rows", lake.table(rows).scan())
    return run(lake, name)


def late_months(lake: Lake, *, since: datetime) -> set[str]:
    """Event months with rows that were ingested since an instant."""
    found = run(lake, "late_months", datasets=("occurrences", "observations"), since=since)
    return {month for (month,) in found}
