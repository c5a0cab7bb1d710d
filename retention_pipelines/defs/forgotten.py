"""Dagster forgets partitions whose rows retention or an erasure removed, and remembers those that were brought back.

Otherwise its page shows months as there that are gone, and "materialize missing" never offers them again. Dagster has
no way of its own to forget single partitions on these storages; what it keeps of them are rows of its event log, so
this is the one module that changes those (tests/integration/test_dagster_cleanup.py holds it to the installed version).
The page of an old run still shows what it materialized then.
"""

from collections.abc import Sequence
from datetime import datetime

import dagster as dg
import sqlalchemy as db
from dagster._core.events import AssetWipedData, DagsterEvent, DagsterEventType
from dagster._core.instance.utils import RUNLESS_JOB_NAME, RUNLESS_RUN_ID
from dagster._core.storage.event_log.schema import AssetEventTagsTable, AssetKeyTable
from dagster._core.storage.event_log.schema import SqlEventLogStorageTable as Events
from dagster._core.storage.event_log.sql_event_log import SqlEventLogStorage

from retention_pipelines.defs.described import rows_by_key
from retention_pipelines.defs.partitions import key_of
from retention_pipelines.defs.resources import partition_keys
from retention_pipelines.errors import PlanError
from retention_pipelines.retention.actions.act_lake import commit_of
from retention_pipelines.retention.actions.removals import Removal, erasures, removals
from retention_pipelines.retention.policies.governed import GOVERNED
from retention_pipelines.retention.runs.run import Runner
from retention_pipelines.warehouse.table import Table

# Datasets whose assets have a partition per month.
BY_MONTH = ("occurrences", "observations", "feature_store", "aggregated_time_series", "biodiversity_statistics")
FORGOTTEN, RETURNED = "retention/forgotten_after_plan", "retention/returned_after_plan"
_KINDS = (DagsterEventType.ASSET_MATERIALIZATION.value, DagsterEventType.ASSET_MATERIALIZATION_PLANNED.value)
_AT_ONCE = 500


def settle_partitions(instance: dg.DagsterInstance, runner: Runner, dataset: str) -> tuple[str, ...]:
    """Make Dagster's partitions of a dataset agree with the lake after retention or erasures; returns those forgotten.

    Looks at plans and orders on record and at the lake as it is, so it makes up for a crash between a removal and
    this, and for the command line. A month without rows that no plan touched is left alone.
    """
    one = GOVERNED.get(dataset)
    table = dataset if one is None else one.table
    if table not in BY_MONTH or (one is not None and one.archived):
        return ()
    key, lake, engine = dg.AssetKey(table), runner.planner.lake, runner.planner.engine
    plans = sorted((*removals(engine, dataset), *erasures(engine, table)), key=lambda plan: plan.began_at)
    touched = {name for plan in plans for name in _keys_of(plan)}
    if not touched:
        return ()
    last = {name: plan for plan in plans if not plan.is_restored for name in _keys_of(plan)}
    held = set(instance.get_materialized_partitions(key))
    # Before the lake is looked at: what a run materializes meanwhile has rows that were not seen, and stays.
    seen = instance.event_log_storage.get_maximum_record_id() or 0
    rows = rows_by_key(lake, table, sorted(touched))
    empty = [name for name in last if name in held and not rows[name]]
    went = {plan.plan_sha256: _went_at(lake.table(table), plan) for plan in {last[name] for name in empty}}
    gone = [name for name in empty if not _made_since(instance, key, name, went[last[name].plan_sha256])]
    for plan in {last[name].plan_sha256: last[name] for name in gone}.values():
        mine = sorted(name for name in gone if last[name].plan_sha256 == plan.plan_sha256)
        forget_partitions(instance, key, mine, plan_sha256=plan.plan_sha256, seen=seen, order=plan.order)
    _remember(instance, key, sorted(name for name in touched if name not in held and rows[name]))
    return tuple(sorted(gone))


