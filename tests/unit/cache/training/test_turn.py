"""One has the turn at a time, also while the lock file comes and goes."""

import os
import threading
import time
from pathlib import Path

import pytest

from retention_pipelines.cache.training.turn import Turn, clean_turns


def test_a_turn_is_for_one_at_a_time_and_the_waiting_get_theirs(tmp_path: Path) -> None:
    path, busy, most, done = tmp_path / "turns" / "key", [0], [0], [0]
    lock = threading.Lock()

    def work() -> None:
        for _ in range(10):
            turn = Turn(path)
            assert turn.take(60.0)
            with lock:
                busy[0] += 1
                most[0] = max(most[0], busy[0])
            threading.Event().wait(0.001)
            with lock:
                busy[0] -= 1
                done[0] += 1
            turn.end()

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert done == [60]
    assert most == [1]
    assert not path.exists()


def test_who_does_not_get_the_turn_in_time_goes_without(tmp_path: Path) -> None:
    first, second = Turn(tmp_path / "key"), Turn(tmp_path / "key")
    assert first.take(0.0)
    assert first.take(0.0)
    assert not second.take(0.05)
    first.end()
    first.end()
    assert second.take(0.0)
    second.end()


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_does_not_keep_the_turn(tmp_path: Path) -> None:
    turn = Turn(tmp_path / "key")
    assert turn.take(0.0)
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(write)
        os.read(read, 1)
        os._exit(0)
    os.close(read)
    turn.end()
    other = Turn(tmp_path / "key")
    assert other.take(0.0)
    other.end()
    os.close(write)
    os.waitpid(child, 0)


def test_turns_that_dead_processes_left_are_cleaned_and_others_are_not(tmp_path: Path) -> None:
    held = Turn(tmp_path / "held")
    assert held.take(0.0)
    (tmp_path / "left").touch()
    clean_turns(tmp_path, 0)
    assert (tmp_path / "left").exists()
    clean_turns(tmp_path, time.time_ns() + 10**9)
    assert [entry.name for entry in tmp_path.iterdir()] == ["held"]
    held.end()
