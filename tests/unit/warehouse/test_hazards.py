"""The hazards of docs/adr/0001-storage-format.md: each was seen to happen, each has a rule, each rule a test."""

import importlib.metadata
import json
import os
import threading
from pathlib import Path

import duckdb
import pytest
from deltalake import DeltaTable
from deltalake.exceptions import CommitFailedError
from deltalake.transaction import AddAction, RemoveAction
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from retention_pipelines.catalog import Dataset
from retention_pipelines.catalog.dataset import Column, ColumnType, Layer
from retention_pipelines.errors import CommitConflict, LakeError, PartitionValueError
from retention_pipelines.settings import Settings
from retention_pipelines.warehouse import Lake, Table
from retention_pipelines.warehouse.duck import open_connection
from tests.unit.warehouse.rows import observations, rows


def keys(table: Table) -> list[str]:
    return [row[0] for row in table.con.execute(f"select record_hash from {table.scan()} order by 1").fetchall()]


def test_h1_two_rewrites_of_the_same_rows_never_both_land(any_settings: Settings) -> None:
    with Lake(any_settings) as mine, Lake(any_settings) as theirs:
        for key in "abc":
            mine.table("observations").append(observations(key))
        calls = 0

        def while_another_compacts(rows: str) -> str:
            nonlocal calls
            calls += 1
            if calls == 1:
                theirs.table("observations").compact(min_files=2)
            return f"select * replace (value + 1 as value) from {rows}"

        mine.table("observations").rewrite(while_another_compacts, op="rewrite")
        assert calls == 2, "the rewrite was done again on the compacted file"
        assert keys(mine.table("observations")) == ["a", "b", "c"]
        total = mine.con.execute(f"select sum(value) from {mine.table('observations').scan()}").fetchall()
        assert total == [(7.5,)]


def test_h1_a_commit_that_removes_files_says_so_to_every_other(lake: Lake) -> None:
    table = lake.table("observations")
    table.append(observations("a"))
    table.compact(min_files=1)
    log = Path(table.root) / f"_delta_log/{table.version():020d}.json"
    actions = [json.loads(line) for line in log.read_text().splitlines()]
    assert [action["remove"]["dataChange"] for action in actions if "remove" in action] == [True]
    assert [action["txn"]["appId"] for action in actions if "txn" in action] == ["rewrite"]


def test_h2_an_append_lands_beside_a_concurrent_delete_in_another_partition(any_settings: Settings) -> None:
    with Lake(any_settings) as mine, Lake(any_settings) as theirs:
        table = mine.table("observations")
        table.append(observations("ab"))
        table.append(observations("c", month="2020-02"))
        snapshot = table.delta()
        adds = table.write_files(observations("d", month="2020-03"))
        theirs.table("observations").delete("record_hash = 'a'", op="delete:test")
        table.commit(snapshot, adds, op="append")
        assert keys(table) == ["b", "c", "d"]


def test_h2_a_rewrite_whose_inputs_are_still_live_commits_the_same_files_again(any_settings: Settings) -> None:
    with Lake(any_settings) as mine, Lake(any_settings) as theirs:
        table = mine.table("observations")
        table.append(observations("ab"))
        table.append(observations("c", month="2020-02"))
        calls = 0

        def while_another_deletes(rows: str) -> str:
            nonlocal calls
            calls += 1
            theirs.table("observations").delete("record_hash = 'c'", op="delete:test")
            return f"select * from {rows}"

        table.rewrite(while_another_deletes, keep=lambda file: file.partition["month"] == "2020-01", op="rewrite")
        assert calls == 1
        assert keys(table) == ["a", "b"]


