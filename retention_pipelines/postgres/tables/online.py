"""Hot rows of the feature store: a copy of the lake's latest versions, filled by `features/hot_rows.py`.

Both tables are unlogged: what a crash of the server empties, it empties together; the next load fills it again.
"""

from sqlalchemy import Column, LargeBinary, PrimaryKeyConstraint, Uuid

from retention_pipelines.catalog.features import FEATURE_TYPES
from retention_pipelines.postgres.tables.base import choice, digest, instant, table, text, whole

ONLINE_FEATURES = table(
    "online_features",
    "The latest features of every study, one row per feature type, for reads of single studies within microseconds.",
    text("tenant", "Whose copy it is; row-level security shows a session only the tenant it names."),
    Column("entity", Uuid, nullable=False, comment="Digest of the study's name, which may have any length."),
    choice("feature_type", "Kind of features.", FEATURE_TYPES),
    Column("payload", LargeBinary, nullable=False, comment="The row, encoded; it begins with a tag of its layout."),
    digest("payload_mac", "Keyed digest of tenant, type, study and payload; a row it does not fit is not served."),
    PrimaryKeyConstraint("tenant", "entity", "feature_type"),
    prefixes=["UNLOGGED"],
)

ONLINE_LOADS = table(
    "online_loads",
    "What the copy in online_features holds: the state of the lake it was last brought to.",
    text("tenant", "Whose copy it is."),
    choice("feature_type", "Kind of features.", FEATURE_TYPES),
    text("lake_table", "Identity of the lake table, which a new lake has not."),
    whole("lake_version", "Version of that table the copy is at."),
    text("layout", "Layout of the payloads; rows of another layout are loaded again."),
    whole("rows_held", "Rows of the copy."),
    instant("loaded_at", "When, by the database's clock."),
    PrimaryKeyConstraint("tenant", "feature_type"),
    prefixes=["UNLOGGED"],
)
