"""Size budgets: how many bytes a dataset may take before pressure acts on it.

What belongs here: reading and setting them. What does not: measuring sizes and what follows (`state.py`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Engine, delete, func, select
from sqlalchemy.dialects.postgresql import insert

from retention_pipelines.errors import PolicyError
from retention_pipelines.postgres import audit
from retention_pipelines.postgres.tables import DATASET_BUDGETS
from retention_pipelines.retention.plans.plan_store import driver
from retention_pipelines.retention.policies.governed import governed

# An exabyte: more is a typing error, and Postgres must hold it.
MOST_BYTES = 10**18


@dataclass(frozen=True, kw_only=True, slots=True)
class Budget:
    """A dataset's limit, and who set it."""

    dataset: str
    budget_bytes: int
    set_by: str
    set_at: datetime


def budgets(engine: Engine) -> tuple[Budget, ...]:
    """Every limit there is, by dataset; a dataset without one may grow as it likes."""
    with engine.connect() as con:
        rows = con.execute(select(DATASET_BUDGETS).order_by(DATASET_BUDGETS.c.dataset)).all()
    return tuple(Budget(**row._mapping) for row in rows)


def limits_of(engine: Engine) -> Mapping[str, int]:
    """The limits by dataset."""
    return {one.dataset: one.budget_bytes for one in budgets(engine)}


def set_budget(engine: Engine, dataset: str, budget_bytes: int | None, *, actor: str) -> None:
    """Set a dataset's limit, or with None remove it; the audit says so."""
    chosen = governed(dataset)
    name = chosen.name
    if chosen.cold:
        raise PolicyError(
            f"{name} lies on the other root, on which nothing presses.", hint="A policy lets its rows go by their age."
        )
    if budget_bytes is not None and not 1 <= budget_bytes <= MOST_BYTES:
        raise PolicyError(
            f"A budget of {budget_bytes} bytes is none.",
            hint=f"Give at least one byte and at most {MOST_BYTES:,}, or remove it.",
        )
    values = {"budget_bytes": budget_bytes, "set_by": actor, "set_at": func.now()}
    with engine.begin() as con:
        if budget_bytes is None:
            con.execute(delete(DATASET_BUDGETS).where(DATASET_BUDGETS.c.dataset == name))
        else:
            con.execute(
                insert(DATASET_BUDGETS)
                .values(dataset=name, **values)
                .on_conflict_do_update(index_elements=[DATASET_BUDGETS.c.dataset], set_=values)
            )
        audit.record(
            driver(con),
            actor=actor,
            action="retention.budget",
            subject=name,
            plan_sha256=None,
            details={"budget_bytes": budget_bytes},
        )
