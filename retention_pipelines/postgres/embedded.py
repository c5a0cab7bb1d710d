"""The embedded server: a private Postgres in the state folder, shared by all processes of the project.

Here: making its data folder, starting it (once, however many processes ask at the same time), joining and leaving it.
How it is kept running and stopped after the last client is in `watchdog.py`. It listens on a Unix socket in a folder
that only the owner of the state folder can enter; that is its access control.
"""

import contextlib
import errno
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import psutil
import psycopg

from retention_pipelines.errors import DatabaseError
from retention_pipelines.postgres.binaries import SystemUser, let_pass, let_run, programs, server_user

SUPERUSER = "postgres"
START_SECONDS = 90.0
# The kernel's limit for a socket path is 107 bytes on Linux and 103 on macOS.
_LONGEST_SOCKET_PATH = 100
_HELD_FOR_A_MOMENT = ("shared memory", "lock file")
_LOG_BYTES = 10_000_000
_KNOBS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "shared_buffers": "64MB",
    "max_connections": "100",
    "max_wal_size": "512MB",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    # Parallel queries need /dev/shm, which containers keep at 64 MB; the tables here are small.
    "max_parallel_workers_per_gather": "0",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    # Values of queries may be personal or secret: never in the log.
    "log_parameter_max_length": "0",
    "log_parameter_max_length_on_error": "0",
    "log_min_error_statement": "panic",
}


@dataclass(frozen=True, kw_only=True)
class Places:
    """Files and folders of one embedded server."""

    home: Path
    data: Path
    sockets: Path
    log: Path


def places(state_dir: Path) -> Places:
    """Where the server of a state folder keeps what; nothing is created."""
    home = Path(os.path.realpath(state_dir.expanduser())) / "postgres"
    sockets = home / "run"
    if len(os.fsencode(str(sockets / ".s.PGSQL.5432"))) > _LONGEST_SOCKET_PATH:
        digest = hashlib.sha256(os.fsencode(str(home))).hexdigest()[:16]
        sockets = Path(tempfile.gettempdir()) / f"retention-pg-{digest}"
    return Places(home=home, data=home / "data", sockets=sockets, log=home / "server.log")


def running_pid(where: Places) -> int | None:
    """Process of the running server, None if it is not running; starts and changes nothing."""
    try:
        pid = int((where.data / "postmaster.pid").read_text().splitlines()[0])
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE or "postgres" not in process.name():
            return None
        return pid if str(where.data) in process.cmdline() else None
    except (OSError, ValueError, IndexError, psutil.NoSuchProcess):
        return None


class EmbeddedServer:
    """One process's hold on the embedded server; as long as anybody holds it, it runs."""

    def __init__(self, state_dir: Path) -> None:
        self.places = places(state_dir)
        self._hold: int | None = None

    def open(self) -> None:
        """Join the server, after making and starting it where needed."""
        try:
            self._open()
        except OSError as error:
            self.close()
            raise _cannot_start(self.places, os.strerror(error.errno) if error.errno else str(error), error) from error
        except BaseException:
            self.close()
            raise

    def _open(self) -> None:
        where = self.places
        where.home.mkdir(parents=True, exist_ok=True)
        end = time.monotonic() + START_SECONDS
        # Joining before starting: from here on the watchdog of a running server will not stop it.
        self._hold = os.open(where.home / "clients.lock", os.O_RDWR | os.O_CREAT, 0o600)
        _lock(self._hold, fcntl.LOCK_SH, end, where)
        if self._is_up():
            return
        with _only_one_starts(where, end):
            if not self._is_up():
                self._start(end)

    def _start(self, end: float) -> None:
        where = self.places
        user = server_user(where.data)
        folder = programs()
        if user is not None:
            let_pass(where.home)
            let_pass(folder)
            let_run(folder)
        if not (where.data / "PG_VERSION").exists():
            _make_data(where, folder, user)
        _make_socket_folder(where, user)
        while True:
            _forget_dead_server(where)
            logged = where.log.stat().st_size if where.log.exists() else 0
            _start_watchdog(where, folder, user)
            while time.monotonic() < end:
                if self._answers():
                    return
                if not _watchdog_runs(where):
                    break
                time.sleep(0.05)
            else:
                raise _cannot_start(where, f"it did not answer within {START_SECONDS:.0f} s")
            # A killed server holds its process number and shared memory for a moment; anything else is final.
            told = _log_tail(where, since=logged)
            if not any(words in told for words in _HELD_FOR_A_MOMENT) or time.monotonic() > end:
                raise _cannot_start(where, "the server ended at its start")
            time.sleep(0.5)

    def _is_up(self) -> bool:
        # A server whose watchdog was killed would never stop: starting it again means a new watchdog takes it over.
        return _watchdog_runs(self.places) and self._answers()

    def _answers(self) -> bool:
        if not (self.places.sockets / ".s.PGSQL.5432").exists():
            return False
        try:
            psycopg.connect(host=str(self.places.sockets), user=SUPERUSER, dbname="postgres", connect_timeout=5).close()
        except psycopg.OperationalError:
            return False
        return True

    def close(self) -> None:
        """Leave; the server stops a moment after the last one left."""
        if self._hold is not None:
            os.close(self._hold)
            self._hold = None

    def stop(self) -> None:
        """Leave, and wait until the server is down unless others use it."""
        self.close()
        others = 0
        end = time.monotonic() + START_SECONDS
        # The watchdog looks by taking the lock for an instant, so one sighting of others proves nothing.
        while others < 5 and running_pid(self.places) is not None and time.monotonic() < end:
            others = others + 1 if _is_held_by_others(self.places) else 0
            time.sleep(0.05)


