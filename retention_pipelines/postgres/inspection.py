"""What can be known of the Postgres in use without starting or changing anything."""

import os
from dataclasses import dataclass
from pathlib import Path

from retention_pipelines.errors import DatabaseError
from retention_pipelines.postgres import address, embedded, migrate
from retention_pipelines.postgres.server import DAGSTER, Kind, Server, embedded_url
from retention_pipelines.settings import Settings

_VERIFIED = ("verify-full", "verify-ca")
_LOCAL = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True, kw_only=True)
class PostgresState:
    """The server as found; None is unknown, because it does not run or does not let us in."""

    kind: Kind
    address: str
    running: bool | None
    exists: bool
    data_dir: Path | None = None
    disk_bytes: int | None = None
    version: str | None = None
    database_bytes: int | None = None
    dagster_database: bool | None = None
    migration: migrate.MigrationState | None = None
    encrypted_and_verified: bool | None = None
    problem: str | None = None
    advice: str | None = None


def inspect_postgres(settings: Settings) -> PostgresState:
    """Look at the server these settings name."""
    if settings.database_url is not None:
        try:
            server = Server("external", address.parse(settings.database_url.get_secret_value()), read_only=False)
        except DatabaseError as error:
            return PostgresState(
                kind="external",
                address="unreadable",
                running=None,
                exists=False,
                problem=error.message,
                advice=error.hint,
            )
        return _asked(server, None)
    where = embedded.places(settings.state_dir)
    server = Server("embedded", embedded_url(where), read_only=False)
    if embedded.running_pid(where) is not None:
        return _asked(server, where.data)
    version_file = where.data / "PG_VERSION"
    exists = version_file.is_file() if os.access(where.data, os.X_OK) or not where.data.exists() else True
    return PostgresState(
        kind="embedded",
        address=server.masked(),
        running=False,
        exists=exists,
        data_dir=where.data,
        disk_bytes=disk_bytes(where.home) if exists else None,
        version=_first_line(version_file) if exists else None,
    )


def _asked(server: Server, data: Path | None) -> PostgresState:
    disk = disk_bytes(data.parent) if data else None
    try:
        databases = server.databases()
        exists = server.database_name() in databases
        return PostgresState(
            kind=server.kind,
            address=server.masked(),
            running=True,
            exists=exists,
            data_dir=data,
            disk_bytes=disk,
            version=server.version(),
            database_bytes=server.size_bytes() if exists else None,
            dagster_database=server.database_name(DAGSTER) in databases,
            migration=migrate.state(server) if exists else None,
            encrypted_and_verified=_is_verified(server),
        )
    except DatabaseError as error:
        return PostgresState(
            kind=server.kind,
            address=server.masked(),
            running=None,
            exists=data is not None,
            data_dir=data,
            disk_bytes=disk,
            problem=error.message,
            advice=error.hint,
        )


def _is_verified(server: Server) -> bool | None:
    """Whether the way to the server is verified TLS; None where it does not leave the machine."""
    url = server.address()
    host = url.host or str(url.query.get("host", "/"))
    if host.startswith("/") or host in _LOCAL:
        return None
    return url.query.get("sslmode") in _VERIFIED


def disk_bytes(folder: Path) -> int:
    """Bytes the files of a folder take on the disk; a file with several names counts once."""
    seen: dict[tuple[int, int], int] = {}
    for root, _, names in os.walk(folder):
        for name in names:
            try:
                found = os.lstat(os.path.join(root, name))
            except FileNotFoundError:
                continue  # somebody is at work in there
            seen[found.st_dev, found.st_ino] = found.st_blocks * 512
    return sum(seen.values())


def _first_line(file: Path) -> str | None:
    try:
        return file.read_text(encoding="utf-8").split("\n")[0]
    except OSError:
        return None
