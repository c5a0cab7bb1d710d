"""Partitions by day of the hot tables: made ahead, dropped whole.

What belongs here: the mechanism, through the two functions the service may call. What does not: which days may go;
that is for policies to say. A row without a partition of its own lies in the default one, so no insert is ever refused.
"""

from dataclasses import dataclass
from datetime import date
from typing import Any

import psycopg

from retention_pipelines.errors import DatabaseError

# Table: the column of its day, and what a row's day means.
DAY_COLUMNS = {
    "ml_feature_store": "expires_on",
    "ml_inference_cache": "expires_on",
    "ml_performance_metrics": "recorded_on",
    "access_log": "accessed_on",
}


@dataclass(frozen=True, kw_only=True)
class DayPartition:
    """The partition of days first_day <= day < end_day."""

    table: str
    name: str
    first_day: date
    end_day: date
    size_bytes: int


@dataclass(frozen=True, kw_only=True)
class DroppedPartition:
    """A partition that went, and the bytes its files had."""

    name: str
    first_day: date
    size_bytes: int


def add_day_partitions(con: psycopg.Connection[Any], table: str, first_day: date, last_day: date) -> int:
    """Make the missing partitions of these days, both included; returns how many. Rows of the default one move over."""
    _check(table)
    row = con.execute("select public.retention_add_day_partitions(%s, %s, %s)", (table, first_day, last_day)).fetchone()
    return int(row[0]) if row else 0


def drop_day_partitions(con: psycopg.Connection[Any], table: str, horizon: date) -> tuple[DroppedPartition, ...]:
    """Drop the partitions that end by `horizon`; the newest and the default one always stay."""
    _check(table)
    rows = con.execute(
        "select partition, first_day, size_bytes from public.retention_drop_day_partitions(%s, %s)", (table, horizon)
    ).fetchall()
    return tuple(DroppedPartition(name=name, first_day=day, size_bytes=size) for name, day, size in rows)


def day_partitions(con: psycopg.Connection[Any], table: str) -> tuple[DayPartition, ...]:
    """The partitions there are, oldest first, without the default one."""
    _check(table)
    rows = con.execute(
        "select parent, partition, first_day, end_day, pg_catalog.pg_total_relation_size(relation)"
        " from retention_partitions.days where parent = %s order by first_day",
        (table,),
    ).fetchall()
    return tuple(
        DayPartition(table=parent, name=name, first_day=first, end_day=end, size_bytes=size)
        for parent, name, first, end, size in rows
    )


def _check(table: str) -> None:
    if table not in DAY_COLUMNS:
        raise DatabaseError(f"{table!r} has no partitions by day.", hint=f"Those that have: {', '.join(DAY_COLUMNS)}.")
