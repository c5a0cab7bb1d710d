"""The secret: given, or made once however many processes ask at the same time."""

import stat
import subprocess
import sys
from pathlib import Path

import pytest

from retention_pipelines.cache.secret import FILE_NAME, load_secret
from retention_pipelines.errors import CacheError
from retention_pipelines.settings import load_settings


def test_a_given_secret_is_used_and_nothing_is_written(tmp_path: Path) -> None:
    settings = load_settings({}, state_dir=tmp_path / "state", cache_secret="sixteen or more bytes")
    assert load_secret(settings) == b"sixteen or more bytes"
    assert not (tmp_path / "state").exists()


def test_without_one_it_is_made_once_and_only_its_owner_can_read_it(tmp_path: Path) -> None:
    settings = load_settings({}, state_dir=tmp_path / "state")
    made = load_secret(settings)
    assert len(made) == 32
    assert load_secret(settings) == made
    assert stat.S_IMODE((tmp_path / "state" / FILE_NAME).stat().st_mode) == 0o600
    assert [path.name for path in (tmp_path / "state").iterdir()] == [FILE_NAME]
    assert load_secret(load_settings({}, state_dir=tmp_path / "other")) != made


def test_processes_that_make_it_at_the_same_time_agree(tmp_path: Path) -> None:
    program = (
        "import sys; from retention_pipelines.cache.secret import load_secret;"
        "from retention_pipelines.settings import load_settings;"
        "sys.stdin.readline(); print(load_secret(load_settings({}, state_dir=sys.argv[1])).hex())"
    )
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", program, str(tmp_path / "state")]
    started = [subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) for _ in range(4)]
    for process in started:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    said = {process.communicate(timeout=60)[0] for process in started}
    assert len(said) == 1
    assert len(said.pop().strip()) == 64


def test_a_secret_that_others_can_read_or_that_is_cut_is_refused_with_what_to_do(tmp_path: Path) -> None:
    settings = load_settings({}, state_dir=tmp_path)
    load_secret(settings)
    (tmp_path / FILE_NAME).chmod(0o644)
    with pytest.raises(CacheError, match="chmod 600"):
        load_secret(settings)
    (tmp_path / FILE_NAME).chmod(0o600)
    (tmp_path / FILE_NAME).write_bytes(b"cut")
    with pytest.raises(CacheError, match="3 bytes instead of 32"):
        load_secret(settings)


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_bytes(bytes(32))
    (tmp_path / "elsewhere").chmod(0o600)
    (tmp_path / FILE_NAME).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(CacheError, match="cannot be used"):
        load_secret(load_settings({}, state_dir=tmp_path))


def test_read_only_mode_makes_none(tmp_path: Path) -> None:
    with pytest.raises(CacheError, match="RETENTION_CACHE_SECRET"):
        load_secret(load_settings({}, state_dir=tmp_path, mode="read_only"))
    assert list(tmp_path.iterdir()) == []
