"""Progress of runs by batches, files of archived rows, what rollups hold of raw rows that are gone, compressed sets."""

from alembic import op

from retention_pipelines.postgres.migrate import run_file

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make them."""
    run_file(op.get_bind(), "0008_cold")


def downgrade() -> None:
    """Remove them, with the list of what was archived."""
    run_file(op.get_bind(), "0008_downgrade")
