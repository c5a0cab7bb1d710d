import csv
import io
from pathlib import Path

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from retention_pipelines.errors import FileRefused
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
