"""What `retention doctor` says of disks and of what is kept aside on them."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from retention_pipelines import disk
from retention_pipelines.cli.diagnosis import Finding, examine
from retention_pipelines.retention.pressure.reserve import ensure_reserve
from retention_pipelines.settings import Settings, load_settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings({}, lake_root=str(tmp_path / "lake"), state_dir=tmp_path / "state", reserve_mb=1)


def found(settings: Settings, name: str) -> Finding:
    return next(one for one in examine(settings) if one.name == name)


@pytest.mark.parametrize(("share", "status"), [(0.8, "ok"), (0.86, "note"), (0.93, "problem")])
def test_a_disk_is_told_of_by_the_watermarks(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, share: float, status: str
) -> None:
    free = round(10**9 * (1 - share))
    full = SimpleNamespace(f_blocks=10**9, f_bfree=free, f_bavail=free, f_frsize=4096)
    monkeypatch.setattr(disk, "_statvfs", lambda _: full)
    told = found(settings, "disk in use, lake")
    assert (told.value, told.status) == (f"{share:.1%}", status)
    assert (told.advice is None) == (status == "ok")


def test_a_reserve_is_missing_then_there_then_given_up(settings: Settings) -> None:
    missing = found(settings, "reserve")
    assert (missing.value, missing.status, missing.advice) == (0, "note", "`retention up` makes it.")
    (place,) = ensure_reserve(settings)
    assert (found(settings, "reserve").value, found(settings, "reserve").status) == (1_000_000, "ok")
    with place.open("r+b") as file:
        file.truncate(0)
    given_up = found(settings, "reserve")
    assert given_up.status == "note"
    assert "given up" in str(given_up.advice)
