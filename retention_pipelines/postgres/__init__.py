"""Postgres: the hot, transactional part of the platform.

What belongs here: finding or starting the server, connections with deadlines, tables, migrations, roles, partitions by
expiry day, the audit chain. What does not: what the rows mean (cache, retention) and anything Dagster stores in its own
database beside ours.
"""
