"""Forgetting a table's past: the same state is read afterwards, and nothing tells what is gone."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable

from retention_pipelines.errors import OutsideRestoreWindow
from retention_pipelines.warehouse import Lake
from retention_pipelines.warehouse.purge import purge_table
from tests.unit.warehouse.rows import rows


def tells(text: str) -> bool:
    return "secret" in text


def texts(root: Path) -> str:
    """Everything below a folder, Parquet files decoded."""
    found = ""
    for path in sorted(root.rglob("*")):
        if path.is_file():
            found += str(path) + path.read_bytes().decode("utf-8", errors="replace")
            if path.suffix == ".parquet":
                found += str(pq.read_table(path, partitioning=None).to_pylist())
    return found


@pytest.mark.parametrize("checkpoints", [False, True])
def test_what_is_gone_is_in_no_file_and_the_table_reads_as_before(lake: Lake, checkpoints: bool) -> None:
    table = lake.table("quarantine")
    table.append(rows("quarantine", 5, dataset_id="'secret'", raw_record="'secret text'", record_hash="'s' || i"))
    table.append(rows("quarantine", 5, dataset_id="'kept'", raw_record="'text'", record_hash="'k' || i"))
    if checkpoints:
        DeltaTable(table.root).create_checkpoint()
    table.delete("dataset_id = 'secret'", op="erasure")
    if checkpoints:
        DeltaTable(table.root).create_checkpoint()
    before = sorted(lake.con.execute(f"from {table.scan()}").fetchall())
    assert "secret" in texts(Path(table.root))
    for _ in range(2):  # a second time, as after a crash
        purge_table(table, None, tells)
        assert "secret" not in texts(Path(table.root))
    with Lake(lake.settings) as anew:
        again = anew.table("quarantine")
        assert sorted(anew.con.execute(f"from {again.scan()}").fetchall()) == before
        assert [entry.op for entry in again.history()][-3:-1] == ["append", "append"]
        assert again.append(rows("quarantine", 1, record_hash="'n'")).rows_added == 1
        with pytest.raises(OutsideRestoreWindow):
            again.scan(version=1)


def test_files_of_a_writer_that_may_still_commit_stay(lake: Lake) -> None:
    table = lake.table("quarantine")
    table.append(rows("quarantine", 5, record_hash="'k' || i"))
    delta = table.delta()
    adds = table.write_files(rows("quarantine", 3, record_hash="'l' || i"))
    purge_table(table, None, tells)
    table.commit(delta, adds, op="late")
    assert lake.con.execute(f"select count(*) from {table.scan()}").fetchall() == [(8,)]


def test_entries_of_the_log_stay_what_they_were_but_for_what_they_tell(lake: Lake) -> None:
    table = lake.table("quarantine")
    table.append(rows("quarantine", 5, dataset_id="'secret'", record_hash="'s' || i"), transaction="mine")
    table.delete("true", op="erasure")
    purge_table(table, None, tells)
    first = (Path(table.root) / "_delta_log" / f"{1:020d}.json").read_text()
    (add,) = [json.loads(line)["add"] for line in first.splitlines() if "add" in json.loads(line)]
    assert json.loads(add["stats"]) == {"numRecords": 5}
    assert add["partitionValues"] == {"dataset_id": "erased"}
    assert table.has_done("mine")
