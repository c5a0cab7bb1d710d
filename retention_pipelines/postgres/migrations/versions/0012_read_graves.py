"""Who only reads is served from the graveyard."""

from alembic import op

from retention_pipelines.postgres.migrate import run_file

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Let it."""
    run_file(op.get_bind(), "0012_read_graves")


def downgrade() -> None:
    """Let it no more."""
    run_file(op.get_bind(), "0012_downgrade")
