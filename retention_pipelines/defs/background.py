"""What Dagster does behind the caches and for single studies: folding, hot rows, training sets, queued studies.

What belongs here: assets, jobs and sensors of one call each. What does not: what they do: `cache.fold`,
`features.hot_rows`, `cache.training`, `integration.worker`. The database is that of the settings.
"""

import dagster as dg
from dagster import DagsterRunStatus, DefaultSensorStatus, MetadataValue, RunsFilter

from retention_pipelines.defs.described import Result, catalog_asset, result
from retention_pipelines.defs.jobs import FOLD, JOB_ASSETS, months_job
from retention_pipelines.defs.resources import LakeResource
from retention_pipelines.errors import RetentionError

Lakes = dg.ResourceParam[LakeResource]
UNFINISHED = [
    DagsterRunStatus.QUEUED,
    DagsterRunStatus.NOT_STARTED,
    DagsterRunStatus.STARTING,
    DagsterRunStatus.STARTED,
]


@catalog_asset("cached_features", deps=(), code_version="1")
def cached_features(context: dg.AssetExecutionContext, lake: Lakes) -> Result:
    """Cached features that have settled in Postgres; what the lake holds already, Postgres lets go of."""
    from retention_pipelines.cache.fold import fold
    from retention_pipelines.postgres.server import open_server

    with open_server(lake.settings) as server, lake.open() as opened:
        done = fold(opened, server)
        figures = {"rows_added": done.rows_added, "rows_released": done.rows_released}
        return result(context, opened, "cached_features", extra=figures)


@dg.asset(
    deps=["feature_store"],
    group_name="features",
    kinds={"postgres"},
    owners=["team:ml-engineering"],
    code_version="1",
    pool="lake",
    description="Hot rows of the feature store in Postgres: what FeatureStore.online reads.",
)
def online_features(context: dg.AssetExecutionContext, lake: Lakes) -> dg.MaterializeResult[None]:
    """Only what changed in the lake since the last load is read and written."""
    from retention_pipelines.features.hot_rows import load_hot_rows
    from retention_pipelines.postgres.seal import Seal
    from retention_pipelines.postgres.secret import load_secret
    from retention_pipelines.postgres.server import open_server

    settings = lake.settings
    with open_server(settings) as server, lake.open() as opened:
        done = load_hot_rows(opened, server, tenant=settings.tenant, seal=Seal(load_secret(settings)))
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": done.rows_held,
            "rows_written": done.rows_written,
            "lake_version": done.lake_version,
            "by_type": MetadataValue.json({one.feature_type: one.how for one in done.types}),
        }
    )


@dg.op(description="Free the space of cached training sets that may not be used any more.")
def clean_training_sets(context: dg.OpExecutionContext, lake: Lakes) -> None:
    """What is younger than a day stays."""
    from retention_pipelines.retention.actions.act_training import clean_sets

    freed = clean_sets(lake.settings)
    context.log.info(
        "a legal hold on training sets is open: nothing freed" if freed is None else f"{freed} bytes freed"
    )


@dg.job(name="training_sets", description="Look after the files of cached training sets.")
def training_sets_job() -> None:
    """One step: cleaning."""
    clean_training_sets()


@dg.op(description="Do what is due in the queue of studies.", pool="lake")
def work_off_studies(context: dg.OpExecutionContext, lake: Lakes) -> None:
    """A job that fails is written down in the queue, not in the run."""
    from retention_pipelines.integration.work_queue import WorkQueue
    from retention_pipelines.integration.worker import Worker, study_work

    with WorkQueue(lake.settings) as queue:
        done = Worker(queue, study_work(lake.settings)).work_off()
    context.log.info(f"{len(done.done)} done, {len(done.again)} to be tried again, {len(done.dead)} given up")


@dg.job(name="process_studies", description="Features and series of the studies in the queue.")
def process_studies_job() -> None:
    """One step: the worker takes what is due together."""
    work_off_studies()


fold_job = dg.define_asset_job(
    FOLD, selection=list(JOB_ASSETS[FOLD]), description="Move cached features that have settled to the lake."
)
online_job = dg.define_asset_job(
    "online", selection=["online_features"], description="Bring the hot rows of the feature store up to date."
)


@dg.sensor(
    job=process_studies_job,
    minimum_interval_seconds=10,
    default_status=DefaultSensorStatus.RUNNING,
    description="Asks for a worker when studies wait in the queue.",
)
def queued_studies(context: dg.SensorEvaluationContext, lake: Lakes) -> dg.RunRequest | dg.SkipReason:
    """One run at a time: a worker takes all there is."""
    from retention_pipelines.integration.work_queue import WorkQueue

    if context.instance.get_runs_count(RunsFilter(job_name=process_studies_job.name, statuses=UNFINISHED)):
        return dg.SkipReason("A worker is on its way.")
    try:
        with WorkQueue(lake.settings) as queue:
            due = queue.due()
    except RetentionError as error:
        return dg.SkipReason(f"The queue cannot be read: {error.message}")
    return dg.RunRequest() if due else dg.SkipReason("Nothing is due.")


@dg.run_status_sensor(
    run_status=DagsterRunStatus.SUCCESS,
    monitored_jobs=[months_job, process_studies_job],
    request_job=online_job,
    minimum_interval_seconds=5,
    default_status=DefaultSensorStatus.RUNNING,
    description="After features were computed, brings their hot rows up to date.",
)
def computed_features(context: dg.RunStatusSensorContext) -> dg.RunRequest | dg.SkipReason:
    """While more month runs wait, the last of them will ask."""
    if context.instance.get_runs_count(RunsFilter(job_name=months_job.name, statuses=UNFINISHED)):
        return dg.SkipReason("A run of months is still to come.")
    return dg.RunRequest(run_key=context.dagster_run.run_id)


ASSETS = (cached_features, online_features)
JOBS = (fold_job, online_job, process_studies_job, training_sets_job)
SENSORS = (queued_studies, computed_features)
