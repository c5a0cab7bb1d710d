"""Runs on a disk that fills up, at many points: a clear error, nothing lost, and the same run ends with space again."""

import itertools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest

from retention_pipelines.errors import RetentionError, StorageFull
from retention_pipelines.retention.recovery.restore import restore_plan
from retention_pipelines.retention.runs.run import Runner, runner
from retention_pipelines.settings import Settings
from tests.fixtures.retention_cases import CASES, Case, require_conserved, require_exact
from tests.integration.test_lake_disk_full import small_disk

pytestmark = pytest.mark.parametrize("database", ["embedded"], indirect=True)
# Archiving writes most: the copy, and the partitions without the rows.
LAKE = [
    pytest.param(case, id=case.name, marks=[] if case.copies else [pytest.mark.long])
    for case in CASES
    if case.name.endswith("in the lake")
]


@pytest.fixture
def on_small_disk(small_disk: Path, database_settings: Settings) -> Iterator[Runner]:
    settings = database_settings.model_copy(update={"lake_root": str(small_disk / "warehouse")})
    with runner(settings) as opened:
        yield opened


def leave(place: Path, free: int) -> Path:
    """Fill a disk but for some bytes."""
    ballast = place / "ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"x" * 4096)
        except OSError:
            pass
        file.truncate(max(0, file.tell() // 4096 * 4096 - free))
    return ballast


@pytest.mark.timeout(1500)
@pytest.mark.parametrize("case", LAKE)
def test_a_disk_that_fills_up_at_any_point_of_a_run_loses_nothing(
    case: Case,
    on_small_disk: Runner,
    everyone: psycopg.Connection[Any],
    small_disk: Path,
    pytestconfig: pytest.Config,
) -> None:
    """The disk is full once the run has begun, but for a little more room each time, until that is enough."""
    retention = on_small_disk
    case.fill(retention, everyone)
    before = case.books(retention, everyone, None)
    refused = 0
    # A round leaves what may be gone back to, and copies: with more rounds the small disk would be full of those alone.
    every = itertools.count(0, 4096 if case.name == "delete in the lake" else 20_480)
    few = itertools.chain([0], (20_480 * 5**power for power in itertools.count()))
    for room in every if pytestconfig.getoption("--long") else few:
        plan = case.plan(retention)

        def fill(name: str, room: int = room) -> None:
            if name == "marked":
                leave(small_disk, room)

        full: RetentionError | None
        try:
            replace(retention, step=fill).execute(plan.sha256, confirm=plan.sha256)
        except RetentionError as error:
            full = error
        else:
            full = None
        assert full is None or (isinstance(full, StorageFull) and full.hint)
        refused += full is not None
        assert case.books(retention, everyone, plan).all == before.all
        (small_disk / "ballast").unlink()
        outcome = retention.execute(plan.sha256, confirm=plan.sha256)
        after = case.books(retention, everyone, plan)
        require_conserved(before, after)
        require_exact(case, outcome, plan, before, after, everyone)
        restore_plan(retention, plan.sha256)
        assert case.books(retention, everyone, None) == before
        if full is None:
            break
    print(f"\n{case.name}: the disk was full at {refused} points")
    assert refused > 0


def test_a_disk_that_is_full_once_rows_are_out_is_told_on_record_and_the_run_ends_later(
    on_small_disk: Runner, everyone: psycopg.Connection[Any], small_disk: Path
) -> None:
    """What vacuum may not take is written down after the commit: that failed with an OSError, and without a trace."""
    case = next(one for one in CASES if one.name == "delete in the lake")
    case.fill(on_small_disk, everyone)
    before = case.books(on_small_disk, everyone, None)
    plan = case.plan(on_small_disk)
    full = replace(on_small_disk, step=lambda name: name == "committed" and leave(small_disk, 0))
    with pytest.raises(StorageFull):
        full.execute(plan.sha256, confirm=plan.sha256)
    (failed,) = everyone.execute("select count(*) from audit where action = 'retention.failed'").fetchall()
    assert failed == (1,)
    (small_disk / "ballast").unlink()
    outcome = on_small_disk.execute(plan.sha256, confirm=plan.sha256)
    after = case.books(on_small_disk, everyone, plan)
    require_conserved(before, after)
    require_exact(case, outcome, plan, before, after, everyone)


__all__ = ["small_disk"]
