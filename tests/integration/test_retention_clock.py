"""Runs while clocks do odd things: years of daily runs in libfaketime, leap days, clock changes, leaps of the clock.

Server and runner live in the same faked time; the embedded server could not be faked for one test alone, so this file
has a server of its own. Nothing is patched in Python.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest

from retention_pipelines.postgres import audit
from retention_pipelines.postgres.migrate import upgrade_server
from retention_pipelines.postgres.server import open_server
from retention_pipelines.settings import Settings, load_settings
from tests.fixtures.private_postgres import PrivatePostgres

ROOT = Path(__file__).resolve().parents[2]
LIBRARY = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)
pytestmark = pytest.mark.skipif(LIBRARY is None, reason="libfaketime is not installed")
FIRST = datetime(2027, 10, 25, 12, tzinfo=UTC)


def days_until(*dates: str) -> list[str]:
    return [str((datetime.fromisoformat(date) - FIRST.replace(tzinfo=None, hour=0)).days) for date in dates]


class FakedTime:
    """A server and the environment of processes that live in the time of a file."""

    def __init__(self, folder: Path) -> None:
        folder.chmod(0o755)
        self.clock = folder / "clock"
        self.clock.write_text(f"{int((FIRST - datetime.now(UTC)).total_seconds()):+d}")
        self.environment = {
            "LD_PRELOAD": str(LIBRARY),
            "FAKETIME_TIMESTAMP_FILE": str(self.clock),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            # A place whose clocks change: all that is stored is UTC, so nothing may depend on it.
            "TZ": "Europe/Berlin",
        }
        self.server = PrivatePostgres(self.environment)


@pytest.fixture(scope="module")
def faked() -> Iterator[FakedTime]:
    import tempfile

    with tempfile.TemporaryDirectory(prefix="rp-clock-") as folder:
        faked = FakedTime(Path(folder))
        yield faked
        faked.server.close()


@pytest.fixture
def settings(faked: FakedTime, tmp_path: Path) -> Settings:
    settings = load_settings(
        {}, database_url=faked.server.url("life"), lake_root=str(tmp_path / "lake"), state_dir=tmp_path / "state"
    )
    with psycopg.connect(faked.server.url("postgres"), autocommit=True) as con:
        con.execute("drop database if exists life")
        con.execute("create database life")
    with open_server(settings) as server:
        upgrade_server(server)
    return settings


def live(faked: FakedTime, settings: Settings, days: list[str], *, seconds: int) -> list[dict[str, Any]]:
    """What every day of a life said."""
    assert settings.database_url is not None
    where = [settings.database_url.get_secret_value(), settings.lake_root, str(settings.state_dir), str(faked.clock)]
    done = subprocess.run(
        [sys.executable, "-m", "tests.integration.retention_clock_worker", *where, *days],
        cwd=ROOT,
        env=os.environ | faked.environment,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


def require_right(said: list[dict[str, Any]], days: list[str], settings: Settings) -> None:
    """Every day is right to the key, leaps are refused, and the audit holds."""
    *lived, ahead, behind = said
    assert [one["day"] for one in lived] == list(map(int, days))
    assert all(one["right"] for one in lived), [one for one in lived if not one["right"]]
    assert {state for one in lived for state in one["states"]} <= {"published", "done"}
    assert ahead["said"][0].startswith("clock: The last run was 4"), ahead
    assert ahead["said"][1] in ("published", "done"), "a person who knows the clock is right may confirm"
    assert [one.startswith("clock: The database's clock is ") for one in behind["said"]] == [True, True], behind
    assert settings.database_url is not None
    with psycopg.connect(settings.database_url.get_secret_value()) as con:
        assert audit.verify(con).holds


def test_daily_runs_over_clock_changes_and_a_leap_day_are_right_to_the_key(
    faked: FakedTime, settings: Settings
) -> None:
    # The clocks of Berlin go back on the second day; a leap day, and the day that is a week after it.
    days = days_until("2027-10-30", "2027-10-31", "2028-02-29", "2028-03-07")
    require_right(live(faked, settings, days, seconds=200), days, settings)


@pytest.mark.long
@pytest.mark.timeout(1500)
def test_three_years_of_daily_runs_are_right_to_the_key(faked: FakedTime, settings: Settings) -> None:
    days = [str(day) for day in range(3 * 365 + 1)]
    require_right(live(faked, settings, days, seconds=1400), days, settings)
