"""Runs that die at a call to the operating system: kill -9 at the k-th write, sync, link, rename, unlink or send.

strace ends the process as the call begins; then the same plan is run again and must be one clean run. Rows and bytes
are conserved at every moment, the audit is exact, and taking the plan back gives the state of before. Counts are
printed (`-s`). `--long` goes through every k until a run ends unharmed, the default suite through a few.
"""

import itertools
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from retention_pipelines.errors import RunBusy
from retention_pipelines.retention.restore import restore_plan
from retention_pipelines.retention.run import Outcome, Runner
from retention_pipelines.settings import Settings
from tests.fixtures.retention_cases import CASES, Case, require_audited, require_conserved, require_exact

pytestmark = [
    pytest.mark.parametrize("database", ["embedded"], indirect=True),
    pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed"),
]
ROOT = Path(__file__).resolve().parents[2]
# Counted per thread, so a k may end a run at several places; the first to get there does.
CALLS = ("fsync", "fdatasync", "write", "pwrite64", "sendto", "mkdir", "ftruncate", "link", "rename", "unlink")


class Zygote:
    """Runs in forked children of a process that has imported everything, under strace where a call is to be hit."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.integration.retention_zygote"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def run(self, settings: Settings, verb: str, sha256: str, inject: str | None = None) -> int:
        """The exit status of a run; -9 when it was killed. `inject` is what strace does to which call."""
        assert settings.database_url is not None
        where = f"{settings.database_url.get_secret_value()} {settings.lake_root} {settings.state_dir}"
        child = self._ask(f"{where} {verb} {sha256}")
        strace = None if inject is None else self._attach(child, inject)
        status = self._ask("go")
        if strace is not None:
            strace.communicate(timeout=30)
        return status

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(30)
        assert self._process.stdout is not None
        self._process.stdout.close()

    def _attach(self, child: int, inject: str) -> subprocess.Popen[str]:
        call = inject.partition(":")[0]
        command = ["strace", "-f", "-p", str(child), "-o", "/dev/null", "-e", f"trace={call}", "-e", f"inject={inject}"]
        strace = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        assert strace.stderr is not None
        said = strace.stderr.readline()
        if "attached" not in said:
            strace.kill()
            pytest.skip(f"strace may not hold other processes here: {said.strip()}")
        return strace

    def _ask(self, line: str) -> int:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())


@pytest.fixture(scope="module")
def zygote() -> Iterator[Zygote]:
    opened = Zygote()
    yield opened
    opened.close()


class Trial:
    """One case, again and again from the same state: plan, end the run by force, run again, check, take back."""

    def __init__(self, case: Case, zygote: Zygote, retention: Runner, con: psycopg.Connection[Any]) -> None:
        self.case, self.zygote, self.retention, self.con = case, zygote, retention, con
        case.fill(retention, con)
        self.before = case.books(retention, con, None)
        self.kills: Counter[str] = Counter()

    def again(self, sha256: str) -> Outcome:
        """Run it again; for a moment the server may still be at the last statement of the killed run."""
        for _ in range(300):
            try:
                return self.retention.execute(sha256, confirm=sha256)
            except RunBusy:
                time.sleep(0.1)
        raise TimeoutError("the lock of a killed run is still held")

    def hit(self, call: str, number: int, *, restoring: bool = False) -> bool:
        """Whether the k-th call was reached; whatever happened, everything must add up."""
        plan = self.case.plan(self.retention)
        if restoring:
            assert self.zygote.run(self.retention.settings, "execute", plan.sha256) == 0
        verb = "restore" if restoring else "execute"
        status = self.zygote.run(self.retention.settings, verb, plan.sha256, f"{call}:signal=SIGKILL:when={number}")
        assert status in (0, -9)
        halfway = self.case.books(self.retention, self.con, plan)
        # At no moment is a row nowhere; the same row may be copied and not removed yet.
        assert halfway.all == self.before.all
        require_audited(self.con)
        if not restoring:
            outcome = self.again(plan.sha256)
            after = self.case.books(self.retention, self.con, plan)
            require_conserved(self.before, after)
            require_exact(self.case, outcome, plan, self.before, after, self.con)
        restore_plan(self.retention, plan.sha256)
        assert self.case.books(self.retention, self.con, None) == self.before
        self.kills[call] += status == -9
        return status == -9


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_run_killed_at_a_call_to_the_system_is_one_clean_run(
    case: Case, zygote: Zygote, retention: Runner, everyone: psycopg.Connection[Any], pytestconfig: pytest.Config
) -> None:
    trial = Trial(case, zygote, retention, everyone)
    if pytestconfig.getoption("--long"):
        for call in CALLS:
            for number in itertools.count(1):
                if not trial.hit(call, number):
                    break
    else:
        for call, number in FEW.get(case.name, (("sendto", 40),)):
            trial.hit(call, number)
    print(f"\n{case.name}: killed at {trial.kills.total()} calls {dict(trial.kills)}")
    assert trial.kills.total() > 0


# One place each: a sync or link of files, a message to Postgres, the move of a training set's folder.
FEW = {
    "delete in the lake": (("write", 2),),
    "archive in the lake": (("link", 2),),
    "compress in the lake": (("fsync", 3),),
    "drop partitions in Postgres": (("sendto", 45),),
    "delete training sets": (("rename", 1),),
}
