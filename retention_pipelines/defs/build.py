"""The one place that puts the Dagster objects together, in flow order.

What belongs here: lists and the settings they run with. What does not: any definition of its own; those live in one
file per station beside this module.
"""

import dagster as dg

from retention_pipelines.defs import (
    background,
    checks,
    cleanup,
    features,
    history,
    jobs,
    pressure,
    previews,
    schedules,
    sensors,
    series,
    serving,
    sources,
)
from retention_pipelines.defs.progress import progress_logger
from retention_pipelines.defs.resources import LakeResource
from retention_pipelines.settings import Settings


def build(settings: Settings) -> dg.Definitions:
    """Everything Dagster knows of this project; nothing is opened, started or read."""
    return dg.Definitions(
        assets=[
            *sources.ASSETS,
            *features.ASSETS,
            *background.ASSETS,
            *series.ASSETS,
            *serving.ASSETS,
            *cleanup.ASSETS,
            *pressure.ASSETS,
            *previews.ASSETS,
            *history.ASSETS,
        ],
        asset_checks=checks.build_checks(),
        jobs=[*jobs.JOBS, *background.JOBS, *cleanup.JOBS, *pressure.JOBS, *previews.JOBS, *history.JOBS],
        schedules=schedules.SCHEDULES,
        sensors=[*sensors.SENSORS, *background.SENSORS, *pressure.SENSORS, *previews.SENSORS],
        resources={"lake": LakeResource(settings)},
        # A process per step would import everything again for each; runs are what is spread over machines.
        executor=dg.in_process_executor,
        loggers={"console": dg.colored_console_logger, "progress": progress_logger},
    )
