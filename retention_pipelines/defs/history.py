"""Dagster's own history kept within bounds, as an asset with a job. What goes and what stays: `purge.py`."""

from dataclasses import asdict
from datetime import timedelta

import dagster as dg

from retention_pipelines.defs.resources import LakeResource, now

Lakes = dg.ResourceParam[LakeResource]


@dg.asset(
    group_name="retention",
    owners=["team:data-engineering"],
    kinds={"dagster"},
    description="Purges Dagster's own history: log lines, what steps printed, ticks, superseded materializations and "
    "runs beyond the ages of the settings. What is materialized stays known.",
    code_version="1",
)
def dagster_history(context: dg.AssetExecutionContext, lake: Lakes) -> dg.MaterializeResult[None]:
    """Data is never touched."""
    from retention_pipelines.defs.instance import files_dir
    from retention_pipelines.defs.purge import purge_history

    settings = lake.settings
    done = purge_history(
        context.instance,
        files_dir(settings.state_dir) / "storage",
        at=now(),
        log_age=timedelta(days=settings.dagster_log_days),
        run_age=timedelta(days=settings.dagster_run_days),
    )
    return dg.MaterializeResult(
        metadata={**asdict(done), "log_days": settings.dagster_log_days, "run_days": settings.dagster_run_days}
    )


history_job = dg.define_asset_job(
    "purge_history", selection=["dagster_history"], description="Keep Dagster's own history within bounds."
)
ASSETS = (dagster_history,)
JOBS = (history_job,)
