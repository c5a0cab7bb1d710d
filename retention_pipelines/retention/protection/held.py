"""What legal holds keep of a subject: a study of which anything is held stays whole, raw rows and features.

What does not belong here: placing holds (`holds.py`), and what plans do with them.
"""

from collections.abc import Collection, Mapping, Sequence
from functools import reduce

import duckdb
from duckdb import CoalesceOperator, ColumnExpression, ConstantExpression
from sqlalchemy import select

from retention_pipelines.postgres.tables import HOLDS
from retention_pipelines.retention.erasure.subject import RAW, Subject
from retention_pipelines.retention.filter import duckdb as duckdb_filter
from retention_pipelines.retention.filter.ast import Filter, fields
from retention_pipelines.retention.filter.parse import parse
from retention_pipelines.retention.plans.lake_rows import counted_reads, rows_of
from retention_pipelines.retention.plans.planning import Planner
from retention_pipelines.retention.plans.select_lake import table_of
from retention_pipelines.retention.policies.governed import GOVERNED, Governed

_STUDY = {
    "feature_store": "source_data_id",
    "occurrences": "dataset_id || '/' || event_id",
    "observations": "dataset_id || '/' || event_id",
}
# What conditions on a subject look at, beside the columns that name a study.
_LOOKED_AT = {
    "feature_store": ("source_data_id", "dataset_id"),
    "observations": ("dataset_id", "event_id", "rights_holder", "dynamic_properties"),
    "occurrences": (
        *("dataset_id", "event_id", "rights_holder", "dynamic_properties", "scientific_name", "scientific_name_id"),
        *("vernacular_name", "kingdom", "phylum", "class", "order", "family", "genus"),
    ),
}


def held_studies(planner: Planner, subject: Subject) -> list[str]:
    """Studies with a row about the subject that a hold keeps; the subject must be bound to the lake."""
    found: set[str] = set()
    in_force = _in_force(planner)
    for dataset in GOVERNED.values():
        condition = subject.condition(dataset.table)
        if condition is None or dataset.table not in ("feature_store", *RAW):
            continue
        rows = _held_rows(planner, dataset, _LOOKED_AT[dataset.table], in_force)
        if rows is not None:
            study = duckdb.SQLExpression(_STUDY[dataset.table]).alias("study")
            found |= {row[0] for row in rows.filter(condition).select(study).distinct().fetchall()}
    return sorted(found)


def held_series(planner: Planner, datasets: Collection[str]) -> int:
    """Rows of the series of these datasets that a hold keeps: they are not computed again."""
    held, in_force = 0, _in_force(planner)
    for dataset in GOVERNED.values():
        if dataset.table != "aggregated_time_series" or not datasets:
            continue
        rows = _held_rows(planner, dataset, ("dataset_id",), in_force)
        if rows is not None:
            mine = ColumnExpression("dataset_id").isin(*(ConstantExpression(one) for one in sorted(datasets)))
            held += int(rows.filter(mine).count("*").fetchall()[0][0])
    return held


def _held_rows(
    planner: Planner, dataset: Governed, kept: Sequence[str], in_force: Mapping[str, Sequence[str]]
) -> duckdb.DuckDBPyRelation | None:
    """Rows of a dataset that holds in force keep, as columns `kept`; None where there is no hold or no table."""
    holds = [parse(match, dataset.fields) for match in in_force.get(dataset.name, ())]
    if not holds or (table := table_of(planner.lake, dataset)).version() < 0:
        return None
    lake = planner.lake.con
    reads = planner.reads(dataset) if dataset.read_key else None
    with counted_reads(lake, reads):
        wanted = {name for hold in holds for name in fields(hold)}
        rows = rows_of(lake, table, table.files(), dataset, fields=wanted, kept=list(kept))
        condition = reduce(lambda left, right: left | right, [_in_doubt(hold, dataset) for hold in holds])
        # Read now: what it reads from is gone afterwards.
        held = rows.filter(condition).select(*map(ColumnExpression, kept)).to_arrow_table()
    lake.register("erasure_held_rows", held)
    return lake.table("erasure_held_rows")


def _in_force(planner: Planner) -> dict[str, list[str]]:
    """Filters of the holds in force, by dataset."""
    found: dict[str, list[str]] = {}
    with planner.engine.connect() as con:
        for dataset, match in con.execute(select(HOLDS.c.dataset, HOLDS.c.match).where(HOLDS.c.released_at.is_(None))):
            found.setdefault(dataset, []).append(match)
    return found


def _in_doubt(hold: Filter, dataset: Governed) -> duckdb.Expression:
    """In doubt a hold keeps."""
    return CoalesceOperator(duckdb_filter.expression(hold, dict(dataset.fields)), ConstantExpression(True))
