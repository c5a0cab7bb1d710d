"""Several commits over several tables: together or not at all, whoever dies and whoever looks."""

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from retention_pipelines.errors import LakeError, OutsideRestoreWindow, SchemaError
from retention_pipelines.settings import Settings
from retention_pipelines.warehouse import Lake
from tests.unit.warehouse.rows import observations, rows


def count(lake: Lake, name: str) -> int:
    found: int = lake.con.execute(f"select count(*) from {lake.table(name).scan()}").fetchall()[0][0]
    return found


def shown(lake: Lake, name: str) -> int:
    lake.create_views()
    found: int = lake.con.execute(f"select count(*) from {name}").fetchall()[0][0]
    return found


def test_a_transaction_publishes_all_its_commits(any_lake: Lake) -> None:
    with any_lake.transaction("ingest:1") as op:
        any_lake.table("observations").append(observations("ab"), op=op)
        any_lake.table("ingested_files").append(rows("ingested_files"), op=op)
        assert count(any_lake, "observations") == 2, "a transaction sees its own commits"
        assert shown(any_lake, "observations") == 0
    assert (shown(any_lake, "observations"), shown(any_lake, "ingested_files")) == (2, 1)


def test_an_exception_takes_back_every_commit_of_the_transaction(any_lake: Lake) -> None:
    any_lake.table("observations").append(observations("a"))
    with pytest.raises(SchemaError, match="required"), any_lake.transaction("ingest:1") as op:  # noqa: PT012
        any_lake.table("observations").append(observations("bc"), op=op)
        any_lake.table("observations").delete("record_hash = 'a'", op=op)
        any_lake.table("ingested_files").append(rows("ingested_files", path="null::varchar"), op=op)
    assert (count(any_lake, "observations"), count(any_lake, "ingested_files")) == (1, 0)
    with any_lake.transaction("ingest:1") as op:
        any_lake.table("observations").append(observations("bc"), op=op)
    assert shown(any_lake, "observations") == 3


def test_others_do_not_see_a_transaction_that_is_under_way(any_settings: Settings) -> None:
    with Lake(any_settings) as writer, Lake(any_settings) as other:
        writer.table("observations").append(observations("a"))
        with writer.transaction("ingest:1") as op:
            writer.table("observations").append(observations("bc"), op=op)
            writer.table("observations").delete("record_hash = 'a'", op=op)
            writer.table("ingested_files").append(rows("ingested_files"), op=op)
            other.table("aggregated_time_series").append(rows("aggregated_time_series"))
            assert (count(other, "observations"), count(other, "ingested_files")) == (1, 0)
            other.publish()
            assert shown(other, "aggregated_time_series") == 1, "what is no part of it is published at once"
            assert (shown(other, "observations"), shown(other, "ingested_files")) == (0, 0)
        assert (count(other, "observations"), shown(other, "observations"), shown(other, "ingested_files")) == (2, 2, 1)


def test_transactions_of_one_lake_do_not_nest(any_lake: Lake) -> None:
    with pytest.raises(LakeError, match="already open"), any_lake.transaction("a"), any_lake.transaction("b"):
        pass
    with any_lake.transaction("c") as op:
        any_lake.table("observations").append(observations("a"), op=op)
    assert count(any_lake, "observations") == 1


def test_a_second_transaction_waits_for_the_first(any_settings: Settings) -> None:
    order: list[str] = []

    def second() -> None:
        with Lake(any_settings) as lake, lake.transaction("second") as op:
            order.append("second begins")
            lake.table("observations").append(observations("b"), op=op)

    with Lake(any_settings) as lake:
        with lake.transaction("first") as op:
            lake.table("observations").append(observations("a"), op=op)
            thread = threading.Thread(target=second)
            thread.start()
            thread.join(0.5)
            order.append("first ends")
        thread.join(60)
        assert order == ["first ends", "second begins"]
        assert shown(lake, "observations") == 2


def test_a_compaction_waits_for_a_transaction_on_the_same_table(settings: Settings) -> None:
    def compact() -> None:
        with Lake(settings) as lake:
            lake.table("observations").compact(min_files=2)

    with Lake(settings) as lake:
        lake.table("observations").append(observations("a"))
        with pytest.raises(RuntimeError, match="stop"), lake.transaction("ingest:1") as op:  # noqa: PT012
            lake.table("observations").append(observations("b"), op=op)
            thread = threading.Thread(target=compact)
            thread.start()
            thread.join(0.5)
            raise RuntimeError("stop")
        thread.join(60)
        assert count(lake, "observations") == 1


