"""Fixtures every test may use; each file in `fixtures/` holds one kind."""

import os
import sys
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from retention_pipelines import disk
from tests.fixtures.scratch import Scratch

_SCRATCH = Scratch()
# What a test starts inherits it: whether writing stops must not hang on how full the disk of this machine is.
os.environ["RETENTION_DISK_STOP_SHARE"] = "1"

pytest_plugins = [
    "tests.fixtures.lake",
    "tests.fixtures.ml_platform",
    "tests.fixtures.postgres",
    "tests.fixtures.real_data",
    "tests.fixtures.retention",
]


@pytest.fixture(autouse=True)
def roomy_disk(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A disk that is a tenth full, whatever this machine's is; tests marked `real_disk` see what there is."""
    if "real_disk" not in request.keywords:
        roomy = SimpleNamespace(f_blocks=10**9, f_bfree=9 * 10**8, f_bavail=9 * 10**8, f_frsize=4096)
        monkeypatch.setattr(disk, "_statvfs", lambda _: roomy)
    disk._measured.clear()
    yield
    disk._measured.clear()


def pytest_sessionfinish() -> None:
    """Whose servers are gone by now: reads that they did not count concern nobody."""
    reads = sys.modules.get("retention_pipelines.features.reads")
    if reads is not None:
        reads._COUNTERS.clear()


def pytest_unconfigure(config: pytest.Config) -> None:
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    # Nobody looks at what passed, and it lies in memory.
    _SCRATCH.close(keep=reporter is not None and bool({"failed", "error"} & reporter.stats.keys()))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="run the long versions of bounded tests")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    # Long before other files need the real lake too: two workers at once meant that one waited for the other's ingest.
    items.sort(key=lambda item: item.path.name != "test_real_data_formats.py")
    if config.getoption("--long"):
        return
    skip = pytest.mark.skip(reason="long version: run with --long")
    for item in items:
        if "long" in item.keywords:
            item.add_marker(skip)
