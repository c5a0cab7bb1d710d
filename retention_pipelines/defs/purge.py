"""Dagster's own history kept within bounds: what nobody looks at any more goes, what is materialized stays known.

Dagster has no setting for this, and deleting a run by its own means makes it forget what the run materialized. So
this deletes rows of its tables. Of finished runs older than `dagster_log_days`: log lines (not events of assets), what
steps printed, and ticks. Older than `dagster_run_days`: materializations that a later one of the same partition has
superseded, checks likewise, and runs that nothing left refers to. The latest materialization and the latest attempt of
every asset and partition stay, however old. Ticks that Dagster removes itself are in `dagster.yaml`. The asset and
its job are in `history.py`, so that loading them needs none of what this imports.
"""

import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import dagster as dg
import sqlalchemy as db
from dagster._core.events import ASSET_CHECK_EVENTS, ASSET_EVENTS, DagsterEventType
from dagster._core.instance.utils import RUNLESS_RUN_ID
from dagster._core.storage.dagster_run import FINISHED_STATUSES
from dagster._core.storage.event_log.schema import (
    AssetCheckExecutionsTable as Checks,
)
from dagster._core.storage.event_log.schema import (
    AssetEventTagsTable,
    AssetKeyTable,
)
from dagster._core.storage.event_log.schema import (
    SqlEventLogStorageTable as Events,
)
from dagster._core.storage.event_log.sql_event_log import SqlEventLogStorage
from dagster._core.storage.runs.schema import RunsTable as Runs
from dagster._core.storage.runs.schema import RunTagsTable as RunTags
from dagster._core.storage.runs.sql_run_storage import SqlRunStorage
from dagster._core.storage.schedules.schema import JobTickTable as Ticks
from dagster._core.storage.schedules.sql_schedule_storage import SqlScheduleStorage

_ENDS = (DagsterEventType.RUN_START, DagsterEventType.RUN_SUCCESS, DagsterEventType.RUN_FAILURE)
# What the pages of assets and the list of runs show.
_KEPT = sorted({kind.value for kind in (*ASSET_EVENTS, *ASSET_CHECK_EVENTS, *_ENDS)})
_SUPERSEDED = sorted(kind.value for kind in ASSET_EVENTS)
_AT_ONCE = 500
_RUN_FOLDER = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@dataclass(frozen=True, kw_only=True)
class Purged:
    """How much went."""

    log_lines: int
    superseded_events: int
    checks: int
    runs: int
    ticks: int
    log_folders: int
    log_bytes: int


def purge_history(
    instance: dg.DagsterInstance, logs: Path, *, at: datetime, log_age: timedelta, run_age: timedelta
) -> Purged:
    """Purge what is older than the ages; `logs` is the folder of what steps printed. Running runs are left alone.

    Every step is a statement or a folder that can be done again: a crash anywhere and another call is one clean purge.
    """
    events, runs, ticks = instance.event_log_storage, instance.run_storage, instance.schedule_storage
    if not (
        isinstance(events, SqlEventLogStorage)
        and isinstance(runs, SqlRunStorage)
        and isinstance(ticks, SqlScheduleStorage)
    ):
        raise TypeError("Dagster's history is kept in a database")
    quiet = _finished(runs, before=at - log_age)
    lines = sum(_delete_lines(events, some) for some in _chunks(quiet))
    folders, size = _delete_folders(logs, quiet, _all_runs(runs), before=at - log_age)
    superseded = _delete_superseded(events, before=at - run_age)
    checks = _delete_checks(events, before=at - run_age)
    old = _finished(runs, before=at - run_age)
    needed = _referenced(events)
    unreferenced = [name for name in old if name not in needed]
    for some in _chunks(unreferenced):
        with events.index_transaction() as con:
            con.execute(db.delete(Events).where(Events.c.run_id.in_(some)))
        with runs.connect() as con:
            con.execute(db.delete(RunTags).where(RunTags.c.run_id.in_(some)))
            con.execute(db.delete(Runs).where(Runs.c.run_id.in_(some)))
    return Purged(
        log_lines=lines,
        superseded_events=superseded,
        checks=checks,
        runs=len(unreferenced),
        ticks=_delete_ticks(ticks, before=at - log_age),
        log_folders=folders,
        log_bytes=size,
    )


def _chunks(names: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(names), _AT_ONCE):
        yield names[start : start + _AT_ONCE]


