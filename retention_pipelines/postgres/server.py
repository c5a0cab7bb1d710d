"""The Postgres server of a project: the embedded one, or the one RETENTION_DATABASE_URL names.

What belongs here: addresses, databases, version and size; the same for both kinds. Connections to the tables are in
`engine.py`, tables come from `migrate.py`.
"""

from typing import Literal, Self

import psycopg
from psycopg import sql
from sqlalchemy import URL

from retention_pipelines.errors import DatabaseError
from retention_pipelines.postgres import address, embedded
from retention_pipelines.postgres.address import Deadlines, Role
from retention_pipelines.settings import Settings

Kind = Literal["embedded", "external"]
Driver = Literal["psycopg", "psycopg2"]
# Our own tables, and Dagster's. The first is the database the URL names, where it names one.
RETENTION = "retention"
DAGSTER = "dagster"


class Server:
    """An open server; close it, or use it as a context manager."""

    def __init__(self, kind: Kind, url: URL, *, read_only: bool, hold: embedded.EmbeddedServer | None = None) -> None:
        self.kind = kind
        self._url = url
        self.read_only = read_only
        self._hold = hold

    @property
    def user(self) -> str | None:
        """User its address names."""
        return self._url.username

    def database_name(self, database: str = RETENTION) -> str:
        """Name on the server of one of our databases."""
        return (self._url.database or RETENTION) if database == RETENTION else database

    def address(
        self,
        database: str = RETENTION,
        *,
        driver: Driver = "psycopg",
        role: Role | None = None,
        tenant: str | None = None,
        deadlines: Deadlines | None = None,
    ) -> URL:
        """Address of a database for SQLAlchemy; sessions get deadlines, UTC, the role and tenant asked for.

        In read-only mode sessions cannot write and act as the role `readonly` in our own database, whatever is asked.
        """
        if deadlines is None:
            deadlines = address.PATIENT if database == DAGSTER else Deadlines()
        if self.read_only:
            role = "readonly" if database == RETENTION else None
        session = address.session_settings(role=role, tenant=tenant, read_only=self.read_only)
        return address.with_session(self._url.set(database=self.database_name(database)), driver, deadlines, session)

    def url(self, database: str = RETENTION, driver: Driver = "psycopg") -> str:
        """Address of a database as text, for programs. It holds the password: never show it, show `masked()`."""
        return address.written(self.address(database, driver=driver))

    def masked(self, database: str = RETENTION) -> str:
        """Address that may be shown."""
        return address.masked(self._url.set(database=self.database_name(database)))

    def version(self) -> str:
        """Version of the server, for example 18.4."""
        return str(self._ask("show server_version"))

    def databases(self) -> frozenset[str]:
        """Names of the databases on the server."""
        return frozenset(str(self._ask("select string_agg(datname, e'\n') from pg_database")).split("\n"))

    def size_bytes(self, database: str = RETENTION) -> int:
        """Bytes a database takes on the server's disk."""
        return int(str(self._ask("select pg_database_size(%s)", self.database_name(database))))

    def ensure_database(self, name: str = RETENTION) -> None:
        """Create one of our databases if it is not there; fine when several processes do it at once."""
        actual = self.database_name(name)
        if self._exists(actual):
            return
        statement = sql.SQL("create database {} encoding 'UTF8' template template0").format(sql.Identifier(actual))
        try:
            with self._connect() as con:
                con.execute(statement)
        except (psycopg.errors.DuplicateDatabase, psycopg.errors.UniqueViolation):
            return
        except (psycopg.errors.InsufficientPrivilege, psycopg.errors.ReadOnlySqlTransaction) as error:
            raise DatabaseError(
                f"The database {actual!r} is not on {self.masked()} and may not be created: {_first_line(error)}.",
                hint="Let an administrator run: "
                f'create database "{actual}" owner "{self._url.username}" encoding \'UTF8\';',
            ) from None

    def _exists(self, actual: str) -> bool:
        try:
            return actual in self.databases()
        except DatabaseError as error:
            if isinstance(error.__cause__, psycopg.errors.InvalidCatalogName):
                return False
            raise

    def _connect(self, **more: object) -> psycopg.Connection[tuple[object, ...]]:
        # Its own database may not be there yet, `postgres` may not be open to this user: whichever lets us in.
        failed: psycopg.Error | None = None
        for database in dict.fromkeys((self._url.database or "postgres", "postgres", "template1")):
            session = address.session_settings(role=None, tenant=None, read_only=self.read_only)
            url = address.with_session(self._url.set(database=database), "psycopg", Deadlines(), session)
            try:
                return psycopg.connect(address.conninfo(url), autocommit=True)
            except psycopg.Error as error:
                failed = failed or error
                if "does not exist" not in str(error) and "permission denied" not in str(error):
                    break
        raise unreachable(self.masked(), failed or psycopg.OperationalError("no answer"))

    def _ask(self, query: str, *values: object) -> object:
        with self._connect() as con:
            row = con.execute(query.encode(), values or None).fetchone()
        return row[0] if row else None

    def close(self) -> None:
        """Leave the server; an embedded one stops a moment after the last process left."""
        if self._hold is not None:
            self._hold.close()

    def stop(self) -> None:
        """Close, and wait until an embedded server is down unless others use it; an external one is left alone."""
        if self._hold is not None:
            self._hold.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_server(settings: Settings) -> Server:
    """The server of these settings, reachable: an embedded one is started if it does not run yet."""
    read_only = settings.mode == "read_only"
    if settings.database_url is not None:
        server = Server("external", address.parse(settings.database_url.get_secret_value()), read_only=read_only)
        server.version()
        return server
    hold = embedded.EmbeddedServer(settings.state_dir)
    if read_only and not (hold.places.data / "PG_VERSION").exists():
        raise DatabaseError(
            f"There is no database in {hold.places.home} yet, and read_only mode makes none.",
            hint="Run `retention db upgrade` once with RETENTION_MODE=full.",
        )
    hold.open()
    return Server("embedded", embedded_url(hold.places), read_only=read_only, hold=hold)


def embedded_url(where: embedded.Places) -> URL:
    """Address of an embedded server, running or not."""
    return URL.create("postgresql", embedded.SUPERUSER, query={"host": str(where.sockets)})


def unreachable(shown: str, error: psycopg.Error) -> DatabaseError:
    """What to say when a server does not let us in; the text of the driver names hosts and users, never passwords."""
    told = _first_line(error)
    if "password authentication failed" in told or "no password supplied" in told:
        hint = "Correct user and password in RETENTION_DATABASE_URL."
    elif "database" in told and "does not exist" in told:
        hint = "Run `retention db upgrade`, or correct RETENTION_DATABASE_URL."
    elif "does not exist" in told:
        hint = "Create it on the server, or correct RETENTION_DATABASE_URL."
    else:
        hint = "Is the server up, and are host and port in RETENTION_DATABASE_URL right?"
    failed = DatabaseError(f"Postgres at {shown} cannot be used: {told}.", hint=hint)
    failed.__cause__ = error
    return failed


def _first_line(error: psycopg.Error) -> str:
    return str(error).strip().split("\n")[0].rstrip(".")
