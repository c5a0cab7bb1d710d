"""Flat Darwin Core: one CSV or TSV of occurrences, each with its own name, position and date."""

from collections.abc import Iterable, Sequence

import duckdb

from retention_pipelines.sources.darwin_core.parts import Part, layout_of, load_part
from retention_pipelines.sources.darwin_core.records import DataSet, stage
from retention_pipelines.sources.darwin_core.terms import kind_of
from retention_pipelines.sources.identity import from_file_name, slug
from retention_pipelines.sources.staging import RawFile, Recognition, Staged
from retention_pipelines.sources.text_table import header


class TextReader:
    """Reads occurrences whose header has the terms for a name, a position and a date."""

    format = "darwin_core"

    def recognises(self, file: RawFile, around: Sequence[RawFile]) -> Recognition | None:
        """Text with scientificName, both coordinates, and a date."""
        found = header(file.text_head or "")
        if found is None or kind_of(found[0]) != "flat":
            return None
        return Recognition(format=self.format)

    def read(
        self, file: RawFile, recognition: Recognition, around: Sequence[RawFile], con: duckdb.DuckDBPyConnection
    ) -> Iterable[Staged]:
        """One staging table."""
        part = load_part(con, file.local, layout_of(file), "occurrence", file=file)
        return stage(con, DataSet(dataset_id=dataset_id_of(con, [part]) or from_file_name(file.name), parts=(part,)))


def dataset_id_of(con: duckdb.DuckDBPyConnection, parts: Sequence[Part]) -> str | None:
    """The datasetID of the records, where they all have the same one."""
    for part in parts:
        found = con.table(part.terms).select("datasetID").distinct().limit(2).fetchall()
        if len(found) == 1 and found[0][0]:
            text = str(found[0][0])
            return slug(text.rstrip("/").rsplit("/", 1)[-1]) or None
    return None
