"""Long-running programs in process groups of their own: start, look after, stop completely.

What belongs here: nothing that knows what the programs do. A program is stopped with everything it started: its whole
group gets SIGTERM, what is left after a grace period gets SIGKILL.
"""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

LOG_BYTES = 5_000_000


@dataclass(kw_only=True)
class Program:
    """A program that should run; `starts` holds the monotonic times of its starts."""

    name: str
    command: Sequence[str]
    log: Path
    process: subprocess.Popen[bytes] | None = None
    starts: list[float] = field(default_factory=list)

    def start(self) -> None:
        """Start it in a new session, so that a Ctrl-C in the terminal reaches only whoever looks after it."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        if self.log.exists() and self.log.stat().st_size > LOG_BYTES:
            self.log.replace(self.log.with_suffix(".old.log"))
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        self.starts.append(time.monotonic())

    def ended(self) -> int | None:
        """Exit code, None while it runs."""
        return self.process.poll() if self.process else None

    def recent_starts(self, seconds: float) -> int:
        """How often it was started lately."""
        return sum(at > time.monotonic() - seconds for at in self.starts)

    def last_words(self) -> str:
        """Last line of its log."""
        with contextlib.suppress(OSError):
            lines = self.log.read_text(encoding="utf-8", errors="replace").strip().split("\n")
            return lines[-1][-300:]
        return ""

    def group_alive(self) -> bool:
        """Whether it or anything it started still runs."""
        if self.process is None:
            return False
        self.process.poll()
        return _signal_group(self.process.pid, 0) and _any_running(self.process.pid)


def _signal_group(group: int, number: int) -> bool:
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):  # macOS says PermissionError of a group of zombies
        return False
    return True


def _any_running(group: int) -> bool:
    """Whether the group holds more than zombies: in a container, process 1 may take seconds to collect an orphan."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):
            if os.getpgid(process.pid) == group and process.status() != psutil.STATUS_ZOMBIE:
                return True
    return False


def stop(programs: Sequence[Program], *, grace_seconds: float = 20.0) -> tuple[str, ...]:
    """Stop programs and everything they started; returns the names of those that had to be killed."""
    for program in programs:
        if program.process is not None:
            _signal_group(program.process.pid, signal.SIGTERM)
    end = time.monotonic() + grace_seconds
    while any(program.group_alive() for program in programs) and time.monotonic() < end:
        time.sleep(0.05)
    killed = tuple(program.name for program in programs if program.group_alive())
    for program in programs:
        if program.process is not None:
            _signal_group(program.process.pid, signal.SIGKILL)
            program.process.wait()
    return killed
