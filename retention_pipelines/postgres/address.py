"""Addresses of databases: any spelling of a Postgres URL in, driver URLs with deadlines out.

The password never appears in a message: `masked()` is the one text form of an address that may be shown.
"""

import re
from dataclasses import dataclass
from typing import Literal

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from retention_pipelines.errors import DatabaseError

Role = Literal["owner", "service", "readonly"]
_SCHEMES = ("postgres", "postgresql")
# Only for work on behalf of no tenant in particular, such as sweeps.
EVERY_TENANT = "*"
_TENANT = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_WATCHED = {
    "keepalives_idle": "15",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "30000",
}
_HINT = "Write it as postgresql://user:password@host:5432/database."


@dataclass(frozen=True, kw_only=True)
class Deadlines:
    """How long a connection waits for what, in seconds."""

    connect: int = 10
    statement: float = 60.0
    lock: float = 10.0
    idle_in_transaction: float = 120.0

    def options(self) -> dict[str, str]:
        """The server settings that enforce them."""
        return {
            "statement_timeout": str(round(self.statement * 1000)),
            "lock_timeout": str(round(self.lock * 1000)),
            "idle_in_transaction_session_timeout": str(round(self.idle_in_transaction * 1000)),
        }


# Dagster migrates its own tables and reads long histories over the same connections.
PATIENT = Deadlines(connect=30, statement=600.0, lock=60.0, idle_in_transaction=600.0)


def parse(text: str) -> URL:
    """A Postgres URL in any usual spelling (postgres://, postgresql://, with or without +driver)."""
    try:
        url = make_url(text.strip())
        port = url.port
    except (ArgumentError, ValueError):
        raise DatabaseError("RETENTION_DATABASE_URL is not a database URL.", hint=_HINT) from None
    if "%00" in written(url):
        # libpq's complaint about it would show the password.
        raise DatabaseError("RETENTION_DATABASE_URL holds a zero byte.", hint=_HINT)
    if url.drivername.partition("+")[0] not in _SCHEMES:
        raise DatabaseError(f"RETENTION_DATABASE_URL is for {url.drivername!r}, not for Postgres.", hint=_HINT)
    if port is not None and not 0 < port < 65536:
        raise DatabaseError(f"RETENTION_DATABASE_URL has the port {port}.", hint=_HINT)
    return url.set(drivername="postgresql")


def masked(url: URL) -> str:
    """The address with *** for a password, wherever in the URL it stands."""
    shown = URL.create(url.drivername, url.username, url.password, url.host, url.port, url.database)
    host = url.query.get("host")
    return shown.render_as_string(hide_password=True) + (f"?host={host}" if isinstance(host, str) else "")


def session_settings(*, role: Role | None, tenant: str | None, read_only: bool) -> dict[str, str]:
    """Server settings of a session that acts as one of our roles, for one tenant, and writes nothing if so asked."""
    settings: dict[str, str] = {}
    if role is not None:
        settings["role"] = f"retention_{role}"
    if tenant is not None:
        if tenant != EVERY_TENANT and not _TENANT.fullmatch(tenant):
            raise DatabaseError(
                f"{tenant!r} cannot be the name of a tenant.", hint="Use 1 to 64 letters, digits, '_', '.' or '-'."
            )
        settings["retention.tenant"] = tenant
    if read_only:
        settings["default_transaction_read_only"] = "on"
    return settings


def with_session(url: URL, driver: str, deadlines: Deadlines, settings: dict[str, str]) -> URL:
    """The URL for a driver, with deadlines and server settings for each session; what the URL says itself wins."""
    session = {**deadlines.options(), "timezone": "UTC", **settings}
    # Parted by tabs: SQLAlchemy writes a blank as `+`, which libpq does not read as one.
    options = "\t".join(f"-c{name}={value}" for name, value in session.items())
    given = url.query.get("options")
    query: dict[str, str | tuple[str, ...]] = {"connect_timeout": str(deadlines.connect), **url.query}
    if not _is_local_socket(url):
        # A peer that vanished without a word is noticed in half a minute, not in hours.
        query = {**_WATCHED, **query}
    query["options"] = f"{options}\t{given}" if isinstance(given, str) else options
    return url.set(drivername=f"postgresql+{driver}", query=query)


def _is_local_socket(url: URL) -> bool:
    return str(url.host or url.query.get("host", "/")).startswith("/")


def written(url: URL) -> str:
    """The address as text, password included, as both SQLAlchemy and libpq read it.

    SQLAlchemy leaves a blank in a password as it is, which libpq refuses in a sentence that shows it, and writes one in
    the query as `+`, which libpq takes for a plus.
    """
    place, mark, query = url.render_as_string(hide_password=False).partition("?")
    return place.replace(" ", "%20") + mark + query.replace("+", "%20")


def conninfo(url: URL) -> str:
    """The same address for psycopg itself, which does not read the name of a driver in it."""
    return written(url.set(drivername="postgresql"))
