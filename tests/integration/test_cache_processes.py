"""The Postgres tier among processes that compete, end, fork and are killed."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from retention_pipelines.cache.connections import Unavailable
from retention_pipelines.cache.events import Counters
from retention_pipelines.cache.hot import HotTier
from retention_pipelines.postgres.server import Server
from retention_pipelines.settings import Settings

pytestmark = pytest.mark.parametrize("database", ["embedded"], indirect=True)
WORKER = Path(__file__).with_name("cache_postgres_worker.py")


@pytest.fixture
def environment(database_settings: Settings) -> dict[str, str]:
    """What makes a worker use the test's database."""
    assert database_settings.database_url is not None
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("RETENTION_")},
        "RETENTION_DATABASE_URL": database_settings.database_url.get_secret_value(),
        "RETENTION_STATE_DIR": str(database_settings.state_dir),
        "RETENTION_LAKE_ROOT": database_settings.lake_root,
        "RETENTION_CACHE_DEADLINE_SECONDS": "10",
    }


@pytest.fixture
def hot(database_settings: Settings) -> Iterator[HotTier]:
    tier = HotTier(database_settings.model_copy(update={"cache_deadline_seconds": 10.0}), counters=Counters())
    yield tier
    tier.close()


def start(environment: dict[str, str], *command: str) -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    return subprocess.Popen(
        [sys.executable, str(WORKER), *command], env=environment, stdin=pipe, stdout=pipe, text=True
    )


def run(environment: dict[str, str], *command: str) -> str:
    ended = subprocess.run(
        [sys.executable, str(WORKER), *command], env=environment, capture_output=True, text=True, timeout=120
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr == ""
    return ended.stdout


def said(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def compete(environment: dict[str, str], log: Path, processes: int, threads: int) -> list[str]:
    """What each process said after all their threads wanted one cold key, and how often it was computed."""
    workers = [start(environment, "compute", "cold", str(threads), str(log)) for _ in range(processes)]
    assert [said(worker) for worker in workers] == ["ready"] * processes
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.write("go\n")
        worker.stdin.flush()
    return [worker.communicate(timeout=200)[0].strip() for worker in workers]


def test_s16_threads_of_several_processes_on_a_cold_key_compute_once(
    environment: dict[str, str], tmp_path: Path
) -> None:
    assert compete(environment, tmp_path / "log", 3, 40) == ["40 1"] * 3
    assert len((tmp_path / "log").read_text().splitlines()) == 1


@pytest.mark.long
def test_s16_two_hundred_threads_of_each_of_four_processes_compute_once(
    environment: dict[str, str], tmp_path: Path
) -> None:
    for turn in range(3):
        log = tmp_path / f"log{turn}"
        assert compete({**environment, "RETENTION_TENANT": f"t{turn}"}, log, 4, 200) == ["200 1"] * 4
        assert len(log.read_text().splitlines()) == 1


def test_when_the_computing_process_is_killed_another_computes(environment: dict[str, str], tmp_path: Path) -> None:
    log = tmp_path / "log"
    first = start(environment, "compute", "cold", "2", str(log))
    assert said(first) == "ready"
    assert first.stdin is not None
    first.stdin.write("go\n")
    first.stdin.flush()
    ends = time.monotonic() + 60
    while not log.exists() and time.monotonic() < ends:
        time.sleep(0.005)
    first.kill()
    first.communicate(timeout=60)
    assert compete(environment, log, 2, 5) == ["5 1"] * 2
    assert 1 <= len(log.read_text().splitlines()) <= 2


def test_s17_a_short_lived_process_loses_nothing_it_put(environment: dict[str, str], hot: HotTier) -> None:
    run(environment, "quit", "50")
    assert len(hot.get_many("features", [f"quit-{n}" for n in range(50)])) == 50


def test_a_forked_child_writes_and_reads_for_itself_and_its_parent_goes_on(
    environment: dict[str, str], hot: HotTier
) -> None:
    assert run(environment, "fork", "5") == "parent reads on\n"
    keys = ["parent", *(f"child-{n}" for n in range(5))]
    assert len(hot.get_many("features", keys)) == 6


def killed(
    environment: dict[str, str], log: Path, command: str, seconds: float
) -> tuple[list[tuple[str, float]], float]:
    """What a process said it had put before it was killed, and when that was."""
    worker = start(environment, command, str(log))
    assert said(worker) == "ready"
    time.sleep(seconds)
    worker.send_signal(signal.SIGKILL)
    at = time.monotonic()
    worker.communicate(timeout=60)
    lines = [line.split() for line in log.read_text().splitlines()]
    # The last line may be cut.
    return [(line[0], float(line[1])) for line in lines if len(line) == 2], at


def kept(hot: HotTier, keys: list[str]) -> set[str]:
    while True:
        try:
            return set(hot.get_many("features", keys))
        except Unavailable:
            time.sleep(0.1)


def test_a_kill_loses_at_most_the_stated_seconds_of_entries(
    environment: dict[str, str], hot: HotTier, tmp_path: Path
) -> None:
    flush_seconds = 1.0
    for turn, seconds in enumerate((0.7, 2.3)):
        put, at = killed(
            {**environment, "RETENTION_CACHE_FLUSH_SECONDS": str(flush_seconds)},
            tmp_path / f"log{turn}",
            "write",
            seconds,
        )
        assert put
        found = kept(hot, [key for key, _ in put])
        lost = [at - when for key, when in put if key not in found]
        # What a batch takes on a busy machine comes on top.
        assert max(lost, default=0.0) < 2 * flush_seconds


def test_a_kill_loses_nothing_that_was_acknowledged(environment: dict[str, str], hot: HotTier, tmp_path: Path) -> None:
    for turn in range(3):
        put, _ = killed(environment, tmp_path / f"log{turn}", "writenow", 0.3 + turn / 7)
        assert put
        assert kept(hot, [key for key, _ in put]) == {key for key, _ in put}


@pytest.mark.long
def test_a_hundred_kills_lose_nothing_that_was_acknowledged(
    environment: dict[str, str], hot: HotTier, tmp_path: Path
) -> None:
    for turn in range(100):
        put, _ = killed(environment, tmp_path / "log", "writenow", 0.02 + (turn * 37 % 100) / 500)
        assert kept(hot, [key for key, _ in put]) == {key for key, _ in put}


def test_s22_a_fresh_entry_is_fresh_in_every_time_zone(
    environment: dict[str, str], hot: HotTier, database: Server
) -> None:
    run(environment, "quit", "1")
    for zone in ("Pacific/Kiritimati", "Pacific/Pago_Pago", "Asia/Kathmandu"):
        assert run({**environment, "TZ": zone, "PGTZ": zone}, "read", "quit-0") == "True\n"
