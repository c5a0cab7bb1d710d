import signal
import sys
import time
from pathlib import Path

import psutil

from retention_pipelines.cli.processes import Program, stop

STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('on', flush=True); time.sleep(60)"
SLEEP = "import time; time.sleep(60)"
PARENT = f"""
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", {SLEEP!r}])
print("on", flush=True)
child.wait()
"""


def _started(tmp_path: Path, code: str) -> Program:
    program = Program(name="it", command=(sys.executable, "-c", code), log=tmp_path / "it.log")
    program.start()
    end = time.monotonic() + 30
    while program.last_words() != "on":
        assert time.monotonic() < end
        time.sleep(0.02)
    return program


def test_a_program_is_stopped_with_everything_it_started(tmp_path: Path) -> None:
    program = _started(tmp_path, PARENT)
    assert program.process is not None
    children = psutil.Process(program.process.pid).children()
    assert len(children) == 1
    assert stop([program], grace_seconds=20.0) == ()
    assert program.ended() == -signal.SIGTERM
    _, alive = psutil.wait_procs(children, timeout=20)
    assert alive == []


def test_one_that_ignores_the_request_is_killed_and_named(tmp_path: Path) -> None:
    program = _started(tmp_path, STUBBORN)
    assert stop([program], grace_seconds=0.2) == ("it",)
    assert program.ended() == -signal.SIGKILL


def test_stopping_what_never_started_or_has_ended_does_nothing(tmp_path: Path) -> None:
    never = Program(name="never", command=("true",), log=tmp_path / "never.log")
    ended = _started(tmp_path, "print('on', flush=True)")
    assert ended.process is not None
    ended.process.wait(30)
    assert stop([never, ended], grace_seconds=1.0) == ()
    assert ended.ended() == 0
