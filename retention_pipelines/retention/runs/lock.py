"""One run per dataset at a time, on any machine: an advisory lock of Postgres, gone with its holder."""

import getpass
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import psycopg

from retention_pipelines.errors import PlanError, RunBusy
from retention_pipelines.postgres import address
from retention_pipelines.postgres.engine import broken
from retention_pipelines.postgres.server import Server, unreachable

_TRY = "select pg_try_advisory_lock(hashtext('retention_run'), hashtext(%s))"
_HOLDER = """
select activity.application_name, activity.pid
from pg_locks as lock
left join pg_stat_activity as activity on activity.pid = lock.pid
where lock.locktype = 'advisory' and lock.granted and lock.objsubid = 2
    and lock.classid = ((hashtext('retention_run')::bigint & 4294967295)::text)::oid
    and lock.objid = ((hashtext(%s)::bigint & 4294967295)::text)::oid
    and lock.database = (select oid from pg_database where datname = current_database())
"""


class RunLock:
    """The lock while it is held."""

    def __init__(self, con: psycopg.Connection[Any], dataset: str) -> None:
        self._con = con
        self._dataset = dataset

    def check(self) -> None:
        """Raise PlanError if the lock was lost: with its connection it may be somebody else's now."""
        try:
            self._con.execute("select 1")
        except psycopg.Error as error:
            raise PlanError(
                f"The connection that keeps other runs off {self._dataset} broke; the run stopped where it was.",
                hint="Run it again: it goes on from there.",
            ) from error


def who_am_i() -> str:
    """Who runs this process, and where."""
    return f"{_user()}@{socket.gethostname()}"


@contextmanager
def run_lock(server: Server, dataset: str, plan_sha256: str) -> Iterator[RunLock]:
    """Hold a dataset; raises RunBusy, which says who holds it, without waiting."""
    # As nobody in particular: our roles do not see what sessions of the server's own user do.
    try:
        con = psycopg.connect(address.conninfo(server.address()), autocommit=True)
    except psycopg.OperationalError as error:
        raise unreachable(server.masked(), error) from error
    with con:
        said = f"run {plan_sha256[:12]} of {who_am_i()} process {os.getpid()}"
        con.execute("select set_config('application_name', %s, false)", (said[:63],))
        row = con.execute(_TRY, (dataset,)).fetchone()
        if row is None or not row[0]:
            raise RunBusy(
                f"{dataset} is in the hands of {_holder(con, dataset)}.",
                hint="Wait for it to end, then run this again.",
            )
        try:
            yield RunLock(con, dataset)
        except (psycopg.OperationalError, psycopg.InterfaceError) as error:
            # Of statements that go past SQLAlchemy, the audit's for example.
            raise broken(error) from error
        finally:
            # The server ends a session some time after its connection was closed: the next run would meet this one.
            with suppress(psycopg.Error):
                con.execute("select pg_advisory_unlock_all()")


def _holder(con: psycopg.Connection[Any], dataset: str) -> str:
    row = con.execute(_HOLDER, (dataset,)).fetchone()
    if row is None:
        return "a run that just ended"
    name, pid = row
    return f"{name or 'another run'} (Postgres process {pid})"


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # no entry for this user id, as in some containers
        return str(os.getuid())
