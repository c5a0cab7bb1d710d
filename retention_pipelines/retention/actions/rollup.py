"""Rollups of performance metrics: written and proven before raw samples go, and right afterwards.

A rollup holds count, exact sum, min and max of an hour or a day by metric and labels (the mean follows; percentiles
need raw samples). It knows which part of it stands for samples that are gone, so it can be computed again from those
that are left. What does not belong here: which samples go (`decide.py`), taking them out (`act_postgres.py`).
"""

from collections.abc import Sequence
from datetime import date
from functools import cache
from importlib import resources
from typing import Any

import psycopg
from psycopg import sql
from sqlalchemy import Connection, Engine, text

from retention_pipelines.errors import PlanError, RunBusy
from retention_pipelines.postgres.tables import GRAVES, ML_PERFORMANCE_METRICS, ML_PERFORMANCE_ROLLUPS
from retention_pipelines.retention.actions.act_postgres import Removed
from retention_pipelines.retention.plans.plan_store import driver

RAW = ML_PERFORMANCE_METRICS.name
# The lock of a run (`runs/lock.py`), until the transaction ends.
_ALONE = text("select pg_try_advisory_xact_lock(hashtext('retention_run'), hashtext('performance_metrics'))")
_DAYS = sql.SQL("(select * from {raw} where recorded_on >= {first} and recorded_on < {end})")
_BURIED = sql.SQL("(select * from {grave} where plan_sha256 = {plan} and position = any({positions}))")


def roll_up(engine: Engine, first: date, end: date) -> int:
    """Write the rollups of the days `first <= day < end` from what is left of their samples; returns how many.

    Raises RunBusy while a run, or somebody else who does this, has the samples in hand: both would read what the other
    is about to change.
    """
    with engine.begin() as con:
        if not con.scalar(_ALONE):
            raise RunBusy(
                "performance_metrics is in the hands of a run.", hint="Wait for it to end, then run this again."
            )
        return _write(driver(con), _days(first, end))


def prove_days(con: Connection, first: date, end: date) -> bool:
    """Roll up days and say whether the rollups stand for every sample of theirs."""
    return _prove(driver(con), _days(first, end))


def prove_partition(con: Connection, buried: str) -> bool:
    """Roll up a detached partition, and note that its samples are gone; False, and nothing noted, without proof."""
    raw, source = driver(con), sql.Identifier("retention_graveyard", buried)
    if not _prove(raw, source):
        return False
    _note(raw, source, 1)
    return True


def note_removed(con: Connection, rows: Sequence[Removed], *, plan_sha256: str) -> None:
    """Note that samples are gone which lie in the graveyard by now, in the transaction that takes them out."""
    _note(driver(con), buried_samples(plan_sha256, [row.position for row in rows]), 1)


def note_back(con: psycopg.Connection[Any], source: sql.Composable) -> None:
    """Note that samples are there again, in the transaction that brings them back."""
    _note(con, source, -1)


def buried_samples(plan_sha256: str, positions: Sequence[int]) -> sql.Composable:
    """Samples of a plan in the graveyard, as rows."""
    return _BURIED.format(
        grave=sql.Identifier(GRAVES[RAW].name), plan=sql.Literal(plan_sha256), positions=sql.Literal(positions)
    )


def _days(first: date, end: date) -> sql.Composable:
    return _DAYS.format(raw=sql.Identifier(RAW), first=sql.Literal(first), end=sql.Literal(end))


def _prove(con: psycopg.Connection[Any], source: sql.Composable) -> bool:
    _write(con, source)
    row = con.execute(_statement("rollup_unproven").format(source=source)).fetchone()
    return row is not None and row[0] == 0


def _write(con: psycopg.Connection[Any], source: sql.Composable) -> int:
    return con.execute(_statement("rollup_write").format(source=source)).rowcount


def _note(con: psycopg.Connection[Any], source: sql.Composable, sign: int) -> None:
    row = con.execute(_statement("rollup_gone").format(source=source), {"sign": sign}).fetchone()
    if row is None or row[0]:
        raise PlanError(
            f"Windows of samples have no rollup in {ML_PERFORMANCE_ROLLUPS.name}.", hint="Nothing of them was removed."
        )


@cache
def _statement(name: str) -> sql.SQL:
    found = resources.files(__package__).joinpath(f"{name}.sql").read_text(encoding="utf-8")
    return sql.SQL(found)


__all__ = ["RAW", "buried_samples", "note_back", "note_removed", "prove_days", "prove_partition", "roll_up"]
