"""`import retention_pipelines` and `retention --help` in a fresh interpreter, against one that does nothing."""

import argparse
import statistics
import subprocess
import sys
import time


def seconds(*arguments: str, rounds: int) -> float:
    """Median seconds of a fresh interpreter, after one warm-up."""
    times = []
    for _ in range(rounds + 1):
        start = time.perf_counter()
        subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:])


def run(rounds: int) -> list[str]:
    nothing = seconds("-c", "pass", rounds=rounds)
    package = seconds("-c", "import retention_pipelines", rounds=rounds)
    connect = seconds("-c", "from retention_pipelines import connect", rounds=rounds)
    listing = seconds("-m", "retention_pipelines.cli.app", "--help", rounds=rounds)
    return [
        f"import retention_pipelines: {(package - nothing) * 1000:.0f} ms (target under 150 ms)",
        f"from retention_pipelines import connect: {(connect - nothing) * 1000:.0f} ms",
        f"retention --help: {(listing - nothing) * 1000:.0f} ms",
        f"  floor, an interpreter that does nothing: {nothing * 1000:.0f} ms; ratio {package / nothing:.2f}",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true")
    print(*run(5 if parser.parse_args().small else 15), sep="\n")


if __name__ == "__main__":
    main()