def test_h2_two_dedup_writers_of_the_same_keys_add_each_key_once(any_settings: Settings) -> None:
    def push(start: int) -> None:
        with Lake(any_settings) as lake:
            for number in range(start, start + 5):
                wanted = observations([f"{number}-{row}" for row in range(20)], month=f"2020-0{number % 3 + 1}")
                lake.table("observations").append_new(wanted, key="record_hash", within="month")

    with Lake(any_settings) as lake:
        lake.table("observations").append(observations("xyz"))
        threads = [threading.Thread(target=push, args=(start,)) for start in (0, 1, 2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        found = keys(lake.table("observations"))
        assert len(found) == len(set(found)) == 7 * 20 + len("xyz")


EVERY_TYPE = Dataset(
    name="every_type",
    layer=Layer.RAW,
    description="One column of every type.",
    grain="one row",
    columns=tuple(Column(name=f"c_{kind.name.lower()}", type=kind, description="A value.") for kind in ColumnType),
    key=("c_text",),
)
VALUES = {
    ColumnType.TEXT: st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=80),
    ColumnType.TEXTS: st.lists(st.text("abc'\"", max_size=5), max_size=3),
    ColumnType.DOUBLE: st.floats(),
    ColumnType.INTEGER: st.integers(-(2**31), 2**31 - 1),
    ColumnType.BIGINT: st.integers(-(2**63), 2**63 - 1),
    ColumnType.BOOLEAN: st.booleans(),
    ColumnType.INSTANT: st.datetimes().map(lambda moment: f"{moment.isoformat()}+00"),
    ColumnType.DATE: st.dates(),
    ColumnType.VECTOR: st.lists(st.floats(width=32), max_size=3),
}
ROW = st.tuples(*(st.none() | VALUES[kind] for kind in ColumnType))


@given(rows=st.lists(ROW, min_size=1, max_size=5))
@settings(max_examples=10, derandomize=True, deadline=None, phases=[Phase.explicit, Phase.generate])
def test_h3_statistics_of_every_type_leave_the_table_readable_and_true(
    rows: list[tuple[object, ...]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    con = open_connection()
    table = Table(EVERY_TYPE, str(tmp_path_factory.mktemp("table")), con)
    typed = ", ".join(f'"{name}" {kind}' for name, kind in EVERY_TYPE.types.items())
    con.execute(f"create table given_rows ({typed})")
    con.executemany(f"insert into given_rows values ({', '.join('?' * len(EVERY_TYPE.columns))})", rows)
    table.append("select * from given_rows")
    names = ", ".join(EVERY_TYPE.column_names)
    assert con.execute(
        f"select count(*) from (select {names} from {table.scan()} except all select {names} from given_rows)"
    ).fetchall() == [(0,)]
    (file,) = table.files()
    bounds = table.delta().to_pyarrow_table().num_rows
    assert bounds == file.rows == len(rows)
    for name in ("c_text", "c_double", "c_integer", "c_bigint", "c_instant", "c_date"):
        if file.minimum.get(name) is not None:
            outside = f"count(*) filter ({name} < $low or {name} > $high)"
            low, high = file.minimum[name], file.maximum[name]
            assert con.execute(f"select {outside} from given_rows", {"low": low, "high": high}).fetchall() == [(0,)]
    con.close()


class FailsAfterLanding:
    """deltalake's handle as it behaves when the answer to a commit is lost: the commit lands and an error is raised."""

    def __init__(self, delta: DeltaTable) -> None:
        self._delta = delta

    def __getattr__(self, name: str) -> object:
        return getattr(self._delta, name)

    def create_write_transaction(self, actions: list[AddAction | RemoveAction], **options: object) -> None:
        self._delta.create_write_transaction(actions, **options)  # type: ignore[arg-type]
        raise CommitFailedError("connection reset by peer")


def test_h4_an_error_after_the_commit_landed_is_recognised_by_its_receipt(any_lake: Lake) -> None:
    table = any_lake.table("observations")
    table.append(observations("a"))
    lossy = FailsAfterLanding(table.delta())
    commit = table.commit(lossy, table.write_files(observations("b")), op="append")  # type: ignore[arg-type]
    assert (commit.version, keys(table)) == (2, ["a", "b"])


class FailsBeforeLanding(FailsAfterLanding):
    """The commit does not land, once."""

    def create_write_transaction(self, actions: list[AddAction | RemoveAction], **options: object) -> None:
        raise CommitFailedError("connection reset by peer")


def test_h4_an_error_before_the_commit_landed_is_tried_again_with_the_same_files(any_lake: Lake) -> None:
    table = any_lake.table("observations")
    table.append(observations("a"))
    lossy = FailsBeforeLanding(table.delta())
    table.commit(lossy, table.write_files(observations("b")), op="append")  # type: ignore[arg-type]
    assert keys(table) == ["a", "b"]
    with pytest.raises(CommitConflict):
        table.commit(
            FailsBeforeLanding(table.delta()),  # type: ignore[arg-type]
            table.write_files(observations("c")),
            op="append",
            transactions=["once"],
        )
    assert keys(table) == ["a", "b"]


def test_h5_vacuum_spares_the_files_of_a_writer_in_flight(lake: Lake) -> None:
    table = lake.table("observations")
    table.append(observations("a"))
    snapshot = table.delta()
    adds = table.write_files(observations("b"))
    assert table.vacuum() == []
    table.commit(snapshot, adds, op="append")
    assert keys(table) == ["a", "b"]
    with pytest.raises(LakeError, match="168 hours"):
        table.vacuum(older_than_hours=1)


def test_h5_vacuum_deletes_orphans_and_replaced_files_after_the_window(lake: Lake) -> None:
    table = lake.table("observations")
    table.append(observations("a"))
    orphan = Path(table.root) / table.write_files(observations("b"))[0].path
    os.utime(orphan, (0, 0))
    assert table.vacuum() == [orphan.relative_to(table.root).as_posix()]
    assert not orphan.exists()


def test_h6_instants_carry_a_zone_so_that_old_readers_can_open_the_table(lake: Lake) -> None:
    table = lake.table("observations")
    table.append(observations("a"))
    protocol = table.delta().protocol()
    assert (protocol.min_reader_version, protocol.min_writer_version) == (1, 2)
    kinds = {field.name: field.type.type for field in table.delta().schema().fields if hasattr(field.type, "type")}
    assert kinds["event_start"] == "timestamp"


@pytest.mark.parametrize("value", ["2020 01", "a/b", "50%", "", "a=b", "ä"])
def test_h7_a_partition_value_that_not_every_reader_can_open_is_refused(lake: Lake, value: str) -> None:
    table = lake.table("observations")
    with pytest.raises(PartitionValueError, match="month"):
        table.append(observations("a", month=value))
    assert (table.version(), table.files()) == (0, [])
    assert not [name for _, _, names in os.walk(table.root) for name in names if name.endswith(".parquet")]


def test_h8_a_fixed_array_becomes_a_list_of_floats(tmp_path: Path) -> None:
    con = open_connection()
    table = Table(EVERY_TYPE, str(tmp_path), con)
    table.append("select [1, 2, 3]::float[3] as c_vector")
    assert con.execute(f"select c_vector, typeof(c_vector) from {table.scan()}").fetchall() == [
        ([1.0, 2.0, 3.0], "FLOAT[]")
    ]


def test_h9_an_open_result_does_not_block_the_lake(lake: Lake) -> None:
    lake.con.execute("select * from range(10)").fetchone()
    lake.table("observations").append(observations("a"))
    assert keys(lake.table("observations")) == ["a"]


def test_h10_a_table_without_files_reads_as_no_rows_with_its_columns(any_lake: Lake) -> None:
    table = any_lake.table("observations")
    table.append(observations("a"))
    table.delete("true", op="delete:test")
    found = table.con.sql(f"select * from {table.scan()}")
    assert (tuple(found.columns), found.fetchall()) == (table.dataset.column_names, [])


def test_h10_files_of_an_older_schema_read_with_nulls_in_new_columns(tmp_path: Path) -> None:
    con = open_connection()
    older = Dataset(
        name="every_type", layer=Layer.RAW, description="", grain="", columns=EVERY_TYPE.columns[:1], key=("c_text",)
    )
    Table(older, str(tmp_path), con).append("select 'old' as c_text")
    newer = Table(EVERY_TYPE, str(tmp_path), con)
    newer.append("select 'new' as c_text, 1 as c_integer")
    found = con.execute(f"select c_text, c_integer from {newer.scan()} order by all").fetchall()
    assert found == [("new", 1), ("old", None)]


def test_h10_the_catalog_file_opens_with_older_versions_of_duckdb(lake: Lake) -> None:
    lake.table("observations").append(observations("a"))
    lake.publish()
    with duckdb.connect(f"{lake.root}/catalog.duckdb", read_only=True) as con:
        tags = con.execute("select tags from duckdb_databases() where database_name = 'catalog'").fetchall()
    assert "v1.4" in str(tags) or "v1.2" in str(tags)


def test_h12_the_installed_deltalake_is_one_that_can_remove_files() -> None:
    version = tuple(int(part) for part in importlib.metadata.version("deltalake").split(".")[:3])
    assert (1, 6, 6) <= version < (2,)


@pytest.mark.parametrize("value", ["infinity", "-infinity"])
def test_h3_an_infinity_in_a_column_without_bounds_leaves_the_table_readable(lake: Lake, value: str) -> None:
    table = lake.table("observations")
    table.append(rows("observations", 3, record_hash="i::varchar", value=f"if(i = 1, '{value}', '2')::double"), op="x")
    found = lake.con.sql(f"select value from {table.scan()} order by record_hash").fetchall()
    assert found == [(2.0,), (float(value),), (2.0,)]
