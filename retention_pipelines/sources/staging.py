"""The contract between formats and ingestion: what a reader is given and what it hands back.

A reader turns one raw file into staging tables on `lake.con` and decides nothing about them: duplicates, quarantine,
commits and counts are the framework's (`ingest.py`). Detection looks at content, never only at the name.

A staging table has one row per raw data row, nothing dropped, with these columns (all others are ignored):

- `source_row BIGINT`: 1-based number of the raw row among the data rows of the file (or archive member).
- `record_hash VARCHAR`: `record_hash(dataset_id, columns)` of this module, over every raw column as text. `dataset_id`
  must not depend on where or under which name the file was delivered, if anything in the content identifies it.
- every column of the target dataset the reader can fill, by its catalog name; those it leaves out become null. Not to
  be filled: `dataset_id`, `source_*` but `source_row`, `ingested_at`, `month`, `licence`, `rights_holder`,
  `bibliographic_citation` (constants of `Staged`; `licence` and the other two may also be columns and then win),
  `source_type` (a constant, or a column that wins).
- `decimal_latitude`, `decimal_longitude`: DOUBLE, or VARCHAR as written (then the framework parses them, and what is
  not a number is quarantined with the text that was there). Longitudes stay as written: folding is the framework's.
- `event_date VARCHAR`: date as written. The framework parses it to `event_start`, `event_end`, `date_precision` and
  `source_timezone`, unless the table has all of these four columns (then NULL in `event_start` means an invalid date).
- `event_id VARCHAR`: where null, the framework derives one from dataset, date and position.
- optional `reason`, `detail` VARCHAR: quarantine the row; a code of `quality.REASONS` and a sentence.
- `flags VARCHAR[]`: remarks that don't exclude the row; the framework adds its own.
- observations only: `measurements`, a list of the struct `MEASUREMENT`; one raw row becomes 0..n observations. Leave a
  variable out of the list where the source has neither value nor flag. Other columns of the table repeat per value.
- `raw_record VARCHAR`: JSON object of the raw row as text. Leave it out and name `raw` instead (a table of `source_row`
  and every raw column as VARCHAR): then only quarantined rows are turned into JSON, which is faster.
"""

import codecs
import importlib
import importlib.util
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol
from uuid import uuid4

import duckdb

from retention_pipelines.errors import FileRefused
from retention_pipelines.warehouse.duck import quote_name, quote_texts

Role = Literal["records", "lookup", "metadata"]


def closed_vocabulary(words: Iterable[str]) -> str:
    """ENUM type of some words: held and written at a fraction of the cost of texts. Plain texts are cast to it."""
    return f"ENUM({quote_texts(dict.fromkeys(words))})"


def closed_word(word: str, words: Iterable[str]) -> duckdb.Expression:
    """A constant of a closed vocabulary."""
    return duckdb.ConstantExpression(word).cast(closed_vocabulary(words))


VALUE_KIND = closed_vocabulary(("raw", "adjusted"))
QC_SCALE = closed_vocabulary(("argo", "qartod", "wod", "none"))
#: DuckDB types of the members of an element of `measurements`. A reader may give any text as an ENUM of its own.
MEASUREMENT = {
    "variable": "VARCHAR",
    "standard_name": "VARCHAR",
    "value": "DOUBLE",
    "value_kind": VALUE_KIND,
    "raw_value": "DOUBLE",
    "qc_flag": "VARCHAR",
    "raw_qc_flag": "VARCHAR",
    "qc_scale": QC_SCALE,
    "qc_good": "BOOLEAN",
}


@dataclass(frozen=True, kw_only=True)
class RawFile:
    """A delivered file, made readable.

    `path` is as delivered (for a member of a plain zip: `<zip>/<member>`), `local` is where its bytes can be read
    (a decompressed copy for `.gz` and zip members, else the file itself), `sha256` and `size` are of the delivered
    bytes. `head` holds the first 64 KiB of the readable bytes, `members` the names in a zip archive that is kept
    whole (one with a `meta.xml`: a Darwin Core Archive). `stamp` is its length and time of change when it was opened.
    """

    path: str
    local: Path
    sha256: str
    size: int
    head: bytes
    members: tuple[str, ...] = ()
    stamp: tuple[int, int] | None = None

    @property
    def name(self) -> str:
        """Last part of the path."""
        return Path(self.path).name

    @property
    def folder(self) -> str:
        """Folder of the path: files of one event core share it."""
        return str(Path(self.path).parent)

    @property
    def text_head(self) -> str | None:
        """The head as text without a byte-order mark; None for binary content."""
        if self.head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) and b"\0\0" not in self.head[:4]:
            return self.head.decode("utf-16", errors="replace")
        if b"\0" in self.head:
            return None
        # A multi-byte character may be cut at the end of the head.
        return self.head.decode("utf-8-sig", errors="replace")

    def changed(self) -> bool:
        """Whether the file at `local` is no longer the one that was opened."""
        if self.stamp is None:
            return False
        try:
            now = self.local.stat()
        except OSError:
            return True
        return self.stamp != (now.st_size, now.st_mtime_ns)

    @property
    def header_line(self) -> str | None:
        """First line of a text file, without its line end; None for binary content."""
        text = self.text_head
        return None if text is None else text.split("\n", 1)[0].rstrip("\r")


