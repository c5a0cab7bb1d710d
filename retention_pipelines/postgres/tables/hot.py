"""Hot tables: cached features, predictions and training sets, and how often they were read.

Rows of features and predictions lie in one partition per day they expire on, so that what has expired goes by dropping
partitions. Reading a row never writes to it: hits are counted beside, in `access_counts`, in batches.
"""

from sqlalchemy import (
    ARRAY,
    CheckConstraint,
    Column,
    Date,
    Index,
    LargeBinary,
    PrimaryKeyConstraint,
    Text,
)

from retention_pipelines.catalog.features import PRIORITIES
from retention_pipelines.postgres.tables.base import (
    choice,
    digest,
    document,
    in_order,
    instant,
    number,
    score,
    table,
    text,
    whole,
)


def _key() -> tuple[Column, ...]:
    return (
        text("tenant", "Whose entry it is; row-level security shows a session only the tenant it names."),
        text("cache_key", "Digest of namespace, function, versions and arguments."),
    )


def _payload() -> tuple[Column, ...]:
    return (
        Column("payload", LargeBinary, nullable=False, comment="The value, encoded."),
        text("payload_codec", "How the payload is encoded, with the version of the encoding."),
        digest("payload_mac", "Keyed digest of header and payload; an entry whose digest is wrong is a miss."),
        text("writer", "Process that wrote the entry.", required=False),
    )


def _invalidated_by() -> tuple[Column, ...]:
    return (
        text("function", "Function that computed the value.", required=False),
        Column(
            "tags",
            ARRAY(Text),
            nullable=False,
            server_default="{}",
            comment="What the entry can be invalidated by, beside its function.",
        ),
    )


def _life() -> tuple[Column | CheckConstraint, ...]:
    return (
        instant("computed_at", "When the value was computed."),
        instant("expires_at", "From when on it is not fresh any more; null: never by time.", required=False),
        Column(
            "expires_on",
            Date,
            nullable=False,
            comment="Partition: UTC day of expires_at, infinity without one. Written by the caller, checked here.",
        ),
        number("compute_seconds", "Time it took to compute, measured.", low=0),
        in_order("computed_at", "expires_at"),
        CheckConstraint(
            "expires_on = coalesce((expires_at at time zone 'UTC')::date, 'infinity'::date)",
            name="expires_on_is_day_of_expires_at",
        ),
    )


ML_FEATURE_STORE = table(
    "ml_feature_store",
    "Hot rows of cached features. The full feature store is in the lake.",
    *_key(),
    text("feature_id", "Study and feature type.", required=False),
    text("feature_type", "Kind of features."),
    text("source_table", "Where the features were computed from."),
    text("source_data_id", "The study or other source, by its own name of any length.", required=False),
    text("temporal_window", "ISO 8601 duration the values look at.", required=False),
    text("spatial_resolution", "Resolution of the values.", required=False),
    text("location_grid", "Cell, `<lat0>_<lon0>`.", required=False),
    instant("event_time", "Start of the study.", required=False),
    score("quality_score", "Quality; null is unknown, which is not low."),
    choice("priority", "high, medium or low, by the quality.", PRIORITIES, required=False),
    text("feature_hash", "Hash of the content; several keys may hold the same content.", required=False),
    text("code_version", "Version of the code that computed the row.", required=False),
    *_payload(),
    *_life(),
    *_invalidated_by(),
    PrimaryKeyConstraint("tenant", "cache_key", "expires_on"),
    # Hash indexes: equality only, and no limit on the length of the text.
    Index(None, "source_data_id", postgresql_using="hash"),
    Index(None, "feature_hash", postgresql_using="hash"),
    postgresql_partition_by="RANGE (expires_on)",
)

