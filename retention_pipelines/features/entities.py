"""The rows a training frame is asked for: any table with a key and an aware instant."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa

from retention_pipelines.errors import FeatureError

INSTANT = "event_timestamp"
KEYS = ("source_data_id", "location_grid")
_UTC = pa.timestamp("us", tz="UTC")
_ACCEPTED = "Pass an Arrow, Polars or pandas table, a DuckDB relation, or a list of dicts; one type per column."
_ATTACH = "Attach one: datetime(…, tzinfo=UTC), pandas tz_localize('UTC'), Polars dt.replace_time_zone('UTC')."


def entity_table(entities: Any, key: str) -> tuple[pa.Table, pa.Table]:
    """The entities as an Arrow table, and the same rows as `ask` (row number), `key` and `instant` (UTC).

    Takes Arrow, Polars and pandas tables, DuckDB relations, and lists of dicts. Raises FeatureError that says what to
    do when the key or an aware `event_timestamp` is missing.
    """
    if key not in KEYS:
        raise FeatureError(f"Features cannot be joined on {key!r}.", hint=f"Use on={' or on='.join(map(repr, KEYS))}.")
    table = _as_arrow(entities)
    for name in (key, INSTANT):
        if name not in table.column_names:
            raise FeatureError(
                f"The entities have no column {name!r}.",
                hint=f"They need {key} and {INSTANT}; they have {', '.join(table.column_names) or 'no columns'}.",
            )
        if table.column_names.count(name) > 1:
            raise FeatureError(f"The entities have several columns {name!r}.", hint="Leave one of them.")
    instants = table[INSTANT]
    if not pa.types.is_timestamp(instants.type):
        raise FeatureError(
            f"{INSTANT} has the type {instants.type}.", hint="Convert it to timestamps with a time zone, such as UTC."
        )
    if instants.type.tz is None:
        raise FeatureError(
            f"{INSTANT} has no time zone, so it does not say which instant is meant.",
            hint=_ATTACH,
        )
    if instants.null_count:
        raise FeatureError(
            f"{INSTANT} is null in {instants.null_count} rows.", hint="Drop these rows or give them an instant."
        )
    keys = table[key]
    if pa.types.is_dictionary(keys.type) and not pa.types.is_integer(keys.type.value_type):
        keys = pa.chunked_array([c.dictionary.cast(pa.string()).take(c.indices) for c in keys.chunks], pa.string())
    if not (pa.types.is_string(keys.type) or pa.types.is_large_string(keys.type) or pa.types.is_string_view(keys.type)):
        raise FeatureError(f"{key} has the type {keys.type}.", hint="It must be text.")
    asks = pa.table(
        {
            "ask": pa.array(np.arange(table.num_rows, dtype=np.int64)),
            "key": keys.cast(pa.string()),
            "instant": _microseconds(instants),
        }
    )
    return table, asks


def _microseconds(instants: pa.ChunkedArray) -> pa.ChunkedArray:
    """The instants in UTC and whole microseconds, as feature times are: never rounded up, which would look ahead."""
    if instants.type.unit == "ns":
        whole = instants.cast(pa.int64()).to_numpy() // 1000
        return pa.chunked_array([pa.array(whole).cast(_UTC)])
    try:
        return instants.cast(_UTC)
    except pa.ArrowInvalid as error:
        raise FeatureError(
            f"{INSTANT} holds an instant out of range.", hint="Years 1 to 9999 can be asked for."
        ) from error


def _as_arrow(entities: Any) -> pa.Table:
    try:
        table = _converted(entities)
    except (pa.ArrowException, TypeError, ValueError, AttributeError) as error:
        raise FeatureError(f"The entities cannot be read as a table: {error}.", hint=_ACCEPTED) from error
    if table is None:
        raise FeatureError(f"Entities of the type {type(entities).__name__} cannot be read.", hint=_ACCEPTED)
    return table


def _converted(entities: Any) -> pa.Table | None:
    if isinstance(entities, pa.Table):
        return entities
    if isinstance(entities, list):
        _require_aware(row.get(INSTANT) for row in entities)
        return pa.Table.from_pylist(entities)
    if type(entities).__module__.partition(".")[0] == "pandas":
        if INSTANT in entities and entities[INSTANT].dtype == object:
            _require_aware(entities[INSTANT])
        return pa.Table.from_pandas(entities, preserve_index=False)
    if hasattr(entities, "to_arrow_table"):
        table: pa.Table = entities.to_arrow_table()
        return table
    return pa.table(entities) if hasattr(entities, "__arrow_c_stream__") else None


def _require_aware(instants: Iterable[Any]) -> None:
    """Refuse naive instants among aware ones, which Arrow would take as UTC without a word."""
    if any(isinstance(instant, datetime) and instant == instant and instant.tzinfo is None for instant in instants):
        raise FeatureError(
            f"{INSTANT} has no time zone in some rows, so it does not say which instant is meant.", hint=_ATTACH
        )
