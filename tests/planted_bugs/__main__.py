"""`python -m tests.planted_bugs [NAME ...]`: plant each bug in a copy, and print whether its test noticed."""

import sys
import tempfile
import time
from pathlib import Path

from tests.planted_bugs import copy_to, is_caught, planted_bugs


def main() -> int:
    wanted = set(sys.argv[1:])
    bugs = [bug for bug in planted_bugs() if not wanted or bug.name in wanted]
    missed = []
    for bug in bugs:
        with tempfile.TemporaryDirectory(prefix="planted-") as folder:
            copy_to(Path(folder))
            started = time.monotonic()
            caught = is_caught(bug, Path(folder))
        print(f"{'caught' if caught else 'MISSED'}  {time.monotonic() - started:5.1f} s  {bug.name}", flush=True)
        if not caught:
            missed.append(bug.name)
    print(f"{len(bugs) - len(missed)} of {len(bugs)} planted bugs were caught.")
    return 1 if missed or not bugs else 0


if __name__ == "__main__":
    sys.exit(main())
