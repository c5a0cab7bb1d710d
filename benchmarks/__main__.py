"""Run every benchmark, or those named: `python -m benchmarks [series training_frame …] [--small]`.

Each `bench_<name>.py` is a module with a `main()` of its own and runs in its own process, so that one's memory
does not show in the next one's peak.
"""

import argparse
import subprocess
import sys
from pathlib import Path


def main() -> int:
    """Exit code 1 when a benchmark failed to run; a missed target is printed, not failed."""
    known = sorted(path.stem.removeprefix("bench_") for path in Path(__file__).parent.glob("bench_*.py"))
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help=f"benchmarks to run: {', '.join(known)} (default: all)")
    parser.add_argument("--small", action="store_true", help="a size that fits any machine; ratios are rougher")
    arguments = parser.parse_args()
    unknown = sorted(set(arguments.names) - set(known))
    if unknown:
        parser.error(f"unknown benchmark {unknown[0]!r}; known: {', '.join(known)}")
    failed = []
    for name in arguments.names or known:
        print(f"\n== {name}", flush=True)
        command = [sys.executable, "-m", f"benchmarks.bench_{name}", *(["--small"] if arguments.small else [])]
        if subprocess.run(command, check=False).returncode != 0:
            failed.append(name)
    if failed:
        print(f"\nfailed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
