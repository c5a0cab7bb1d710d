"""Every dataset that policies govern, once: where it is kept and which fields its filters may name.

A field is a column of the dataset or comes from counting its reads (`access_count`, `last_accessed_at`). What does not
belong here: the policies themselves (`policies.yaml`) and how rows are selected.
"""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, get_args

from retention_pipelines.catalog import dataset
from retention_pipelines.catalog.dataset import ColumnType
from retention_pipelines.errors import PolicyError
from retention_pipelines.postgres.tables import METADATA
from retention_pipelines.retention.filter.ast import Kind
from retention_pipelines.retention.policies.policy import Action, Anchor, Policy

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
        actions: what policies may do with its rows; others are refused when a policy is set.
        keeps_all: having no policy is no mistake: everything is kept until somebody decides otherwise.
        archived: it is what lies beside its table: its archive, or what migrated.
        cold: it is what migrated, on the other root.
        rollup: the series that holds the statistics of its rows.
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
    actions: tuple[Action, ...] = get_args(Action)
    keeps_all: bool = False
    archived: bool = False
    cold: bool = False
    rollup: str | None = None

    def require_action(self, policy_id: str, action: Action) -> None:
        """Raise PolicyError unless policies may do this with the rows."""
        if action in self.actions:
            return
        why = _NOT_BEHIND_A_ROLLUP if self.keeps_all and action in ("delete", "downsample") else _NO_ROLLUP
        if self.rollup and action == "delete":
            why = f"They may go behind their rollup, {self.rollup}: use downsample, which proves it first."
        if self.store == "postgres" and action == "compress":
            why = _NOT_SMALLER
        raise PolicyError(
            f"{policy_id}: rows of {self.name} cannot be {_PAST[action]}.",
            hint=f"{why} Possible: {', '.join(self.actions)}.",
        )

    @property
    def roundable(self) -> frozenset[str]:
        """Columns that compressing may round: numbers that nothing else rests on being exact."""
        if self.store != "lake" or self.table in _DELIVERED:
            return frozenset()
        table = dataset(self.table)
        exact = {*self.identity, *table.key, *(self.sources.get(name, name) for name in self.fields), *_EXACT}
        return frozenset(
            column.name for column in table.columns if column.type is ColumnType.DOUBLE and column.name not in exact
        )

    def require_tolerance(self, policy: Policy) -> None:
        """Raise PolicyError unless a policy may round these columns."""
        for name, _ in policy.tolerance:
            if name not in self.roundable:
                hint = "What was delivered, names, places, what policies look at and what proves a rollup stay exact."
                possible = ", ".join(sorted(self.roundable)) or "nothing"
                raise PolicyError(
                    f"{policy.policy_id}: {name} of {self.name} cannot be rounded.",
                    hint=f"{hint} Possible: {possible}.",
                )

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


