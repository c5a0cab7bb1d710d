"""A full disk: a clear error, nothing lost, and work goes on once there is space."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from retention_pipelines.errors import StorageFull
from retention_pipelines.settings import Settings, load_settings
from retention_pipelines.warehouse import Lake
from tests.unit.warehouse.rows import observations, rows


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "disk"
    place.mkdir()
    if shutil.which("mount") is None or os.geteuid() != 0:
        pytest.skip("mounting a small tmpfs needs root and the command mount")
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", str(place)], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        pytest.skip(f"mounting a small tmpfs was refused: {done.stderr.strip()}")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


@pytest.fixture
def tight(small_disk: Path, tmp_path: Path) -> Settings:
    return load_settings({}, lake_root=str(small_disk / "warehouse"), state_dir=tmp_path / "state")


def fill(place: Path) -> Path:
    """Use up all space but for nothing."""
    ballast = place / "ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"x" * 65536)
        except OSError:
            pass
    return ballast


def count(lake: Lake) -> int:
    found: int = lake.con.execute(f"select count(*) from {lake.table('observations').scan()}").fetchall()[0][0]
    return found


def test_a_full_disk_is_a_clear_error_and_old_data_stays_readable(small_disk: Path, tight: Settings) -> None:
    with Lake(tight) as lake:
        lake.table("observations").append(observations("ab"))
        lake.publish()
        ballast = fill(small_disk)
        big = rows("observations", 100_000, record_hash="md5(i::varchar)", source_file="sha256(i::varchar)")
        with pytest.raises(StorageFull, match="No space left") as caught:
            lake.table("observations").append(big)
        assert caught.value.hint is not None
        assert count(lake) == 2
        lake.create_views()
        assert lake.con.execute("select count(*) from observations").fetchall() == [(2,)]
        ballast.unlink()
        lake.table("observations").append(observations("c"))
        lake.publish()
        assert count(lake) == 3


@pytest.mark.parametrize("months", [None, ("2017-08", "2017-09")], ids=["in one copy", "side by side"])
def test_a_write_that_fails_on_a_full_disk_gives_back_the_space_it_took(
    small_disk: Path, tight: Settings, months: tuple[str, ...] | None
) -> None:
    with Lake(tight) as lake:
        table = lake.table("observations")
        table.append(observations("ab"))
        before, free = set(small_disk.rglob("*.parquet")), shutil.disk_usage(small_disk).free
        lake.con.execute(
            "create table many as "
            + rows(
                "observations", 400_000, record_hash="md5(i::varchar)", source_file="sha256(i::varchar)",
                month="case i % 2 when 0 then '2017-08' else '2017-09' end",
            )
        )  # fmt: skip
        with pytest.raises(StorageFull, match="No space left"):
            table.append("from many", partitions=months)
        assert set(small_disk.rglob("*.parquet")) == before
        assert shutil.disk_usage(small_disk).free > free - 65536


def test_a_transaction_on_a_full_disk_leaves_nothing_half_done(small_disk: Path, tight: Settings) -> None:
    with Lake(tight) as lake:
        lake.table("observations").append(observations("ab"))
        lake.publish()
        with pytest.raises(StorageFull), lake.transaction("ingest:1") as op:  # noqa: PT012
            lake.table("observations").append(observations("c"), op=op)
            ballast = fill(small_disk)
            lake.table("ingested_files").append(rows("ingested_files", 1000), op=op)
    with Lake(tight) as lake:
        assert count(lake) == 2, "hidden at least, where there was no space to take it back"
        ballast.unlink()
        lake.publish()
        assert count(lake) == 2
        with lake.transaction("ingest:1") as op:
            lake.table("observations").append(observations("c"), op=op)
        assert count(lake) == 3


def test_publishing_on_a_full_disk_leaves_the_old_state_shown(small_disk: Path, tight: Settings) -> None:
    with Lake(tight) as lake:
        lake.table("observations").append(observations("ab"))
        lake.publish()
        lake.table("observations").append(observations("c"))
        ballast = fill(small_disk)
        with pytest.raises(StorageFull):
            lake.publish()
        lake.create_views()
        assert lake.con.execute("select count(*) from observations").fetchall() == [(2,)]
        ballast.unlink()
        lake.publish()
        lake.create_views()
        assert lake.con.execute("select count(*) from observations").fetchall() == [(3,)]
