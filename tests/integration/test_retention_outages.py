"""Postgres goes away in the middle of a run: it dies at once and comes back, or the network swallows everything.

Whoever started the run is told what to do; nothing is lost, and the same run again is one clean run. Each outage comes
at another piece of work: marked, moving rows, committing, sweeping.
"""

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest

from retention_pipelines.errors import RetentionError
from retention_pipelines.postgres.migrate import upgrade_server
from retention_pipelines.postgres.server import open_server
from retention_pipelines.retention.recovery.restore import restore_plan
from retention_pipelines.retention.runs.run import runner
from retention_pipelines.settings import load_settings
from tests.fixtures.private_postgres import PrivatePostgres
from tests.fixtures.proxy import Proxy
from tests.fixtures.retention_cases import CASES, require_audited, require_conserved, require_exact

BY_NAME = {case.name: case for case in CASES}
# A case, and the step at which its server goes away.
_LONG = pytest.mark.long
OUTAGES = [
    pytest.param("delete rows in Postgres", "marked", marks=_LONG),
    ("delete rows in Postgres", "deleting"),
    pytest.param("drop partitions in Postgres", "burying", marks=_LONG),
    ("archive in the lake", "archived"),
    pytest.param("delete in the lake", "committed", marks=_LONG),
    pytest.param("delete training sets", "deleting", marks=_LONG),
]


@pytest.fixture(scope="module")
def own_server() -> Iterator[PrivatePostgres]:
    server = PrivatePostgres()
    with psycopg.connect(server.url("postgres"), autocommit=True) as con:
        con.execute("create database template_state")
    settings = load_settings({}, database_url=server.url("template_state"))
    with open_server(settings) as opened:
        upgrade_server(opened)
    yield server
    server.close()


class Network:
    """The server behind a proxy, and a way to count the databases made on it."""

    def __init__(self, server: PrivatePostgres, folder: Path) -> None:
        self.server, self.proxy = server, Proxy("127.0.0.1", server.port)
        self._name = f"t_{folder.name.lower()[:40]}"
        with psycopg.connect(server.url("postgres"), autocommit=True) as con:
            con.execute(f'create database "{self._name}" template template_state'.encode())
        self.settings = load_settings(
            {},
            database_url=server.url(self._name, port=self.proxy.port),
            lake_root=str(folder / "warehouse"),
            state_dir=folder / "state",
        )

    def die_and_come_back(self) -> None:
        """The server dies at once and starts again."""
        self.server.crash()
        self.server.start()

    def swallow_everything(self) -> None:
        """Nothing gets through for a second; then the connections of before are given up, as a network does."""
        self.proxy.mode = "blackhole"
        threading.Timer(1.0, self._give_up).start()

    def _give_up(self) -> None:
        self.proxy.mode = "ok"

    def look(self) -> psycopg.Connection[Any]:
        """A connection past the proxy that sees everything."""
        return psycopg.connect(self.server.url(self._name), autocommit=True)


@pytest.fixture
def network(own_server: PrivatePostgres, tmp_path: Path) -> Iterator[Network]:
    network = Network(own_server, tmp_path)
    yield network
    network.proxy.close()


def once(step: str, do: Callable[[], None]) -> Callable[[str], None]:
    """Do something the first time a step is reached."""
    left = [do]

    def stepped(name: str) -> None:
        if name == step and left:
            left.pop()()

    return stepped


@pytest.mark.parametrize("outage", ["die_and_come_back", "swallow_everything"])
@pytest.mark.parametrize(("name", "step"), OUTAGES)
def test_an_outage_of_postgres_in_the_middle_of_a_run_costs_nothing_but_a_second_try(
    network: Network, name: str, step: str, outage: str
) -> None:
    case = BY_NAME[name]
    with runner(network.settings) as retention:
        with network.look() as con:
            case.fill(retention, con)
            before = case.books(retention, con, None)
            plan = case.plan(retention)
        struck = replace(retention, step=once(step, getattr(network, outage)))
        with pytest.raises(RetentionError) as caught:
            struck.execute(plan.sha256, confirm=plan.sha256)
        assert "again" in str(caught.value.hint)
        with network.look() as con:
            assert case.books(retention, con, plan).all == before.all
            outcome = retention.execute(plan.sha256, confirm=plan.sha256)
            after = case.books(retention, con, plan)
            require_conserved(before, after)
            require_exact(case, outcome, plan, before, after, con)
            restore_plan(retention, plan.sha256)
            assert case.books(retention, con, None) == before


@pytest.mark.parametrize("outage", ["die_and_come_back", pytest.param("swallow_everything", marks=_LONG)])
def test_an_outage_in_the_middle_of_a_sweep_leaves_the_rest_to_the_next_one(network: Network, outage: str) -> None:
    case = BY_NAME["delete rows in Postgres"]
    with runner(network.settings) as retention:
        with network.look() as con:
            case.fill(retention, con)
            plan = case.plan(retention)
            retention.execute(plan.sha256, confirm=plan.sha256)
            con.execute("update plans set grace_until = now()")
            kept = case.books(retention, con, None).kept
        with pytest.raises(RetentionError):
            replace(retention, step=once("sweeping", getattr(network, outage))).sweep()
        assert [one.state for one in retention.sweep()] == ["done"]
        assert retention.sweep() == ()
        with network.look() as con:
            assert case.books(retention, con, None).kept == kept
            assert con.execute("select count(*) from graveyard_inference_cache").fetchone() == (0,)
            done = con.execute("select count(*) from audit where action = 'retention.done'").fetchone()
            assert done == (1,)
            require_audited(con)
