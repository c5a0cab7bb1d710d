"""Files of a Darwin Core data set, loaded: raw columns as text, and the same by term.

What belongs here: one file of an archive (or a file of its own) becomes a `Part`. What does not: how parts are joined
(`records.py`). Default values of `meta.xml` are filled in here; hashes are over what is in the file.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import duckdb

from retention_pipelines.errors import FileRefused
from retention_pipelines.sources.darwin_core.terms import TERMS, columns_of
from retention_pipelines.sources.staging import RawFile, fresh_name
from retention_pipelines.sources.text_table import Dialect, TextTable, encoding_or_refusal, header, load


@dataclass(frozen=True, kw_only=True)
class Layout:
    """What a file's columns mean: raw columns in order, which of them is which term, and defaults of terms.

    `key` is the column that ties files together: the id of a core, the core's id in an extension. Without a
    descriptor there is none, and events are found by their eventID.
    """

    columns: tuple[str, ...]
    by_term: Mapping[str, str]
    defaults: Mapping[str, str] = field(default_factory=dict)
    key: str | None = None
    dialect: Dialect
    misspelt: bool = False


@dataclass(frozen=True, kw_only=True)
class Part:
    """A loaded file: `kind` is event, occurrence or measurement; `terms` is a view with every term as a column."""

    kind: str
    table: TextTable
    terms: str
    layout: Layout
    file: RawFile | None = None
    member: str | None = None
    flags: tuple[str, ...] = ()


def layout_of(file: RawFile) -> Layout:
    """Layout of a file that describes itself by its header."""
    found = header(file.text_head or "")
    if found is None:
        raise FileRefused(f"{file.name} has no header of several columns.")
    names, delimiter = found
    columns = columns_of(names)
    return Layout(
        columns=tuple(names),
        by_term=columns.by_term,
        dialect=Dialect(delimiter=delimiter, encoding=encoding_or_refusal(file.local, file.name)),
        misspelt=columns.misspelt,
    )


def load_part(
    con: duckdb.DuckDBPyConnection,
    path: Path,
    layout: Layout,
    kind: str,
    *,
    file: RawFile | None = None,
    member: str | None = None,
) -> Part:
    """Load a file and name its columns by term; what is no term goes into the JSON column `extra`."""
    table = load(con, path, layout.columns, layout.dialect)
    # Columns of the table are those of the layout, made unique: by position they are the same.
    stored = dict(zip(layout.columns, table.columns, strict=True))
    by_term = {term: stored[column] for term, column in layout.by_term.items()}
    key = duckdb.ConstantExpression(None).cast("VARCHAR") if layout.key is None else _cleaned(stored[layout.key])
    known = {*by_term.values(), *([stored[layout.key]] if layout.key else [])}
    terms = fresh_name("darwin_core")
    con.table(table.relation).select(
        duckdb.ColumnExpression("source_row"),
        key.alias("part_key"),
        *(_term(term, by_term, layout.defaults) for term in TERMS),
        _json([column for column in table.columns if column not in known]).alias("extra"),
    ).create_view(terms)
    flags = ("MISSPELT_TERM",) if layout.misspelt else ()
    return Part(kind=kind, table=table, terms=terms, layout=layout, file=file, member=member, flags=flags)


def _cleaned(column: str) -> duckdb.Expression:
    """The text of a column, trimmed; blank is null."""
    blank = duckdb.ConstantExpression("")
    return duckdb.FunctionExpression(
        "nullif", duckdb.FunctionExpression("trimmed", duckdb.ColumnExpression(column)), blank
    )


def _term(term: str, by_term: Mapping[str, str], defaults: Mapping[str, str]) -> duckdb.Expression:
    default = duckdb.ConstantExpression(defaults.get(term)).cast("VARCHAR")
    if term not in by_term:
        return default.alias(term)
    return duckdb.CoalesceOperator(_cleaned(by_term[term]), default).alias(term)


def _json(columns: Sequence[str]) -> duckdb.Expression:
    """JSON object of columns; nulls are taken out by the statement that reads it."""
    pairs = [part for name in columns for part in (duckdb.ConstantExpression(name), _cleaned(name))]
    return duckdb.FunctionExpression("json_object", *pairs)
