"""The first tables: caches, series, policies, plans, protection, audit, API keys; partitions, grants, views."""

from alembic import op

from retention_pipelines.postgres.migrate import run_file

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make everything."""
    for name in ("hot", "serving", "policies", "protection", "control", "partitions", "audit", "access"):
        run_file(op.get_bind(), f"0001_{name}")


def downgrade() -> None:
    """Remove everything, with its data."""
    run_file(op.get_bind(), "0001_downgrade")
