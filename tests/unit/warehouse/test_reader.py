"""SQL that someone typed: it reads the published data and can do nothing else."""

import io
import json
from pathlib import Path

import duckdb
import pyarrow.parquet as pq
import pytest

from retention_pipelines.errors import QueryError
from retention_pipelines.settings import Settings
from retention_pipelines.warehouse import Lake
from retention_pipelines.warehouse.export import Format, replacing, write_parquet_file, write_text
from retention_pipelines.warehouse.reader import connect_sandboxed, require_select
from tests.unit.warehouse.rows import observations, rows


@pytest.fixture
def con(settings: Settings) -> duckdb.DuckDBPyConnection:
    with Lake(settings) as lake:
        lake.table("observations").append(observations("ab"))
        lake.publish()
    return connect_sandboxed(settings)


def written(con: duckdb.DuckDBPyConnection, sql: str, style: Format) -> str:
    out = io.StringIO()
    write_text(con, require_select(con, sql), style, out)
    return out.getvalue()


@pytest.mark.parametrize(
    "sql",
    [
        "select count(*) from observations;",
        "from observations -- all of them",
        "with a as (select 1 as b) from a",
        "describe observations",
        "summarize observations",
        "show tables",
        "pivot observations on month using count(*)",
        "explain select 1",
        "explain analyze select count(*) from observations",
        "values (1)",
        "select count(*) as deleted, max(month) as \"copy\" from observations where month <> 'update'",
    ],
)
def test_what_only_reads_is_run(con: duckdb.DuckDBPyConnection, sql: str) -> None:
    assert written(con, sql, Format.JSON).startswith("[")


@pytest.mark.parametrize(
    "sql",
    [
        "copy observations to 'out.csv'",
        "explain analyze copy observations to 'out.csv'",
        "create table t as select 1",
        "select 1; drop view observations",
        "select 1) ; copy (select 1) to 'out.csv'; select * from (select 1",
        "attach 'other.db'",
        "set memory_limit = '1GB'",
        "install httpfs",
        "pragma version",
        "call pragma_version()",
        "with x as (copy (select 1) to '{lake}/_lake/x.csv') select 1",
        "with x as (copy (select 1 as a) to '{lake}/_lake/x.csv') pivot observations on month using count(*)",
        "with x as (copy (select 1 as a) to '{lake}/_lake/x.csv') from (pivot observations on month using count(*))",
        "explain analyze with x as (COPY (select 1) to '{lake}/_lake/x.csv') select 1",
        "with x as (insert into observations by name select 1 as value) select 1",
        "",
        ";",
    ],
)
def test_what_does_more_than_read_is_refused(con: duckdb.DuckDBPyConnection, settings: Settings, sql: str) -> None:
    with pytest.raises(QueryError):
        require_select(con, sql.format(lake=settings.lake_root))
    assert not (Path(settings.lake_root) / "_lake/x.csv").exists()


