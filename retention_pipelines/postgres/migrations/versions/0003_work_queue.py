"""The work queue: studies to process, durable and retried."""

from alembic import op

from retention_pipelines.postgres.migrate import run_file

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the queue."""
    run_file(op.get_bind(), "0003_work_queue")


def downgrade() -> None:
    """Remove it, with the work that waits."""
    run_file(op.get_bind(), "0003_downgrade")
