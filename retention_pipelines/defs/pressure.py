"""When storage runs short: a sensor that measures, and an asset that executes what pressure plans.

What belongs here: asking `retention.pressure` and executing the plans it makes, which are guarded like all others. What
does not: how short is short, what may go early, and how much (`retention.pressure`, `retention.pressure_plan`).
"""

from collections.abc import Iterator

import dagster as dg
from dagster import DefaultSensorStatus, MetadataValue, RunsFilter, TableRecord

from retention_pipelines.defs.background import UNFINISHED
from retention_pipelines.defs.cleanup import CLEANUP_TAGS, GROUP, OWNERS, actor, is_meant
from retention_pipelines.defs.resources import LakeResource, now
from retention_pipelines.errors import RetentionError

Lakes = dg.ResourceParam[LakeResource]


# Not in the pool of the lake: a run that writes there could be waiting for space. Cleanups still go one after another.
@dg.asset(
    group_name=GROUP,
    owners=OWNERS,
    description="How full the disks are and how large the datasets. Where they must give something back: sweeps what "
    "is due, then executes the plans that pressure makes, of what policies let go, by lowest value per byte.",
    code_version="1",
    output_required=False,
)
def storage_pressure(context: dg.AssetExecutionContext, lake: Lakes) -> Iterator[dg.MaterializeResult[None]]:
    """A plan that is refused does not keep the others from being executed; then this fails with every reason."""
    from retention_pipelines.defs.forgotten import settle_partitions
    from retention_pipelines.defs.outcomes import fail, failing_visibly, outcomes_table
    from retention_pipelines.retention.pressure.plan import plan_relief
    from retention_pipelines.retention.pressure.state import measure_with
    from retention_pipelines.retention.runs.run import runner

    if not is_meant(context):
        return
    settings, who = lake.settings, actor(context.run.run_id)
    outcomes, errors = {}, {}
    with failing_visibly(), runner(settings) as opened:
        state = measure_with(opened.planner.engine, opened.planner.lake, settings)
        if state.is_acting or state.is_waiting:
            opened.sweep(actor=who)
            state = measure_with(opened.planner.engine, opened.planner.lake, settings)
        for dataset, plan in plan_relief(opened.planner, settings, state).items() if state.is_acting else ():
            opened.store.save(plan, created_by=who)
            try:
                outcomes[dataset] = opened.execute(plan.sha256, actor=who)
                settle_partitions(context.instance, opened, dataset)
            except RetentionError as error:
                errors[dataset] = error
        after = measure_with(opened.planner.engine, opened.planner.lake, settings)
    sizes = [
        TableRecord(
            {
                "dataset": one.dataset,
                "bytes": one.size_bytes,
                "budget": "none" if one.budget_bytes is None else f"{one.budget_bytes:,}",
                "over": one.over_bytes,
            }
        )
        for one in after.sizes
    ]
    told = outcomes_table(outcomes) | {
        "before": state.reason,
        "after": after.reason,
        "level": after.level.value,
        "used_share": "unknown" if after.used_share is None else after.used_share,
        "sizes": MetadataValue.table(sizes),
    }
    if errors:
        raise fail(errors, told)
    yield dg.MaterializeResult(metadata=told)


relief_job = dg.define_asset_job(
    "relieve_pressure",
    selection=["storage_pressure"],
    description="Give back what short storage needs, of what policies let go.",
    tags=CLEANUP_TAGS,
)


@dg.sensor(
    job=relief_job,
    minimum_interval_seconds=60,
    default_status=DefaultSensorStatus.RUNNING,
    description="Asks for relief when a disk is fuller than its high mark, also where only a grace has to end, or a "
    "dataset larger than its budget.",
)
def storage_pressure_high(context: dg.SensorEvaluationContext, lake: Lakes) -> dg.RunRequest | dg.SkipReason:
    """The run key is what is short and the hour: what did not help is tried again in an hour, a worse state at once."""
    from retention_pipelines.retention.pressure.state import measure

    if lake.settings.mode != "full":
        return dg.SkipReason("The mode is read_only: nothing can be removed.")
    try:
        state = measure(lake.settings)
    except RetentionError as error:
        return dg.SkipReason(f"Storage cannot be measured: {error.message}")
    if not state.is_acting and not state.is_waiting:
        return dg.SkipReason(state.reason)
    if context.instance.get_runs_count(RunsFilter(job_name=relief_job.name, statuses=UNFINISHED)):
        return dg.SkipReason(f"Relief is on its way. {state.reason}")
    key = f"pressure:{state.level.value}:{','.join(sorted(state.datasets))}:{now():%Y-%m-%dT%H}"
    return dg.RunRequest(run_key=key, tags={"retention/pressure": state.level.value})


ASSETS = (storage_pressure,)
JOBS = (relief_job,)
SENSORS = (storage_pressure_high,)
