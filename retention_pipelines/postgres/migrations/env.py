"""Alembic's entry: runs the migrations on the connection `migrate.py` hands over."""

from alembic import context

from retention_pipelines.postgres.tables import METADATA

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=METADATA,
    version_table=context.config.attributes["version_table"],
    compare_type=True,
)
with context.begin_transaction():
    context.run_migrations()
