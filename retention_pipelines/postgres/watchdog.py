"""The process that runs the embedded server: starts it, restarts it after a crash, stops it when nobody uses it.

Run as a script with the standard library only, apart from its starter, so that it outlives whoever started it and costs
little. Every client holds a shared lock on `clients.lock`, which the kernel takes back however the client ends; when
this process can lock the file for itself, the last client is gone. Being the server's parent it also takes a killed
server's process off the process table at once: such a leftover otherwise counts as running (hazard H11).
"""

import argparse
import contextlib
import fcntl
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

POLL_SECONDS = 0.2
# Kept a moment after the last client, so that one command after another does not start the server each time.
LINGER_SECONDS = 1.0
STOP_SECONDS = 60.0
RESTART_SECONDS = 60.0


class Stopped(Exception):
    """Somebody asked this process to end."""


def _on_signal(number: int, frame: object) -> None:
    raise Stopped


def _say(text: str) -> None:
    sys.stderr.write(f"{time.strftime('%Y-%m-%d %H:%M:%S', time.gmtime())} UTC watchdog: {text}\n")
    sys.stderr.flush()


def _take(lock: int) -> bool:
    # More than one try: whoever looks whether a watchdog runs holds the lock for an instant.
    for _ in range(20):
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        time.sleep(0.05)
    return False


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    try:
        # A dead process nobody has collected yet still takes signals.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return True


class Watchdog:
    """One server and the loop around it."""

    def __init__(self, home: Path, command: list[str], uid: int | None, gid: int | None, adopt: int | None) -> None:
        self.home = home
        self.command = command
        self.uid = uid
        self.gid = gid
        self.adopted = adopt
        self.child: subprocess.Popen[bytes] | None = None
        self.was_ready = adopt is not None
        self.failing_since: float | None = None
        self.started = 0.0

    def run(self) -> int:
        """Run in the background until the last client is gone; 2 where another watchdog is there already."""
        lock = os.open(self.home / "watchdog.lock", os.O_RDWR | os.O_CREAT, 0o600)
        if not _take(lock):
            return 2
        # On its own from here, so that whoever started it has no child to look after; the lock goes along.
        if os.fork():
            return 0
        os.setsid()
        clients = os.open(self.home / "clients.lock", os.O_RDWR | os.O_CREAT, 0o600)
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            signal.signal(number, _on_signal)
        try:
            return self._watch(clients)
        except Stopped:
            _say("asked to end")
            self._stop()
            return 0

    def _watch(self, clients: int) -> int:
        if self.adopted is None:
            self._start()
        unused_since: float | None = None
        while True:
            if not self._keep_up():
                return 1
            try:
                fcntl.flock(clients, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                unused_since = None
            else:
                unused_since = unused_since or time.monotonic()
                if time.monotonic() - unused_since >= LINGER_SECONDS:
                    # The lock stays ours until the end: a client that comes now waits, then starts the server anew.
                    self._stop()
                    self._remove_socket_folder()
                    return 0
                fcntl.flock(clients, fcntl.LOCK_UN)
            time.sleep(POLL_SECONDS)

    def _start(self) -> None:
        self.started = time.monotonic()
        switch: dict[str, Any] = {} if self.uid is None else {"user": self.uid, "group": self.gid, "extra_groups": []}
        self.child = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, **switch)

    def _keep_up(self) -> bool:
        if self.adopted is not None:
            if _is_alive(self.adopted):
                return True
            _say(f"server process {self.adopted} is gone; starting it again")
            self.adopted = None
            self._start()
            return True
        if self.child is None or self.child.poll() is None:
            self.was_ready = self.was_ready or self._is_ready()
            if time.monotonic() - self.started > RESTART_SECONDS:
                self.failing_since = None
            return True
        code = self.child.returncode
        if code == 0:
            _say("server was stopped by somebody else")
            return False
        # Killed by a signal: not the server's fault, so worth another start however young it was.
        self.was_ready = self.was_ready or code < 0
        if not self.was_ready:
            # A first start that fails is for the starter to report, not to be repeated.
            return False
        self.failing_since = self.failing_since or time.monotonic()
        if time.monotonic() - self.failing_since > RESTART_SECONDS:
            _say("server does not stay up; giving up")
            return False
        _say(f"server ended with {code}; starting it again")
        # Processes of the crashed server may hold its shared memory for a moment.
        time.sleep(POLL_SECONDS)
        self._start()
        return True

    def _remove_socket_folder(self) -> None:
        # It may lie in the temporary folder, which is not ours to litter.
        folder = Path(self.command[self.command.index("-k") + 1])
        if folder.parent != self.home:
            with contextlib.suppress(OSError):
                folder.rmdir()

    def _is_ready(self) -> bool:
        with contextlib.suppress(OSError):
            lines = (self.home / "data" / "postmaster.pid").read_text().splitlines()
            return len(lines) > 7 and lines[7].strip() == "ready"
        return False

    def _stop(self) -> None:
        pid = self.adopted if self.adopted is not None else self.child.pid if self.child else None
        if pid is None:
            return
        for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
            end = time.monotonic() + STOP_SECONDS
            while time.monotonic() < end:
                if (self.child.poll() is not None) if self.child else not _is_alive(pid):
                    return
                time.sleep(0.02)


def main() -> int:
    """Read the arguments and run."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--uid", type=int)
    parser.add_argument("--gid", type=int)
    parser.add_argument("--adopt", type=int)
    parser.add_argument("command", nargs="+")
    given = parser.parse_args()
    return Watchdog(given.home, given.command, given.uid, given.gid, given.adopt).run()


if __name__ == "__main__":
    sys.exit(main())
