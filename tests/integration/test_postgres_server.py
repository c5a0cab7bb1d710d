"""Both kinds of server behave the same, and say clearly what is wrong when they cannot be used."""

import socket
import threading
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import text

from retention_pipelines.errors import DatabaseError
from retention_pipelines.postgres import address, migrate
from retention_pipelines.postgres.address import Deadlines
from retention_pipelines.postgres.engine import connect, open_engine
from retention_pipelines.postgres.server import DAGSTER, Server, open_server
from retention_pipelines.settings import load_settings


def test_version_size_and_databases_are_the_servers_own(server: Server) -> None:
    server.ensure_database()
    assert server.version().startswith("18.")
    assert server.size_bytes() > 1_000_000
    assert {server.database_name(), "postgres"} <= server.databases()


def test_making_a_database_twice_and_from_many_threads_is_fine(server: Server) -> None:
    failures: list[Exception] = []

    def make() -> None:
        try:
            server.ensure_database()
        except Exception as error:  # noqa: BLE001 - reported below
            failures.append(error)

    threads = [threading.Thread(target=make) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    server.ensure_database()
    assert failures == []
    assert server.database_name() in server.databases()


def test_both_drivers_open_the_database_with_deadlines_in_utc(server: Server) -> None:
    from sqlalchemy import create_engine

    server.ensure_database()
    for driver in ("psycopg", "psycopg2"):
        engine = create_engine(server.url(driver=driver))
        with engine.connect() as connection:
            shown = {
                name: connection.execute(text(f"show {name}")).scalar()
                for name in ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout", "timezone")
            }
        engine.dispose()
        assert shown == {
            "statement_timeout": "1min",
            "lock_timeout": "10s",
            "idle_in_transaction_session_timeout": "2min",
            "timezone": "UTC",
        }


def test_dagsters_database_lies_beside_ours_with_longer_deadlines(server: Server) -> None:
    assert server.database_name(DAGSTER) == "dagster"
    assert "statement_timeout%3D600000" in server.url(DAGSTER, "psycopg2")
    assert "/dagster?" in server.url(DAGSTER, "psycopg2")


def test_a_statement_that_takes_too_long_is_ended(migrated_server: Server) -> None:
    with (
        connect(migrated_server, deadlines=Deadlines(statement=0.05)) as con,
        pytest.raises(psycopg.errors.QueryCanceled),
    ):
        con.execute("select pg_sleep(30)")


def test_an_engine_acts_as_the_role_and_tenant_asked_for(migrated_server: Server) -> None:
    engine = open_engine(migrated_server, role="readonly", tenant="north")
    with engine.connect() as connection:
        found = connection.execute(text("select current_user, current_setting('retention.tenant')")).one()
    engine.dispose()
    assert tuple(found) == ("retention_readonly", "north")


def test_a_wrong_password_is_said_without_showing_one(external_url: str, tmp_path: Path) -> None:
    url = address.parse(external_url).set(password="canary-secret", database="retention")
    settings = load_settings({}, database_url=url.render_as_string(hide_password=False), state_dir=tmp_path)
    with pytest.raises(DatabaseError) as caught:
        open_server(settings)
    told = f"{caught.value} {caught.value.__cause__}"
    assert "Correct user and password" in told
    assert "canary" not in told
    assert "canary" not in repr(settings)
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_is_not_there_is_said_to_be_so(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        settings = load_settings({}, database_url=f"postgres://ana:canary@127.0.0.1:{port}/x", state_dir=tmp_path)
        with pytest.raises(DatabaseError, match="Is the server up") as caught:
            open_server(settings)
    assert "canary" not in str(caught.value)


def test_a_server_that_never_answers_is_given_up(tmp_path: Path) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"postgresql://ana@127.0.0.1:{silent.getsockname()[1]}/x?connect_timeout=2"
        with pytest.raises(DatabaseError, match="timeout"):
            open_server(load_settings({}, database_url=url, state_dir=tmp_path))


def test_a_user_who_may_not_make_databases_is_told_the_statement(external_url: str) -> None:
    admin = address.parse(external_url)
    with psycopg.connect(address.conninfo(admin.set(database="postgres")), autocommit=True) as con:
        con.execute("create role maker login password 'canary-secret'")
    server = Server(
        "external", admin.set(username="maker", password="canary-secret", database="absent"), read_only=False
    )
    with pytest.raises(DatabaseError) as caught:
        server.ensure_database()
    assert 'create database "absent" owner "maker"' in str(caught.value)
    assert "canary" not in str(caught.value)


def test_a_url_without_a_database_means_the_database_retention(external_url: str) -> None:
    with Server("external", address.parse(external_url), read_only=False) as server:
        assert server.database_name() == "retention"
        server.ensure_database()
        server.ensure_database(DAGSTER)
        assert {"retention", "dagster"} <= server.databases()


def test_read_only_mode_uses_the_read_only_role(migrated_server: Server, external_url: str) -> None:
    url = migrated_server.address().set(drivername="postgresql")
    reader = Server(
        migrated_server.kind, url.set(query={k: v for k, v in url.query.items() if k == "host"}), read_only=True
    )
    with psycopg.connect(address.conninfo(reader.address(role="owner"))) as con:
        assert con.execute("select current_user").fetchall() == [("retention_readonly",)]
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            con.execute("insert into leases (dataset, match, reason, placed_by) values ('a', 'b', 'c', 'd')")
    with pytest.raises(DatabaseError, match="read_only"):
        migrate.upgrade_server(reader)
