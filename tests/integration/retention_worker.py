"""One process of the kill tests: `… -m tests.integration.retention_worker DATABASE LAKE STATE VERB PLAN POINT NUMBER`.

Executes or restores a plan and ends itself, as kill -9 would, when the step POINT is done for the NUMBERth time; `-`
ends nowhere. Prints what became of the plan.
"""

import os
import signal
import sys
from collections import Counter
from pathlib import Path

from retention_pipelines.retention.recovery.restore import restore_plan
from retention_pipelines.retention.runs.run import runner
from retention_pipelines.settings import load_settings


def main() -> None:
    database, lake, state, verb, sha256, point, number = sys.argv[1:]
    settings = load_settings({}, database_url=database, lake_root=lake, state_dir=Path(state))
    seen: Counter[str] = Counter()

    def step(name: str) -> None:
        seen[name] += 1
        if name == point and seen[name] == int(number):
            os.kill(os.getpid(), signal.SIGKILL)

    with runner(settings, step=step) as retention:
        if verb == "restore":
            print(restore_plan(retention, sha256))
        else:
            print(retention.execute(sha256, confirm=sha256))
        print(dict(seen))


if __name__ == "__main__":
    main()
