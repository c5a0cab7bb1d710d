"""The upkeep of the lake, as jobs."""

import dagster as dg
import pytest

from retention_pipelines.definitions import build_definitions
from retention_pipelines.defs.described import MANY_FILES
from retention_pipelines.settings import Settings
from retention_pipelines.warehouse import Lake
from tests.unit.defs.small_lake import fill


def _run(settings: Settings, job: str) -> bool:
    with dg.DagsterInstance.ephemeral() as instance:
        return build_definitions(settings).resolve_job_def(job).execute_in_process(instance=instance).success


def test_compaction_merges_what_many_deliveries_left_and_changes_no_row(settings: Settings, lake: Lake) -> None:
    for _ in range(8):
        fill(lake, ("2017-08",))
    before = sum(file.rows for file in lake.table("observations").files())
    assert _run(settings, "compaction")
    files = lake.table("observations").files()
    assert len(files) == 1
    assert files[0].rows == before


def test_small_files_that_have_become_many_do_not_wait_for_the_weekly_compaction(
    settings: Settings, lake: Lake
) -> None:
    fill(lake, ("2017-08",))
    table = lake.table("ingested_files")

    def refuse(number: int) -> None:
        nothing = ", ".join(f'0::bigint as "{name}"' for name in ("read", "accepted", "quarantined", "values"))
        given = f"'{number}' as sha256, 'refused' as status, {nothing}"
        table.append(f"select * replace ({given}) from {table.scan()} limit 1")

    while (number := len(table.files())) < MANY_FILES - 1:
        refuse(number)
    assert _run(settings, "ingest")
    assert len(table.files()) == MANY_FILES - 1
    refuse(MANY_FILES)
    assert _run(settings, "ingest")
    (merged,) = table.files()
    assert merged.rows == MANY_FILES


@pytest.mark.parametrize("job", ["compaction", "vacuum"])
def test_upkeep_of_a_new_lake_has_nothing_to_do_and_succeeds(settings: Settings, job: str) -> None:
    assert _run(settings, job)


def test_vacuum_leaves_every_live_file(settings: Settings, lake: Lake) -> None:
    fill(lake, ("2017-08",))
    assert _run(settings, "vacuum")
    assert lake.con.sql(f"select count(*) from {lake.table('occurrences').scan()}").fetchall() == [(3,)]
