"""Delimited text into a table of raw columns as text, whatever its dialect, with no row lost.

What belongs here: delimiter, quotes, encoding, header, rows of the wrong width. What does not: what columns mean.
DuckDB's reader does the work; only a file with rows it cannot read goes through Python's, which keeps those too.
"""

import codecs
import csv
import glob
import io
import itertools
import re
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import duckdb
import pyarrow as pa

from retention_pipelines.errors import ConservationError, FileRefused
from retention_pipelines.sources.staging import fresh_name, rows_of

_DELIMITERS = (",", "\t", ";", "|")
# Of a table that was just made, in the order of the file. A window function would keep all but one thread idle.
_ROW_NUMBER = duckdb.SQLExpression("rowid + 1").alias("source_row")
# A larger share of lines that are not UTF-8 is no damage but another encoding.
_MOST_BROKEN = 0.05
# A field of a raw file may be long (a polygon, a reference list).
_LONGEST_FIELD = 16 * 1024 * 1024
# Bytes that one of several threads reads at a time: at least, and at most.
_LEAST_SHARE = 4 * 1024 * 1024
_MOST_SHARE = _LONGEST_FIELD
# A quoted field that goes on for more lines than this has lost its closing quote.
_MOST_LINES = 1000


@dataclass(frozen=True, kw_only=True)
class Dialect:
    """How a file is written; `skip` is the number of lines before the first data row, header included."""

    delimiter: str = ","
    quote: str = '"'
    encoding: str = "utf-8"
    skip: int = 1


@dataclass(frozen=True, kw_only=True)
class TextTable:
    """Raw columns as VARCHAR beside `source_row`; `unreadable` is a table of `source_row, detail` of broken rows.

    `relation` may be a view over `rows_of(relation)`: `forget` drops both.
    """

    relation: str
    unreadable: str
    columns: tuple[str, ...]
    rows: int
    dialect: Dialect


def header(text: str) -> tuple[list[str], str] | None:
    """Column names of the first line and the delimiter that gives most of them; None where there is only one."""
    line = re.split(r"\r\n|\n|\r", text.lstrip("\ufeff"), maxsplit=1)[0]
    found = [(next(csv.reader([line], delimiter=delimiter), []), delimiter) for delimiter in _DELIMITERS]
    names, delimiter = max(found, key=lambda one: len(one[0]))
    return ([name.strip() for name in names], delimiter) if len(names) > 1 else None


def reader(lines: Iterable[str], dialect: Dialect) -> Iterator[list[str]]:
    """Python's reader in a dialect."""
    if not dialect.quote:
        return csv.reader(lines, delimiter=dialect.delimiter, quoting=csv.QUOTE_NONE)
    return csv.reader(lines, delimiter=dialect.delimiter, quotechar=dialect.quote)


def encoding_of(path: Path) -> str:
    """UTF-8 where all bytes are, by its byte-order mark UTF-16, else Windows-1252 as spreadsheets write it."""
    with path.open("rb") as file:
        start = file.read(4)
        if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            return "utf-16"
        file.seek(0)
        decoder = codecs.getincrementaldecoder("utf-8")()
        try:
            while chunk := file.read(1 << 20):
                if not chunk.isascii() or decoder.getstate()[0]:  # decoding takes ten times as long as looking
                    decoder.decode(chunk)
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            return "cp1252"
    return "utf-8"


def encoding_or_refusal(path: Path, name: str) -> str:
    """UTF-8 or UTF-16. Some lines that are neither are damage, and go to quarantine; many are another encoding.

    Raises FileRefused then: a guess would change the names of species and places.
    """
    found = encoding_of(path)
    if found != "cp1252":
        return found
    lines = broken = 0
    with path.open("rb") as text:
        for line in text:
            lines += 1
            try:
                line.decode()
            except UnicodeDecodeError:
                broken += 1
    if broken > max(1, lines * _MOST_BROKEN):
        raise FileRefused(
            f"{broken} of {lines} lines of {name} are not UTF-8: it is in another encoding, perhaps Windows-1252.",
            hint="Convert it to UTF-8, or name its encoding in a mapping or a meta.xml.",
        )
    return "utf-8"


