"""Bugs to be planted: each patch breaks the package in one way and names the test that must notice.

`python -m tests.planted_bugs [NAME ...]` plants each in a copy of its own, runs its test and requires that it fails.
The package itself is never touched. What does not belong here: mutants (docs/mutation.md).
"""

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent
ROOT = FOLDER.parents[1]
_COPIED = ("retention_pipelines", "tests", "pyproject.toml", "README.md", "docs")
_SKIPPED = shutil.ignore_patterns("__pycache__", ".hypothesis")


@dataclass(frozen=True, kw_only=True)
class PlantedBug:
    """One patch: what it breaks, and the test, or file of tests, that catches it."""

    name: str
    breaks: str
    caught_by: str
    path: Path


def planted_bugs() -> tuple[PlantedBug, ...]:
    """Every patch of this folder, by name."""
    return tuple(_read(path) for path in sorted(FOLDER.glob("*.patch")))


def _read(path: Path) -> PlantedBug:
    breaks, caught_by, *_ = path.read_text().splitlines()
    return PlantedBug(
        name=path.stem,
        breaks=breaks.removeprefix("Breaks: "),
        caught_by=caught_by.removeprefix("Caught by: "),
        path=path,
    )


def copy_to(folder: Path) -> None:
    """What a test needs, copied."""
    for name in _COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=_SKIPPED, dirs_exist_ok=True)
        else:
            shutil.copy2(source, folder / name)


def fits(bug: PlantedBug, folder: Path, *, plant: bool = False) -> str:
    """Why a patch does not apply to the package in a folder; empty where it does. `plant` applies it."""
    command = ["git", "apply", "--whitespace=nowarn", *([] if plant else ["--check"]), str(bug.path)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return done.stderr if done.returncode else ""


def is_caught(bug: PlantedBug, folder: Path) -> bool:
    """Whether the test named in a bug fails in a copy that has it; raises where it cannot be run at all."""
    said = fits(bug, folder, plant=True)
    if said:
        raise ValueError(f"{bug.name} does not apply: {said}")
    command = [sys.executable, "-m", "pytest", bug.caught_by, "-x", "-q", "-p", "no:randomly", "--timeout=200"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=600, check=False)
    # 1: tests ran and some failed. 2 and more: pytest itself, which would be no proof; nor is a slow machine.
    if done.returncode not in (0, 1) or "Timeout (>200" in done.stdout:
        raise ValueError(f"{bug.name}: {done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.returncode == 1
