"""Leases: what is being read or built right now stays. They are renewed while in use and end by themselves.

What belongs here: taking one by hand. What does not: its life (`postgres/leases.py`), those the caches take for what
training sets are built from and models are trained on (`cache/in_use.py`), what a lease keeps, which plans look up.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Engine

from retention_pipelines.errors import PolicyError
from retention_pipelines.postgres.leases import SECONDS, InUse
from retention_pipelines.retention.filter.parse import parse
from retention_pipelines.retention.filter.text import text
from retention_pipelines.retention.plans.plan_store import driver
from retention_pipelines.retention.policies.governed import governed


@contextmanager
def lease(
    engine: Engine, *, dataset: str, match: str, reason: str, placed_by: str, seconds: float = SECONDS
) -> Iterator[int]:
    """Keep what matches while the block runs; yields the lease's number.

    A thread renews it three times in `seconds`. Where a renewal fails it is tried again; the lease ends when none
    succeeded for `seconds`. No run that looks at its protections within the block removes what matches.
    """
    if seconds <= 0:
        raise PolicyError("A lease needs a duration above 0.", hint=f"Leave it out for {SECONDS:g} seconds.")
    chosen = governed(dataset)
    written = text(parse(match, chosen.fields))

    def execute(statement: str, values: Mapping[str, object]) -> Sequence[tuple[Any, ...]]:
        with engine.begin() as con:
            return driver(con).execute(statement.encode(), values).fetchall()

    with InUse(execute, reason=reason, placed_by=placed_by, seconds=seconds) as used:
        yield used.keep(chosen.name, written)
