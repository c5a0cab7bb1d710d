"""Which studies legal holds keep: a study with a feature under hold stays whole, its raw rows too.

What does not belong here: placing holds (`holds.py`), and what plans do with them.
"""

from functools import reduce

from duckdb import CoalesceOperator, ConstantExpression, StarExpression
from sqlalchemy import select

from retention_pipelines.postgres.tables import HOLDS
from retention_pipelines.retention.filter import duckdb as duckdb_filter
from retention_pipelines.retention.filter.ast import fields
from retention_pipelines.retention.filter.parse import parse
from retention_pipelines.retention.governed import FEATURE_STORE
from retention_pipelines.retention.lake_rows import counted_reads, rows_of
from retention_pipelines.retention.planning import Planner


def held_studies(planner: Planner, condition: str) -> list[str]:
    """Studies under hold of which a feature fulfils a condition over the feature store."""
    query = select(HOLDS.c.match).where(HOLDS.c.dataset == FEATURE_STORE.name, HOLDS.c.released_at.is_(None))
    with planner.engine.connect() as con:
        matches = [parse(match, FEATURE_STORE.fields) for match in con.scalars(query)]
    table = planner.lake.table(FEATURE_STORE.table)
    if not matches or table.version() < 0:
        return []
    con_lake = planner.lake.con
    named = {name for match in matches for name in fields(match)}
    with counted_reads(con_lake, planner.reads(FEATURE_STORE)):
        kept = [name for name in table.dataset.column_names if name in ("source_data_id", "dataset_id")]
        rows = rows_of(con_lake, table, table.files(), FEATURE_STORE, fields=named, kept=kept)
        # In doubt a hold keeps.
        holds = [
            CoalesceOperator(duckdb_filter.expression(match, dict(FEATURE_STORE.fields)), ConstantExpression(True))
            for match in matches
        ]
        held = rows.select(StarExpression()).filter(reduce(lambda left, right: left | right, holds))
        return [row[0] for row in held.filter(condition).select("source_data_id").distinct().fetchall()]
