"""Postgres: the embedded default server, tables, migrations, roles."""
