"""Whose the files of the archive are, and where in the graveyard a removed entry lies."""

from alembic import op

from retention_pipelines.postgres.migrate import run_file

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Say it."""
    run_file(op.get_bind(), "0009_graves_by_key")


def downgrade() -> None:
    """Forget it."""
    run_file(op.get_bind(), "0009_downgrade")
