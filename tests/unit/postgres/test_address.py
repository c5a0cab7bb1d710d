"""Any spelling of a Postgres URL in, driver URLs with deadlines out, and never a password in a message."""

import psycopg.conninfo
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from sqlalchemy import make_url

from retention_pipelines.errors import DatabaseError
from retention_pipelines.postgres.address import (
    Deadlines,
    conninfo,
    masked,
    parse,
    session_settings,
    with_session,
    written,
)


@pytest.mark.parametrize(
    "scheme", ["postgres", "postgresql", "postgresql+psycopg", "postgresql+psycopg2", "postgres+psycopg"]
)
def test_every_usual_spelling_means_the_same(scheme: str) -> None:
    url = parse(f"{scheme}://ana:p%40ss@db.example:6543/sea?sslmode=require")
    assert url.render_as_string(hide_password=False) == "postgresql://ana:p%40ss@db.example:6543/sea?sslmode=require"


@pytest.mark.parametrize(
    "text",
    [
        "mysql://ana:canary@db/sea",
        "postgresql+asyncpg2 ana:canary",
        "ana:canary@db",
        "postgresql://ana:canary@db:notaport/sea",
        "postgresql://ana:canary@db:99999/sea",
        "postgresql://ana:canary%00@db/sea",
        "",
    ],
)
def test_what_is_no_postgres_url_is_refused_without_showing_the_password(text: str) -> None:
    with pytest.raises(DatabaseError) as caught:
        parse(text)
    assert "canary" not in str(caught.value)
    assert "postgresql://user:password@host:5432/database" in str(caught.value)


@given(st.text(min_size=1, max_size=30).filter(lambda text: "*" not in text and text.isprintable()))
@hypothesis_settings(max_examples=50, derandomize=True, deadline=None)
def test_no_password_is_shown_and_every_password_survives(password: str) -> None:
    secret = f"canary{password}"
    url = make_url("postgresql://ana@db/sea").set(password=secret, query={"password": secret, "host": "/run"})
    assert "canary" not in masked(url)
    text = written(with_session(url, "psycopg2", Deadlines(), {}))
    assert make_url(text).password == secret
    assert psycopg.conninfo.conninfo_to_dict(conninfo(url))["password"] == secret


def test_every_session_has_deadlines_and_utc() -> None:
    url = with_session(parse("postgresql://ana@db/sea"), "psycopg", Deadlines(connect=3, statement=1.5), {"role": "x"})
    assert url.drivername == "postgresql+psycopg"
    assert url.query["connect_timeout"] == "3"
    options = str(url.query["options"]).split()
    assert "-cstatement_timeout=1500" in options
    assert "-clock_timeout=10000" in options
    assert "-cidle_in_transaction_session_timeout=120000" in options
    assert "-ctimezone=UTC" in options
    assert "-crole=x" in options


def test_a_peer_that_vanishes_is_noticed_but_a_socket_needs_no_watching() -> None:
    over_tcp = with_session(parse("postgresql://ana@db/sea"), "psycopg", Deadlines(), {})
    over_socket = with_session(parse("postgresql://ana@/sea?host=/run/x"), "psycopg", Deadlines(), {})
    assert over_tcp.query["tcp_user_timeout"] == "30000"
    assert "tcp_user_timeout" not in over_socket.query


def test_what_the_url_says_itself_wins() -> None:
    text = "postgresql://ana@db/sea?connect_timeout=2&options=-cstatement_timeout%3D7"
    url = with_session(parse(text), "psycopg", Deadlines(), {})
    assert url.query["connect_timeout"] == "2"
    # The server takes the last of two values.
    assert str(url.query["options"]).split()[-1] == "-cstatement_timeout=7"


def test_libpq_reads_blanks_in_the_password_and_in_the_options_of_an_address() -> None:
    url = parse("postgresql://ana:two%20words+@db/sea?options=-c%20search_path%3Dsea")
    read = psycopg.conninfo.conninfo_to_dict(conninfo(with_session(url, "psycopg", Deadlines(), {})))
    assert read["password"] == "two words+"
    assert str(read["options"]).endswith("\t-c search_path=sea")
    assert "-cstatement_timeout=60000" in str(read["options"]).split()


@pytest.mark.parametrize("tenant", ["", "a b", "a' or true --", "x" * 65, "*'", "a\t-crole=postgres"])
def test_a_tenant_that_could_smuggle_in_settings_is_refused(tenant: str) -> None:
    with pytest.raises(DatabaseError, match="cannot be the name of a tenant"):
        session_settings(role="service", tenant=tenant, read_only=False)