def _lock(handle: int, kind: int, end: float, where: Places) -> None:
    while True:
        try:
            fcntl.flock(handle, kind | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.EACCES):
                raise
        else:
            return
        if time.monotonic() > end:
            raise _cannot_start(where, "another process has been starting or stopping it for too long")
        time.sleep(0.05)


@contextlib.contextmanager
def _only_one_starts(where: Places, end: float) -> Iterator[None]:
    handle = os.open(where.home / "start.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        _lock(handle, fcntl.LOCK_EX, end, where)
        yield
    finally:
        # Spelled out: a child that was forked meanwhile holds the same lock open.
        fcntl.flock(handle, fcntl.LOCK_UN)
        os.close(handle)


def _is_held_by_others(where: Places) -> bool:
    handle = os.open(where.home / "clients.lock", os.O_RDWR)
    try:
        for kind, held in ((fcntl.LOCK_EX, False), (fcntl.LOCK_SH, True)):
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(handle, kind | fcntl.LOCK_NB)
                return held
    finally:
        os.close(handle)
    return False


def _make_data(where: Places, folder: Path, user: SystemUser | None) -> None:
    # Made beside and renamed, so that a crash in between leaves nothing that looks finished.
    unfinished = where.home / "data.unfinished"
    shutil.rmtree(unfinished, ignore_errors=True)
    shutil.rmtree(where.data, ignore_errors=True)
    unfinished.mkdir(mode=0o700)
    if user is not None:
        os.chown(unfinished, user.uid, user.gid)
    made = subprocess.run(
        [
            str(folder / "initdb"),
            f"--pgdata={unfinished}",
            f"--username={SUPERUSER}",
            "--auth=trust",
            "--encoding=UTF8",
            "--locale-provider=builtin",
            "--builtin-locale=C.UTF-8",
            "--locale=C",
        ],
        capture_output=True,
        text=True,
        check=False,
        **_as_user(user),
    )
    if made.returncode:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise _cannot_start(where, f"initdb said: {_last_lines(made.stderr or made.stdout)}")
    unfinished.rename(where.data)


def _make_socket_folder(where: Places, user: SystemUser | None) -> None:
    owner = os.geteuid() if user is None else user.uid
    with contextlib.suppress(FileExistsError):
        where.sockets.mkdir(mode=0o700)
        if user is not None:
            os.chown(where.sockets, user.uid, user.gid)
    found = where.sockets.lstat()
    if where.sockets.is_symlink() or found.st_uid not in (owner, os.geteuid()):
        raise _cannot_start(where, f"its socket folder {where.sockets} belongs to another user")
    if user is not None:
        os.chown(where.sockets, user.uid, user.gid)
    where.sockets.chmod(0o700)


def _forget_dead_server(where: Places) -> None:
    """Remove lock files whose process number belongs to a dead or another process: Postgres would not start then."""
    for file in (where.data / "postmaster.pid", where.sockets / ".s.PGSQL.5432.lock"):
        try:
            process = psutil.Process(int(file.read_text().splitlines()[0]))
        except (FileNotFoundError, ValueError, IndexError, psutil.NoSuchProcess):
            continue
        if process.pid != running_pid(where):
            # What a killed server's children still hold shows in the shared memory, which Postgres checks by itself.
            file.unlink(missing_ok=True)


def _start_watchdog(where: Places, folder: Path, user: SystemUser | None) -> None:
    adopted = running_pid(where)
    if where.log.exists() and where.log.stat().st_size > _LOG_BYTES:
        where.log.replace(where.log.with_suffix(".log.old"))
    command = [str(folder / "postgres"), "-D", str(where.data), "-k", str(where.sockets)]
    for name, value in _KNOBS.items():
        command += ["-c", f"{name}={value}"]
    script = files("retention_pipelines.postgres").joinpath("watchdog.py")
    start = [sys.executable, "-I", "-S", str(script), "--home", str(where.home)]
    if user is not None:
        start += ["--uid", str(user.uid), "--gid", str(user.gid)]
    if adopted is not None:
        start += ["--adopt", str(adopted)]
    with where.log.open("ab") as log:
        # Returns as soon as it is in the background, in a session of its own: Ctrl-C is for the command alone.
        subprocess.run(
            [*start, "--", *command],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=where.home,
            check=False,
        )


def _watchdog_runs(where: Places) -> bool:
    handle = os.open(where.home / "watchdog.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    else:
        return False
    finally:
        os.close(handle)


def _as_user(user: SystemUser | None) -> dict[str, Any]:
    return {} if user is None else {"user": user.uid, "group": user.gid, "extra_groups": []}


def _log_tail(where: Places, since: int = 0) -> str:
    try:
        with where.log.open("rb") as log:
            size = where.log.stat().st_size
            log.seek(max(since if since <= size else 0, size - 4000))
            return log.read().decode(errors="replace")
    except OSError:
        return ""


def _last_lines(text: str) -> str:
    return " / ".join(text.strip().splitlines()[-3:])


def _cannot_start(where: Places, why: str, error: OSError | None = None) -> DatabaseError:
    told = f"{why} {_last_lines(_log_tail(where))}"
    if (error and error.errno in (errno.ENOSPC, errno.EDQUOT)) or "No space left" in told:
        hint = f"The disk of {where.home} is full: free some space (100 MB at least), then run it again."
    elif error and error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        hint = f"Make {where.home} writable for you, or set RETENTION_STATE_DIR to a folder that is."
    elif "incompatible with server" in told:
        hint = (
            f"{where.data} was made by another major version: move it aside and start afresh, "
            "or migrate it with pg_dump of that version."
        )
    else:
        hint = f"Its log is {where.log}. Or set RETENTION_DATABASE_URL to a server of yours."
    return DatabaseError(f"The embedded Postgres in {where.home} cannot be used: {why}.", hint=hint)
