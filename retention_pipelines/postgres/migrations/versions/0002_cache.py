"""The caches: what their Postgres tier needs beyond the first tables."""

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make what is new."""


def downgrade() -> None:
    """Remove it, with its data."""
