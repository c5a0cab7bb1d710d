import csv
import io
from pathlib import Path

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from retention_pipelines.errors import FileRefused
from retention_pipelines.sources import text_table
from retention_pipelines.sources.text_table import Dialect, encoding_of, encoding_or_refusal, header, load, unique
from retention_pipelines.warehouse.duck import open_connection


@pytest.fixture(scope="module")
def con() -> duckdb.DuckDBPyConnection:
    return open_connection()


def _rows(con: duckdb.DuckDBPyConnection, path: Path, columns: list[str], dialect: Dialect) -> list[tuple[object, ...]]:
    return con.table(load(con, path, columns, dialect).relation).order("source_row").fetchall()


_FIELD = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=8)


@given(
    rows=st.lists(st.tuples(_FIELD, _FIELD, _FIELD), min_size=1, max_size=8),
    delimiter=st.sampled_from([",", "\t", ";", "|"]),
    encoding=st.sampled_from(["utf-8", "utf-16"]),
)
@settings(max_examples=60, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_was_written_is_read(
    rows: list[tuple[str, str, str]], delimiter: str, encoding: str, tmp_path: Path, con: duckdb.DuckDBPyConnection
) -> None:
    text = io.StringIO()
    writer = csv.writer(text, delimiter=delimiter, lineterminator="\n", quoting=csv.QUOTE_ALL)
    writer.writerows([("a", "b", "c"), *rows])
    path = tmp_path / "x.csv"
    path.write_text(text.getvalue(), encoding=encoding, newline="")
    found = _rows(con, path, ["a", "b", "c"], Dialect(delimiter=delimiter, encoding=encoding))
    assert found == [(number, *row) for number, row in enumerate(rows, start=1)]


def test_rows_of_another_width_keep_their_place(tmp_path: Path, con: duckdb.DuckDBPyConnection) -> None:
    path = tmp_path / "x.csv"
    path.write_text("a,b\n1,2\n3\n4,5,6\n7,8\n")
    table = load(con, path, ["a", "b"], Dialect())
    assert con.table(table.relation).order("source_row").fetchall() == [
        (1, "1", "2"), (2, "3", None), (3, "4", "5"), (4, "7", "8"),
    ]  # fmt: skip
    broken = dict(con.table(table.unreadable).fetchall())
    assert set(broken) == {2, 3}
    assert "'6'" in broken[3]


def test_bytes_that_are_no_text_break_only_their_row(tmp_path: Path, con: duckdb.DuckDBPyConnection) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes(b"a,b\n1,2\n\xff\xfe,3\n4,5\n")
    table = load(con, path, ["a", "b"], Dialect())
    assert table.rows == 3
    assert [row for row, _ in con.table(table.unreadable).fetchall()] == [2]


def test_a_file_read_side_by_side_has_its_rows_in_order(
    tmp_path: Path, con: duckdb.DuckDBPyConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text_table, "_LEAST_SHARE", 4096)
    monkeypatch.setattr(text_table, "_MOST_SHARE", 8192)
    path = tmp_path / "x.csv"
    lines = ["", f"7,{'x' * 5000}", *(f"{number},{'y' * (number % 37)}" for number in range(20_000))]
    path.write_text("\r\n".join(["a,b", *lines]) + "\r\n", newline="")
    with con.cursor() as own:
        own.execute("set threads = 4")
        assert text_table._shares(own, path, Dialect())[0] == 8192
        found = _rows(own, path, ["a", "b"], Dialect())
    wanted = [tuple(field or None for field in line.split(",")) for line in lines if line]
    assert found == [(number, *row) for number, row in enumerate(wanted, start=1)]


def test_a_line_longer_than_a_share_is_read(
    tmp_path: Path, con: duckdb.DuckDBPyConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text_table, "_LEAST_SHARE", 4096)
    path = tmp_path / "x.csv"
    path.write_text("a,b\n" + "1,2\n" * 100 + f"3,{'x' * 30_000}\n4,5\n")
    rows, broken = _all_rows(con, path)
    assert [row[1] for row in rows] == ["1"] * 100 + ["3", "4"]
    assert broken == {}


def test_no_row_is_lost_where_quoted_fields_go_on_over_lines(
    tmp_path: Path, con: duckdb.DuckDBPyConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of these rows DuckDB makes others when a thread begins to read at the thousandth byte, without an error."""
    monkeypatch.setattr(text_table, "_LEAST_SHARE", 1000)
    path = tmp_path / "x.csv"
    special = '"-17.5","1.5\n1.5\nx,""""\n"""",2020-01-01\n"\n""""",\n,x\n1.5,1.5",""\n'
    text = "a,b\n" + "1,2\n" * 242 + "77,\n" + special
    path.write_text(text, newline="")
    rows, broken = _all_rows(con, path)
    wanted = [tuple(field or None for field in row) for row in csv.reader(io.StringIO(text, newline=""))][1:]
    assert [row[1:] for row in rows] == wanted
    assert broken == {}


def _all_rows(con: duckdb.DuckDBPyConnection, path: Path) -> tuple[list[tuple[object, ...]], dict[int, str]]:
    table = load(con, path, ["a", "b"], Dialect())
    return con.table(table.relation).order("source_row").fetchall(), dict(con.table(table.unreadable).fetchall())


@pytest.mark.parametrize("line", ['3,"x', '"3,x', '3,"x"y"z', '"3'])
def test_a_quote_that_is_never_closed_swallows_no_other_row(
    line: str, tmp_path: Path, con: duckdb.DuckDBPyConnection
) -> None:
    path = tmp_path / "x.csv"
    path.write_text("\n".join(["a,b", "1,2", line, *(f"{n},{n}" for n in range(3000)), '7,"8\n9"']) + "\n")
    rows, broken = _all_rows(con, path)
    assert len(rows) == 3003
    assert set(broken) <= {2}
    assert rows[2] == (3, "0", "0")
    assert rows[-1] == (3003, "7", "8\n9")


def test_a_field_beyond_all_measure_breaks_its_row_only(tmp_path: Path, con: duckdb.DuckDBPyConnection) -> None:
    path = tmp_path / "x.csv"
    path.write_text("a,b\n1,2\n3," + "x" * (17 << 20) + "\n5,6\n")
    rows, broken = _all_rows(con, path)
    assert [row[:2] for row in rows] == [(1, "1"), (2, "3"), (3, "5")]
    assert set(broken) == {2}


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_lines_may_end_in_any_of_the_three_ways(end: str, tmp_path: Path, con: duckdb.DuckDBPyConnection) -> None:
    path = tmp_path / "x.csv"
    text = end.join(["a,b", "1,2", '3,"x y"', ""])
    path.write_bytes(text.encode())
    assert header(text) == (["a", "b"], ",")
    assert _all_rows(con, path) == ([(1, "1", "2"), (2, "3", "x y")], {})


def test_a_name_that_is_a_pattern_names_that_file_alone(tmp_path: Path, con: duckdb.DuckDBPyConnection) -> None:
    for name, value in (("data1.csv", 1), ("data[1].csv", 2), ("d*.csv", 3), ("d?.csv", 4)):
        (tmp_path / name).write_text(f"a,b\n{value},0\n")
    for name, value in (("data[1].csv", "2"), ("d*.csv", "3"), ("d?.csv", "4")):
        assert _all_rows(con, tmp_path / name) == ([(1, value, "0")], {})


def test_a_delimiter_at_the_end_of_a_row_is_no_field_in_whichever_way_it_is_read(
    tmp_path: Path, con: duckdb.DuckDBPyConnection
) -> None:
    path = tmp_path / "x.csv"
    path.write_text("a,b\n1,2,\n3,4\n")
    assert _all_rows(con, path) == ([(1, "1", "2"), (2, "3", "4")], {})
    path.write_text("a,b\n1,2,\n3,4\n5\n")
    rows, broken = _all_rows(con, path)
    assert rows[:2] == [(1, "1", "2"), (2, "3", "4")]
    assert set(broken) == {3}


def test_quotes_in_tab_separated_text_are_characters(tmp_path: Path, con: duckdb.DuckDBPyConnection) -> None:
    path = tmp_path / "x.txt"
    path.write_text('a\tb\n"x" y\t1\n5"\t2\n')
    assert _rows(con, path, ["a", "b"], Dialect(delimiter="\t")) == [(1, '"x" y', "1"), (2, '5"', "2")]


def test_an_unknown_encoding_is_refused(tmp_path: Path, con: duckdb.DuckDBPyConnection) -> None:
    path = tmp_path / "x.csv"
    path.write_text("a,b\n1,2\n")
    with pytest.raises(FileRefused, match="no known encoding"):
        load(con, path, ["a", "b"], Dialect(encoding="klingon"))


@pytest.mark.parametrize(
    ("content", "encoding"),
    [(b"a,b", "utf-8"), ("é".encode(), "utf-8"), ("é".encode("utf-16"), "utf-16"), ("é,".encode("cp1252"), "cp1252")],
)
def test_the_encoding_is_told_by_the_bytes(content: bytes, encoding: str, tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes(content)
    assert encoding_of(path) == encoding


def test_much_that_is_no_utf_8_is_refused_and_a_little_is_damage(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes(b"a,b\n" + b"1,2\n" * 50 + b"\xe9,2\n")
    assert encoding_or_refusal(path, "x.csv") == "utf-8"
    path.write_bytes(b"a,b\n" + b"\xe9,2\n" * 50)
    with pytest.raises(FileRefused, match=r"50 of 51 lines of x\.csv"):
        encoding_or_refusal(path, "x.csv")


def test_names_are_made_columns() -> None:
    assert unique(["a", "A", "", "a", "source_row"]) == ["a", "A_2", "column_3", "a_3", "source_row_2"]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a,b;c\n", (["a", "b;c"], ",")),
        ('"x, y";z\n', (["x, y", "z"], ";")),
        ("\ufeffa\tb\r\n", (["a", "b"], "\t")),
        ("a", None),
    ],
)
def test_the_delimiter_is_the_one_that_gives_most_columns(text: str, found: object) -> None:
    assert header(text) == found