DIES_IN_A_TRANSACTION = """
import os, sys
from retention_pipelines.settings import load_settings
from retention_pipelines.warehouse import Lake
from tests.unit.warehouse.rows import observations, rows

root, state, endpoint = sys.argv[1:]
lake = Lake(load_settings({}, lake_root=root, state_dir=state, s3_endpoint_url=endpoint or None))
with lake.transaction("ingest:1") as op:
    lake.table("observations").append(observations("bc"), op=op, transaction="delivery")
    lake.table("ingested_files").append(rows("ingested_files"), op=op)
    os.kill(os.getpid(), 9)
"""


def test_the_commits_of_a_killed_process_are_taken_back_by_the_next(any_settings: Settings) -> None:
    with Lake(any_settings) as lake:
        lake.table("observations").append(observations("a"))
        lake.publish()
    place = [any_settings.lake_root, str(any_settings.state_dir), any_settings.s3_endpoint_url or ""]
    for _ in range(2):
        subprocess.run([sys.executable, "-c", DIES_IN_A_TRANSACTION, *place], check=False, timeout=120)
    reader = any_settings.model_copy(update={"mode": "read_only"})
    with Lake(reader) as lake:
        assert count(lake, "observations") == 1, "who may not write does not see it, either"
    with Lake(any_settings) as lake:
        assert (count(lake, "observations"), count(lake, "ingested_files")) == (1, 0)
        assert [entry.op for entry in lake.table("observations").history(1)] == ["undo:4"]
        with lake.transaction("ingest:1") as op:
            lake.table("observations").append(observations("bc"), op=op, transaction="delivery")
        assert shown(lake, "observations") == 3


DIES_WHILE_TAKING_BACK = """
import os, sys
from retention_pipelines.settings import load_settings
from retention_pipelines.warehouse import Lake
from retention_pipelines.warehouse.table import Table

whole = Table.undo
def dies(table, version):
    if table.name == "ingested_files":
        os.kill(os.getpid(), 9)
    return whole(table, version)
Table.undo = dies

root, state, endpoint = sys.argv[1:]
lake = Lake(load_settings({}, lake_root=root, state_dir=state, s3_endpoint_url=endpoint or None))
lake.undo("observations", lake.table("observations").version())
"""


def test_a_process_killed_while_it_takes_an_ingest_back_has_taken_nothing_back(any_settings: Settings) -> None:
    with Lake(any_settings) as lake:
        lake.table("observations").append(observations("a"))
        with lake.transaction("ingest:1") as op:
            lake.table("observations").append(observations("bc"), op=op)
            lake.table("ingested_files").append(rows("ingested_files"), op=op)
        version = lake.table("observations").version()
    place = [any_settings.lake_root, str(any_settings.state_dir), any_settings.s3_endpoint_url or ""]
    died = subprocess.run([sys.executable, "-c", DIES_WHILE_TAKING_BACK, *place], check=False, timeout=120)
    assert died.returncode == -9
    with Lake(any_settings.model_copy(update={"mode": "read_only"})) as lake:
        assert (count(lake, "observations"), count(lake, "ingested_files")) == (3, 1), "who reads sees all of it"
    with Lake(any_settings) as lake:
        assert (count(lake, "observations"), shown(lake, "observations"), count(lake, "ingested_files")) == (3, 3, 1)
        lake.undo("observations", version)
        assert (count(lake, "observations"), shown(lake, "observations"), count(lake, "ingested_files")) == (1, 1, 0)


def test_an_ingest_that_cannot_be_undone_whole_is_left_as_it_is(settings: Settings) -> None:
    with Lake(settings) as lake:
        lake.table("observations").append(observations("z"))
        with lake.transaction("ingest:1") as op:
            lake.table("observations").append(observations("ab"), op=op)
            lake.table("occurrences").append(rows("occurrences"), op=op)
            lake.table("ingested_files").append(rows("ingested_files"), op=op)
        table = lake.table("observations")
        merged = table.files()
        assert table.compact(min_files=2).rows_removed == 3
        for file in merged:  # as vacuum does after the restore window
            Path(f"{table.root}/{file.path}").unlink()
        with pytest.raises(OutsideRestoreWindow, match="is gone"):
            lake.undo("occurrences", 1)
        left = [count(lake, name) for name in ("observations", "occurrences", "ingested_files")]
        assert left == [3, 1, 1]
