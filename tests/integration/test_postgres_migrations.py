"""Migrations on both kinds of server: there, back and there again, and the same as what is declared."""

import subprocess
import sys
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import create_engine

from retention_pipelines.errors import DatabaseError
from retention_pipelines.postgres import address, migrate
from retention_pipelines.postgres.engine import connect
from retention_pipelines.postgres.server import Server
from retention_pipelines.postgres.tables import METADATA

CONTRACT = {
    "ml_feature_store",
    "ml_training_cache",
    "ml_inference_cache",
    "aggregated_time_series",
    "ml_performance_metrics",
    "ml_retention_policies",
}


def names(server: Server) -> set[str]:
    with psycopg.connect(address.conninfo(server.address())) as con:
        rows = con.execute(
            "select relname from pg_class where relnamespace = 'public'::regnamespace"
            " and relkind in ('r', 'p', 'S', 'v')"
            " union all select proname from pg_proc where pronamespace = 'public'::regnamespace"
            " union all select nspname from pg_namespace where nspname in ('bi', 'retention_partitions')"
        ).fetchall()
    return {str(name) for (name,) in rows}


def test_an_empty_database_goes_up_down_and_up_again(server: Server) -> None:
    first = migrate.upgrade_server(server)
    made = names(server)
    assert first.before is None
    assert first.after == migrate.state(server).newest
    assert made >= CONTRACT
    assert migrate.downgrade_server(server, "base").after is None
    assert names(server) == {migrate.VERSION_TABLE}
    migrate.upgrade_server(server)
    assert names(server) == made
    assert migrate.state(server).is_current


def test_i5_a_second_upgrade_changes_nothing(migrated_server: Server) -> None:
    before = names(migrated_server)
    done = migrate.upgrade_server(migrated_server)
    assert done.before == done.after
    assert names(migrated_server) == before


def test_alembic_sees_no_difference_between_tables_and_database(migrated_server: Server) -> None:
    assert migrate.differences(migrated_server) == []


_DEFINITIONS = """
select 'constraint', conrelid::regclass::text, conname, pg_get_constraintdef(oid)
from pg_constraint where connamespace = 'public'::regnamespace and contype <> 'n'
union all
select 'index', tablename, indexname, indexdef from pg_indexes where schemaname = 'public'
union all
select 'column', attrelid::regclass::text, attname,
    concat_ws(' ', format_type(atttypid, atttypmod), attnotnull, attidentity, pg_get_expr(adbin, adrelid),
        col_description(attrelid, attnum))
from pg_attribute left join pg_attrdef on adrelid = attrelid and adnum = attnum
join pg_class on pg_class.oid = attrelid
where relnamespace = 'public'::regnamespace and relkind in ('r', 'p') and attnum > 0
union all
select 'table', oid::regclass::text, relkind::text, concat_ws(' ', obj_description(oid), pg_get_partkeydef(oid))
from pg_class where relnamespace = 'public'::regnamespace and relkind in ('r', 'p')
"""


def test_migrated_and_declared_tables_have_the_same_columns_checks_indexes_and_comments(server: Server) -> None:
    migrate.upgrade_server(server)
    with psycopg.connect(address.conninfo(server.address())) as con:
        migrated = set(con.execute(_DEFINITIONS).fetchall())
    migrate.downgrade_server(server, "base")
    engine = create_engine(server.address())
    with engine.begin() as connection:
        METADATA.create_all(connection)
    with psycopg.connect(address.conninfo(server.address())) as con:
        declared = set(con.execute(_DEFINITIONS).fetchall())
    engine.dispose()
    ours = {row for row in migrated if migrate.VERSION_TABLE not in str(row)}
    assert ours == {row for row in declared if migrate.VERSION_TABLE not in str(row)}
    assert {row[1] for row in ours} >= CONTRACT


