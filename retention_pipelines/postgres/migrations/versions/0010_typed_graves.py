"""The graveyard as tables like those its rows come from, instead of documents."""

from alembic import op

from retention_pipelines.postgres.migrate import run_file

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Move what lies there."""
    run_file(op.get_bind(), "0010_typed_graves")


def downgrade() -> None:
    """Move it back."""
    run_file(op.get_bind(), "0010_downgrade")
