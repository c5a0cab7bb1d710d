"""Calls, time, changes, invalidations, crashes and lost connections in any order, against a simple model.

The world gives every study a number that only grows; the cached functions read it. Whatever happens, an answer must be
a number the study has had since the last invalidation this process heard of, and since the life of the answer began.
"""

import secrets
import time
from collections import defaultdict

import psycopg
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from retention_pipelines import cache_features
from retention_pipelines.cache import runtime
from retention_pipelines.cache.runtime import CacheRuntime
from retention_pipelines.errors import CacheError
from retention_pipelines.postgres import address
from retention_pipelines.postgres.server import Server
from retention_pipelines.settings import Settings, load_settings

SHORT_SECONDS = 0.05
PROCESSES = st.integers(0, 1)
STUDIES = st.sampled_from(["a", "b"])
LIVES = st.sampled_from(["long", "short"])


class Caches(RuleBasedStateMachine):
    """Two runtimes over one database stand for two processes."""

    server: Server
    base: Settings

    @initialize()
    def begin(self) -> None:
        self.settings = self.base.model_copy(update={"tenant": f"t{secrets.token_hex(6)}"})
        self.world: dict[str, int] = defaultdict(int)
        # Smallest number still allowed, by process, life and study.
        self.floor: dict[tuple[int, str, str], int] = defaultdict(int)
        self.running = [self._process(), self._process()]
        self.crashed: list[CacheRuntime] = []

        @cache_features("spatial", "occurrences", version="1", tags=("bay",))
        def long(study: str) -> dict[str, int]:
            return {"number": self.world[study]}

        @cache_features("spatial", "occurrences", version="1", ttl=SHORT_SECONDS)
        def short(study: str) -> dict[str, int]:
            return {"number": self.world[study]}

        self.functions = {"long": long, "short": short}

    def _process(self) -> CacheRuntime:
        made = CacheRuntime(self.settings)
        for _ in range(400):
            try:
                assert made.hot is not None
                made.hot.get("features", "0")
                assert made.log is not None
                made.log.catch_up()
            except CacheError:
                time.sleep(0.005)
            else:
                return made
        raise AssertionError("Postgres does not answer")

    @rule(process=PROCESSES, study=STUDIES, life=LIVES)
    def call(self, process: int, study: str, life: str) -> None:
        began = self.world[study]
        with _in(self.running[process]):
            answer = self.functions[life](study)
            assert self.floor[process, life, study] <= answer["number"] <= began
            answer["number"] = -1

    @rule(study=STUDIES)
    def change(self, study: str) -> None:
        self.world[study] += 1

    @rule(process=PROCESSES, study=STUDIES, life=LIVES)
    def invalidate_a_call(self, process: int, study: str, life: str) -> None:
        with _in(self.running[process]):
            self.functions[life].invalidate(study)
        self._forgotten(process, [(life, study)])

    @rule(process=PROCESSES, life=LIVES)
    def invalidate_a_function(self, process: int, life: str) -> None:
        with _in(self.running[process]):
            self.functions[life].invalidate()
        self._forgotten(process, [(life, study) for study in ("a", "b")])

    @rule(process=PROCESSES)
    def invalidate_a_tag(self, process: int) -> None:
        self.running[process].invalidate("tag", "bay")
        self._forgotten(process, [("long", study) for study in ("a", "b")])

    @rule(process=PROCESSES)
    def invalidate_a_source(self, process: int) -> None:
        self.running[process].invalidate("source", "occurrences")
        self._forgotten(process, [(life, study) for life in ("long", "short") for study in ("a", "b")])

    def _forgotten(self, process: int, what: list[tuple[str, str]]) -> None:
        """What the process that said it forgets at once, and the other when it has read the log."""
        for _ in range(400):
            if not self.running[process]._unrecorded:
                break
            self.running[process]._tell_others()
            time.sleep(0.005)
        other = self.running[1 - process]
        assert other.log is not None
        other.log.catch_up()
        for life, study in what:
            for each in (0, 1):
                self.floor[each, life, study] = self.world[study]

    @rule(process=PROCESSES, study=STUDIES, life=LIVES)
    def refresh(self, process: int, study: str, life: str) -> None:
        with _in(self.running[process]):
            assert self.functions[life].refresh(study) == {"number": self.world[study]}
        self.floor[process, life, study] = self.world[study]

    @rule()
    def let_time_pass(self) -> None:
        time.sleep(SHORT_SECONDS * 1.2)
        for process in (0, 1):
            for study in ("a", "b"):
                self.floor[process, "short", study] = self.world[study]

    @rule(process=PROCESSES)
    def flush(self, process: int) -> None:
        assert self.running[process].flush()

    @rule(process=PROCESSES)
    def forget_memory(self, process: int) -> None:
        self.running[process].memory.clear()
        self._may_be_older(process)

    @rule(process=PROCESSES)
    def crash(self, process: int) -> None:
        """What waited to be written is lost; another process takes its place."""
        gone = self.running[process]
        assert gone.writer is not None
        gone.writer._queue.clear()
        self.crashed.append(gone)
        self.running[process] = self._process()
        self._may_be_older(process)

    def _may_be_older(self, process: int) -> None:
        """Without its memory a process may find what Postgres or the other one still has, within what was heard."""
        for life in ("long", "short"):
            for study in ("a", "b"):
                known = [self.floor[each, life, study] for each in (0, 1)]
                self.floor[process, life, study] = min(known)

    @rule()
    def lose_connections(self) -> None:
        with psycopg.connect(address.conninfo(self.server.address()), autocommit=True) as con:
            con.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity"
                " where pid <> pg_backend_pid() and datname = current_database()"
            )

    def teardown(self) -> None:
        for each in [*getattr(self, "running", []), *getattr(self, "crashed", [])]:
            each.close()


class _in:  # noqa: N801 - reads like a word
    """Run a block in one of the processes, without closing it afterwards."""

    def __init__(self, own: CacheRuntime) -> None:
        self._own = own

    def __enter__(self) -> None:
        self._former = runtime.CURRENT
        runtime._set(self._own)

    def __exit__(self, *what: object) -> None:
        runtime._set(self._former)


@pytest.mark.parametrize("migrated_server", ["embedded"], indirect=True)
def test_no_answer_is_older_than_what_was_heard_and_than_its_life(
    migrated_server: Server, tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config
) -> None:
    folder = tmp_path_factory.mktemp("state")
    url = migrated_server.address().set(drivername="postgresql", query={}).render_as_string(hide_password=False)
    Caches.server = migrated_server
    Caches.base = load_settings(
        {},
        database_url=f"{url}?host={migrated_server.address().query['host']}",
        lake_root=str(folder / "warehouse"),
        state_dir=folder,
        cache_secret="a secret of the tests only",
        cache_deadline_seconds=5.0,
    )
    run_state_machine_as_test(
        Caches,
        settings=settings(
            max_examples=200 if pytestconfig.getoption("--long") else 12,
            stateful_step_count=25,
            derandomize=True,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