def unique(names: Sequence[str]) -> list[str]:
    """Names that can be columns side by side: blank ones are numbered, repeated ones counted."""
    taken = {"source_row"}
    result = []
    for number, name in enumerate(names, start=1):
        base = candidate = name.strip() or f"column_{number}"
        count = 1
        while candidate.casefold() in taken:
            count += 1
            candidate = f"{base}_{count}"
        taken.add(candidate.casefold())
        result.append(candidate)
    return result


def load(con: duckdb.DuckDBPyConnection, path: Path, columns: Sequence[str], dialect: Dialect) -> TextTable:
    """Read a file whose columns are known. Raises FileRefused where its bytes are not text of that encoding."""
    names = unique(columns)
    with tempfile.TemporaryDirectory() as folder:
        local = _plain(_as_utf8(path, dialect.encoding, Path(folder)), Path(folder))
        tries = [dialect]
        if dialect.delimiter == "\t" and dialect.quote:
            # GBIF and OBIS write tab-separated text without quoting, where a quote is a character like any other.
            tries.append(replace(dialect, quote=""))
        for attempt in tries:
            for share in _shares(con, local, attempt):
                relation = fresh_name("text")
                try:
                    _read(con, local, names, attempt, share).create(rows_of(relation))
                except duckdb.Error:
                    continue
                rows = _number(con, relation)
                unreadable = fresh_name("text_unreadable")
                con.execute(f"create table {unreadable} (source_row bigint, detail varchar)")
                return TextTable(
                    relation=relation, unreadable=unreadable, columns=tuple(names), rows=rows, dialect=attempt
                )
        return _row_by_row(con, local, names, dialect)


