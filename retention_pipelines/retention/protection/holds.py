"""Legal holds: placing and releasing them, each with a row of the audit; what they protect, plans and runs look up."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Engine, func, insert, select, update

from retention_pipelines.errors import PolicyError
from retention_pipelines.postgres import audit
from retention_pipelines.postgres.tables import HOLDS
from retention_pipelines.retention.filter.parse import parse
from retention_pipelines.retention.filter.text import text
from retention_pipelines.retention.plans.plan_store import driver
from retention_pipelines.retention.policies.governed import governed


@dataclass(frozen=True, kw_only=True)
class Hold:
    """A hold; `released_at` is None while it holds. `match` is a filter as text."""

    hold_id: int
    dataset: str
    match: str
    reason: str
    placed_by: str
    placed_at: datetime
    released_by: str | None
    released_at: datetime | None


def place_hold(engine: Engine, *, dataset: str, match: str, reason: str, placed_by: str) -> Hold:
    """Protect what matches until it is released; raises FilterError, which points at the mistake."""
    chosen = governed(dataset)
    written = text(parse(match, chosen.fields))
    if not reason.strip():
        raise PolicyError("A hold needs a reason.", hint="Say in a sentence why, with a case number.")
    with engine.begin() as con:
        number = con.execute(
            insert(HOLDS)
            .values(dataset=chosen.name, match=written, reason=reason, placed_by=placed_by)
            .returning(HOLDS.c.hold_id)
        ).scalar_one()
        audit.record(
            driver(con),
            actor=placed_by,
            action="hold.placed",
            subject=f"hold {number}",
            # What matches may name a person or a study, and the audit is for ever: it says where to look.
            details={"dataset": chosen.name},
        )
    return next(hold for hold in list_holds(engine) if hold.hold_id == number)


def release_hold(engine: Engine, hold_id: int, *, released_by: str) -> Hold:
    """End a hold; what it kept follows its policy again from the next plan on."""
    with engine.begin() as con:
        ended = con.execute(
            update(HOLDS)
            .where(HOLDS.c.hold_id == hold_id, HOLDS.c.released_at.is_(None))
            .values(released_at=func.now(), released_by=released_by)
        ).rowcount
        if not ended:
            raise PolicyError(f"There is no hold {hold_id} in force.", hint="`retention holds` lists them.")
        audit.record(driver(con), actor=released_by, action="hold.released", subject=f"hold {hold_id}")
    return next(hold for hold in list_holds(engine, released=True) if hold.hold_id == hold_id)


def list_holds(engine: Engine, *, released: bool = False) -> Sequence[Hold]:
    """Holds in force, oldest first; with `released` also those that ended."""
    query = select(HOLDS).order_by(HOLDS.c.hold_id)
    if not released:
        query = query.where(HOLDS.c.released_at.is_(None))
    with engine.connect() as con:
        return tuple(
            Hold(**{name: getattr(row, name) for name in Hold.__dataclass_fields__}) for row in con.execute(query)
        )