def test_rows_in_the_graveyard_are_the_same_after_going_down_to_documents_and_up_again(server: Server) -> None:
    migrate.upgrade_server(server)
    told = "select g::text from graveyard_inference_cache as g"
    with connect(server, tenant="*", autocommit=True) as con:
        con.execute(
            "insert into plans (plan_sha256, dataset, action, as_of, policy_versions, counts, created_by)"
            " values (repeat('a', 64), 'inference_cache', 'delete', now(), '{}', '{}', 'ana')"
        )
        con.execute(
            "insert into ml_inference_cache (tenant, cache_key, model_id, model_type, model_version, payload,"
            " payload_codec, payload_mac, computed_at, expires_on, latitude, tags)"
            " values ('a', 'k', 'm', 't', '1', 'x', 'c', sha256('x'), now(), 'infinity', 0.1, '{b,c}')"
        )
        con.execute(
            "insert into graveyard_inference_cache select repeat('a', 64), 7, gone.* from ml_inference_cache as gone"
        )
        before = con.execute(told.encode()).fetchall()
    migrate.downgrade_server(server, "0009")
    with connect(server, tenant="*", autocommit=True) as con:
        documents = con.execute(
            "select position, tenant, relation, row_id, row ->> 'cache_key' from graveyard"
        ).fetchall()
    assert documents == [(7, "a", "ml_inference_cache", '["a", "k", "infinity"]', "k")]
    migrate.upgrade_server(server)
    with connect(server, tenant="*", autocommit=True) as con:
        assert con.execute(told.encode()).fetchall() == before
    with connect(server, tenant="b", autocommit=True) as con:
        assert con.execute(told.encode()).fetchall() == []


def test_two_upgrades_at_once_both_succeed(server: Server) -> None:
    server.ensure_database()
    url = server.address().render_as_string(hide_password=False)
    script = (
        "import sys; from retention_pipelines.settings import load_settings;"
        "from retention_pipelines.postgres.migrate import upgrade;"
        "print(upgrade(load_settings({}, database_url=sys.stdin.read())).after)"
    )
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", script],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    for run in runs:
        assert run.stdin is not None
        run.stdin.write(url)
        run.stdin.close()
        run.stdin = None
    told = [run.communicate(timeout=120) for run in runs]
    assert [run.returncode for run in runs] == [0, 0], told
    assert migrate.differences(server) == []


def test_upgrade_works_where_no_alembic_file_is(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    migrate.upgrade_server(server)
    assert migrate.state(server).is_current
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_revision_is_a_clear_error(migrated_server: Server) -> None:
    with pytest.raises(DatabaseError, match="no such state"):
        migrate.upgrade_server(migrated_server, "abcdef")


def test_a_user_who_may_not_make_roles_is_told_what_an_administrator_runs(server: Server) -> None:
    server.ensure_database()
    with psycopg.connect(address.conninfo(server.address()), autocommit=True) as con:
        con.execute("drop role if exists plain_user")
        con.execute("create role plain_user login password 'canary-secret'")
    plain = Server(
        server.kind,
        server.address().set(username="plain_user", password="canary-secret", query=_host(server)),
        read_only=False,
    )
    with pytest.raises(DatabaseError) as caught:
        migrate.upgrade_server(plain)
    assert 'to "plain_user"' in str(caught.value)
    assert "create role retention_owner" in str(caught.value)
    assert "canary-secret" not in str(caught.value)
    with psycopg.connect(address.conninfo(server.address()), autocommit=True) as con:
        con.execute("drop role plain_user")


def test_a_user_prepared_by_the_administrator_migrates_without_being_superuser(server: Server) -> None:
    server.ensure_database()
    with psycopg.connect(address.conninfo(server.address()), autocommit=True) as con:
        con.execute("drop role if exists prepared_user")
        con.execute("create role prepared_user login password 'x' createrole")
        for role in ("retention_owner", "retention_service", "retention_readonly"):
            con.execute(f"do $$ begin create role {role}; exception when duplicate_object then null; end $$")
            con.execute(f"grant {role} to prepared_user")
        con.execute(f'grant create on database "{server.database_name()}" to retention_owner')
        con.execute("grant usage, create on schema public to retention_owner")
    prepared = Server(
        server.kind, server.address().set(username="prepared_user", password="x", query=_host(server)), read_only=False
    )
    assert migrate.upgrade_server(prepared).after == migrate.state(prepared).newest
    with connect(prepared, role="readonly") as con:
        assert con.execute("select count(*) from ml_retention_policies").fetchall() == [(0,)]
    assert migrate.downgrade_server(prepared, "base").after is None
    with psycopg.connect(address.conninfo(server.address()), autocommit=True) as con:
        con.execute("drop owned by prepared_user; drop role prepared_user")


def _host(server: Server) -> dict[str, str]:
    host = server.address().query.get("host")
    return {"host": str(host)} if host else {}
