"""By how much compressing may change values."""

from alembic import op

from retention_pipelines.postgres.migrate import run_file

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Say it."""
    run_file(op.get_bind(), "0011_tolerance")


def downgrade() -> None:
    """Forget it."""
    run_file(op.get_bind(), "0011_downgrade")
