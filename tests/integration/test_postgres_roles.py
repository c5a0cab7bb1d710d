"""Who may do what: owner, service, read-only, and tenants, on both kinds of server."""

import psycopg
import pytest

from retention_pipelines.postgres import address
from retention_pipelines.postgres.engine import connect
from retention_pipelines.postgres.server import Server
from retention_pipelines.postgres.tables import METADATA

TABLES = sorted(METADATA.tables)


def test_the_read_only_role_cannot_write_any_table(migrated_server: Server) -> None:
    with connect(migrated_server, role="readonly", tenant="*", autocommit=True) as con:
        for table in TABLES:
            for statement in (f"delete from {table}", f"insert into {table} default values", f"truncate {table}"):
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    con.execute(statement)


def test_the_read_only_role_reads_everything_but_keys(migrated_server: Server) -> None:
    with connect(migrated_server, role="readonly", autocommit=True) as con:
        for table in TABLES:
            if table == "api_keys":
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    con.execute("select * from api_keys")
            else:
                assert con.execute(f"select * from {table}").fetchall() == []


def test_analysts_can_read_every_view_made_for_them(migrated_server: Server) -> None:
    with connect(migrated_server, role="readonly", autocommit=True) as con:
        views = con.execute("select viewname from pg_views where schemaname = 'bi' order by 1").fetchall()
        assert [name for (name,) in views] == [
            "aggregated_time_series",
            "audit",
            "performance_metrics",
            "performance_rollups",
            "plans",
            "retention_policies",
        ]
        for (view,) in views:
            assert con.execute(f"select * from bi.{view}").fetchall() == []
            with pytest.raises((psycopg.errors.InsufficientPrivilege, psycopg.errors.ObjectNotInPrerequisiteState)):
                con.execute(f"delete from bi.{view}")


def test_the_service_cannot_drop_alter_truncate_or_make_anything(migrated_server: Server) -> None:
    with connect(migrated_server, role="service", tenant="*", autocommit=True) as con:
        for statement in (
            "drop table ml_feature_store",
            "truncate ml_feature_store",
            "alter table ml_feature_store add column x text",
            "alter table audit disable trigger all",
            "drop trigger audit_refuse on audit",
            "drop schema bi cascade",
            "create table public.mine (x text)",
            "update retention_migrations set version_num = 'x'",
            "delete from ml_retention_policies",
            "delete from holds",
            "select * from retention_partitions.ml_feature_store_default",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                con.execute(statement)


def test_tables_made_by_later_migrations_are_granted_too(database: Server) -> None:
    with connect(database, role="owner", autocommit=True) as con:
        con.execute("create table later (n bigint generated always as identity, x text)")
        con.execute("create view bi.later as select * from later")
    with connect(database, role="service", autocommit=True) as con:
        con.execute("insert into later (x) values ('a')")
    with connect(database, role="readonly", autocommit=True) as con:
        assert con.execute("select x from later union all select x from bi.later").fetchall() == [("a",), ("a",)]
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            con.execute("delete from later")


def test_a_user_with_only_the_read_only_role_cannot_become_more(migrated_server: Server) -> None:
    admin = migrated_server.address().set(drivername="postgresql")
    with psycopg.connect(address.conninfo(admin), autocommit=True) as con:
        con.execute("drop role if exists analyst")
        con.execute("create role analyst login password 'x' in role retention_readonly")
    host = admin.query.get("host")
    reader = admin.set(username="analyst", password="x", query={"host": str(host)} if host else {})
    with psycopg.connect(address.conninfo(reader), autocommit=True) as con:
        assert con.execute("select count(*) from bi.aggregated_time_series").fetchall() == [(0,)]
        for statement in ("set role retention_service", "set role retention_owner", "delete from leases"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                con.execute(statement)
    with psycopg.connect(address.conninfo(admin), autocommit=True) as con:
        con.execute("drop role analyst")


def test_a_session_sees_and_writes_only_the_rows_of_its_tenant(database: Server) -> None:
    statement = (
        "insert into access_counts (tenant, dataset, key, hits, last_accessed_at)"
        " values (%s, 'feature_store', 'k', 1, now())"
    )
    for tenant in ("north", "south"):
        with connect(database, tenant=tenant, autocommit=True) as con:
            con.execute(statement, (tenant,))
    for tenant, seen in (("north", {"north"}), ("south", {"south"}), ("*", {"north", "south"}), (None, set())):
        for role in ("service", "readonly", "owner"):
            with connect(database, role=role, tenant=tenant) as con:
                assert {row[0] for row in con.execute("select tenant from access_counts").fetchall()} == seen
    with connect(database, tenant="north", autocommit=True) as con:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            con.execute(statement, ("south",))
        con.execute("delete from access_counts")
    with connect(database, tenant="*") as con:
        assert con.execute("select tenant from access_counts").fetchall() == [("south",)]


def test_a_tenant_sees_of_the_archive_the_files_of_its_own_training_sets(database: Server) -> None:
    plan = "a" * 64
    with connect(database, tenant="*", autocommit=True) as con:
        con.execute(
            "insert into plans (plan_sha256, dataset, action, as_of, policy_versions, counts, created_by)"
            " values (%s, 'training_cache', 'archive', now(), '{}', '{}', 'test')",
            (plan,),
        )
        for name, tenant, row_id in (
            ("n", "north", '["north", "k"]'),
            ("s", "south", '["south", "k"]'),
            ("r", None, None),
        ):
            con.execute(
                "insert into cold_files (plan_sha256, name, root, dataset, relation, row_id, n_rows, size_bytes,"
                " raw_bytes, content_sha256, tenant)"
                " values (%s, %s, '/cold', 'training_cache', 'ml_training_cache', %s, 0, 1, 1, sha256(''), %s)",
                (plan, name, row_id, tenant),
            )
    for seen_by, seen in (("north", {"n"}), ("south", {"s"}), ("*", {"n", "s", "r"}), (None, set())):
        for role in ("service", "readonly", "owner"):
            with connect(database, role=role, tenant=seen_by) as con:
                assert {row[0] for row in con.execute("select name from cold_files").fetchall()} == seen
    with connect(database, tenant="north", autocommit=True) as con:
        assert con.execute("delete from cold_files").rowcount == 1
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            con.execute(
                "insert into cold_files (plan_sha256, name, root, dataset, relation, n_rows, size_bytes, raw_bytes,"
                " content_sha256) values (%s, 'x', '/cold', 'd', 'r', 0, 1, 1, sha256(''))",
                (plan,),
            )


def test_every_table_with_a_tenant_is_guarded(migrated_server: Server) -> None:
    with connect(migrated_server, role="owner") as con:
        open_tables = con.execute(
            "select c.relname from pg_class c join pg_attribute a on a.attrelid = c.oid and a.attname = 'tenant'"
            " where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p')"
            " and not (c.relrowsecurity and c.relforcerowsecurity)"
        ).fetchall()
    # Keys are looked up before the tenant is known; invalidations go to everybody.
    assert {name for (name,) in open_tables} == {"api_keys", "invalidation_log"}
