"""What a run took out of Postgres: rows, day partitions that went whole, copies in files, and how far a run came.

A DELETE and a DROP have no undo, so until its grace is over a row lies in a table like its own, and a partition lies
detached in the schema `retention_graveyard`. A column that a table gets its grave needs, too.
"""

from sqlalchemy import BigInteger, Column, ForeignKeyConstraint, PrimaryKeyConstraint, Table, Text
from sqlalchemy import text as fragment
from sqlalchemy.dialects.postgresql import INT8MULTIRANGE

from retention_pipelines.postgres.tables.base import digest, instant, table, text, whole
from retention_pipelines.postgres.tables.hot import ML_INFERENCE_CACHE, ML_TRAINING_CACHE
from retention_pipelines.postgres.tables.serving import ML_PERFORMANCE_METRICS


def _plan() -> Column[str]:
    return Column(
        "plan_sha256",
        Text,
        nullable=False,
        comment="Plan that took it out.",
        info={"check": "{0} ~ '^[0-9a-f]{{64}}$'"},
    )


def _grave(of: Table) -> Table:
    """Nothing is checked again that was checked where the rows came from: that took longer than burying them."""
    return table(
        of.name.replace("ml_", "graveyard_", 1),
        f"Rows of {of.name} that a run took out, until their grace is over.",
        Column("plan_sha256", Text, nullable=False, comment="Plan that took it out."),
        Column("position", BigInteger, nullable=False, comment="Place in the plan."),
        *(Column(one.name, one.type, nullable=one.nullable, comment=one.comment) for one in of.columns),
        PrimaryKeyConstraint("plan_sha256", "position"),
    )


# By the table that rows go from.
GRAVES = {of.name: _grave(of) for of in (ML_INFERENCE_CACHE, ML_TRAINING_CACHE, ML_PERFORMANCE_METRICS)}

BURIED_PARTITIONS = table(
    "buried_partitions",
    "Day partitions that a run took out whole, until their grace is over.",
    _plan(),
    text("partition", "Its name while it was part of its table."),
    text("relation", "Table it was part of."),
    text("buried_as", "Its name in the schema retention_graveyard."),
    whole("n_rows", "Rows it holds."),
    whole("size_bytes", "Bytes of its files."),
    instant("buried_at", "When it was taken out.", server_default=fragment("now()")),
    PrimaryKeyConstraint("plan_sha256", "partition"),
    ForeignKeyConstraint(["plan_sha256"], ["plans.plan_sha256"]),
)

PLAN_STEPS = table(
    "plan_steps",
    "Batches of a plan's rows that a run took out, so that a second run goes on where the first ended.",
    _plan(),
    whole("step", "Number of the batch."),
    Column("positions", INT8MULTIRANGE, nullable=False, comment="Places in the plan of the rows that went."),
    whole("n_rows", "How many they are."),
    whole("size_bytes", "Their bytes."),
    instant("done_at", "When.", server_default=fragment("now()")),
    PrimaryKeyConstraint("plan_sha256", "step"),
    ForeignKeyConstraint(["plan_sha256"], ["plans.plan_sha256"], ondelete="CASCADE"),
)

COLD_FILES = table(
    "cold_files",
    "Files of rows and training sets that were archived or migrated out of Postgres and the training-set folder.",
    _plan(),
    text("name", "Its name under the root."),
    text("root", "Folder or bucket it is in."),
    text("dataset", "Whose rows it holds."),
    text("relation", "Table they were in."),
    text("row_id", "The training set it holds; null: a file of rows.", required=False),
    whole("n_rows", "Rows it holds."),
    whole("size_bytes", "Bytes of the file."),
    whole("raw_bytes", "Bytes of what it holds, before compression."),
    digest("content_sha256", "Digest of the file."),
    instant("archived_at", "When it was written and read back.", server_default=fragment("now()")),
    text("tenant", "Whose training set it holds; null: a file of rows, which may be of all tenants.", required=False),
    PrimaryKeyConstraint("plan_sha256", "name"),
    ForeignKeyConstraint(["plan_sha256"], ["plans.plan_sha256"]),
)
