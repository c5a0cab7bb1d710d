"""Many runs without many starts: a process that has imported everything and forks a child for each run.

`python -m tests.integration.retention_zygote`, then a line `DATABASE LAKE COLD STATE VERB PLAN` per run on its input.
A plan is executed, restored, or swept before its grace is over.
The child waits for the line `go`, so that strace can take hold of it first; its end is printed as a status.
"""

import os
import sys
import traceback
from pathlib import Path

from retention_pipelines.retention.recovery.restore import restore_plan
from retention_pipelines.retention.runs.run import runner
from retention_pipelines.settings import load_settings


def main() -> None:
    for line in sys.stdin:
        database, lake, cold, state, verb, sha256 = line.split()
        ready, go = os.pipe()
        child = os.fork()
        if not child:
            os.close(go)
            os.read(ready, 1)
            status = 1
            try:
                settings = load_settings(
                    {}, database_url=database, lake_root=lake, cold_root=cold, state_dir=Path(state)
                )
                with runner(settings) as retention:
                    if verb == "restore":
                        restore_plan(retention, sha256)
                    elif verb == "sweep":
                        retention.sweep(early=sha256)
                    else:
                        retention.execute(sha256, confirm=sha256)
                status = 0
            except BaseException:  # noqa: BLE001
                traceback.print_exc()
            finally:
                sys.stderr.flush()
                os._exit(status)
        os.close(ready)
        print(child, flush=True)
        sys.stdin.readline()
        os.write(go, b"g")
        os.close(go)
        _, ended = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(ended), flush=True)


if __name__ == "__main__":
    main()
