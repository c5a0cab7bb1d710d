"""Every dataset that policies govern, once: where it is kept and which fields its filters may name.

A field is a column of the dataset or comes from counting its reads (`access_count`, `last_accessed_at`). What does not
belong here: the policies themselves (`policies.yaml`) and how rows are selected.
"""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from retention_pipelines.catalog import dataset
from retention_pipelines.errors import PolicyError
from retention_pipelines.postgres.tables import METADATA
from retention_pipelines.retention.filter.ast import Kind
from retention_pipelines.retention.policy import Anchor

Store = Literal["lake", "postgres", "files"]


@dataclass(frozen=True, kw_only=True)
class Governed:
    """A dataset under policies.

    Attributes:
        table: the lake dataset or Postgres table that holds it.
        identity: columns that name a row.
        fields: what filters may name, with its kind.
        sources: the column behind a field, where it has another name.
        anchors: instants an age may be counted from.
        names: columns by which people ask for a row.
        read_key: column under whose value reads are counted (`access_count`, `last_accessed_at`); None: they are not.
    """

    name: str
    store: Store
    table: str
    identity: tuple[str, ...]
    fields: Mapping[str, Kind]
    anchors: tuple[Anchor, ...]
    sources: Mapping[str, str] = field(default_factory=dict)
    read_key: str | None = None
    names: tuple[str, ...] = ()

    @property
    def always_known(self) -> frozenset[str]:
        """Fields that are never null: required columns, and counted reads, which are 0 where there were none."""
        if self.store == "lake":
            required = {column.name for column in dataset(self.table).columns if column.required}
        else:
            required = {column.name for column in METADATA.tables[self.table].columns if not column.nullable}
        return frozenset(
            name
            for name, kind in self.fields.items()
            # A number that is never null may still be NaN, which is unknown.
            if (source := self.sources.get(name, name)) in _ALWAYS or (source in required and kind is not Kind.NUMBER)
        )


# Counted by the platform itself: 0 reads where nothing was counted; a file of the lake was always written.
_ALWAYS = frozenset({"access_count", "written_at"})
_TEXT, _NUMBER, _INSTANT, _BOOLEAN = Kind.TEXT, Kind.NUMBER, Kind.INSTANT, Kind.BOOLEAN
_READS = {"access_count": _NUMBER, "last_accessed_at": _INSTANT}

FEATURE_STORE = Governed(
    name="feature_store",
    store="lake",
    table="feature_store",
    identity=("feature_hash",),
    fields={
        "feature_type": _TEXT,
        "source_table": _TEXT,
        "source_data_id": _TEXT,
        "dataset_id": _TEXT,
        "location_grid": _TEXT,
        "month": _TEXT,
        "date_precision": _TEXT,
        "priority": _TEXT,
        "code_version": _TEXT,
        "version": _NUMBER,
        "moved": _BOOLEAN,
        "quality_score": _NUMBER,
        "quality_completeness": _NUMBER,
        "quality_validity": _NUMBER,
        "quality_support": _NUMBER,
        "quality_precision": _NUMBER,
        "event_time": _INSTANT,
        "known_at": _INSTANT,
        "computed_at": _INSTANT,
        **_READS,
    },
    anchors=("computed_at", "last_used"),
    # Reads are of a study's features of a type, whichever version is the latest.
    read_key="feature_id",
    names=("feature_hash", "feature_id", "source_data_id"),
)
TRAINING_CACHE = Governed(
    name="training_cache",
    store="files",
    table="ml_training_cache",
    identity=("tenant", "cache_key"),
    fields={
        "model_type": _TEXT,
        "model_version": _TEXT,
        "code_version": _TEXT,
        "n_rows": _NUMBER,
        "n_features": _NUMBER,
        "size_bytes": _NUMBER,
        "quality_score": _NUMBER,
        "compute_seconds": _NUMBER,
        "hit_count": _NUMBER,
        "computed_at": _INSTANT,
        "expires_at": _INSTANT,
        "invalidated_at": _INSTANT,
        "last_accessed_at": _INSTANT,
    },
    sources={"hit_count": "access_count"},
    anchors=("computed_at", "last_used", "expires_at"),
    read_key="cache_key",
    names=("cache_key",),
)
INFERENCE_CACHE = Governed(
    name="inference_cache",
    store="postgres",
    table="ml_inference_cache",
    identity=("tenant", "cache_key", "expires_on"),
    fields={
        "model_id": _TEXT,
        "model_type": _TEXT,
        "model_version": _TEXT,
        "location_grid": _TEXT,
        "confidence": _NUMBER,
        "compute_seconds": _NUMBER,
        "hit_count": _NUMBER,
        "computed_at": _INSTANT,
        "expires_at": _INSTANT,
        "last_accessed_at": _INSTANT,
    },
    sources={"hit_count": "access_count"},
    anchors=("computed_at", "last_used", "expires_at"),
    read_key="cache_key",
    names=("cache_key",),
)
AGGREGATED_TIME_SERIES = Governed(
    name="aggregated_time_series",
    store="lake",
    table="aggregated_time_series",
    identity=(
        "source_type",
        "dataset_id",
        "variable",
        "layer",
        "location_grid",
        "cell_deg",
        "time_window",
        "window_start",
    ),
    fields={
        "source_type": _TEXT,
        "dataset_id": _TEXT,
        "variable": _TEXT,
        "layer": _TEXT,
        "location_grid": _TEXT,
        "time_window": _TEXT,
        "year": _TEXT,
        "n": _NUMBER,
        "window_start": _INSTANT,
        "window_end": _INSTANT,
        "computed_at": _INSTANT,
    },
    # A row of a series says not when it was computed; its file does. Rewriting a file makes it younger, which keeps
    # rows longer, never shorter. The age of the sea it describes is no reason to forget it.
    sources={"computed_at": "written_at"},
    anchors=("computed_at",),
    names=("location_grid", "window_label"),
)
PERFORMANCE_METRICS = Governed(
    name="performance_metrics",
    store="postgres",
    table="ml_performance_metrics",
    identity=("recorded_on", "seq"),
    fields={"metric": _TEXT, "value": _NUMBER, "computed_at": _INSTANT},
    sources={"computed_at": "recorded_at"},
    anchors=("computed_at",),
    names=("seq", "metric"),
)

GOVERNED: dict[str, Governed] = {
    governed.name: governed
    for governed in (FEATURE_STORE, TRAINING_CACHE, INFERENCE_CACHE, AGGREGATED_TIME_SERIES, PERFORMANCE_METRICS)
}


def governed(name: str) -> Governed:
    """A dataset under policies by name; raises PolicyError with the nearest name."""
    if name not in GOVERNED:
        near = difflib.get_close_matches(name, GOVERNED, n=1, cutoff=0.0)
        raise PolicyError(
            f"{name!r} is not governed by policies.", hint=f"Did you mean {near[0]!r}? Governed: {', '.join(GOVERNED)}."
        )
    return GOVERNED[name]
