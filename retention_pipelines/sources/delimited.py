"""Delimited files described by a mapping: raw columns in, a staging table out.

What belongs here: recognising a mapping, joining its lookups, drafting a mapping for an unknown header. What does not:
the columns a mapping makes (`mapped.py`), what it may say (`mapping.py`) and reading text (`text_table.py`).
"""

import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb
from duckdb import (
    ColumnExpression,
    ConstantExpression,
    Expression,
    FunctionExpression,
)

from retention_pipelines.errors import FileRefused
from retention_pipelines.sources.draft import draft
from retention_pipelines.sources.identity import slug
from retention_pipelines.sources.mapped import mapped
from retention_pipelines.sources.mapping import Lookup, Mapping, Mappings
from retention_pipelines.sources.staging import (
    RawFile,
    Recognition,
    Staged,
    forget,
    fresh_name,
)  # fmt: skip
from retention_pipelines.sources.text_table import Dialect, TextTable, encoding_or_refusal, header, load


@dataclass(kw_only=True)
class DelimitedReader:
    """Files whose header a mapping knows."""

    mappings: Mappings
    format: str = "delimited"

    def recognises(self, file: RawFile, around: Sequence[RawFile]) -> Recognition | None:
        """Records by the header signature of a mapping, lookups by theirs."""
        found = header(file.text_head or "")
        if found is None:
            return None
        mapping = self.mappings.for_header(found[0])
        if mapping is not None:
            beside = tuple(one for rule in mapping.lookups.values() for one in _fitting(rule, around))
            return Recognition(format=self.format, mapping=mapping.name, mapping_digest=mapping.digest, beside=beside)
        lookup = self.mappings.lookup_for_header(found[0])
        if lookup is not None:
            return Recognition(
                format=self.format, role="lookup", mapping=lookup[0].name, mapping_digest=lookup[0].digest
            )
        return None

    def read(
        self, file: RawFile, recognition: Recognition, around: Sequence[RawFile], con: duckdb.DuckDBPyConnection
    ) -> Iterable[Staged]:
        """One staging view over the raw text."""
        mapping = self.mappings.named(recognition.mapping or "")
        lookups = {name: _find_lookup(mapping, name, file, around) for name in mapping.lookups}
        table = _load(con, file, mapping)
        raw = con.table(table.relation)
        missing = [name for name in mapping.references if "." not in name and name not in raw.columns]
        if missing:
            raise FileRefused(
                f"The mapping {mapping.name} reads the column {missing[0]!r}, which the file does not have."
            )
        joined, notes = _join(con, raw, mapping, lookups)
        joined = _with_broken_rows(con, joined, table)
        relation = fresh_name("delimited")
        mapped(joined, mapping, table).create_view(relation)
        yield Staged(
            relation=relation, raw=table.relation, dataset=mapping.target, dataset_id=mapping.dataset_id,
            source_type=mapping.source_type, read=table.rows, licence=mapping.licence,
            rights_holder=mapping.rights_holder, citation=mapping.citation,
            lookups=tuple(one for one in lookups.values() if one is not None), flags=mapping.flags, notes=notes,
        )  # fmt: skip


def count_rows(con: duckdb.DuckDBPyConnection, file: RawFile) -> tuple[int, tuple[str, ...]]:
    """Data rows of a lookup, and a sentence where some of them cannot be read."""
    table = _load(con, file, None)
    broken = con.table(table.unreadable).count("*").fetchall()[0][0]
    forget(con, table.relation, table.unreadable)
    return table.rows, (f"{broken} of its rows cannot be read; no record is joined to them.",) if broken else ()


def _find_lookup(mapping: Mapping, name: str, file: RawFile, around: Sequence[RawFile]) -> RawFile | None:
    lookup = mapping.lookups[name]
    fitting = _fitting(lookup, around)
    near = [other for other in fitting if other.folder == file.folder] or fitting
    if near:
        return near[0]
    if not lookup.required:
        return None
    raise FileRefused(
        f"{file.name} needs {lookup.describes}, a file with the columns {', '.join(lookup.columns[:6])}, ...: "
        "put it beside the file, or pass both in one call (a lookup delivered in an earlier call is not kept)."
    )


def _fitting(lookup: Lookup, around: Sequence[RawFile]) -> list[RawFile]:
    """Files that have the columns of a lookup."""
    heads = ((other, header(other.text_head or "")) for other in around)
    return [other for other, found in heads if found is not None and set(lookup.columns) <= set(found[0])]


