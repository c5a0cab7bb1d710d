"""`retention up`: Postgres, the Dagster daemon and its page together, until Ctrl-C, SIGTERM or SIGHUP.

What belongs here: the order of starting and stopping, what is healthy, what a person is told. What does not: Dagster
itself (`python -m retention_pipelines.defs.home`) and how processes are handled (`processes.py`).
"""

import json
import os
import signal
import socket
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated

import typer
from filelock import FileLock, Timeout

from retention_pipelines.cli.processes import Program, stop
from retention_pipelines.errors import PipelineError
from retention_pipelines.settings import Settings, load_settings

HOST = "127.0.0.1"
START_SECONDS = 180.0
MANY_STARTS, WITHIN_SECONDS = 5, 600.0
_HEALTH = "{ instance { daemonHealth { allDaemonStatuses { daemonType required healthy } } } }"


class _Stopped(Exception):
    """A signal arrived."""


@contextmanager
def _stopping_on_signals() -> Iterator[None]:
    """Turn signals into `_Stopped`, SIGINT even where it was ignored at our start (`cmd &` in a script does that).

    Children start with the default: handlers that are set are reset in them, ignored signals would stay ignored.
    """

    def stopped(number: int, _: object) -> None:
        raise _Stopped(signal.Signals(number).name)

    numbers = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup means it
        numbers.append(signal.SIGHUP)
    before = {number: signal.signal(number, stopped) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def check_port(port: int) -> None:
    """Raise PipelineError if somebody listens on the port already."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            raise PipelineError(
                f"Port {port} on {HOST} is in use by another program.", hint="Choose one with --port."
            ) from None


def programs_of(settings: Settings, port: int) -> tuple[Program, Program]:
    """The daemon and the web server, with their logs in the state folder."""
    logs = settings.state_dir.absolute() / "dagster" / "logs"
    run = (sys.executable, "-m", "retention_pipelines.defs.home")
    webserver = ("webserver", str(os.getpid()), "--host", HOST, "--port", str(port))
    return (
        Program(name="daemon", command=(*run, "daemon", str(os.getpid()), "run"), log=logs / "daemon.log"),
        Program(name="webserver", command=(*run, *webserver), log=logs / "webserver.log"),
    )


def _answer(port: int, path: str, body: bytes | None = None) -> bytes | None:
    """Body of an answer with status 200, None without one."""
    request = urllib.request.Request(
        f"http://{HOST}:{port}{path}", data=body, headers={"Content-Type": "application/json"}
    )
    # Never by way of a proxy: the address is this machine's own.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=10) as answer:
            found: bytes = answer.read()
            return found
    except (urllib.error.URLError, OSError):
        return None


def waiting_for(port: int) -> str | None:
    """What is not healthy yet, None when all is: the page, then every daemon that this instance needs."""
    if _answer(port, "/server_info") is None:
        return "the web page"
    told = _answer(port, "/graphql", json.dumps({"query": _HEALTH}).encode())
    if told is None:
        return "the web page"
    statuses = json.loads(told)["data"]["instance"]["daemonHealth"]["allDaemonStatuses"]
    sick = [status["daemonType"].lower() for status in statuses if status["required"] and not status["healthy"]]
    return f"daemons: {', '.join(sick)}" if sick else None


def revive(programs: Sequence[Program]) -> None:
    """Start again what ended; raise PipelineError when that happens too often."""
    for program in programs:
        code = program.ended()
        if code is None:
            continue
        if program.recent_starts(WITHIN_SECONDS) >= MANY_STARTS:
            raise PipelineError(
                f"The {program.name} ended {MANY_STARTS} times, last with code {code}: {program.last_words()}",
                hint=f"Its log is {program.log}.",
            )
        _say(f"The {program.name} ended with code {code}: starting it again. Its log: {program.log}")
        stop([program], grace_seconds=5.0)
        program.start()


def _wait_until_healthy(programs: Sequence[Program], port: int) -> None:
    end = time.monotonic() + START_SECONDS
    while (missing := waiting_for(port)) is not None:
        if time.monotonic() > end:
            raise PipelineError(
                f"Not healthy after {START_SECONDS:.0f} s; still waiting for {missing}.",
                hint=f"The logs are in {programs[0].log.parent}.",
            )
        revive(programs)
        time.sleep(0.3)


@contextmanager
def _only_one(settings: Settings) -> Iterator[None]:
    """Two daemons on one instance would start every run twice."""
    path = settings.state_dir.absolute() / "dagster" / "up.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise PipelineError(
            f"`retention up` runs already for {settings.state_dir}.", hint="Stop it first, or use its page."
        ) from None
    try:
        yield
    finally:
        lock.release()


def up(
    port: Annotated[int, typer.Option(help="Port of the page on 127.0.0.1.", min=1, max=65535)] = 3000,
) -> None:
    """Start Postgres, the Dagster daemon and its page on this machine; stop all of them with Ctrl-C."""
    from retention_pipelines.postgres.migrate import upgrade
    from retention_pipelines.postgres.server import DAGSTER, open_server
    from retention_pipelines.retention.pressure.reserve import ensure_reserve

    settings = load_settings()
    check_port(port)
    with _only_one(settings), _stopping_on_signals():
        programs: tuple[Program, ...] = ()
        server = None
        try:
            _say("Starting Postgres ...")
            server = open_server(settings)
            upgrade(settings)
            server.ensure_database(DAGSTER)
            settings.landing_dir.mkdir(parents=True, exist_ok=True)
            ensure_reserve(settings)
            _say("Starting the Dagster daemon and its page ...")
            programs = programs_of(settings, port)
            for program in programs:
                program.start()
            _wait_until_healthy(programs, port)
            _say(f"Page            http://{HOST}:{port}")
            _say(f"Landing folder  {settings.landing_dir.absolute()}   (put raw files here)")
            _say(f"Postgres        {server.masked()}   ({server.kind}, {server.version()})")
            _say(f"Logs            {programs[0].log.parent}")
            _say("Ready. Ctrl-C stops everything.")
            while True:
                revive(programs)
                time.sleep(0.5)
        except _Stopped as by:
            _say(f"Stopping ({by}) ...")
        finally:
            _stop_all(programs, server)
    _say("Stopped.")


def _stop_all(programs: Sequence[Program], server: object) -> None:
    """Stop everything; further signals wait, so that an impatient second Ctrl-C leaves nothing running."""
    from retention_pipelines.postgres.server import Server

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    for name in stop(programs):
        _say(f"The {name} did not stop in time and was killed.")
    if isinstance(server, Server):
        server.stop()
