"""`retention up` as a person uses it: real processes, a real delivery, real signals, a real browser.

The tests of this file share one folder and go in order: start, delivery, pages, climatology, accidents, stop, starts
that are ended.
"""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from tests.integration.browser import CHROMIUM, browse

ROOT = Path(__file__).parents[2]
PATIENCE = 240.0


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _until(ask: Callable[[], object], what: str, seconds: float = PATIENCE) -> object:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if answer := ask():
            return answer
        time.sleep(0.3)
    raise AssertionError(f"waited {seconds:.0f} s in vain for {what}")


@dataclass
class Up:
    """One `retention up`, in a folder of its own."""

    folder: Path
    port: int
    ignore_interrupt: bool = False
    process: subprocess.Popen[bytes] = field(init=False)

    def __post_init__(self) -> None:
        self.process = self.start_another(self.port)

    @property
    def environment(self) -> dict[str, str]:
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("RETENTION_", "DAGSTER_"))}
        return clean | {
            "RETENTION_LAKE_ROOT": str(self.folder / "warehouse"),
            "RETENTION_STATE_DIR": str(self.folder / "state"),
        }

    def start_another(self, port: int) -> subprocess.Popen[bytes]:
        """Start the command; with SIGINT ignored as a shell does it for `command &` in a script."""
        with (self.folder / "out.txt").open("ab") as out:
            return subprocess.Popen(
                [sys.executable, "-m", "retention_pipelines.cli.app", "up", "--port", str(port)],
                cwd=ROOT,
                env=self.environment,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=(lambda: signal.signal(signal.SIGINT, signal.SIG_IGN)) if self.ignore_interrupt else None,
            )

    @property
    def output(self) -> str:
        return (self.folder / "out.txt").read_text()

    def wait_for(self, text: str, times: int = 1) -> None:
        def said() -> bool:
            assert self.process.poll() is None, self.output
            return self.output.count(text) >= times

        _until(said, text)

    def family(self) -> list[psutil.Process]:
        """Everything it started, with the embedded Postgres, which is nobody's child."""
        found = psutil.Process(self.process.pid).children(recursive=True)
        pid = self.folder / "state" / "postgres" / "data" / "postmaster.pid"
        if pid.exists():
            found.append(psutil.Process(int(pid.read_text().splitlines()[0])))
        return found

    def ask(self, query: str) -> dict[str, object]:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/graphql",
            data=json.dumps({"query": query}).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=60) as answer:
            told: dict[str, object] = json.loads(answer.read())["data"]
            return told

    def runs(self) -> list[tuple[str, str]]:
        told = self.ask("{ runsOrError(limit: 50) { ... on Runs { results { jobName status } } } }")
        return [(run["jobName"], run["status"]) for run in told["runsOrError"]["results"]]  # type: ignore[index,call-overload]


def _gone(family: list[psutil.Process], seconds: float = 60.0) -> list[psutil.Process]:
    """Those that still run after a while."""
    _, alive = psutil.wait_procs(family, timeout=seconds)
    return [process for process in alive if process.status() != psutil.STATUS_ZOMBIE]


def _folder() -> Path:
    return Path(tempfile.mkdtemp(prefix="rp-"))


@pytest.fixture(scope="module")
def up() -> Iterator[Up]:
    started = Up(folder=_folder(), port=_free_port(), ignore_interrupt=True)
    yield started
    if started.process.poll() is None:
        started.process.terminate()
        started.process.wait(60)
    shutil.rmtree(started.folder, ignore_errors=True)


def test_it_says_when_everything_is_ready_and_where(up: Up) -> None:
    up.wait_for("Ready.")
    assert f"Page            http://127.0.0.1:{up.port}" in up.output
    assert "embedded" in up.output
    assert up.ask("{ version }")["version"]


def test_a_delivery_becomes_features_and_series_without_a_command(up: Up) -> None:
    rows = [
        f"{number},survey-1,haul-{number % 6},{taxon},2017-0{1 + number % 9}-14,{-12.1 - number % 4},13.3,present"
        for number, taxon in enumerate(["Sardinella aurita", "Trachurus capensis", "Dentex macrophthalmus"] * 12)
    ]
    header = "occurrenceID,datasetID,eventID,scientificName,eventDate,decimalLatitude,decimalLongitude,occurrenceStatus"
    landing = up.folder / "warehouse" / "landing"
    (landing / "survey.csv.part").write_text("\n".join([header, *rows]) + "\n")
    (landing / "survey.csv.part").rename(landing / "survey.csv")

    _until(lambda: _done("months", up), "the months after the ingest")
    assert ("ingest", "SUCCESS") in up.runs()
    assert not (landing / "survey.csv").exists()
    assert len(list(landing.glob(".done/*/survey.csv"))) == 1
    asked = "select count(*) as n, sum(richness) as r from biodiversity_statistics where time_window = 'monthly'"
    command = [sys.executable, "-m", "retention_pipelines.cli.app", "query", asked, "--format", "json"]
    done = subprocess.run(command, env=up.environment, cwd=ROOT, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)[0]["n"] > 0


