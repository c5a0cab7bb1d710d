"""The caches: what their Postgres tier needs beyond the first tables."""

from alembic import op

from retention_pipelines.postgres.migrate import run_file

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make what is new."""
    run_file(op.get_bind(), "0002_cache")


def downgrade() -> None:
    """Remove it, with its data."""
    run_file(op.get_bind(), "0002_downgrade")