ML_INFERENCE_CACHE = table(
    "ml_inference_cache",
    "Cached predictions.",
    *_key(),
    text("model_id", "The model."),
    text("model_type", "Kind of model."),
    text("model_version", "Its version, read once per call."),
    document("input_summary", "What was asked, in short; no personal data."),
    document("prediction_metadata", "What the model said beside the value."),
    number("latitude", "Position asked for, degrees north.", low=-90, high=90),
    number("longitude", "Position asked for, degrees east.", low=-180, high=180),
    text("location_grid", "Cell whose answer is shared, `<lat0>_<lon0>`.", required=False),
    number("cell_deg", "Size of that cell in degrees.", low=0),
    score("confidence", "Confidence of the model."),
    *_payload(),
    *_life(),
    *_invalidated_by(),
    PrimaryKeyConstraint("tenant", "cache_key", "expires_on"),
    Index(None, "model_id", "model_version"),
    postgresql_partition_by="RANGE (expires_on)",
)

ML_TRAINING_CACHE = table(
    "ml_training_cache",
    "Prepared training sets: their description; the matrices are files.",
    *_key(),
    text("model_type", "Kind of model the set is for."),
    text("model_version", "Version of the preparation.", required=False),
    text("code_version", "Version of the code that prepared it.", required=False),
    document("parameters", "Arguments of the preparation."),
    document("data_versions", "Versions of the lake tables it was built from."),
    Column("feature_names", ARRAY(Text), nullable=False, server_default="{}", comment="Columns of X, in order."),
    document("preprocessing", "Steps and scaler parameters."),
    document("class_distribution", "Share of each class of y."),
    document("provenance", "Datasets, licences and runs it comes from."),
    whole("n_rows", "Rows of X, validation included; null: not known.", required=False),
    whole("n_features", "Columns of X; null: not known.", required=False),
    score("validation_share", "Share of rows kept for validation."),
    text("files", "Folder of the matrices, relative to the training-set root."),
    digest("content_sha256", "Digest of the files' content."),
    whole("size_bytes", "Bytes of the files."),
    score("quality_score", "Quality; null is unknown."),
    instant("computed_at", "When it was prepared."),
    instant("compressed_at", "When its files were compressed; null: they are not.", required=False),
    whole("stored_bytes", "Bytes of the compressed files.", required=False),
    instant("expires_at", "From when on it is not fresh any more; null: never by time.", required=False),
    instant("invalidated_at", "When its sources changed; null while valid.", required=False),
    number("compute_seconds", "Time it took to prepare, measured.", low=0),
    *_invalidated_by(),
    in_order("computed_at", "expires_at"),
    in_order("computed_at", "invalidated_at"),
    PrimaryKeyConstraint("tenant", "cache_key"),
    Index(None, "model_type"),
    Index(None, "content_sha256"),
)

ACCESS_COUNTS = table(
    "access_counts",
    "How often and when last an entry or row was read; narrow, so that counting is cheap.",
    text("tenant", "Whose entry."),
    text("dataset", "Table or lake dataset."),
    text("key", "The entry or row."),
    whole("hits", "Reads by users; reads by the system itself do not count."),
    instant("last_accessed_at", "Last such read, by the database's clock."),
    PrimaryKeyConstraint("tenant", "dataset", "key"),
)

ACCESS_LOG = table(
    "access_log",
    "Reads by users, by key and day; what-if runs replay it.",
    Column("accessed_on", Date, nullable=False, comment="Partition: UTC day of the reads."),
    text("tenant", "Whose entry."),
    text("dataset", "Table or lake dataset."),
    text("key", "The entry or row."),
    whole("hits", "Reads on that day.", low=1),
    instant("last_accessed_at", "Last of them, by the database's clock."),
    CheckConstraint(
        "accessed_on = (last_accessed_at at time zone 'UTC')::date", name="accessed_on_is_day_of_last_accessed_at"
    ),
    PrimaryKeyConstraint("accessed_on", "tenant", "dataset", "key"),
    postgresql_partition_by="RANGE (accessed_on)",
)
