"""Connections to our own database: SQLAlchemy for control queries, psycopg for the hot path.

Both act as one of the three roles and, where rows belong to tenants, for one tenant; both have deadlines.
"""

import psycopg
from sqlalchemy import Engine, ExceptionContext, create_engine, event
from sqlalchemy.pool import NullPool

from retention_pipelines.errors import DatabaseError
from retention_pipelines.postgres import address
from retention_pipelines.postgres.address import Deadlines, Role
from retention_pipelines.postgres.server import Server, unreachable

OF_AN_OLD_STATE = (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedColumn, psycopg.errors.UndefinedFunction)


def open_engine(
    server: Server,
    *,
    role: Role = "service",
    tenant: str | None = None,
    deadlines: Deadlines | None = None,
    pool_size: int | None = None,
) -> Engine:
    """An engine; dispose of it when done. Without `pool_size` each connection is opened when asked for and closed."""
    url = server.address(role=role, tenant=tenant, deadlines=deadlines)
    if pool_size is None:
        engine = create_engine(url, poolclass=NullPool)
    else:
        engine = create_engine(url, pool_size=pool_size, max_overflow=0, pool_pre_ping=True, pool_timeout=10)
    event.listen(engine, "handle_error", _say_what_is_missing)
    return engine


def _say_what_is_missing(context: ExceptionContext) -> None:
    error = context.original_exception
    told = str(error).strip().split("\n")[0].rpartition("FATAL:  ")[2].rstrip(".")
    no_database = isinstance(error, psycopg.OperationalError) and "database" in told and "does not exist" in told
    if no_database or isinstance(error, OF_AN_OLD_STATE):
        raise outdated(error) from error
    # A deadline or a lock also comes as OperationalError, but leaves the connection whole.
    if isinstance(error, psycopg.OperationalError) and (context.connection is None or context.is_disconnect):
        raise broken(error) from error


def outdated(error: BaseException) -> DatabaseError:
    """What to say when the tables are not those this program knows."""
    told = str(error).strip().split("\n")[0].rpartition("FATAL:  ")[2].rstrip(".")
    return DatabaseError(
        f"The database is not there yet, or not in its newest state: {told}.", hint="Run `retention db upgrade`."
    )


def broken(error: Exception) -> DatabaseError:
    """What to say when the connection broke, or none could be made, in the middle of work."""
    told = str(error).strip().split("\n")[0].rstrip(".")
    return DatabaseError(
        f"Postgres went away: {told or type(error).__name__}.",
        hint="See whether the server is up, then run this again: what was begun goes on where it ended.",
    )


def connect(
    server: Server,
    *,
    role: Role = "service",
    tenant: str | None = None,
    deadlines: Deadlines | None = None,
    autocommit: bool = False,
) -> psycopg.Connection[tuple[object, ...]]:
    """A psycopg connection; use it as a context manager."""
    try:
        return psycopg.connect(
            address.conninfo(server.address(role=role, tenant=tenant, deadlines=deadlines)), autocommit=autocommit
        )
    except psycopg.OperationalError as error:
        raise unreachable(server.masked(), error) from error
