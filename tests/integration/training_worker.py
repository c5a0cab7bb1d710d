"""Prepares training sets in a process of its own; arguments: settings as JSON, what to do, and its arguments."""

import os
import sys
import threading
import time
from pathlib import Path

import numpy as np

from retention_pipelines import cache_training_data
from retention_pipelines.cache import runtime
from retention_pipelines.settings import Settings

ROWS, COLUMNS = 20_000, 20


def expected(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).random((ROWS, COLUMNS))


@cache_training_data("habitat", tags=["weekly"])
def prepare(seed: int, note: str = "") -> tuple[np.ndarray, np.ndarray]:
    if note:
        fd = os.open(note, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
        os.write(fd, b"x")
        os.close(fd)
        time.sleep(1.0)
    x = expected(seed)
    return x, (x[:, 0] > 0.5).astype(np.int64)


def once(note: str, start: str) -> None:
    """20 threads ask for the same set at the same instant."""
    while not Path(start).exists():
        time.sleep(0.005)
    wrong: list[str] = []

    def ask() -> None:
        x, _ = prepare(5, note)
        if not np.array_equal(x, expected(5)):
            wrong.append("x")
        x[:] = -1.0

    threads = [threading.Thread(target=ask) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print("wrong" if wrong else "right")


def loop() -> None:
    """Prepare anew again and again, until killed."""
    prepare.refresh(0)
    print("ready", flush=True)
    while True:
        for seed in range(3):
            prepare.refresh(seed)


def main() -> None:
    settings, what, *arguments = sys.argv[1:]
    runtime.configure(Settings.model_validate_json(settings))
    {"once": once, "loop": loop}[what](*arguments)
    runtime.close()
