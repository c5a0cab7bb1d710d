"""The lake as a whole: its tables, and the state of all of them that readers see."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb

from retention_pipelines.catalog import DATASETS, dataset
from retention_pipelines.settings import Settings
from retention_pipelines.warehouse.duck import open_connection, quote_name
from retention_pipelines.warehouse.table import Table


class Lake:
    """All datasets under one root; `con` is the DuckDB connection its tables write and read with.

    Not for several threads at once: open one per thread.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.root = settings.lake_root if not settings.lake_is_local else str(Path(settings.lake_root).absolute())
        self.con = open_connection()
        self._tables: dict[str, Table] = {}

    def table(self, name: str) -> Table:
        """The table of a dataset, created empty if it is not there yet."""
        if name not in self._tables:
            self._tables[name] = Table(
                dataset(name), f"{self.root}/_lake/{name}", self.con, self.settings.storage_options
            )
        return self._tables[name]

    def create_views(self, con: duckdb.DuckDBPyConnection | None = None) -> None:
        """Views of every dataset, pinned to what is published, on a connection (this lake's own by default)."""
        target = con or self.con
        for name in DATASETS:
            target.execute(f"create or replace temp view {quote_name(name)} as select * from {self.table(name).scan()}")

    def publish(self) -> dict[str, int]:
        """Show the current state of every table to readers, all at once; returns the version of each."""
        return {name: self.table(name).version() for name in DATASETS}

    @contextmanager
    def transaction(self, name: str) -> Iterator[str]:
        """Several commits over several tables that are seen together or not at all.

        Yields the `op` every append inside must be given: `with lake.transaction("ingest:<sha>") as op:`. An exception
        undoes every commit of it; success publishes. One transaction at a time per lake, so read and parse before it;
        look for duplicates inside it.
        """
        op = f"{name}#{uuid.uuid4().hex}"
        before = {dataset: self.table(dataset).version() for dataset in DATASETS}
        try:
            yield op
        except BaseException:
            for dataset, version in before.items():
                self.table(dataset).undo_operation(op, since=version)
            raise
        self.publish()

    def close(self) -> None:
        """Close the connection."""
        self.con.close()

    def __enter__(self) -> "Lake":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
