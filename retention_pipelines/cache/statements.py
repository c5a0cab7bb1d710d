"""The SQL of the Postgres tier: the files in `sql/`, completed with the names of a kind's table and columns.

What belongs here: which table and columns a kind has, and composing statements from them. What does not: running them,
and values, which are always parameters.
"""

from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from psycopg import sql

from retention_pipelines.cache.entry import Kind


@dataclass(frozen=True, kw_only=True)
class HotTable:
    """A kind's table: its further columns with their types, and those that invalidations of models and sources name."""

    name: str
    columns: dict[str, str]
    required: tuple[str, ...]
    model: str | None = None
    sources: tuple[str, ...] = ()


# Training sets are described in a table of another shape, by `cache.training`.
HOT_TABLES: dict[Kind, HotTable] = {
    "features": HotTable(
        name="ml_feature_store",
        columns={
            "feature_id": "text",
            "feature_type": "text",
            "source_table": "text",
            "source_data_id": "text",
            "temporal_window": "text",
            "spatial_resolution": "text",
            "location_grid": "text",
            "event_time": "timestamptz",
            "quality_score": "float8",
            "priority": "text",
            "feature_hash": "text",
            "code_version": "text",
        },
        required=("feature_type", "source_table"),
        sources=("source_table", "source_data_id"),
    ),
    "predictions": HotTable(
        name="ml_inference_cache",
        columns={
            "model_id": "text",
            "model_type": "text",
            "model_version": "text",
            "input_summary": "jsonb",
            "prediction_metadata": "jsonb",
            "latitude": "float8",
            "longitude": "float8",
            "location_grid": "text",
            "cell_deg": "float8",
            "confidence": "float8",
        },
        required=("model_id", "model_type", "model_version"),
        model="model_id",
    ),
}
# Sent with every entry, in this order, before the kind's own columns.
SENT = {
    "cache_key": "text",
    "age_seconds": "float8",
    "ttl_seconds": "float8",
    "as_of_seq": "int8",
    "tags": "text",
    "function": "text",
    "payload": "bytea",
    "payload_codec": "text",
    "payload_mac": "bytea",
    "compute_seconds": "float8",
}
_NOT_STORED = ("age_seconds", "ttl_seconds", "as_of_seq", "tags")


@cache
def plain(name: str) -> sql.SQL:
    """A file of `sql/` that needs no names."""
    return _sql(name)


@cache
def prepare(name: str, kind: Kind) -> sql.Composed:
    """Prepare, under a name, the lookup of one entry: tenant, key, seconds it may have expired ago."""
    lookup = _sql("get").format(table=sql.Identifier(HOT_TABLES[kind].name))
    return sql.SQL("prepare {} (text, text, float8) as {}").format(sql.Identifier(name), lookup)


@cache
def get_many(kind: Kind, *, columns: bool) -> sql.Composed:
    """Many entries by their keys, with the further columns if so asked."""
    table = HOT_TABLES[kind]
    more = sql.SQL("").join(sql.SQL(", {}").format(sql.Identifier(name)) for name in table.columns if columns)
    return _sql("get_many").format(table=sql.Identifier(table.name), columns=more)


@cache
def put(kind: Kind) -> sql.Composed:
    """Entries as arrays, one per column of `SENT` and of the kind's own."""
    table = HOT_TABLES[kind]
    sent = SENT | table.columns
    stored = [sql.Identifier(name) for name in sent if name not in _NOT_STORED]
    return _sql("put").format(
        table=sql.Identifier(table.name),
        arrays=sql.SQL(", ").join(
            sql.SQL("{}::{}[]").format(sql.Placeholder(name), sql.SQL(kind_of)) for name, kind_of in sent.items()
        ),
        sent_columns=sql.SQL(", ").join(map(sql.Identifier, sent)),
        stored_columns=sql.SQL(", ").join(stored),
        replaced_columns=sql.SQL(", ").join(sql.SQL("excluded.{}").format(name) for name in stored),
        model=sql.SQL("null") if table.model is None else sql.Identifier("dated", table.model),
        sources=sql.SQL(", ").join(_names("dated", table.sources)),
    )


@cache
def remove(kind: Kind, *, by_key: bool) -> sql.Composed:
    """What an invalidation names."""
    table = HOT_TABLES[kind]
    return _sql("remove_key" if by_key else "remove").format(
        table=sql.Identifier(table.name),
        model=sql.SQL("null") if table.model is None else sql.Identifier("stored", table.model),
        sources=sql.SQL(", ").join(_names("stored", table.sources)),
    )


@cache
def expired(kind: Kind) -> sql.Composed:
    """Rows that expired so many seconds ago."""
    return _sql("expired").format(table=sql.Identifier(HOT_TABLES[kind].name))


def _names(relation: str, columns: tuple[str, ...]) -> list[sql.Composable]:
    return [sql.Identifier(relation, name) for name in columns] or [sql.SQL("null")]


def _sql(name: str) -> sql.SQL:
    text = files("retention_pipelines.cache").joinpath("sql", f"{name}.sql").read_text(encoding="utf-8")
    # Comments go: they may hold braces or percent signs.
    return sql.SQL("\n".join(line for line in text.splitlines() if not line.startswith("--")))
