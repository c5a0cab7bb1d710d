"""Schedules, in UTC: what happens even when no file arrives. All run by default.

| schedule | when | why |
|---|---|---|
| hourly_ingest | minute 5 | takes what the sensor missed while no daemon ran, and proves that the way in works |
| hourly_fold | minute 35 | cached features that have settled make room in Postgres |
| daily_online | 05:40 | hot rows follow what was computed by any way, the command line included |
| daily_training_sets | 05:50 | training sets that expired, or whose tables changed, make room on the disk |
| daily_months | 02:10 | recomputes months whose rows came in the last two days by any way, the command line included |
| weekly_compaction | Sunday 03:20 | small files of a week's deliveries are merged when the machine is quiet |
| monthly_climatology | day 1, 04:30 | a new month enters the climatology, the trends and the upwelling frequency |
| monthly_vacuum | day 2, 04:30 | frees the space of files that no version within the undo window needs |
| daily_cleanup | 06:20 | what expired goes when the day's recomputing and loading is done |
| weekly_cleanup | Sunday 07:10 | aggregations, and features kept for a year or more, once the day's cleanup is done |
| monthly_cleanup | day 3, 07:40 | metrics |
| weekly_history | Monday 07:20 | Dagster's own log lines, ticks and old runs |
"""

from collections.abc import Iterator
from datetime import datetime, timedelta

import dagster as dg
from dagster import DefaultScheduleStatus

from retention_pipelines.defs.background import fold_job, online_job, training_sets_job
from retention_pipelines.defs.cleanup import daily_job, monthly_job, weekly_job
from retention_pipelines.defs.history import history_job
from retention_pipelines.defs.jobs import climatology_job, compaction_job, ingest_job, months_job, vacuum_job
from retention_pipelines.defs.partitions import all_keys, key_ranges
from retention_pipelines.defs.resources import LakeResource
from retention_pipelines.defs.statements import late_months

RUNNING = DefaultScheduleStatus.RUNNING
LATE = timedelta(days=2)


def _schedule(job: object, name: str, cron: str, why: str) -> dg.ScheduleDefinition:
    return dg.ScheduleDefinition(
        name=name,
        job=job,  # type: ignore[arg-type]
        cron_schedule=cron,
        execution_timezone="UTC",
        default_status=RUNNING,
        description=why,
    )


hourly_ingest = _schedule(
    ingest_job, "hourly_ingest", "5 * * * *", "Sweeps up what arrived while the sensor was not looking."
)
hourly_fold = _schedule(fold_job, "hourly_fold", "35 * * * *", "Moves cached features that have settled to the lake.")
daily_online = _schedule(
    online_job, "daily_online", "40 5 * * *", "Brings hot rows up to date, however features were computed."
)
daily_training_sets = _schedule(
    training_sets_job,
    "daily_training_sets",
    "50 5 * * *",
    "Frees the space of training sets that expired or whose tables changed.",
)
weekly_compaction = _schedule(
    compaction_job, "weekly_compaction", "20 3 * * 0", "Merges the small files of a week's deliveries."
)
monthly_climatology = _schedule(
    climatology_job, "monthly_climatology", "30 4 1 * *", "A new month enters what depends on all years."
)
monthly_vacuum = _schedule(
    vacuum_job, "monthly_vacuum", "30 4 2 * *", "Frees the space of files nothing within the undo window needs."
)

daily_cleanup = _schedule(
    daily_job, "daily_cleanup", "20 6 * * *", "Expired caches, training sets and low quality; what crashed or is due."
)
weekly_cleanup = _schedule(
    weekly_job, "weekly_cleanup", "10 7 * * 0", "Aggregations, and features that are kept for a year or more."
)
monthly_cleanup = _schedule(monthly_job, "monthly_cleanup", "40 7 3 * *", "Metrics.")
weekly_history = _schedule(
    history_job, "weekly_history", "20 7 * * 1", "Keeps Dagster's own history within the ages of the settings."
)


@dg.schedule(
    job=months_job,
    cron_schedule="10 2 * * *",
    execution_timezone="UTC",
    default_status=RUNNING,
    description="Recomputes the current month and those with rows that came in the last two days.",
)
def daily_months(
    context: dg.ScheduleEvaluationContext, lake: dg.ResourceParam[LakeResource]
) -> Iterator[dg.RunRequest]:
    """Two days overlap, so a night without a daemon loses nothing."""
    at: datetime = context.scheduled_execution_time
    with lake.open() as opened:
        months = late_months(opened, since=at - LATE) | {f"{at:%Y-%m}"}
    for span in key_ranges(months, all_keys(at)):
        yield dg.RunRequest(run_key=f"{at:%Y-%m-%d}:{span.start}:{span.end}", tags=span.tags)


SCHEDULES = (
    hourly_ingest,
    hourly_fold,
    daily_months,
    daily_online,
    daily_training_sets,
    weekly_compaction,
    monthly_climatology,
    monthly_vacuum,
    daily_cleanup,
    weekly_cleanup,
    monthly_cleanup,
    weekly_history,
)
