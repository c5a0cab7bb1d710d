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
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import psycopg
import pytest

from retention_pipelines.errors import RetentionError, RunBusy
from retention_pipelines.retention.recovery.restore import restore_plan
from retention_pipelines.retention.runs.run import Outcome, Runner, runner
from retention_pipelines.settings import Settings
from tests.fixtures.retention_cases import CASES, Case, require_audited, require_conserved, require_exact

pytestmark = [
    pytest.mark.parametrize("database", ["embedded"], indirect=True),
    pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed"),
]
Done = TypeVar("Done")
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
        roots = f"{settings.lake_root} {settings.cold_root}"
        where = f"{settings.database_url.get_secret_value()} {roots} {settings.state_dir}"
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


@pytest.fixture
def retention(database_settings: Settings, tmp_path: Path) -> Iterator[Runner]:
    """A runner with another root to migrate to."""
    with runner(database_settings.model_copy(update={"cold_root": str(tmp_path / "cold")})) as opened:
        yield opened


class Trial:
    """One case, again and again from the same state: plan, end the run by force, run again, check, take back."""

    def __init__(self, case: Case, zygote: Zygote, retention: Runner, con: psycopg.Connection[Any]) -> None:
        self.case, self.zygote, self.retention, self.con = case, zygote, retention, con
        case.fill(retention, con)
        self.before = case.books(retention, con, None)
        self.kills: Counter[str] = Counter()

    def again(self, sha256: str) -> Outcome:
        """Run it again, and to its end."""
        return self.once_free(lambda: self.retention.execute(sha256, confirm=sha256))

    def once_free(self, work: Callable[[], Done]) -> Done:
        """Do it when the server has let go of a killed run's lock."""
        for _ in range(300):
            try:
                return work()
            except RunBusy:
                time.sleep(0.1)
        raise TimeoutError("the lock of a killed run is still held")

    def hit(self, call: str, number: int, *, restoring: bool = False) -> bool:
        """Whether the k-th call was reached; whatever happened, everything must add up."""
        plan = self.case.plan(self.retention)
        if restoring:
            self.again(plan.sha256)
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
        self.once_free(lambda: restore_plan(self.retention, plan.sha256))
        assert self.case.books(self.retention, self.con, None) == self.before
        self.kills[call] += status == -9
        return status == -9

    def sweep(self, call: str, number: int) -> bool:
        """Whether the k-th call of a sweep was reached and its grace over: all comes back, or none is said to."""
        plan = self.case.plan(self.retention)
        self.again(plan.sha256)
        then = self.case.books(self.retention, self.con, plan)
        inject = f"{call}:signal=SIGKILL:when={number}"
        status = self.zygote.run(self.retention.settings, "sweep", plan.sha256, inject)
        assert status in (0, -9)
        self.kills[call] += status == -9
        now = self.case.books(self.retention, self.con, None)
        assert (now.kept, now.archived) == (then.kept, then.archived)
        try:
            self.once_free(lambda: restore_plan(self.retention, plan.sha256))
        except RetentionError:
            self.once_free(self.retention.sweep)
        else:  # nothing had gone for good
            assert self.case.books(self.retention, self.con, None) == self.before
            return False
        assert self.retention.outcome(plan.sha256).state == "done"
        now = self.case.books(self.retention, self.con, None)
        assert (now.kept, now.archived) == (then.kept, then.archived)
        assert not now.deleted
        require_audited(self.con)
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


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_taking_back_that_is_killed_is_taken_back_whole_the_next_time(
    case: Case, zygote: Zygote, retention: Runner, everyone: psycopg.Connection[Any], pytestconfig: pytest.Config
) -> None:
    if not pytestconfig.getoption("--long") and case.name not in (
        "migrate to the other root",
        "delete rows in Postgres",
    ):
        pytest.skip("long version: run with --long")
    trial = Trial(case, zygote, retention, everyone)
    if pytestconfig.getoption("--long"):
        for call in CALLS:
            for number in itertools.count(1, 3):
                if not trial.hit(call, number, restoring=True):
                    break
    else:
        trial.hit("sendto", 25, restoring=True)
    print(f"\n{case.name}: taking back killed at {trial.kills.total()} calls {dict(trial.kills)}")
    assert trial.kills.total() > 0


SWEEPS = (
    ("delete in the lake", "unlink", 2, False),
    ("migrate to the other root", "unlink", 1, True),
    ("compress in the lake", "unlink", 1, True),
    ("downsample in the lake", "unlink", 2, True),
)


@pytest.mark.parametrize(
    ("name", "call", "number"),
    [pytest.param(*one, marks=[pytest.mark.long] if is_long else []) for *one, is_long in SWEEPS],
)
def test_a_sweep_that_is_killed_ends_the_next_time_and_nothing_half_gone_comes_back(
    name: str, call: str, number: int, zygote: Zygote, retention: Runner, everyone: psycopg.Connection[Any]
) -> None:
    trial = Trial(next(case for case in CASES if case.name == name), zygote, retention, everyone)
    assert trial.sweep(call, number), "it was killed before anything went, or not at all"


# One place each: a sync or link of files, a message to Postgres, the move of a training set's folder.
FEW = {
    "delete in the lake": (("write", 2),),
    "archive in the lake": (("link", 2),),
    "compress in the lake": (("fsync", 3),),
    "drop partitions in Postgres": (("sendto", 45),),
    "delete training sets": (("rename", 1),),
}