def _done(job: str, up: Up) -> bool:
    runs = up.runs()
    assert not [run for run in runs if run[1] in ("FAILURE", "CANCELED")], runs
    return (job, "SUCCESS") in runs


def _keep(picture: Path) -> None:
    """Copy a screenshot to the folder SCREENSHOTS, for people to look at."""
    assert picture.stat().st_size > 30_000, "a page with nothing drawn on it is smaller"
    if folder := os.environ.get("SCREENSHOTS"):
        shutil.copy(picture, folder)


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed: apt-get install chromium")
def test_the_page_shows_the_lineage_from_deliveries_to_trends(up: Up, tmp_path: Path) -> None:
    with browse() as page:
        page.open(
            f"http://127.0.0.1:{up.port}/assets/ingested_files?view=lineage&lineageScope=downstream&lineageDepth=5"
        )
        page.wait_for("ingested_files", "occurrences", "observations", "feature_store", "seasonal_patterns", "trends")
        for group in ("raw", "features", "series"):
            assert group in page.text()
        page.screenshot(tmp_path / "lineage.png")
    _keep(tmp_path / "lineage.png")


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed: apt-get install chromium")
def test_the_page_of_an_asset_shows_what_it_is_and_where_its_records_lie(up: Up, tmp_path: Path) -> None:
    with browse() as page:
        page.open(f"http://127.0.0.1:{up.port}/assets/occurrences")
        page.wait_for("Row count", "36", "Latest check results", "scientific_name", "data-engineering", "Parquet")
        page.screenshot(tmp_path / "asset.png")
        page.open(f"http://127.0.0.1:{up.port}/assets/occurrences?view=partitions&partition=2017-09")
        page.wait_for("[Show Markdown]")
        texts = "[...document.querySelectorAll('*')].filter(e => !e.childElementCount)"
        page.ask(f"{texts}.find(e => e.textContent === '[Show Markdown]').click()")
        page.wait_until(
            "[...document.images].some(i => i.alt === 'Where the species records lie' && i.naturalWidth > 300)"
        )
        page.screenshot(tmp_path / "plot.png")
    _keep(tmp_path / "asset.png")
    _keep(tmp_path / "plot.png")


def test_a_second_one_is_refused_with_a_sentence(up: Up) -> None:
    same_port = up.start_another(up.port)
    assert same_port.wait(60) == 2
    assert f"Port {up.port} on 127.0.0.1 is in use" in up.output
    same_state = up.start_another(_free_port())
    assert same_state.wait(60) == 2
    assert "runs already" in up.output


def test_what_depends_on_all_years_follows_the_months_by_itself(up: Up) -> None:
    # It ran while the tests before this looked at the pages.
    _until(lambda: _done("climatology", up), "the climatology after the months")


def test_a_program_that_dies_is_reported_and_started_again(up: Up) -> None:
    daemon = next(child for child in psutil.Process(up.process.pid).children() if "daemon" in child.cmdline())
    daemon.kill()
    up.wait_for("The daemon ended with code -9: starting it again.")
    assert up.process.poll() is None
    children = _until(
        lambda: [child for child in psutil.Process(up.process.pid).children() if "daemon" in child.cmdline()],
        "a new daemon",
    )
    assert children != [daemon]


def test_an_interrupt_stops_everything_even_where_it_was_ignored_at_the_start(up: Up) -> None:
    # The daemon and the web server, a code server of each, and Postgres.
    _until(lambda: len(up.family()) >= 5, "the code server of the daemon that was started again")
    family = up.family()
    up.process.send_signal(signal.SIGINT)
    assert up.process.wait(90) == 0, up.output
    assert up.output.rstrip().endswith("Stopped.")
    assert re.search(r"Stopping \(SIGINT\)", up.output)
    assert _gone(family) == []


def test_a_signal_in_the_middle_of_the_next_start_leaves_nothing_running(up: Up) -> None:
    again = Up(folder=up.folder, port=_free_port())
    try:
        again.wait_for("Starting the Dagster daemon", times=2)
        time.sleep(1.0)
        family = again.family()
        again.process.send_signal(signal.SIGTERM)
        assert again.process.wait(90) == 0, again.output
        assert "Stopping (SIGTERM)" in again.output
        assert _gone(family) == []
    finally:
        again.process.kill()
        again.process.wait(30)


def test_what_it_started_ends_when_it_is_killed(up: Up) -> None:
    again = Up(folder=up.folder, port=_free_port())
    again.wait_for("Ready.", times=2)
    family = again.family()
    again.process.kill()
    again.process.wait(30)
    assert _gone(family, 120.0) == []
