"""The newest files as our own code reads them from the log: what deltalake says, or nothing."""

import random
from pathlib import Path

import pytest
from deltalake import DeltaTable

from retention_pipelines.catalog import DATASETS
from retention_pipelines.warehouse import Lake, LakeFile, Table
from retention_pipelines.warehouse.listing import live_files
from retention_pipelines.warehouse.snapshot import Snapshot
from tests.unit.warehouse.rows import observations, rows


def fresh(table: Table) -> Snapshot:
    return Snapshot(table.con, table._objects, table.root, table.dataset)


# Deltalake reads the statistics of so many columns and leaves those of the others out.
INDEXED = DATASETS["observations"].column_names[:32]


def described(files: list[LakeFile]) -> dict[str, object]:
    """All that is known of each file; deltalake gives null for a statistic that one file has and another lacks."""
    return {
        file.path: (
            file.bytes,
            file.rows,
            file.partition,
            file.written_at,
            *(
                {name: value for name, value in side.items() if value is not None and name in INDEXED}
                for side in (file.minimum, file.maximum, file.nulls)
            ),
        )
        for file in files
    }


def told_by_deltalake(table: Table) -> dict[str, object]:
    return described(live_files(DeltaTable(table.root), table.dataset.partition_by))


def a_change(table: Table, chance: random.Random, number: int) -> None:
    """One commit of any kind."""
    month = f"2020-{chance.randint(1, 4):02d}"
    kind = chance.randint(0, 9)
    if kind < 5 or not table.files():
        values = {"value": f"i * {chance.uniform(-5, 5)}::double", "record_hash": f"'{number}-' || i"}
        table.append(rows("observations", chance.randint(1, 4), month=f"'{month}'", **values))
    elif kind == 5:
        table.delete(f"value > {chance.uniform(-5, 5)}", op="delete")
    elif kind == 6:
        table.drop_partitions(lambda file: file.partition["month"] == month, op="drop")
    elif kind == 7:
        table.compact(min_files=2)
    elif kind == 8:
        table.undo(table.version())
    else:
        table.restore(chance.randint(1, table.version()))


@pytest.mark.parametrize("seed", range(2))
def test_after_any_commit_the_files_are_those_that_deltalake_lists(lake: Lake, seed: int) -> None:
    table, chance = lake.table("observations"), random.Random(seed)
    table.append(observations("a"))
    followed = fresh(table)
    for number in range(24):  # over two checkpoints
        a_change(table, chance, number)
        expected = told_by_deltalake(table)
        for snapshot in (followed, fresh(table)):
            found = snapshot.at(table.version())
            assert found is not None
            assert described(found) == expected
    assert list(Path(table.root, "_delta_log").glob("*.checkpoint.parquet"))


def test_entries_behind_the_checkpoint_may_be_gone_and_older_ones_are_not_asked_for(lake: Lake) -> None:
    table = lake.table("observations")
    for number in range(13):
        table.append(observations(str(number)))
    for version in range(10):
        Path(table.root, "_delta_log", f"{version:020d}.json").unlink()
    found = fresh(table).at(table.version())
    assert found is not None
    assert described(found) == told_by_deltalake(table)


def test_what_it_cannot_read_for_sure_is_left_to_deltalake(lake: Lake) -> None:
    table = lake.table("observations")
    for key in "abc":
        table.append(observations([key]))
    log = Path(table.root, "_delta_log")
    entry, first = log / f"{2:020d}.json", log / f"{0:020d}.json"
    whole = entry.read_bytes()

    entry.unlink()  # a hole in the log
    assert fresh(table).at(3) is None
    entry.write_bytes(whole.replace(b'{\\"numRecords\\"', b'{\\"other\\":1,\\"numRecords\\"'))  # not as we write it
    assert fresh(table).at(3) is None
    with Lake(lake.settings) as other:
        assert sum(file.rows for file in other.table("observations").files()) == 3
    entry.write_bytes(whole)
    assert described(fresh(table).at(3) or []) == told_by_deltalake(table)

    DeltaTable(table.root).create_checkpoint()
    first.write_bytes(first.read_bytes().replace(b'"minReaderVersion":1', b'"minReaderVersion":3'))
    assert fresh(table).at(3) is not None  # the checkpoint says what holds
    (log / f"{3:020d}.checkpoint.parquet").unlink()
    assert fresh(table).at(3) is None


def test_a_torn_checkpoint_is_deltalake_s_to_complain_of(lake: Lake) -> None:
    table = lake.table("observations")
    table.append(observations("a"))
    Path(table.root, "_delta_log", f"{1:020d}.checkpoint.parquet").write_bytes(b"torn")
    assert fresh(table).at(1) is None
