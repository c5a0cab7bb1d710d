"""A Dagster run that kill -9 ends: `… -m ….dagster_cleanup_worker HOME DATABASE LAKE STATE POLICY POINT`.

Materializes the asset of a policy, as `daily_cleanup` does, against the instance of the folder HOME, and ends itself
when the step POINT of its retention run is done.
"""

import os
import signal
import sys
from pathlib import Path
from typing import Any

import dagster as dg

from retention_pipelines.definitions import build_definitions
from retention_pipelines.retention.runs import run as module
from retention_pipelines.settings import load_settings


def main() -> None:
    home, database, lake, state, policy, point = sys.argv[1:]
    settings = load_settings({}, database_url=database, lake_root=lake, state_dir=Path(state))
    opened = module.runner

    def step(name: str) -> None:
        if name == point:
            os.kill(os.getpid(), signal.SIGKILL)

    def ending(*given: Any, **named: Any) -> Any:
        return opened(*given, **named, step=step)

    # The asset asks this module for it when it runs.
    module.runner = ending
    job = build_definitions(settings).resolve_job_def("daily_cleanup")
    with dg.DagsterInstance.from_config(home) as instance:
        job.execute_in_process(instance=instance, asset_selection=[dg.AssetKey(policy)])


if __name__ == "__main__":
    main()
