"""Cached features that were folded into the lake: answers of decorated functions, out of Postgres and still fresh."""

from retention_pipelines.catalog.dataset import Column, ColumnType, Dataset, Layer, double, instant, text
from retention_pipelines.catalog.features import PRIORITIES

CACHED_FEATURES = Dataset(
    name="cached_features",
    layer=Layer.FEATURES,
    description="Answers of functions decorated with cache_features, folded from Postgres; a cache, not a source.",
    grain="one row per tenant, cache key and time of computation",
    columns=(
        text("tenant", "Whose entry it is; readers serve nobody else with it.", required=True),
        text("cache_key", "Digest of namespace, function, versions and arguments.", required=True),
        instant("computed_at", "When the value was computed, by the database's clock.", required=True),
        instant("expires_at", "From when on it is not fresh any more; null: never by time."),
        double("compute_seconds", "Time it took to compute, measured.", "s", minimum=0),
        text("payload_base64", "The value, encoded; base64.", required=True),
        text("payload_codec", "How the payload is encoded, with the version of the encoding.", required=True),
        text("payload_mac", "Keyed digest of header and payload, as hex; an entry it does not fit is not served."),
        text("function", "Function that computed the value."),
        Column(name="tags", type=ColumnType.TEXTS, description="What the entry can be invalidated by."),
        text("feature_id", "Study and feature type."),
        text("feature_type", "Kind of features.", required=True),
        text("source_table", "Where the features were computed from.", required=True),
        text("source_data_id", "The study or other source."),
        text("temporal_window", "ISO 8601 duration the values look at."),
        text("spatial_resolution", "Resolution of the values."),
        text("location_grid", "Cell, `<lat0>_<lon0>`."),
        instant("event_time", "Start of the study."),
        double("quality_score", "Quality; null is unknown, which is not low.", minimum=0, maximum=1),
        text("priority", "high, medium or low, by the quality.", allowed=PRIORITIES),
        text("feature_hash", "Hash of the content; several keys may hold the same content."),
        text("code_version", "Version of the code that computed the row."),
        text("month", "Partition: `YYYY-MM` of computed_at.", required=True),
    ),
    key=("tenant", "cache_key", "computed_at"),
    partition_by=("month",),
    order=("cache_key",),
    owner="team:ml-engineering",
)
