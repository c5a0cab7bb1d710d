"""The embedded server: one for all processes, up while anybody uses it, back after a kill."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import psycopg
import pytest

from retention_pipelines.errors import DatabaseError
from retention_pipelines.postgres import address, binaries
from retention_pipelines.postgres.embedded import START_SECONDS, places, running_pid
from retention_pipelines.postgres.server import Server, open_server
from retention_pipelines.settings import Settings, load_settings

CLIENT = """
import sys, time, pathlib
from retention_pipelines.settings import load_settings
from retention_pipelines.postgres.server import open_server
server = open_server(load_settings({}, state_dir=pathlib.Path(sys.argv[1])))
server.ensure_database()
print(server.version(), flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="module")
def made() -> Iterator[Path]:
    """A state folder whose server was made and stopped, to be copied: making one takes long."""
    folder = Path(tempfile.mkdtemp(prefix="rp-"))
    server = open_server(settings(folder))
    server.ensure_database()
    server.stop()
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def state(made: Path) -> Iterator[Path]:
    """A copy of `made`, in a short path; whatever runs in it is stopped afterwards."""
    with _state_folder() as folder:
        subprocess.run(["cp", "-a", f"{made}/postgres", str(folder)], check=True)
        yield folder


@pytest.fixture
def fresh_state() -> Iterator[Path]:
    """An empty state folder."""
    with _state_folder() as folder:
        yield folder


@contextmanager
def _state_folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="rp-"))
    yield folder
    pid = running_pid(places(folder))
    if pid is not None:
        os.kill(pid, signal.SIGQUIT)
        wait(lambda: running_pid(places(folder)) is None)
    shutil.rmtree(folder)


def settings(state: Path, **more: object) -> Settings:
    return load_settings({}, state_dir=state, **more)


def client(state: Path) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", CLIENT, str(state)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def leave(process: "subprocess.Popen[str]") -> None:
    process.communicate(timeout=60)


def wait(met: Callable[[], bool]) -> None:
    for _ in range(int(START_SECONDS * 10)):
        if met():
            return
        time.sleep(0.1)
    raise AssertionError("it did not happen")


def is_down(state: Path) -> bool:
    return running_pid(places(state)) is None


def watchdog_pid(state: Path) -> int:
    home = str(places(state).home)
    found = [
        process.pid
        for process in psutil.process_iter()
        if any("watchdog.py" in part for part in _words(process)) and home in _words(process)
    ]
    assert len(found) == 1
    return found[0]


