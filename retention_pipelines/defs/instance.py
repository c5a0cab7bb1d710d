"""Where Dagster keeps its own state: its database on the project's Postgres, its files in the state folder.

`dagster.yaml` names these classes, so that every Dagster program (dev, webserver, daemon, code server, run) finds the
same instance from the settings alone, without an environment variable set by hand. What does not belong here: data of
the pipeline; nothing of that is ever stored in Dagster.
"""

import os
import weakref
from pathlib import Path
from typing import Any, Self

from dagster._config.config_schema import UserConfigSchema
from dagster._core.storage.local_compute_log_manager import LocalComputeLogManager
from dagster._core.storage.root import LocalArtifactStorage
from dagster._serdes import ConfigurableClassData
from dagster_postgres import DagsterPostgresStorage

from retention_pipelines.postgres.server import DAGSTER, Server, open_server
from retention_pipelines.settings import load_settings

# Dagster stores the events of a run over many partitions one by one unless it is told a size; it has no other place
# for this figure than the environment of its processes. Measured here: 240 months, 5 assets, see docs/dagster.md.
_BATCH_VARIABLE, _BATCH_SIZE = "DAGSTER_EVENT_BATCH_SIZE", "200"


def files_dir(state_dir: Path) -> Path:
    """Folder of logs and other files of Dagster."""
    return state_dir.absolute() / "dagster"


class PostgresOfTheProject(DagsterPostgresStorage):
    """Dagster's tables in the database `dagster` of the server the settings name; starts an embedded one if needed."""

    def __init__(self, server: Server, inst_data: ConfigurableClassData | None) -> None:
        super().__init__(server.url(DAGSTER, driver="psycopg2"), inst_data=inst_data)
        # Dagster keeps and disposes of the parts of a storage, never of the whole.
        weakref.finalize(self._run_storage, server.close)

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