def _shares(con: duckdb.DuckDBPyConnection, path: Path, dialect: Dialect) -> list[int | None]:
    """Bytes each thread reads at a time, None for one thread alone: ways to read a file, the fastest first.

    Threads that begin in the middle of a file guess where rows begin. Where quoted fields go on over lines they guess
    wrong now and then, and rows are lost or made up without an error: a file with quotes is read by one.
    """
    threads = con.execute("select current_setting('threads')").fetchall()[0][0]
    size = path.stat().st_size
    if threads == 1 or size <= _LEAST_SHARE or (dialect.quote and _has(path, dialect.quote)):
        return [None]
    return [min(max(-(-size // threads), _LEAST_SHARE), _MOST_SHARE), None]


def _has(path: Path, character: str) -> bool:
    searched = character.encode()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            if searched in chunk:
                return True
    return False


def _number(con: duckdb.DuckDBPyConnection, relation: str) -> int:
    """Make the view `relation`, the rows beneath it with their numbers; returns how many they are."""
    beneath = con.table(rows_of(relation))
    rows, last = beneath.aggregate("count(*), max(rowid)").fetchall()[0]
    if rows and last != rows - 1:
        raise ConservationError(
            f"{rows} rows were read and the last has the number {last + 1}.", hint="This is a bug: report it."
        )
    beneath.select(_ROW_NUMBER, duckdb.StarExpression()).create_view(relation)
    return int(rows)


def _read(
    con: duckdb.DuckDBPyConnection, path: Path, names: Sequence[str], dialect: Dialect, share: int | None
) -> duckdb.DuckDBPyRelation:
    return con.read_csv(
        str(path),
        columns=dict.fromkeys(names, "VARCHAR"),
        auto_detect=False,
        header=False,
        skiprows=dialect.skip,
        sep=dialect.delimiter,
        quotechar=dialect.quote,
        escapechar=dialect.quote,
        max_line_size=share or _LONGEST_FIELD,
        # A thread reads a quarter of a buffer at a time.
        buffer_size=4 * (share or _LONGEST_FIELD),
        parallel=share is not None,
    )


def _as_utf8(path: Path, encoding: str, folder: Path) -> Path:
    try:
        name = codecs.lookup(encoding).name
    except LookupError:
        raise FileRefused(f"{path.name} is said to be in {encoding!r}, which is no known encoding.") from None
    if name in {"utf-8", "ascii"}:
        return path
    target = folder / "text.csv"
    try:
        with path.open(encoding=name, newline="") as source, target.open("w", encoding="utf-8", newline="") as copy:
            while chunk := source.read(1 << 20):
                copy.write(chunk)
    except UnicodeError as error:
        raise FileRefused(f"{path.name} is not text in {encoding}: {error}.") from error
    return target


def _plain(path: Path, folder: Path) -> Path:
    """The file where its name is no pattern and its lines end as DuckDB's reader knows it, else a stand-in."""
    with path.open("rb") as file:
        start = file.read(1 << 16)
    if b"\r" in start and b"\n" not in start:
        # Old Macintosh programs end lines with a carriage return alone.
        target = folder / "lines.csv"
        with (
            path.open(encoding="utf-8", errors="surrogateescape", newline=None) as source,
            target.open("w", encoding="utf-8", errors="surrogateescape", newline="") as copy,
        ):
            while chunk := source.read(1 << 20):
                copy.write(chunk)
        return target
    if glob.has_magic(str(path)):
        link = folder / "named.csv"
        link.symlink_to(path.resolve())
        return link
    return path


def _row_by_row(con: duckdb.DuckDBPyConnection, path: Path, names: Sequence[str], dialect: Dialect) -> TextTable:
    """Read with Python's reader: slower, and every broken row keeps its place and what it holds."""
    good: list[list[str | None]] = []
    broken: list[tuple[int, str]] = []
    csv.field_size_limit(_LONGEST_FIELD)
    width = len(names)
    for number, (fields, complaint) in enumerate(_records(path, dialect), start=1):
        if len(fields) == width + 1 and not fields[-1]:
            fields.pop()  # DuckDB's reader takes a delimiter at the end of a row for no field, too
        if complaint is None and len(fields) != width:
            complaint = f"The row has {len(fields)} fields, the header {width}."
        if complaint is not None:
            rest = f" After the last column: {fields[width:]}." if len(fields) > width else ""
            broken.append((number, complaint + rest))
        good.append([number, *(fields[:width] + [""] * width)[:width]])  # type: ignore[list-item]
    columns = list(zip(*good, strict=True)) or [()] * (width + 1)
    table = pa.table(
        {"source_row": pa.array(columns[0], pa.int64())}
        | {
            name: pa.array([value or None for value in column], pa.string())
            for name, column in zip(names, columns[1:], strict=True)
        }
    )
    relation, unreadable = fresh_name("text"), fresh_name("text_unreadable")
    con.from_arrow(table).create(relation)
    con.from_arrow(
        pa.table(
            {
                "source_row": pa.array([row for row, _ in broken], pa.int64()),
                "detail": pa.array([why for _, why in broken], pa.string()),
            }
        )
    ).create(unreadable)
    return TextTable(relation=relation, unreadable=unreadable, columns=tuple(names), rows=len(good), dialect=dialect)


class _Lines:
    """Lines of a file for a reader of records; those of a record that went wrong can be given back."""

    def __init__(self, lines: Iterable[str]) -> None:
        self._lines = iter(lines)
        self.taken: list[str] = []
        self.ended = False

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> str:
        line = next(self._lines, None) if len(self.taken) < _MOST_LINES else None
        if line is None:
            self.ended = bool(self.taken)
            raise StopIteration
        self.taken.append(line)
        return line

    def give_back_all_but_the_first(self) -> str:
        """The first line of the record; the others come again."""
        first, *others = self.taken
        self._lines = itertools.chain(others, self._lines)
        return first


def _records(path: Path, dialect: Dialect) -> Iterator[tuple[list[str], str | None]]:
    """Data rows with a complaint about bytes that are no text and quotes without end; empty lines are no rows.

    A quote that is never closed breaks its own line and not those behind it.
    """
    with path.open("rb") as binary:
        text = io.TextIOWrapper(binary, encoding="utf-8", errors="surrogateescape", newline="")
        for _ in range(dialect.skip):
            text.readline()
        lines = _Lines(text)
        while True:
            lines.taken, lines.ended = [], False
            try:
                # A reader per record: one that failed keeps what it had read.
                fields = next(reader(lines, dialect), None)
                complaint = "A quote is opened and not closed." if lines.ended else None
            except csv.Error as error:
                fields, complaint = [], f"The row cannot be read: {error}."
            if fields is None and not lines.taken:
                return
            if complaint is not None:
                line = lines.give_back_all_but_the_first().rstrip("\r\n")
                fields = line[:_LONGEST_FIELD].split(dialect.delimiter)
            if not fields:
                continue
            written = [field.encode("utf-8", "surrogateescape").decode("utf-8", "replace") for field in fields]
            if written != fields:
                complaint = complaint or "The row has bytes that are not UTF-8."
            yield written, complaint