def _words(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def connect(server: Server) -> "psycopg.Connection[tuple[object, ...]]":
    return psycopg.connect(address.conninfo(server.address()), autocommit=True)


def test_four_processes_that_start_it_at_once_share_one_server(fresh_state: Path) -> None:
    clients = [client(fresh_state) for _ in range(4)]
    for process in clients:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("18.")
    assert running_pid(places(fresh_state)) is not None
    watchdog_pid(fresh_state)
    for process in clients[:-1]:
        leave(process)
    time.sleep(2)
    assert not is_down(fresh_state)
    leave(clients[-1])
    wait(lambda: is_down(fresh_state))


def test_it_stops_when_its_only_client_is_killed(state: Path) -> None:
    process = client(state)
    assert process.stdout is not None
    process.stdout.readline()
    process.kill()
    process.communicate()
    wait(lambda: is_down(state))
    assert not (places(state).data / "postmaster.pid").exists()


def test_a_killed_server_comes_back_with_what_was_committed(state: Path) -> None:
    with open_server(settings(state)) as server:
        server.ensure_database()
        with connect(server) as con:
            con.execute("create table kept (n integer)")
        for kill in range(2):
            with connect(server) as con:
                con.execute("insert into kept select %s from generate_series(1, 1000)", (kill,))
            first = running_pid(places(state))
            assert first is not None
            os.kill(first, signal.SIGKILL)
            # Opening is what the next process does; it waits until the server answers.
            with open_server(settings(state)) as again, connect(again) as con:
                assert running_pid(places(state)) not in (None, first)
                assert con.execute("select count(*) from kept").fetchall() == [((kill + 1) * 1000,)]


def test_everything_killed_at_once_is_survived_by_the_next_process(state: Path) -> None:
    server = open_server(settings(state))
    server.ensure_database()
    with connect(server) as con:
        con.execute("create table kept as select 1 as n")
    pid, watchdog = running_pid(places(state)), watchdog_pid(state)
    assert pid is not None
    os.kill(watchdog, signal.SIGKILL)
    os.kill(pid, signal.SIGKILL)
    with open_server(settings(state)) as again, connect(again) as con:
        assert con.execute("select n from kept").fetchall() == [(1,)]
    server.close()
    wait(lambda: is_down(state))


def test_a_server_whose_watchdog_was_killed_is_taken_over(state: Path) -> None:
    with open_server(settings(state)) as server:
        pid = running_pid(places(state))
        watchdog = watchdog_pid(state)
        os.kill(watchdog, signal.SIGKILL)
        # A dying process lets go of its lock last: after its words, before it is a zombie.
        wait(lambda: not psutil.pid_exists(watchdog) or psutil.Process(watchdog).status() == psutil.STATUS_ZOMBIE)
        with open_server(settings(state)) as again:
            assert again.version() == server.version()
            assert running_pid(places(state)) == pid
            watchdog_pid(state)
    wait(lambda: is_down(state))


def test_a_process_file_of_an_unrelated_process_does_not_keep_it_from_starting(state: Path) -> None:
    with open_server(settings(state)) as server:
        server.ensure_database()
    server.stop()
    # After a restart of a container the number in the file belongs to some other program.
    file = places(state).data / "postmaster.pid"
    file.write_text(f"{os.getpid()}\n{places(state).data}\n1\n5432\n\n\n\nready\n")
    with open_server(settings(state)) as server:
        assert "retention" in server.databases()


def test_a_dead_server_that_nobody_collected_does_not_count_as_running(state: Path) -> None:
    with open_server(settings(state)) as server:
        server.ensure_database()
    server.stop()
    dead = subprocess.Popen(["true"])
    wait(lambda: psutil.Process(dead.pid).status() == psutil.STATUS_ZOMBIE)
    (places(state).data / "postmaster.pid").write_text(f"{dead.pid}\n{places(state).data}\n1\n5432\n\n\n\nready\n")
    assert is_down(state)
    with open_server(settings(state)) as server:
        assert "retention" in server.databases()
    dead.wait()


def test_a_start_that_was_cut_short_is_begun_anew(fresh_state: Path) -> None:
    unfinished = places(fresh_state).home / "data.unfinished"
    unfinished.mkdir(parents=True)
    (unfinished / "PG_VERSION").write_text("18\n")
    with open_server(settings(fresh_state)) as server:
        assert server.version().startswith("18.")
    assert not unfinished.exists()


def test_a_folder_too_deep_for_a_socket_works(state: Path) -> None:
    deep = state / ("x" * 60) / ("y" * 60)
    deep.mkdir(parents=True)
    (state / "postgres").rename(deep / "postgres")
    with open_server(settings(deep)) as server:
        assert server.version().startswith("18.")
        sockets = places(deep).sockets
        assert not sockets.is_relative_to(deep)
        assert oct(sockets.stat().st_mode)[-3:] == "700"
    server.stop()
    wait(lambda: is_down(deep) and not sockets.exists())


def test_only_the_owner_can_reach_it(embedded_server: Server, embedded_settings: Settings) -> None:
    where = places(embedded_settings.state_dir)
    assert oct(where.data.stat().st_mode)[-3:] == "700"
    assert oct(where.sockets.stat().st_mode)[-3:] == "700"
    embedded_server.ensure_database()
    with connect(embedded_server) as con:
        assert con.execute("show listen_addresses").fetchall() == [("",)]


def test_settings_of_the_server_are_safe(state: Path) -> None:
    wanted = {"fsync": "on", "full_page_writes": "on", "synchronous_commit": "on", "data_checksums": "on"}
    with open_server(settings(state)) as server, connect(server) as con:
        found = {name: con.execute(f"show {name}").fetchall()[0][0] for name in wanted}
    assert found == wanted


def test_it_does_not_run_as_root(embedded_server: Server, embedded_settings: Settings) -> None:
    pid = running_pid(places(embedded_settings.state_dir))
    assert pid is not None
    assert psutil.Process(pid).uids().real != 0


def test_a_file_in_the_way_is_a_clear_error(fresh_state: Path) -> None:
    (fresh_state / "postgres").write_text("not a folder")
    with pytest.raises(DatabaseError, match="cannot be used"):
        open_server(settings(fresh_state))


def test_a_full_disk_is_said_to_be_full(fresh_state: Path) -> None:
    small = fresh_state / "small"
    small.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m,mode=755", "none", str(small)], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("mounting a small disk needs root")
    try:
        with pytest.raises(DatabaseError) as caught:
            open_server(settings(small))
        assert "full" in str(caught.value)
        assert "free some space" in str(caught.value)
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_a_data_folder_of_another_major_version_says_what_to_do(state: Path) -> None:
    with open_server(settings(state)):
        pass
    wait(lambda: is_down(state))
    (places(state).data / "PG_VERSION").write_text("15\n")
    with pytest.raises(DatabaseError, match="another major version"):
        open_server(settings(state))


def test_it_works_for_a_user_who_is_not_root(fresh_state: Path) -> None:
    if os.geteuid() != 0 or shutil.which("setpriv") is None:
        pytest.skip("this test becomes another user, which root and setpriv can; without root the others are this test")
    user = binaries.server_user(fresh_state / "none")
    assert user is not None
    own = fresh_state / "own"
    own.mkdir()
    os.chown(own, user.uid, user.gid)
    binaries.let_pass(own)
    script = (
        "import sys, os, pathlib;"
        "from retention_pipelines.settings import load_settings;"
        "from retention_pipelines.postgres.server import open_server;"
        "server = open_server(load_settings({}, state_dir=pathlib.Path(sys.argv[1])));"
        "server.ensure_database(); print(os.geteuid(), server.version()); server.stop()"
    )
    # Python itself may lie in a folder only root may read: the other user gets leave to read, and nothing else.
    become = ["setpriv", f"--reuid={user.uid}", f"--regid={user.gid}", "--clear-groups"]
    become += ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]
    told = subprocess.run(
        [*become, sys.executable, "-c", script, str(own)],
        cwd=own,
        env={"PATH": os.environ["PATH"], "HOME": str(own)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert told.returncode == 0, told.stderr
    assert told.stdout.startswith(f"{user.uid} 18.")
    assert is_down(own)


def test_read_only_mode_makes_no_database(fresh_state: Path) -> None:
    with pytest.raises(DatabaseError, match="read_only"):
        open_server(settings(fresh_state, mode="read_only"))
    assert list(fresh_state.iterdir()) == []


def test_read_only_mode_reads_and_cannot_write(state: Path) -> None:
    with open_server(settings(state)) as server:
        server.ensure_database()
        with connect(server) as con:
            con.execute("create role retention_readonly; create table kept as select 1 as n")
            con.execute("grant select on kept to retention_readonly")
    with open_server(settings(state, mode="read_only")) as server, connect(server) as con:
        assert con.execute("select n from kept").fetchall() == [(1,)]
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            con.execute("delete from kept")
        with pytest.raises(DatabaseError, match="may not be created"):
            server.ensure_database("dagster")


def test_a_clean_exit_leaves_no_process_and_no_lock(state: Path) -> None:
    process = client(state)
    assert process.stdout is not None
    process.stdout.readline()
    leave(process)
    wait(lambda: is_down(state))
    home = str(places(state).home)
    wait(lambda: not any(home in " ".join(_words(process)) for process in psutil.process_iter()))
