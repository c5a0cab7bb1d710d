"""`import retention_pipelines` and commands from the shell in fresh interpreters, against one that does nothing."""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

_CAST = "lon,lat,date,quarter,depth_m,sta_dpos,t_degc,salinity,o2sat\n-120.5,33.5,2001-02-03,1,0,1,15.{},33.1,98\n"
_PROGRAM = ("-m", "retention_pipelines.cli.app")


def spend(*arguments: str, where: Path) -> tuple[float, float]:
    """Seconds and CPU seconds of a fresh interpreter."""
    start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    places = {"RETENTION_LAKE_ROOT": str(where / "lake"), "RETENTION_STATE_DIR": str(where / "state")}
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True, env={**os.environ, **places})
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.perf_counter() - start, cpu


def run(rounds: int, where: Path) -> list[str]:
    new, known = where / "new.csv", where / "known.csv"
    known.write_text(_CAST.format(0))
    cases = {
        "nothing": ("-c", "pass"),
        "import retention_pipelines": ("-c", "import retention_pipelines"),
        "from retention_pipelines import connect": ("-c", "from retention_pipelines import connect"),
        "retention --help": (*_PROGRAM, "--help"),
        'retention query "select 1"': (*_PROGRAM, "query", "select 1"),
        "retention ingest known.csv": (*_PROGRAM, "ingest", str(known)),
        "retention ingest new.csv": (*_PROGRAM, "ingest", str(new)),
    }
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in cases}
    for number in range(rounds + 1):
        new.write_text(_CAST.format(number + 1))
        for name, arguments in cases.items():
            spent = spend(*arguments, where=where)
            if number:  # the first is the warm-up
                taken[name].append(spent)
    median = {
        name: [statistics.median(one[index] for one in runs) * 1000 for index in (0, 1)] for name, runs in taken.items()
    }
    nothing = median.pop("nothing")
    lines = [
        f"{name}: {wall - nothing[0]:.0f} ms (CPU {cpu - nothing[1]:.0f} ms)" for name, (wall, cpu) in median.items()
    ]
    lines[0] += " (target under 150 ms)"
    return [*lines, f"  beside an interpreter that does nothing: {nothing[0]:.0f} ms (CPU {nothing[1]:.0f} ms)"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true")
    with tempfile.TemporaryDirectory() as folder:
        print(*run(5 if parser.parse_args().small else 15, Path(folder)), sep="\n")


if __name__ == "__main__":
    main()
