"""What the serving copies hold: the state of the lake they were last brought to."""

from alembic import op

from retention_pipelines.postgres.migrate import run_file

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table."""
    run_file(op.get_bind(), "0005_serving")


def downgrade() -> None:
    """Remove it; the next load then copies everything."""
    op.execute("drop table public.serving_loads")