def test_files_outside_the_lake_cannot_be_read(con: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    secret = tmp_path / "secret.csv"
    secret.write_text("a\n1\n")
    (tmp_path / "warehouse/link").symlink_to(tmp_path)
    for path in (secret, tmp_path / "warehouse/_lake/../../secret.csv", tmp_path / "warehouse/link/secret.csv"):
        for source in (f"read_csv('{path}')", f"'{path}'", f"read_text('{path}')", f"glob('{path}')"):
            with pytest.raises(QueryError):
                written(con, f"from {source}", Format.JSON)


def test_the_sandbox_cannot_be_opened_from_inside(con: duckdb.DuckDBPyConnection) -> None:
    for sql in ("set enable_external_access = true", "set allowed_directories = ['/']", "reset lock_configuration"):
        with pytest.raises(duckdb.Error):
            con.execute(sql)


def test_an_error_in_the_sql_is_told_in_duckdbs_words(con: duckdb.DuckDBPyConnection) -> None:
    with pytest.raises(QueryError, match='syntax error at or near "selec"'):
        require_select(con, "selec 1")
    with pytest.raises(QueryError, match="nosuch"):
        written(con, "from nosuch", Format.CSV)


def test_json_is_an_array_of_objects_that_every_parser_accepts(con: duckdb.DuckDBPyConnection) -> None:
    sql = """
        select 'ä"' as text, 'nan'::double as nan, 'inf'::double as inf,
            timestamptz '2020-01-01 02:00:00+02' as instant,
            date '2020-01-02' as day, [1, null] as list, {'a': 1.5::double} as struct, 1.50::decimal(4, 2) as exact,
            true as yes, null as nothing, 170141183460469231731687303715884105727::hugeint as huge
    """
    assert json.loads(written(con, sql, Format.JSON)) == [
        {
            "text": 'ä"',
            "nan": None,
            "inf": None,
            "instant": "2020-01-01T00:00:00Z",
            "day": "2020-01-02",
            "list": [1, None],
            "struct": {"a": 1.5},
            "exact": "1.50",
            "yes": True,
            "nothing": None,
            "huge": 170141183460469231731687303715884105727,
        }
    ]
    assert json.loads(written(con, "select 1 as a where false", Format.JSON)) == []


def test_csv_has_a_header_and_plain_values(con: duckdb.DuckDBPyConnection) -> None:
    sql = "select timestamptz '2020-01-01' as t, null as n, true as b, 'a,b' as s, [1] as l"
    assert written(con, sql, Format.CSV) == 't,n,b,s,l\n2020-01-01T00:00:00Z,,true,"a,b",[1]\n'


def test_a_table_shows_names_and_rows(con: duckdb.DuckDBPyConnection) -> None:
    assert "record_hash" in written(con, "select record_hash from observations", Format.TABLE)


def test_parquet_keeps_types(con: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    write_parquet_file(con, "select record_hash, event_start from observations order by 1", str(tmp_path / "r.parquet"))
    found = pq.read_table(tmp_path / "r.parquet")
    assert found["record_hash"].to_pylist() == ["a", "b"]
    assert str(found.schema.field("event_start").type).startswith("timestamp[us, tz=")


def test_json_refuses_two_columns_of_one_name_instead_of_losing_one(con: duckdb.DuckDBPyConnection) -> None:
    with pytest.raises(QueryError, match="'a'"):
        written(con, "select 1 as a, 2 as a", Format.JSON)


def test_a_type_that_parquet_has_not_is_named(con: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    with pytest.raises(QueryError, match="interval"):
        write_parquet_file(con, "select interval 1 month as a", str(tmp_path / "a.parquet"))


def test_an_output_file_is_replaced_only_by_a_whole_result(tmp_path: Path) -> None:
    place = tmp_path / "a.csv"
    place.write_text("old")
    with pytest.raises(UnicodeEncodeError), replacing(place) as draft:
        draft.write_text("half of it is no text: \ud800")
    assert (place.read_text(), list(tmp_path.iterdir())) == ("old", [place])
    with replacing(place) as draft:
        draft.write_text("new")
    assert (place.read_text(), list(tmp_path.iterdir())) == ("new", [place])
    for impossible in (tmp_path, tmp_path / "missing" / "a.csv"):
        with pytest.raises(QueryError, match="Cannot write"), replacing(impossible) as draft:
            draft.write_text("new")


def test_a_sort_larger_than_memory_goes_to_disk(settings: Settings) -> None:
    with Lake(settings.model_copy(update={"memory_limit_mb": 256})) as lake:
        hashes = "select i, md5(i::varchar) as h from range(4_000_000) as r(i) order by h limit 3_999_999"
        assert lake.con.execute(f"select count(*) from ({hashes})").fetchall() == [(3_999_999,)]


def test_the_sandbox_reads_a_lake_on_s3(s3_settings: Settings) -> None:
    with Lake(s3_settings) as lake:
        lake.table("observations").append(observations("ab"))
        lake.publish()
    con = connect_sandboxed(s3_settings)
    assert json.loads(written(con, "select count(*) as n from observations", Format.JSON)) == [{"n": 2}]


def test_a_lost_data_file_stops_its_own_dataset_only_and_is_named(settings: Settings) -> None:
    with Lake(settings) as lake:
        lake.table("observations").append(observations("ab"))
        lake.table("ingested_files").append(rows("ingested_files"))
        lake.publish()
        (lost,) = lake.table("observations").files()
        Path(f"{lake.table('observations').root}/{lost.path}").unlink()
    con = connect_sandboxed(settings)
    assert con.execute("select count(*) from ingested_files").fetchall() == [(1,)]
    assert con.execute("describe observations").fetchall()
    for sql in ("from observations", "select count(*) from observations", "from observations where value > 1e9"):
        with pytest.raises(duckdb.Error, match=f"{lost.path} is gone"):
            con.execute(sql).fetchall()
    with Lake(settings) as lake:
        lake.table("ingested_files").append(rows("ingested_files", path="'other'"))
        lake.publish()
    with duckdb.connect(f"{settings.lake_root}/catalog.duckdb", read_only=True) as catalog:
        assert catalog.execute("select count(*) from ingested_files").fetchall() == [(2,)]
        with pytest.raises(duckdb.Error, match=f"{lost.path} is gone"):
            catalog.execute("from observations").fetchall()