@dataclass(frozen=True, kw_only=True)
class Recognition:
    """What a reader says about a file it knows: its format, its role, the mapping it uses and a hash of its text.

    `beside` must name every other file that what is read depends on, more rather than less: with the same ones the same
    file is not read again.
    """

    format: str
    role: Role = "records"
    mapping: str | None = None
    mapping_digest: str | None = None
    beside: tuple[RawFile, ...] = field(default=(), compare=False)


@dataclass(frozen=True, kw_only=True)
class Staged:
    """A staging table and what holds for all its rows.

    `relation` is a table on the lake's connection, `dataset` its target. `read` is the number of raw data rows; it
    must equal the rows of `relation`. `member` names the part of an archive the rows come from. `lookups` are the
    files joined to the rows; they make up the identity of the delivery together with the file and the mapping. `notes`
    are sentences for the report: what of the file is not used, and why.
    """

    relation: str
    dataset: Literal["occurrences", "observations"]
    dataset_id: str
    source_type: str
    read: int
    raw: str | None = None
    member: str | None = None
    licence: str | None = None
    rights_holder: str | None = None
    citation: str | None = None
    lookups: tuple[RawFile, ...] = ()
    flags: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


class Reader(Protocol):
    """One format. Stateless; made anew for every call of `ingest`."""

    format: str

    def recognises(self, file: RawFile, around: Sequence[RawFile]) -> Recognition | None:
        """What the file is, if it is of this format; only content decides. `around` are the files near it."""

    def read(
        self, file: RawFile, recognition: Recognition, around: Sequence[RawFile], con: duckdb.DuckDBPyConnection
    ) -> Iterable[Staged]:
        """Stage a file of role `records`. Raises FileRefused with a sentence that says why it cannot be read.

        `around` are the other files of the delivery and those in the same folder: a lookup is found there.
        Generators are welcome: each `Staged` is taken up before the next is asked for.
        """


@dataclass(frozen=True, kw_only=True)
class Format:
    """Where a reader lives; imported on first use, so that a CSV needs no NetCDF library."""

    format: str
    module: str
    reader: str = "Reader"

    def open(self) -> Reader:
        """The reader."""
        made: Reader = getattr(importlib.import_module(self.module), self.reader)()
        return made


_PACKAGE = "retention_pipelines.sources"
#: In order of detection: a mapping's header signature is the most specific, plain delimited text the least.
FORMATS: tuple[Format, ...] = (
    Format(format="delimited", module=f"{_PACKAGE}.delimited", reader="DelimitedReader"),
    Format(format="darwin_core_archive", module=f"{_PACKAGE}.darwin_core", reader="ArchiveReader"),
    Format(format="darwin_core", module=f"{_PACKAGE}.darwin_core", reader="TextReader"),
    Format(format="erddap", module=f"{_PACKAGE}.erddap", reader="ErddapReader"),
    Format(format="ndbc", module=f"{_PACKAGE}.ndbc", reader="NdbcReader"),
    Format(format="argo", module=f"{_PACKAGE}.argo", reader="ArgoReader"),
    Format(format="gridded", module=f"{_PACKAGE}.gridded", reader="GriddedReader"),
)


@dataclass(kw_only=True)
class Readers:
    """The readers of one call, imported when first asked for; `given` ones are used as they are."""

    formats: tuple[Format, ...] = FORMATS
    given: dict[str, Reader] = field(default_factory=dict)

    def __iter__(self) -> Iterator[Reader]:
        for entry in self.formats:
            yield self.of(entry.format)

    def of(self, name: str) -> Reader:
        """The reader of a format."""
        if name not in self.given:
            self.given[name] = next(entry for entry in self.formats if entry.format == name).open()
        return self.given[name]

    def recognise(self, file: RawFile, around: Sequence[RawFile]) -> Recognition | None:
        """The first format that knows the file."""
        for reader in self:
            found = reader.recognises(file, around)
            if found is not None:
                return found
        return None


def record_hash(dataset_id: str, columns: Iterable[str]) -> duckdb.Expression:
    """Hash of a raw row, named `record_hash`: for `relation.select(...)` over VARCHAR columns of these names.

    Columns go in by name, in the order of their names, so that their order in a file does not matter; null and the
    empty text are the same, since a text file cannot tell them apart.
    """
    names = sorted(columns)
    constant, function = duckdb.ConstantExpression, duckdb.FunctionExpression
    texts = [duckdb.CoalesceOperator(duckdb.ColumnExpression(name), constant("")) for name in names]
    head = constant("\x1f".join([dataset_id, *names]) + "\x1e")
    return function("md5", function("concat_ws", constant("\x1f"), head, *texts)).alias("record_hash")


def fresh_name(kind: str) -> str:
    """A name for a staging table that no other table has."""
    return f"_{kind}_{uuid4().hex}"


def rows_of(name: str) -> str:
    """Name of the table that a staging view of this name numbers."""
    return f"{name}_rows"


def forget(con: duckdb.DuckDBPyConnection, *names: str) -> None:
    """Drop staging tables and views, whichever they are, with what they number; those that are not there are fine."""
    for name in (one for given in names for one in (given, rows_of(given))):
        try:
            con.execute(f"drop view if exists {quote_name(name)}")
        except duckdb.CatalogException:  # it is a table; asking the catalog first binds every view of it
            con.execute(f"drop table {quote_name(name)}")


__all__ = [
    "FORMATS",
    "MEASUREMENT",
    "FileRefused",
    "Format",
    "RawFile",
    "Reader",
    "Readers",
    "Recognition",
    "Staged",
    "closed_vocabulary",
    "closed_word",
    "forget",
    "fresh_name",
    "record_hash",
    "rows_of",
]