def _finished(runs: SqlRunStorage, *, before: datetime) -> list[str]:
    """Runs that ended before an instant; of those that never began, the last change counts."""
    ended = db.func.coalesce(Runs.c.end_time, db.extract("epoch", Runs.c.update_timestamp))
    query = db.select(Runs.c.run_id).where(
        Runs.c.status.in_([status.value for status in FINISHED_STATUSES]), ended < before.timestamp()
    )
    with runs.connect() as con:
        return [row[0] for row in con.execute(query.order_by(Runs.c.id))]


def _all_runs(runs: SqlRunStorage) -> set[str]:
    with runs.connect() as con:
        return {row[0] for row in con.execute(db.select(Runs.c.run_id))}


def _delete_lines(events: SqlEventLogStorage, some: Sequence[str]) -> int:
    kind = Events.c.dagster_event_type
    with events.index_transaction() as con:
        return con.execute(
            db.delete(Events).where(Events.c.run_id.in_(some), db.or_(kind.is_(None), kind.not_in(_KEPT)))
        ).rowcount


def _delete_superseded(events: SqlEventLogStorage, *, before: datetime) -> int:
    """Events of assets of which a later one of the same kind, asset and partition is there."""
    newest = (
        db.select(db.func.max(Events.c.id))
        .where(Events.c.dagster_event_type.in_(_SUPERSEDED), Events.c.asset_key.is_not(None))
        .group_by(Events.c.dagster_event_type, Events.c.asset_key, Events.c.partition)
    )
    # Stored without a time zone, in UTC.
    old = db.and_(
        Events.c.dagster_event_type.in_(_SUPERSEDED),
        Events.c.timestamp < before.replace(tzinfo=None),
        db.or_(Events.c.asset_key.is_(None), Events.c.id.not_in(newest)),
    )
    with events.index_connection() as con:
        numbers = [row[0] for row in con.execute(db.select(Events.c.id).where(old))]
    # What is superseded stays so, whatever is written in between.
    for start in range(0, len(numbers), _AT_ONCE):
        some = numbers[start : start + _AT_ONCE]
        with events.index_transaction() as con:
            con.execute(db.delete(AssetEventTagsTable).where(AssetEventTagsTable.c.event_id.in_(some)))
            con.execute(db.delete(Events).where(Events.c.id.in_(some)))
    return len(numbers)


def _delete_checks(events: SqlEventLogStorage, *, before: datetime) -> int:
    """Executions of checks that a later one of the same check has superseded."""
    newest = db.select(db.func.max(Checks.c.id)).group_by(Checks.c.asset_key, Checks.c.check_name, Checks.c.partition)
    with events.index_transaction() as con:
        return con.execute(
            db.delete(Checks).where(Checks.c.create_timestamp < before.replace(tzinfo=None), Checks.c.id.not_in(newest))
        ).rowcount


def _referenced(events: SqlEventLogStorage) -> set[str]:
    """Runs whose events tell what is materialized, or what a check found: their pages must open."""
    queries = (
        db.select(Events.c.run_id).where(Events.c.asset_key.is_not(None)).distinct(),
        db.select(AssetKeyTable.c.last_run_id).where(AssetKeyTable.c.last_run_id.is_not(None)),
        db.select(Checks.c.run_id).distinct(),
    )
    with events.index_connection() as con:
        return {row[0] for query in queries for row in con.execute(query)} | {RUNLESS_RUN_ID}


def _delete_ticks(ticks: SqlScheduleStorage, *, before: datetime) -> int:
    """Ticks of schedules and sensors, those that are not there any more included; the last of each stays."""
    newest = db.select(db.func.max(Ticks.c.id)).group_by(Ticks.c.selector_id)
    with ticks.connect() as con:
        return con.execute(
            db.delete(Ticks).where(Ticks.c.timestamp < before.replace(tzinfo=None), Ticks.c.id.not_in(newest))
        ).rowcount


def _delete_folders(logs: Path, quiet: Sequence[str], known: set[str], *, before: datetime) -> tuple[int, int]:
    """Folders of what steps of those runs printed, and of runs nobody knows any more; returns folders and bytes."""
    count, size = 0, 0
    done = set(quiet)
    for folder in sorted(logs.iterdir()) if logs.is_dir() else ():
        if not _RUN_FOLDER.fullmatch(folder.name) or folder.is_symlink():
            continue
        forgotten = folder.name not in known and folder.stat().st_mtime < before.timestamp()
        if folder.name in done or forgotten:
            size += sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
            shutil.rmtree(folder)
            count += 1
    return count, size
