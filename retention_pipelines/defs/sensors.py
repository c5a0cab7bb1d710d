"""Sensors: files that arrive, months they touch, and what depends on all years.

Chain: `landing_folder` -> job ingest -> `touched_months` -> job months -> `settled_months` -> job climatology.
All run by default: whoever starts the daemon wants files that arrive to be processed. A run that the command line
started looks after its own followers and carries the tag `retention/launched_by`.
"""

import hashlib
import json
from collections.abc import Iterator

import dagster as dg
from dagster import DagsterEventType, DagsterRunStatus, DefaultSensorStatus, RunsFilter

from retention_pipelines.defs.jobs import climatology_job, ingest_job, months_job
from retention_pipelines.defs.landing import complete_entries, entries
from retention_pipelines.defs.partitions import key_ranges
from retention_pipelines.defs.resources import RAW_BY_MONTH, LakeResource, partition_keys

LAUNCHED_BY = "retention/launched_by"
UNFINISHED = [
    DagsterRunStatus.QUEUED,
    DagsterRunStatus.NOT_STARTED,
    DagsterRunStatus.STARTING,
    DagsterRunStatus.STARTED,
]


@dg.sensor(
    job=ingest_job,
    minimum_interval_seconds=10,
    default_status=DefaultSensorStatus.RUNNING,
    description="Asks for an ingest when files in the landing folder have stopped changing.",
)
def landing_folder(
    context: dg.SensorEvaluationContext, lake: dg.ResourceParam[LakeResource]
) -> dg.SensorResult | dg.SkipReason:
    """Complete is what looks the same in two ticks; the run key is its content, so one delivery asks once."""
    before: dict[str, str] = json.loads(context.cursor or "{}")
    current = entries(lake.settings.landing_dir)
    signatures = {name: entry.signature for name, entry in current.items()}
    complete = complete_entries(before, current)
    cursor = json.dumps(signatures, sort_keys=True)
    if not complete:
        reason = f"{len(current)} entries still changing or new." if current else "Nothing in the landing folder."
        return dg.SensorResult(skip_reason=reason, cursor=cursor)
    delivery = "\n".join(f"{name}\t{entry.signature}" for name, entry in sorted(complete.items()))
    key = hashlib.sha256(delivery.encode()).hexdigest()[:32]
    return dg.SensorResult(
        run_requests=[dg.RunRequest(run_key=key, tags={"retention/landing_entries": str(len(complete))})],
        cursor=cursor,
    )


def touched_months_of(context: dg.RunStatusSensorContext) -> set[str] | None:
    """Event months an ingest run wrote rows of, as its materialization says; None for runs of other kinds."""
    logs = context.instance.all_logs(context.dagster_run.run_id, of_type=DagsterEventType.ASSET_MATERIALIZATION)
    for entry in logs:
        materialization = entry.asset_materialization
        if materialization is not None and materialization.asset_key == dg.AssetKey("ingested_files"):
            months = json.loads(str(materialization.metadata["touched_months"].value))
            return {month for name in RAW_BY_MONTH for month in months[name]}
    return None


@dg.run_status_sensor(
    run_status=DagsterRunStatus.SUCCESS,
    request_jobs=[months_job],
    minimum_interval_seconds=5,
    default_status=DefaultSensorStatus.RUNNING,
    description="After an ingest, asks for just the months it touched, in few runs.",
)
def touched_months(context: dg.RunStatusSensorContext) -> Iterator[dg.RunRequest | dg.SkipReason]:
    """A failed ingest, for instance by a blocking check, asks for nothing."""
    if LAUNCHED_BY in context.dagster_run.tags:
        yield dg.SkipReason("The command line looks after what follows its own runs.")
        return
    months = touched_months_of(context)
    if not months:
        yield dg.SkipReason("Not an ingest, or no new rows.")
        return
    for span in key_ranges(months, partition_keys()):
        yield dg.RunRequest(
            job_name=months_job.name, run_key=f"{context.dagster_run.run_id}:{span.start}:{span.end}", tags=span.tags
        )


@dg.run_status_sensor(
    run_status=DagsterRunStatus.SUCCESS,
    monitored_jobs=[months_job],
    request_job=climatology_job,
    minimum_interval_seconds=5,
    default_status=DefaultSensorStatus.RUNNING,
    description="After the last of the waiting month runs, asks once for what depends on all years.",
)
def settled_months(context: dg.RunStatusSensorContext) -> dg.RunRequest | dg.SkipReason:
    """While more month runs wait, the last of them will ask."""
    if LAUNCHED_BY in context.dagster_run.tags:
        return dg.SkipReason("The command line looks after what follows its own runs.")
    for job in (ingest_job, months_job, climatology_job):
        waiting = [DagsterRunStatus.QUEUED] if job is climatology_job else UNFINISHED
        if context.instance.get_runs_count(RunsFilter(job_name=job.name, statuses=waiting)):
            return dg.SkipReason(f"A run of {job.name} is still to come.")
    return dg.RunRequest(run_key=context.dagster_run.run_id)


SENSORS = (landing_folder, touched_months, settled_months)
