"""kill -9 at random moments: writers, rewriter, compactor and readers together, nothing lost, doubled or torn."""

import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from retention_pipelines.settings import Settings
from retention_pipelines.warehouse import Lake
from tests.integration.lake_worker import BATCH, BATCHES, FILES
from tests.unit.warehouse.rows import observations

WRITERS = ("new", "new", "plain", "ingest", "rewrite", "compact")
READERS = ("glob", "catalog", "views")


class Workers:
    """Processes of the stress, each killed and started again under its own name."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self._settings = settings
        self._folder = folder
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._seed = 0

    def start(self, name: str) -> None:
        self._seed += 1
        role = name.partition("-")[0]
        place = [self._settings.lake_root, str(self._settings.state_dir), str(self._seed), str(self._folder / name)]
        with (self._folder / f"{name}.stderr").open("ab") as errors:
            self._running[name] = subprocess.Popen(
                [sys.executable, "-m", "tests.integration.lake_worker", role, *place], stderr=errors
            )

    def kill(self, name: str) -> None:
        process = self._running.pop(name)
        process.send_signal(signal.SIGKILL)
        process.wait()

    def names(self) -> list[str]:
        return list(self._running)

    def ended_by_themselves(self) -> list[str]:
        return [name for name, process in self._running.items() if process.poll() is not None]

    def all_got_something_done(self) -> bool:
        return all(self.notes(role) for role in ("new", "plain", "ingest"))

    def notes(self, prefix: str) -> list[str]:
        found = [path for path in self._folder.iterdir() if path.name.startswith(prefix) and not path.suffix]
        return [line for path in found for line in path.read_text(encoding="utf-8").splitlines()]


def stress(settings: Settings, folder: Path, *, seconds: float) -> None:
    random_ = random.Random(7)
    folder.mkdir()
    with Lake(settings) as lake:
        lake.table("observations").append(observations([f"p-{number}" for number in range(BATCH)]))
        lake.publish()
    workers = Workers(settings, folder)
    for number, role in enumerate((*WRITERS, *READERS)):
        workers.start(f"{role}-{number}")
    kills = 0
    end, latest = time.monotonic() + seconds, time.monotonic() + seconds + 120
    try:
        while time.monotonic() < end or not workers.all_got_something_done():
            assert time.monotonic() < latest, "some writer gets nothing done"
            time.sleep(random_.uniform(0.8, 2.5))
            assert workers.ended_by_themselves() == [], "a worker stopped on an error; see its stderr"
            victim = random_.choice([name for name in workers.names() if name.partition("-")[0] in WRITERS])
            workers.kill(victim)
            kills += 1
            workers.start(victim)
    finally:
        for name in workers.names():
            workers.kill(name)
    check(settings, workers)
    print(f"{kills} kills, {Counter(line.partition(' ')[0] for role in READERS for line in workers.notes(role))}")


def check(settings: Settings, workers: Workers) -> None:
    for role in READERS:
        outcomes = Counter(workers.notes(role))
        assert outcomes["ok"] > 0
        assert set(outcomes) <= {"ok", "error"}, f"torn reads by {role}: {outcomes}"
        assert role == "glob" or outcomes["error"] == 0
    with Lake(settings) as lake:
        lake.publish()
        lake.create_views()
        for sql in (BATCHES.format("observations"), FILES):
            assert lake.con.execute(sql).fetchall() == [(0,)], "no duplicate, no half batch, no half file"
        batches = "select distinct regexp_replace(record_hash, '-[^-]*$', '') from observations"
        stored = {row[0] for row in lake.con.execute(batches).fetchall()}
        assert set(workers.notes("new")) <= stored
        assert set(workers.notes("plain")) <= stored
        files = {row[0] for row in lake.con.execute("select sha256 from ingested_files").fetchall()}
        assert set(workers.notes("ingest")) <= files
        # The lake is as usable as before.
        lake.table("observations").compact(min_files=2)
        lake.table("observations").append(observations([f"p-after-{number}" for number in range(BATCH)]))
        assert lake.publish()["observations"] == lake.table("observations").version()


def test_nothing_acknowledged_is_lost_doubled_or_torn_when_processes_are_killed(
    settings: Settings, tmp_path: Path
) -> None:
    stress(settings, tmp_path / "notes", seconds=20)


@pytest.mark.long
@pytest.mark.timeout(900)
def test_nothing_is_lost_in_ten_minutes_of_kills(settings: Settings, tmp_path: Path) -> None:
    stress(settings, tmp_path / "notes", seconds=600)
