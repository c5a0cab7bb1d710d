"""A worker process for tests: `queue_worker.py <settings as json> <what>`.

`process` works off the queue as `retention queue work` does, and says in a folder when it is in the middle of it;
`poison` kills itself with signal 9 while it works on a study whose name says so.
"""

import json
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from retention_pipelines.integration.work_queue import Claimed, WorkQueue
from retention_pipelines.integration.worker import Work, Worker, study_work
from retention_pipelines.settings import Settings, load_settings


def slowly(settings: Settings, folder: Path) -> Work:
    """The work of studies, done, and then a long sleep before it can be reported: whoever kills it, kills it here."""
    work = study_work(settings)

    def do(jobs: Sequence[Claimed]) -> dict[int, str]:
        failed = work(jobs)
        (folder / "worked").touch()
        time.sleep(60)
        return failed

    return do


def poisoned(jobs: Sequence[Claimed]) -> dict[int, str]:
    """Dies of a study named poison."""
    if any("poison" in job.subject for job in jobs):
        os.kill(os.getpid(), signal.SIGKILL)
    return {}


def main() -> None:
    settings = load_settings({}, **json.loads(sys.argv[1]))
    with WorkQueue(settings) as queue:
        work = poisoned if sys.argv[2] == "poison" else slowly(settings, Path(sys.argv[3]))
        Worker(queue, work, first_retry_seconds=0).work_off()


if __name__ == "__main__":
    main()