def forget_partitions(
    instance: dg.DagsterInstance,
    key: dg.AssetKey,
    partitions: Sequence[str],
    *,
    plan_sha256: str,
    seen: int,
    order: int | None = None,
) -> int:
    """Take materializations of partitions out of an asset's history; returns how many events that were.

    `order` is the erasure that took their rows, where it was none of retention. Events after number `seen` stay. All in
    one transaction, the cached state of the asset included: a crash leaves either all of it or nothing.
    """
    storage = instance.event_log_storage
    if not isinstance(storage, SqlEventLogStorage):
        raise TypeError("Dagster's events are kept in a database")
    why, how = "Retention removed its rows.", {"restore": f"retention restore --plan {plan_sha256}"}
    if order is not None:
        why, how = "An erasure removed its rows.", {"certificate": f"retention erase --certificate {order}"}
    for name in partitions:
        # First, so that what is forgotten is known to have been: a crash between leaves it to be done again.
        instance.report_runless_asset_event(
            dg.AssetObservation(
                key,
                partition=name,
                description=why,
                metadata={FORGOTTEN: plan_sha256, **how},
            )
        )
    changed = 0
    with storage.index_transaction() as con:
        for start in range(0, len(partitions), _AT_ONCE):
            where = db.and_(
                Events.c.id <= seen,
                Events.c.asset_key == key.to_string(),
                Events.c.partition.in_(partitions[start : start + _AT_ONCE]),
                Events.c.dagster_event_type.in_(_KINDS),
            )
            numbers = db.select(Events.c.id).where(where)
            con.execute(db.delete(AssetEventTagsTable).where(AssetEventTagsTable.c.event_id.in_(numbers)))
            changed += con.execute(db.update(Events).where(where).values(asset_key=None, partition=None)).rowcount
        con.execute(
            db.update(AssetKeyTable).where(AssetKeyTable.c.asset_key == key.to_string()).values(cached_status_data=None)
        )
    instance.report_dagster_event(
        DagsterEvent(
            event_type_value=DagsterEventType.ASSET_WIPED.value,
            event_specific_data=AssetWipedData(asset_key=key, partition_keys=list(partitions)),
            job_name=RUNLESS_JOB_NAME,
        ),
        run_id=RUNLESS_RUN_ID,
    )
    return changed


def _remember(instance: dg.DagsterInstance, key: dg.AssetKey, partitions: Sequence[str]) -> None:
    """Partitions that were forgotten and have rows again, because somebody brought them back, are there again."""
    if not partitions:
        return
    found = instance.fetch_observations(
        dg.AssetRecordsFilter(asset_key=key, asset_partitions=list(partitions)), limit=10 * len(partitions)
    )
    for record in found.records:
        observation = record.event_log_entry.asset_observation
        name = record.partition_key
        if observation is None or name not in partitions or FORGOTTEN not in observation.metadata:
            continue
        partitions = [other for other in partitions if other != name]
        instance.report_runless_asset_event(
            dg.AssetMaterialization(
                key,
                partition=name,
                description="It holds rows again.",
                metadata={RETURNED: observation.metadata[FORGOTTEN]},
            )
        )


def _keys_of(plan: Removal) -> set[str]:
    """Partition keys of the months a plan took rows from; of a year, all its months: the rows say which are empty."""
    every = partition_keys()
    months: set[str] = set()
    for name in plan.partitions:
        place = dict(part.partition("=")[::2] for part in name.split("/"))
        if "month" in place:
            months.add(place["month"])
        elif "year" in place:
            months |= {f"{place['year']}-{number:02d}" for number in range(1, 13)}
    return {key_of(month, every) for month in months}


def _went_at(table: Table, plan: Removal) -> datetime:
    """When a plan's rows went. A run that was killed may have gone on days after it began; the log forgets in 30."""
    try:
        entry = commit_of(table, plan.plan_sha256)
    except PlanError:
        return plan.began_at
    return plan.began_at if entry is None else entry.committed_at


def _made_since(instance: dg.DagsterInstance, key: dg.AssetKey, partition: str, went_at: datetime) -> bool:
    """Whether a partition was materialized after its rows went: then it is as that run left it."""
    found = instance.fetch_materializations(
        dg.AssetRecordsFilter(asset_key=key, asset_partitions=[partition], after_timestamp=went_at.timestamp()),
        limit=1,
    )
    return bool(found.records)