_PAST: dict[Action, str] = {
    "delete": "deleted",
    "archive": "archived",
    "compress": "compressed",
    "downsample": "downsampled",
    "migrate": "migrated",
}
_NO_ROLLUP = "Nothing sums them up."
# What was delivered stays as it was: series and features are computed from it.
_DELIVERED = frozenset({"observations", "occurrences"})
# Places, what series are asked for by, and what raw rows are proven against before they may go.
_EXACT = frozenset(
    {"cell_deg", "cell_lat0", "cell_lon0", "latitude", "longitude", "center_lat", "center_lon"}
    | {"surface_limit_m", "mean", "min", "max"}
)
# Measured: relations of 1,500 payloads (predictions, arrays, records) are as large after rewriting as before.
_NOT_SMALLER = (
    "Postgres compresses what is over 2 kB as it is written, and smaller rows do not become smaller: rewriting frees"
    " nothing. Archived, they are compressed Parquet files."
)
_NOT_BEHIND_A_ROLLUP = "They are what was delivered, and no series can stand in for them."
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
    actions=("delete", "archive", "compress", "migrate"),
)
TRAINING_CACHE = Governed(
    name="training_cache",
    store="files",
    table="ml_training_cache",
    identity=("tenant", "cache_key"),
    fields={
        "cache_key": _TEXT,
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
    actions=("delete", "archive", "compress", "migrate"),
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
    actions=("delete", "archive", "migrate"),
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
    actions=("delete", "archive", "compress", "migrate"),
)
_RAW: dict[str, Kind] = {
    "record_hash": _TEXT,
    "dataset_id": _TEXT,
    "source_file": _TEXT,
    "source_sha256": _TEXT,
    "source_type": _TEXT,
    "event_id": _TEXT,
    "date_precision": _TEXT,
    "month": _TEXT,
    "licence": _TEXT,
    "rights_holder": _TEXT,
    "decimal_latitude": _NUMBER,
    "decimal_longitude": _NUMBER,
    "event_start": _INSTANT,
    "event_end": _INSTANT,
    "computed_at": _INSTANT,
}
OBSERVATIONS = Governed(
    name="observations",
    store="lake",
    table="observations",
    identity=("record_hash", "variable"),
    fields={
        **_RAW,
        "platform_id": _TEXT,
        "variable": _TEXT,
        "value_kind": _TEXT,
        "qc_flag": _TEXT,
        "qc_good": _BOOLEAN,
        "value": _NUMBER,
        "depth_m": _NUMBER,
    },
    # The age of a raw row is that of its delivery, not of the sea it describes.
    sources={"computed_at": "ingested_at"},
    anchors=("computed_at",),
    names=("record_hash", "event_id"),
    actions=("downsample", "archive", "compress", "migrate"),
    keeps_all=True,
    rollup="aggregated_time_series",
)
OCCURRENCES = Governed(
    name="occurrences",
    store="lake",
    table="occurrences",
    identity=("record_hash",),
    fields={
        **_RAW,
        "occurrence_id": _TEXT,
        "scientific_name": _TEXT,
        "occurrence_status": _TEXT,
        "basis_of_record": _TEXT,
        "country_code": _TEXT,
        "is_subtotal": _BOOLEAN,
    },
    sources={"computed_at": "ingested_at"},
    anchors=("computed_at",),
    names=("record_hash", "occurrence_id", "event_id"),
    # Diversity cannot be computed from diversity: no series stands in for the names of species.
    actions=("archive", "compress", "migrate"),
    keeps_all=True,
)


def _archive_of(live: Governed) -> Governed:
    """What policies see of a dataset's archive: the same rows, read by nobody.

    They are aged from the same instant, but for series: their age is that of their file, so it begins anew here.
    """
    fields = {name: kind for name, kind in live.fields.items() if name not in _READS}
    raw = live.keeps_all
    return replace(
        live,
        name=f"{live.name}_archive",
        fields=fields,
        anchors=("computed_at",),
        read_key=None,
        actions=("compress", "migrate") if raw else ("delete", "compress", "migrate"),
        keeps_all=True,
        archived=True,
        rollup=None,
    )


FEATURE_STORE_ARCHIVE, SERIES_ARCHIVE, OBSERVATIONS_ARCHIVE, OCCURRENCES_ARCHIVE = map(
    _archive_of, (FEATURE_STORE, AGGREGATED_TIME_SERIES, OBSERVATIONS, OCCURRENCES)
)
# Raw rows are never deleted, and nothing else can be done to them there.
FEATURE_STORE_COLD, SERIES_COLD = (
    replace(one, name=f"{one.table}_cold", actions=("delete",), cold=True)
    for one in (FEATURE_STORE_ARCHIVE, SERIES_ARCHIVE)
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
    rollup="ml_performance_rollups",
    actions=("downsample", "archive", "migrate"),
)

GOVERNED: dict[str, Governed] = {
    governed.name: governed
    for governed in (
        FEATURE_STORE,
        TRAINING_CACHE,
        INFERENCE_CACHE,
        AGGREGATED_TIME_SERIES,
        PERFORMANCE_METRICS,
        OBSERVATIONS,
        OCCURRENCES,
        FEATURE_STORE_ARCHIVE,
        SERIES_ARCHIVE,
        OBSERVATIONS_ARCHIVE,
        OCCURRENCES_ARCHIVE,
        FEATURE_STORE_COLD,
        SERIES_COLD,
    )
}


def governed(name: str) -> Governed:
    """A dataset under policies by name; raises PolicyError with the nearest name."""
    if name not in GOVERNED:
        near = "".join(f"Did you mean {one!r}? " for one in difflib.get_close_matches(name, GOVERNED, n=1))
        raise PolicyError(f"{name!r} is not governed by policies.", hint=f"{near}Governed: {', '.join(GOVERNED)}.")
    return GOVERNED[name]
