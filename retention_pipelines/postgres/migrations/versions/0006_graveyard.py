"""The graveyard: what a retention run took out of Postgres, until its grace is over."""

from alembic import op

from retention_pipelines.postgres.migrate import run_file

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make it."""
    run_file(op.get_bind(), "0006_graveyard")


def downgrade() -> None:
    """Remove it, with what could still be brought back."""
    run_file(op.get_bind(), "0006_downgrade")
