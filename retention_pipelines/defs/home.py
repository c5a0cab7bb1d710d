"""Which `dagster.yaml` counts, and the start of Dagster's own programs with it.

`python -m retention_pipelines.defs.home webserver|daemon PID …` is `dagster-webserver` or `dagster-daemon` of this
project: same options, the instance found without DAGSTER_HOME, and an end when the process that started it ends.
"""

import os
import signal
import sys
import threading
import time
import warnings
from pathlib import Path

from dagster import BetaWarning, DagsterInstance, DagsterRunStatus, RunsFilter, SupersessionWarning

from retention_pipelines.errors import RetentionError

_FILE = "dagster.yaml"


def instance_folder() -> Path:
    """Folder of the `dagster.yaml` in use: the current folder's, else the packaged one, else the checkout's."""
    own = Path(__file__).resolve()
    for folder in (Path.cwd(), own.parent, own.parents[2]):
        if (folder / _FILE).is_file():
            return folder
    raise RetentionError(
        "There is no dagster.yaml, which says where Dagster keeps its state.",
        hint="Run this in the folder of the project.",
    )


def end_with_parent(parent: int, seconds: float = 1.0) -> None:
    """End this process and what it started, as by SIGTERM, once `parent` is gone.

    A supervisor that is killed cannot stop anything any more; so nothing it started waits to be stopped.
    """

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(seconds)
        if os.getpgrp() == os.getpid():
            os.killpg(os.getpgrp(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="end_with_parent", daemon=True).start()


def end_orphans(instance: DagsterInstance) -> list[str]:
    """Mark runs of an earlier daemon as failed; returns their ids. Call before the only daemon of an instance starts.

    Runs end with the daemon that started them, and Dagster's launcher does not notice: such a run would hold the pool
    of the lake for hours. Failed without a failed step, it is tried once more. Runs of the command line have a process
    of their own and are left alone.
    """
    from retention_pipelines.defs.sensors import LAUNCHED_BY

    found = instance.get_runs(
        RunsFilter(statuses=[DagsterRunStatus.STARTING, DagsterRunStatus.STARTED, DagsterRunStatus.CANCELING])
    )
    orphans = [run for run in found if LAUNCHED_BY not in run.tags]
    for run in orphans:
        instance.report_run_failed(run, "The daemon that started this run was stopped while it ran.")
    return [run.run_id for run in orphans]


def main(arguments: list[str]) -> None:
    """Become the named program of Dagster; the second argument is the process that looks after it."""
    program, parent, *rest = arguments
    end_with_parent(int(parent))
    folder = instance_folder()
    os.environ["DAGSTER_HOME"] = str(folder)
    # The same name of the code location as `dagster dev -w workspace.yaml` gives it: sensors remember under it.
    sys.argv = [f"dagster-{program}", *rest, "--workspace", str(folder / "workspace.yaml")]
    # Dagster marks partitions and freshness as beta; that belongs in our notes, not in every log.
    warnings.filterwarnings("ignore", category=BetaWarning)
    warnings.filterwarnings("ignore", category=SupersessionWarning)
    if program == "webserver":
        from dagster_webserver.cli import main as start
    else:
        from dagster._daemon.cli import main as start

        with DagsterInstance.from_config(str(folder)) as instance:
            end_orphans(instance)
    start()  # type: ignore[no-untyped-call]


if __name__ == "__main__":
    main(sys.argv[1:])
