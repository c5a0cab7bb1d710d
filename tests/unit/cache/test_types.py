"""What a type checker says about decorated functions: `tests/typing/` is compiled by mypy and never run."""

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
CHECKED = ROOT / "tests" / "typing" / "cached_functions.py"


def test_types_of_decorated_functions_are_those_of_the_originals() -> None:
    done = subprocess.run(
        [
            *(sys.executable, "-m", "mypy", "--strict", "--no-error-summary", "--hide-error-context"),
            # What other packages say of themselves is not asked here, and takes most of the time.
            *("--no-site-packages", "--ignore-missing-imports", "--cache-dir", os.devnull),
            *("--follow-imports", "silent", "--no-pretty", str(CHECKED)),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    found = {
        (int(line), code)
        for line, code in re.findall(r"cached_functions\.py:(\d+): error: .*\[([a-z-]+)\]", done.stdout)
    }
    lines = CHECKED.read_text(encoding="utf-8").splitlines()
    wanted = {
        (number, code) for number, line in enumerate(lines, 1) for code in re.findall(r"# error: ([a-z-]+)", line)
    }
    assert found == wanted, done.stdout + done.stderr
