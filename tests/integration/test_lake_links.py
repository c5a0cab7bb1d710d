"""A lake whose file system has no links: everything but the raw glob works, and it says so."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from retention_pipelines.settings import Settings
from retention_pipelines.warehouse import Lake
from retention_pipelines.warehouse.reader import connect
from tests.unit.warehouse.rows import observations


@pytest.fixture
def foreign_published(settings: Settings) -> Iterator[Path]:
    """`.published` on another file system, so that hard links to it are refused."""
    place = Path(settings.lake_root) / ".published"
    place.mkdir(parents=True)
    if shutil.which("mount") is None or os.geteuid() != 0:
        pytest.skip("mounting a tmpfs needs root and the command mount")
    done = subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(place)], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"mounting a tmpfs was refused: {done.stderr.strip()}")
    yield place
    if place.is_mount():
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def test_without_links_the_catalog_and_connect_show_what_is_published(
    settings: Settings, foreign_published: Path
) -> None:
    root = Path(settings.lake_root)
    with Lake(settings) as lake:
        for keys in ("ab", "c"):
            lake.table("observations").append(observations(keys))
            lake.publish()
            assert not lake.published().trees
        assert lake.published().versions == {"observations": 2}
        assert not (root / "observations").exists()
        with duckdb.connect(str(root / "catalog.duckdb"), read_only=True) as con:
            assert con.execute("select count(*) from observations").fetchall() == [(3,)]
        with connect(settings) as con:
            assert con.execute("select count(*) from observations").fetchall() == [(3,)]
        # Moved to a file system with links, the next publishing brings the folders back.
        subprocess.run(["umount", str(foreign_published)], check=True)
        lake.table("observations").append(observations("d"))
        lake.publish()
        assert lake.published().trees
    glob = f"'{root}/observations/**/*.parquet'"
    assert duckdb.connect().execute(f"select count(*) from {glob}").fetchall() == [(4,)]
