"""Online features: the latest rows of the feature store, hot in Postgres."""

from alembic import op

from retention_pipelines.postgres.migrate import run_file

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables."""
    run_file(op.get_bind(), "0004_online")


def downgrade() -> None:
    """Remove them; the lake holds their rows."""
    run_file(op.get_bind(), "0004_downgrade")
