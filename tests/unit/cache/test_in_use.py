"""What the caches take leases of."""

import os
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from retention_pipelines.cache.events import Counters
from retention_pipelines.cache.in_use import LAKE_TABLES, Leases
from retention_pipelines.postgres.leases import InUse
from retention_pipelines.retention.policies.governed import GOVERNED


def test_leases_name_every_table_of_the_lake_that_policies_govern() -> None:
    assert {one.table for one in GOVERNED.values() if one.store == "lake"} == LAKE_TABLES


def test_who_reads_a_table_goes_on_where_no_lease_can_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[object] = []

    def change(work: Any, *, seconds: float) -> list[tuple[int]]:
        taken.append(work)
        return [(7,)]

    def start(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    counters = Counters()
    leases = Leases(
        SimpleNamespace(hot=SimpleNamespace(change=change), read_only=False, testing=False, counters=counters),  # type: ignore[arg-type]
        "a test",
    )
    monkeypatch.setattr(threading.Thread, "start", start)
    leases.table("observations")
    leases.table("feature_store")
    assert counters.snapshot() == {("training", "degraded", "postgres"): 1}
    # Taken, though nobody renews it: it is given back.
    leases.end()
    assert len(taken) == 2


def test_a_forked_child_gives_nothing_back_that_its_parent_uses(tmp_path: Path) -> None:
    said = tmp_path / "said"

    def execute(statement: str, values: Mapping[str, object]) -> Sequence[tuple[Any, ...]]:
        with said.open("a") as log:
            log.write(statement.split()[0] + "\n")
        return [(1,)]

    used = InUse(execute, reason="a test", placed_by="me")
    used.keep("observations", "everything")
    child = os.fork()
    if child == 0:
        used.end()
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert said.read_text().split() == ["with"]
    used.end()
    assert said.read_text().split() == ["with", "delete"]
