"""The audit can be added to and verified; every way to falsify it is refused or found."""

import threading
from typing import Any

import psycopg
import pytest

from retention_pipelines.postgres import address
from retention_pipelines.postgres.audit import Head, record, verify
from retention_pipelines.postgres.engine import connect
from retention_pipelines.postgres.server import Server


def fill(server: Server, rows: int = 3) -> None:
    with connect(server) as con:
        for number in range(rows):
            record(con, actor="test", action="note", subject=f"row {number}", details={"n": number, "ç": "ü\n'\""})


def administrator(server: Server) -> "psycopg.Connection[Any]":
    return psycopg.connect(address.conninfo(server.address()), autocommit=True)


def test_a_chain_holds_from_its_first_row(database: Server) -> None:
    with connect(database, role="readonly") as con:
        assert verify(con).holds
    fill(database)
    with connect(database, role="readonly") as con:
        found = verify(con)
    assert found.holds
    assert (found.rows, found.head.seq) == (3, 3)


def test_many_rows_in_one_statement_and_many_writers_make_one_chain(database: Server) -> None:
    def write() -> None:
        for _ in range(5):
            with connect(database) as con:
                con.execute(
                    "insert into audit (actor, action, subject)"
                    " select 'test', 'many', n::text from generate_series(1, 4) as n"
                )

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with connect(database) as con:
        found = verify(con)
    assert found.holds
    assert found.rows == 80


def test_what_the_database_sets_cannot_be_given(database: Server) -> None:
    with connect(database, autocommit=True) as con:
        con.execute(
            "insert into audit (seq, at, actor, action, subject, previous_hash, hash)"
            " values (900, '2001-01-01', 'test', 'forge', 'x', %s, %s)",
            (bytes(32), bytes(32)),
        )
        assert con.execute("select seq, at > '2020-01-01' from audit").fetchall() == [(1, True)]
        assert verify(con).holds


def test_no_role_and_not_even_the_administrator_changes_a_row(database: Server) -> None:
    fill(database)
    service, owner = connect(database, autocommit=True), connect(database, role="owner", autocommit=True)
    with service, owner, administrator(database) as admin:
        for con in (service, owner, admin):
            for statement in ("update audit set actor = 'x'", "delete from audit", "truncate audit"):
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    con.execute(statement)
    with connect(database) as con:
        assert verify(con).rows == 3


def test_a_row_changed_past_the_triggers_is_found(database: Server) -> None:
    fill(database)
    with administrator(database) as con:
        con.execute("set session_replication_role = replica")
        for falsify, broken_at in (
            ("update audit set actor = 'somebody else' where seq = 2", 2),
            ("update audit set details = '{\"n\": 99}' where seq = 1", 1),
            ("update audit set at = at + interval '1 microsecond' where seq = 3", 3),
            ("delete from audit where seq = 2", 3),
            ("delete from audit where seq = 1", 2),
            ("update audit set hash = sha256('x') where seq = 2", 2),
        ):
            with con.transaction(force_rollback=True):
                con.execute(falsify)
                assert verify(con).broken_at == broken_at, falsify
        assert verify(con).holds


def test_a_chain_cut_off_at_its_end_is_found_by_a_head_noted_earlier(database: Server) -> None:
    fill(database)
    with connect(database) as con:
        noted = verify(con).head
    fill(database, rows=1)
    with connect(database) as con:
        assert verify(con, noted=noted).holds
    with administrator(database) as con:
        con.execute("set session_replication_role = replica")
        con.execute("delete from audit where seq >= 3")
    with connect(database) as con:
        assert verify(con).holds
        cut = verify(con, noted=noted)
        assert cut.reason == "rows up to 3 were cut off"
        assert not verify(con, noted=Head(seq=2, hash=bytes(32))).holds
