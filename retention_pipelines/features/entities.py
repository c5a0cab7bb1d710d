"""The rows a training frame is asked for: any table with a key and an aware instant."""

from typing import Any

import numpy as np
import pyarrow as pa

from retention_pipelines.errors import FeatureError

INSTANT = "event_timestamp"
KEYS = ("source_data_id", "location_grid")
_UTC = pa.timestamp("us", tz="UTC")


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
    instants = table[INSTANT]
    if not pa.types.is_timestamp(instants.type):
        raise FeatureError(
            f"{INSTANT} has the type {instants.type}.", hint="Convert it to timestamps with a time zone, such as UTC."
        )
    if instants.type.tz is None:
        raise FeatureError(
            f"{INSTANT} has no time zone, so it does not say which instant is meant.",
            hint="Attach one: datetime(…, tzinfo=UTC), pandas tz_localize('UTC'), Polars dt.replace_time_zone('UTC').",
        )
    if instants.null_count:
        raise FeatureError(
            f"{INSTANT} is null in {instants.null_count} rows.", hint="Drop these rows or give them an instant."
        )
    keys = table[key]
    if pa.types.is_dictionary(keys.type):
        keys = keys.cast(keys.type.value_type)
    if not (pa.types.is_string(keys.type) or pa.types.is_large_string(keys.type) or pa.types.is_string_view(keys.type)):
        raise FeatureError(f"{key} has the type {keys.type}.", hint="It must be text.")
    asks = pa.table(
        {
            "ask": pa.array(np.arange(table.num_rows, dtype=np.int64)),
            "key": keys.cast(pa.string()),
            # Feature times are whole microseconds: a finer instant loses nothing that could be compared.
            "instant": instants.cast(_UTC, safe=False),
        }
    )
    return table, asks


def _as_arrow(entities: Any) -> pa.Table:
    if isinstance(entities, pa.Table):
        return entities
    if isinstance(entities, list):
        return pa.Table.from_pylist(entities)
    if type(entities).__module__.partition(".")[0] == "pandas":
        return pa.Table.from_pandas(entities, preserve_index=False)
    if hasattr(entities, "to_arrow_table"):
        return entities.to_arrow_table()
    if hasattr(entities, "__arrow_c_stream__"):
        return pa.table(entities)
    raise FeatureError(
        f"Entities of the type {type(entities).__name__} cannot be read.",
        hint="Pass an Arrow, Polars or pandas table, a DuckDB relation, or a list of dicts.",
    )
