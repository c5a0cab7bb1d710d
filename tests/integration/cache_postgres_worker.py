"""A process of the Postgres tier's tests: `python cache_postgres_worker.py COMMAND`, settings from the environment.

compute KEY THREADS LOG: all threads want the key at once; each computation adds a line to LOG.
write LOG: puts entry after entry behind; each key and time goes to LOG when the writer took it.
writenow LOG: the same, each acknowledged as stored before it goes to LOG.
quit N: puts N entries and ends at once. fork N: the same in a forked child.
read KEY: prints whether it is there.
"""

import os
import sys
import threading
import time

from retention_pipelines.cache.connections import Unavailable
from retention_pipelines.cache.entry import NewEntry, Payload
from retention_pipelines.cache.events import Counters
from retention_pipelines.cache.flight import Flights, ProcessLock
from retention_pipelines.cache.hot import HotTier
from retention_pipelines.cache.writer import WriteBehind
from retention_pipelines.settings import load_settings


def entry(key: str, data: bytes = b"value") -> NewEntry:
    return NewEntry(
        kind="features",
        key=key,
        payload=Payload(codec="raw1", data=data),
        computed_monotonic=time.monotonic(),
        ttl_seconds=600.0,
        compute_seconds=0.5,
        function="m.f",
        columns={"feature_type": "spatial", "source_table": "studies"},
    )


class Answers:
    """Lookup, flight, turn, compute, store: what a decorated function does, out of the parts under test."""

    def __init__(self, log: str) -> None:
        self.hot = HotTier(load_settings(), counters=Counters())
        self.writer = WriteBehind(self.hot, flush_seconds=1.0)
        self.flights, self.lock = Flights(), ProcessLock(self.hot)
        self.log = log

    def answer(self, key: str) -> bytes:
        return self.stored(key) or self.flights.run(key, lambda: self.in_turn(key))[0]

    def stored(self, key: str) -> bytes | None:
        waiting = self.writer.pending("features", key)
        if waiting is not None:
            return waiting.payload.data
        try:
            found = self.hot.get("features", key)
        except Unavailable:
            return None
        return None if found is None else found.payload.data

    def in_turn(self, key: str) -> bytes:
        while True:
            found = self.stored(key)
            if found is not None:
                return found
            turn = self.lock.acquire(key, 30.0)
            if turn == "ready":
                continue
            # Between the look and the lock another process may have been done.
            found = self.stored(key)
            if found is None:
                return self.compute(key, release=turn == "leader")
            if turn == "leader":
                self.lock.release([key])
            return found

    def compute(self, key: str, *, release: bool) -> bytes:
        with open(self.log, "a", encoding="utf-8") as log:
            log.write(f"{os.getpid()}\n")
        time.sleep(0.3)
        value = b"computed"
        self.writer.put(entry(key, value), then=self.lock.release if release else None)
        return value


def compute(key: str, threads: int, log: str) -> None:
    answers = Answers(log)
    gate, got = threading.Barrier(threads), []

    def one() -> None:
        gate.wait(60)
        got.append(answers.answer(key))

    workers = [threading.Thread(target=one) for _ in range(threads)]
    print("ready", flush=True)
    sys.stdin.readline()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    print(len(got), len(set(got)), flush=True)


def write(log: str, *, now: bool) -> None:
    hot = HotTier(load_settings(), counters=Counters())
    writer = WriteBehind(hot, flush_seconds=load_settings().cache_flush_seconds)
    while True:
        try:
            hot.get("features", "warm")
            break
        except Unavailable:
            time.sleep(0.05)
    print("ready", flush=True)
    with open(log, "w", encoding="utf-8") as file:
        n = 0
        while True:
            key = f"{os.getpid()}-{n}"
            if writer.put_now(entry(key)) if now else writer.put(entry(key)):
                file.write(f"{key} {time.monotonic()}\n")
                file.flush()
            n += 1
            time.sleep(0.002)


def put(n: int) -> None:
    writer = WriteBehind(HotTier(load_settings(), counters=Counters()), flush_seconds=30.0)
    for one in range(n):
        writer.put(entry(f"quit-{one}"))


def fork(n: int) -> None:
    hot = HotTier(load_settings(), counters=Counters())
    writer = WriteBehind(hot, flush_seconds=30.0)
    writer.put(entry("parent"))
    while True:
        try:
            hot.get("features", "parent")
            break
        except Unavailable:
            time.sleep(0.05)
    child = os.fork()
    if child == 0:
        assert writer.pending("features", "parent") is None
        for one in range(n):
            writer.put(entry(f"child-{one}"))
        sys.exit(0 if writer.flush(20.0) and hot.get("features", "child-0") else 1)
    assert os.waitpid(child, 0)[1] == 0
    for _ in range(20):
        hot.get("features", "parent")
    print("parent reads on", flush=True)


if __name__ == "__main__":
    command, *rest = sys.argv[1:]
    if command == "compute":
        compute(rest[0], int(rest[1]), rest[2])
    elif command in ("write", "writenow"):
        write(rest[0], now=command == "writenow")
    elif command == "quit":
        put(int(rest[0]))
    elif command == "fork":
        fork(int(rest[0]))
    elif command == "read":
        print(HotTier(load_settings(), counters=Counters()).get("features", rest[0]) is not None)