def _load(con: duckdb.DuckDBPyConnection, file: RawFile, mapping: Mapping | None) -> TextTable:
    found = header(file.text_head or "")
    if found is None:
        raise FileRefused("The file has no header of several columns.")
    names, delimiter = found
    encoding = (mapping.encoding if mapping else None) or encoding_or_refusal(file.local, file.name)
    given = mapping.delimiter if mapping else None
    return load(con, file.local, names, Dialect(delimiter=given or delimiter, encoding=encoding))


def _join(
    con: duckdb.DuckDBPyConnection,
    raw: duckdb.DuckDBPyRelation,
    mapping: Mapping,
    lookups: dict[str, RawFile | None],
) -> tuple[duckdb.DuckDBPyRelation, tuple[str, ...]]:
    """Raw rows with the columns of their lookups, named `lookup.COLUMN`, and whether each was found; and notes."""
    joined = raw.set_alias("records")
    notes = []
    for name, file in lookups.items():
        if file is None:
            continue
        rule = mapping.lookups[name]
        table = _load(con, file, None)
        fields = [ColumnExpression(column).alias(f"{name}.{column}") for column in table.columns]
        keys = [FunctionExpression("trim", ColumnExpression(key)).alias(f"{name}:{key}") for key in rule.keys.values()]
        readable = con.table(table.relation).join(con.table(table.unreadable), "source_row", how="anti")
        other = readable.select(*fields, *keys, ConstantExpression(True).alias(f"{name}:found"))
        _require_unique(other, [f"{name}:{key}" for key in rule.keys.values()], file, rule.describes)
        condition: Expression = ConstantExpression(True)
        for left, right in rule.keys.items():
            condition = condition & (
                FunctionExpression("trim", ColumnExpression(left)) == ColumnExpression(f"{name}:{right}")
            )
        notes += _unused(raw, other, condition, file, table.rows)
        joined = joined.join(other, condition, how="left")
    return joined, tuple(notes)


def _unused(
    raw: duckdb.DuckDBPyRelation,
    other: duckdb.DuckDBPyRelation,
    condition: Expression,
    file: RawFile,
    rows: int,
) -> list[str]:
    """A sentence on the rows of a lookup that no record names, such as hauls without a catch."""
    unused = other.join(raw, condition, how="anti").count("*").fetchall()[0][0]
    return [f"{unused:,} of the {rows:,} rows of {file.name} are named by no record."] if unused else []


def _require_unique(other: duckdb.DuckDBPyRelation, keys: list[str], file: RawFile, describes: str) -> None:
    columns = [ColumnExpression(key) for key in keys]
    total = other.count("*").fetchall()[0][0]
    distinct = other.select(*columns).distinct().count("*").fetchall()[0][0]
    if distinct != total:
        raise FileRefused(
            f"{file.name} is to hold {describes}, but {total - distinct} of its rows repeat the key "
            f"{', '.join(key.split(':', 1)[1] for key in keys)}: a record would belong to several of them."
        )


def _with_broken_rows(
    con: duckdb.DuckDBPyConnection, joined: duckdb.DuckDBPyRelation, table: TextTable
) -> duckdb.DuckDBPyRelation:
    broken = con.table(table.unreadable)
    if broken.count("*").fetchall()[0][0] == 0:
        return joined.select(duckdb.StarExpression(), ConstantExpression(None).cast("VARCHAR").alias("broken:detail"))
    other = broken.select(
        ColumnExpression("source_row").alias("broken:row"), ColumnExpression("detail").alias("broken:detail")
    )
    return joined.join(other, ColumnExpression("source_row") == ColumnExpression("broken:row"), how="left")


def draft_beside_state(file: RawFile, folder: Path) -> str:
    """Why an unknown file is refused; for a delimited one a mapping is drafted and its path told."""
    text = draft(file)
    if text is None:
        kind = "binary" if file.text_head is None else "text"
        return f"No format is known for this {kind} file. Formats: see docs/ingestion.md."
    folder.mkdir(parents=True, exist_ok=True)
    # By its content: a draft somebody edited is not written over, and two files of one name have two drafts.
    stem = slug(file.name.split(".")[0])[:60] or "file"
    target = folder / f"{stem}-{file.sha256[:8]}.yaml"
    if not target.exists():
        target.write_text(text, encoding="utf-8")
    return (
        f"No mapping knows this header. A draft to edit is in {target}; then run "
        f"`retention ingest {shlex.quote(file.path)} --mapping {shlex.quote(str(target))}`."
    )


__all__ = ["DelimitedReader", "draft_beside_state"]
