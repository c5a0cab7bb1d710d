"""The commands that look after training sets."""

import json
import os
from typing import Any

import dagster as dg
import numpy as np
import pytest

from retention_pipelines.cache.training.store import TrainingSets
from retention_pipelines.cli import app
from retention_pipelines.defs.background import training_sets_job
from retention_pipelines.defs.resources import LakeResource
from retention_pipelines.settings import Settings
from tests.unit.cache.training.conftest import KEY, Sets


@pytest.fixture
def filled(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Sets:
    monkeypatch.setenv("RETENTION_LAKE_ROOT", settings.lake_root)
    monkeypatch.setenv("RETENTION_STATE_DIR", str(settings.state_dir))
    sets = Sets(settings)
    sets.put(np.zeros((4_000, 3)))
    sets.put(np.ones((4_000, 3)), key="f" * 32, ttl_seconds=1e-9)
    return sets


def retention(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, Any]:
    with pytest.raises(SystemExit) as ended:
        app.main(["training", *arguments, "--json"])
    return int(ended.value.code or 0), json.loads(capsys.readouterr().out)


def test_damage_that_no_time_tells_of_is_found_and_named(filled: Sets, capsys: pytest.CaptureFixture[str]) -> None:
    assert retention(capsys, "verify") == (0, [])
    found = filled.find(KEY)
    assert found is not None
    with open(filled.folder.root / found.files[0], "r+b") as file:
        file.seek(1_000)
        file.write(b"\x01")
    code, damaged = retention(capsys, "verify")
    assert code == 1
    assert [one.partition(":")[0] for one in damaged] == [KEY]


def test_what_expired_is_cleaned_when_it_is_older_than_a_day(
    filled: Sets, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert retention(capsys, "clean") == (0, 0)
    defaults = TrainingSets.clean.__kwdefaults__ | {"safe_age_seconds": -1.0}
    monkeypatch.setattr(TrainingSets.clean, "__kwdefaults__", defaults)
    done = training_sets_job.execute_in_process(
        resources={"lake": LakeResource(filled.settings)}, instance=dg.DagsterInstance.ephemeral()
    )
    assert done.success
    assert filled.find(KEY) is not None
    assert os.listdir(filled.root / "sets") == [KEY]
