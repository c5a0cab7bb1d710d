"""Size budgets, and the access log as what-if runs replay it: reads of each key by day."""

from alembic import op

from retention_pipelines.postgres.migrate import run_file

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the budgets, and the log anew: nothing ever wrote the old one."""
    run_file(op.get_bind(), "0007_pressure")


def downgrade() -> None:
    """Remove them, with what was logged."""
    run_file(op.get_bind(), "0007_downgrade")
