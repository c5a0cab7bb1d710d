"""Migrations of our own database: bring it to the newest state, take it back, say where it is.

Alembic does the work with what ships in the package; no file of the working directory is read. One migration runs at a
time (an advisory lock), all of it in one transaction, as the role that owns the tables.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import as_file, files
from typing import Any

import psycopg
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, create_engine, inspect, literal, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from retention_pipelines.errors import DatabaseError
from retention_pipelines.postgres.address import PATIENT
from retention_pipelines.postgres.server import Server, open_server
from retention_pipelines.postgres.tables import METADATA
from retention_pipelines.settings import Settings

OLDEST_MAJOR = 15
VERSION_TABLE = "retention_migrations"
# An arbitrary number of ours: Postgres locks numbers, not names.
_LOCK = 7_241_066_190
_ADMINISTRATOR = """Let an administrator of the server run:
  create role retention_owner; create role retention_service; create role retention_readonly;
  grant retention_owner, retention_service, retention_readonly to "{user}";
  grant create on database "{database}" to retention_owner;
  grant usage, create on schema public to retention_owner;"""


@dataclass(frozen=True, kw_only=True)
class MigrationState:
    """Where a database is and where it should be; None: no table of ours is there."""

    database: str
    current: str | None
    newest: str

    @property
    def is_current(self) -> bool:
        """Whether there is nothing to do."""
        return self.current == self.newest


@dataclass(frozen=True, kw_only=True)
class Migration:
    """What one upgrade or downgrade did."""

    database: str
    before: str | None
    after: str | None


def upgrade(settings: Settings, revision: str = "head") -> Migration:
    """Bring the database to a revision, the newest by default; makes it and the roles where missing. Safe to repeat."""
    with open_server(settings) as server:
        return upgrade_server(server, revision)


def upgrade_server(server: Server, revision: str = "head") -> Migration:
    """The same for a server that is open."""
    _may_write(server)
    server.ensure_database()
    return _migrate(server, lambda config: command.upgrade(config, revision))


def downgrade(settings: Settings, revision: str) -> Migration:
    """Take the database back to a revision; `base` removes every table of ours with its data."""
    with open_server(settings) as server:
        return downgrade_server(server, revision)


def downgrade_server(server: Server, revision: str) -> Migration:
    """The same for a server that is open."""
    _may_write(server)
    return _migrate(server, lambda config: command.downgrade(config, revision))


def state(server: Server) -> MigrationState:
    """Where the database is; changes nothing."""
    with _connection(server) as connection:
        current = _context(connection).get_current_revision()
    with as_file(files("retention_pipelines.postgres").joinpath("migrations")) as folder:
        newest = ScriptDirectory(str(folder)).get_current_head()
    return MigrationState(database=server.database_name(), current=current, newest=str(newest))


def differences(server: Server) -> list[Any]:
    """What Alembic sees different between the tables declared here and those in the database."""
    with _connection(server) as connection:
        return list(compare_metadata(_context(connection, compare_type=True), METADATA))


def filled_tables(server: Server) -> list[str]:
    """Names of our tables that hold rows."""
    with _connection(server) as connection:
        names = set(inspect(connection).get_table_names(schema="public")) & set(METADATA.tables)
        tables = [METADATA.tables[name] for name in sorted(names)]
        return [one.name for one in tables if connection.execute(select(literal(1)).select_from(one).limit(1)).first()]


def run_file(connection: Connection, name: str) -> None:
    """Run the statements of a file of `migrations/sql` in the connection's transaction."""
    path = files("retention_pipelines.postgres").joinpath("migrations", "sql", f"{name}.sql")
    # The driver itself: SQLAlchemy would take colons and percent signs of the file for parameters.
    driver = connection.connection.driver_connection
    if not isinstance(driver, psycopg.Connection):
        raise TypeError("migrations run over psycopg")
    driver.execute(path.read_bytes())


def _may_write(server: Server) -> None:
    if server.read_only:
        raise DatabaseError("In read_only mode tables are not migrated.", hint="Set RETENTION_MODE=full for it.")


def _migrate(server: Server, run: Any) -> Migration:
    with (
        _connection(server) as connection,
        as_file(files("retention_pipelines.postgres").joinpath("migrations")) as folder,
    ):
        try:
            _check_version(connection)
            connection.exec_driver_sql(f"select pg_advisory_xact_lock({_LOCK})")
            run_file(connection, "roles")
            connection.exec_driver_sql("set local role retention_owner")
            connection.exec_driver_sql("set local search_path = public")
            before = _context(connection).get_current_revision()
            config = Config()
            config.set_main_option("script_location", str(folder).replace("%", "%%"))
            config.attributes.update(connection=connection, version_table=VERSION_TABLE)
            run(config)
            after = _context(connection).get_current_revision()
            connection.commit()
        except CommandError as error:
            known = ", ".join(one.revision for one in ScriptDirectory(str(folder)).walk_revisions())
            raise DatabaseError(
                f"There is no such state of the tables: {error}.", hint=f"Known are head, base, {known}."
            ) from None
        except (psycopg.Error, DBAPIError) as error:
            raise _failed(server, error) from error
    return Migration(database=server.database_name(), before=before, after=after)


def _check_version(connection: Connection) -> None:
    number = int(connection.exec_driver_sql("show server_version_num").scalar_one())
    if number < OLDEST_MAJOR * 10_000:
        raise DatabaseError(
            f"The server has Postgres {number // 10_000}.", hint=f"Use Postgres {OLDEST_MAJOR} or newer."
        )


def _failed(server: Server, error: psycopg.Error | DBAPIError) -> DatabaseError:
    cause = error.orig if isinstance(error, DBAPIError) else error
    told = str(cause).strip().splitlines()[0]
    shown = server.masked()
    if isinstance(cause, psycopg.errors.InsufficientPrivilege):
        hint = _ADMINISTRATOR.format(user=server.user or "your user", database=server.database_name())
    elif isinstance(cause, psycopg.errors.LockNotAvailable):
        hint = "Another migration or a long transaction holds the tables; run it again when that is done."
    elif isinstance(cause, psycopg.errors.DiskFull):
        hint = "Free some space on the server's disk, then run it again; nothing was changed."
    else:
        hint = "Nothing was changed: a migration runs in one transaction."
    return DatabaseError(f"{shown} could not be migrated: {told}.", hint=hint)


@contextmanager
def _connection(server: Server) -> Iterator[Connection]:
    engine = create_engine(server.address(deadlines=PATIENT), poolclass=NullPool)
    try:
        connection = engine.connect()
    except DBAPIError as error:
        raise _failed(server, error) from error
    with connection:
        yield connection


def _context(connection: Connection, **options: Any) -> MigrationContext:
    return MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE, **options})
