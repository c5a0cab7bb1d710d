"""What a run took out of Postgres and can still be brought back: rows, and day partitions that went whole.

A DELETE and a DROP have no undo, so until its grace is over a row lies here as a document and a partition lies detached
in the schema `retention_graveyard`.
"""

from sqlalchemy import Column, ForeignKeyConstraint, PrimaryKeyConstraint, Text
from sqlalchemy import text as fragment

from retention_pipelines.postgres.tables.base import document, instant, table, text, whole


def _plan() -> Column[str]:
    return Column(
        "plan_sha256",
        Text,
        nullable=False,
        comment="Plan that took it out.",
        info={"check": "{0} ~ '^[0-9a-f]{{64}}$'"},
    )


GRAVEYARD = table(
    "graveyard",
    "Rows that a run took out, until their grace is over.",
    _plan(),
    whole("position", "Place in the plan."),
    text("tenant", "Whose row it was; null where rows have no tenant.", required=False),
    text("relation", "Table it was in."),
    text("row_id", "What the plan calls it."),
    document("row", "The row, column by column."),
    instant("buried_at", "When it was taken out.", server_default=fragment("now()")),
    PrimaryKeyConstraint("plan_sha256", "position"),
    ForeignKeyConstraint(["plan_sha256"], ["plans.plan_sha256"]),
)

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
