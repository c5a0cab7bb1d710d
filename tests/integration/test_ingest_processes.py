"""Ingestion by several processes, and by processes that die."""

import random
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from retention_pipelines.settings import Settings
from retention_pipelines.sources.ingest import ingest
from retention_pipelines.warehouse import Lake

WORKER = Path(__file__).with_name("ingest_worker.py")
ROWS = 20_000


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    path = tmp_path / "bottle.csv"
    lines = ["lon,lat,date,quarter,depth_m,sta_dpos,t_degc,salinity,o2sat"]
    for n in range(ROWS):
        lat = "95" if n % 100 == 0 else f"{30 + n % 7}.5"
        lines.append(f"-120.5,{lat},200{n % 4}-0{1 + n % 9}-05,1,{n},1,15.5,33.1,")
    path.write_text("\n".join(lines) + "\n")
    return path


def start(settings: Settings, raw: Path) -> subprocess.Popen[str]:
    command = [sys.executable, str(WORKER), settings.lake_root, str(settings.state_dir), str(raw)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def state(settings: Settings) -> tuple[int, int, int, int]:
    with Lake(settings) as lake:
        lake.create_views()
        return lake.con.execute(
            """select (select count(*) from observations), (select count(distinct record_hash) from observations),
                      (select count(*) from quarantine), (select count(*) from ingested_files where accepted > 0)"""
        ).fetchall()[0]


ONCE = (2 * ROWS * 99 // 100, ROWS * 99 // 100, ROWS // 100, 1)


def test_two_processes_with_the_same_file_add_it_once(settings: Settings, raw: Path) -> None:
    workers = [start(settings, raw) for _ in range(2)]
    said = [worker.communicate(timeout=120)[0].split("\n")[1] for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0]
    assert sorted(said) == [f"0 {ROWS}", f"{ROWS * 99 // 100} 0"]
    assert state(settings) == ONCE


def test_a_killed_ingest_leaves_nothing_visible_and_the_next_one_is_clean(settings: Settings, raw: Path) -> None:
    chance = random.Random(20260101)
    for _ in range(4):
        worker = start(settings, raw)
        assert worker.stdout is not None
        worker.stdout.readline()
        time.sleep(chance.uniform(0.2, 2.5))
        worker.kill()
        worker.wait()
        worker.stdout.close()
        assert state(settings) in {(0, 0, 0, 0), ONCE}
    with Lake(settings) as lake:
        report = ingest(raw, lake, now=datetime(2026, 1, 1, tzinfo=UTC))
    assert report.read == ROWS
    assert report.accepted + report.quarantined + report.duplicates == ROWS
    assert state(settings) == ONCE
