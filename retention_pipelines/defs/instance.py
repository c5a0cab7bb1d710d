"""Where Dagster keeps its own state: its database on the project's Postgres, its files in the state folder.

`dagster.yaml` names these classes, so that every Dagster program (dev, webserver, daemon, code server, run) finds the
same instance from the settings alone, without an environment variable set by hand. What does not belong here: data of
the pipeline; nothing of that is ever stored in Dagster.
"""

import os
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from dagster import DagsterEventType, EventLogEntry
from dagster._config.config_schema import UserConfigSchema
from dagster._core.storage.event_log.schema import SqlEventLogStorageTable
from dagster._core.storage.local_compute_log_manager import LocalComputeLogManager
from dagster._core.storage.root import LocalArtifactStorage
from dagster._serdes import ConfigurableClassData
from dagster_postgres import DagsterPostgresStorage, PostgresEventLogStorage
from sqlalchemy import Engine, create_engine

from retention_pipelines.postgres.server import DAGSTER, Server, open_server
from retention_pipelines.settings import load_settings

# Dagster stores the events of a run over many partitions one by one unless it is told a size; it has no other place
# for this figure than the environment of its processes. Measured: docs/dagster.md.
_BATCH_VARIABLE, _BATCH_SIZE = "DAGSTER_EVENT_BATCH_SIZE", "200"


def files_dir(state_dir: Path) -> Path:
    """Folder of logs and other files of Dagster."""
    return state_dir.absolute() / "dagster"


class EventsInBatches(PostgresEventLogStorage):
    """Writes the planned materializations of a run over many partitions together, as it already does the done ones.

    Dagster writes them one by one, over three connections each, because one batch holds several assets: 240 months of
    one asset took 17 s on a busy machine. Here each asset's row is brought up to date with its last event.
    """

    def store_event_batch(self, events: Sequence[EventLogEntry]) -> None:
        """Store events of one batch; kinds other than planned materializations are left to Dagster."""
        planned = DagsterEventType.ASSET_MATERIALIZATION_PLANNED
        kinds = {event.get_dagster_event().event_type for event in events}
        if planned not in kinds:
            super().store_event_batch(events)
            return
        together = [event for event in events if event.get_dagster_event().event_type == planned]
        with self._connect() as con:
            statement = self.prepare_insert_event_batch(together).returning(SqlEventLogStorageTable.c.id)
            numbers = [int(row[0]) for row in con.execute(statement).fetchall()]
        last = {
            event.get_dagster_event().asset_key: (event, number)
            for event, number in zip(together, numbers, strict=True)
        }
        with self.index_transaction() as con:
            for event, number in last.values():
                self._store_asset_event(con, event, number)
        for event in events:
            if event.get_dagster_event().event_type != planned:
                self.store_event(event)


class PostgresOfTheProject(DagsterPostgresStorage):
    """Dagster's tables in the database `dagster` of the server the settings name; starts an embedded one if needed."""

    def __init__(self, server: Server, inst_data: ConfigurableClassData | None) -> None:
        url = server.url(DAGSTER, driver="psycopg2")
        super().__init__(url, inst_data=inst_data)
        self._event_log_storage = EventsInBatches(url)
        # By itself Dagster opens a connection for every statement, which costs more than most statements do.
        kept = create_engine(url, isolation_level="AUTOCOMMIT", pool_size=2, max_overflow=-1, pool_pre_ping=True)
        for part in (self._run_storage, self._event_log_storage, self._schedule_storage):
            part._engine = kept
        # Dagster keeps and disposes of the parts of a storage, never of the whole.
        weakref.finalize(self._run_storage, _leave, kept, server)

    @classmethod
    def config_type(cls) -> UserConfigSchema:
        """Nothing to configure: the settings say it all."""
        return {}

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Any) -> Self:
        """Open the server and make the database if it is not there."""
        os.environ.setdefault(_BATCH_VARIABLE, _BATCH_SIZE)
        server = open_server(load_settings())
        server.ensure_database(DAGSTER)
        return cls(server, inst_data)


def _leave(kept: Engine, server: Server) -> None:
    kept.dispose()
    server.close()


class StateFolderFiles(LocalArtifactStorage):
    """Files of runs and schedules, in the state folder."""

    @classmethod
    def config_type(cls) -> UserConfigSchema:
        """Nothing to configure."""
        return {}

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Any) -> Self:
        """In the folder of the settings."""
        return cls(base_dir=str(files_dir(load_settings().state_dir)), inst_data=inst_data)


class StateFolderLogs(LocalComputeLogManager):
    """What steps print, in the state folder."""

    @classmethod
    def config_type(cls) -> UserConfigSchema:
        """Nothing to configure."""
        return {}

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Any) -> Self:
        """In the folder of the settings."""
        return cls(base_dir=str(files_dir(load_settings().state_dir) / "storage"), inst_data=inst_data)
