"""The SQL of the Postgres tier: the files in `sql/`, completed with the names of a kind's table and columns.

What belongs here: which table and columns a kind has, and composing statements from them. What does not: running them,
and values, which are always parameters.
"""

from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from psycopg import sql

from retention_pipelines.cache.entry import Kind
from retention_pipelines.cache.loading import loading


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
# Fields of every entry as they are sent, before the kind's own columns.
_SENT = {
    "cache_key": "text",
    "age_seconds": "float8",
    "ttl_seconds": "float8",
    "as_of_seq": "int8",
    "tags": "text[]",
    "function": "text",
    "payload_codec": "text",
    "payload_at": "int4",
    "payload_bytes": "int4",
    "payload_seal": "text",
    "compute_seconds": "float8",
}
_STORED = ("cache_key", "tags", "function", "payload", "payload_codec", "payload_mac", "compute_seconds")


@cache
def plain(name: str) -> sql.SQL:
    """A file of `sql/` that needs no names."""
    return _sql(name)


@cache
def prepare_get(name: str, kind: Kind, *, bounded: bool) -> sql.Composed:
    """Prepare, under a name, the lookup of one entry: tenant, key, days it may have expired ago.

    Where it is bounded, also the days from now on which it expires at the latest.
    """
    until = sql.SQL("and expires_on <= current_date + $4" if bounded else "")
    lookup = _sql("get").format(
        table=sql.Identifier(HOT_TABLES[kind].name), asked=sql.SQL("$2"), key=sql.SQL(""), until=until
    )
    types = sql.SQL("text, text, int, int" if bounded else "text, text, int")
    return sql.SQL("prepare {} ({}) as {}").format(sql.Identifier(name), types, lookup)


@cache
def prepare_get_many(name: str, kind: Kind) -> sql.Composed:
    """Prepare, under a name, the lookup of many entries: tenant, keys, days they may have expired ago."""
    lookup = _sql("get").format(
        table=sql.Identifier(HOT_TABLES[kind].name),
        asked=sql.SQL("any($2)"),
        key=sql.SQL(", cache_key"),
        until=sql.SQL(""),
    )
    return sql.SQL("prepare {} (text, text[], int) as {}").format(sql.Identifier(name), lookup)


@cache
def prepare_get_or_dig_up(name: str) -> sql.Composed:
    """Prepare, under a name, the lookup of a prediction that may lie in the graveyard: as above, and its digest."""
    return sql.SQL("prepare {} (text, text, int, bytea) as {}").format(sql.Identifier(name), _sql("get_or_dig_up"))


@cache
def dig_up() -> sql.Composed:
    """Put a prediction back out of the graveyard."""
    names = (
        "tenant",
        "writer",
        "expires_at",
        "expires_on",
        "computed_at",
        *_STORED,
        *HOT_TABLES["predictions"].columns,
    )
    return _sql("dig_up").format(columns=sql.SQL(", ").join(map(sql.Identifier, names)))


@cache
def prepare_lock(name: str) -> sql.Composed:
    """Prepare the locks that go before a store: table and tenant."""
    return sql.SQL("prepare {} (text) as {}").format(sql.Identifier(name), _sql("lock_for_put"))


@cache
def prepare_put(name: str, kind: Kind) -> sql.Composed:
    """Prepare, under a name, the store of entries: tenant, writer, fields, payloads, keys."""
    table = HOT_TABLES[kind]
    stored = [sql.Identifier(column) for column in (*_STORED, *table.columns)]
    statement = _sql("put").format(
        table=sql.Identifier(table.name),
        sent=sql.SQL(", ").join(
            sql.SQL("{} {}").format(sql.Identifier(column), sql.SQL(type_of))
            for column, type_of in (_SENT | table.columns).items()
        ),
        columns=sql.SQL(", ").join(stored),
        replaced=sql.SQL(", ").join(sql.SQL("excluded.{}").format(column) for column in stored),
        model=sql.SQL("null") if table.model is None else sql.Identifier("dated", table.model),
        sources=sql.SQL(", ").join(_names("dated", table.sources)),
    )
    return sql.SQL("prepare {} (text, text, json, bytea, text[]) as {}").format(sql.Identifier(name), statement)


@cache
def get_with_columns(kind: Kind) -> sql.Composed:
    """Many entries by their keys, with the further columns."""
    table = HOT_TABLES[kind]
    more = sql.SQL("").join(sql.SQL(", {}").format(sql.Identifier(name)) for name in table.columns)
    return _sql("get_many").format(table=sql.Identifier(table.name), columns=more)


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
    with loading():  # the first look into a package's files loads modules of Python's own
        text = files("retention_pipelines.cache").joinpath("sql", f"{name}.sql").read_text(encoding="utf-8")
    # Comments go: they may hold braces or percent signs.
    return sql.SQL("\n".join(line for line in text.splitlines() if not line.startswith("--")))
