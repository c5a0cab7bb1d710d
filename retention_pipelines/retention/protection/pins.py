"""Pins: somebody wants something kept, until a date or until the pin is taken away. Each is in the audit.

What does not belong here: legal holds (`holds.py`), which stand above erasure orders; what is in use (`leases.py`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Engine, func, insert, or_, select, update

from retention_pipelines.errors import PolicyError
from retention_pipelines.postgres import audit
from retention_pipelines.postgres.tables import PINS
from retention_pipelines.retention.filter.parse import parse
from retention_pipelines.retention.filter.text import text
from retention_pipelines.retention.plans.plan_store import driver, now
from retention_pipelines.retention.policies.governed import governed


@dataclass(frozen=True, kw_only=True)
class Pin:
    """A pin; it ends at `pinned_until`, or when it is taken away."""

    pin_id: int
    dataset: str
    match: str
    reason: str
    placed_by: str
    placed_at: datetime
    pinned_until: datetime | None
    released_at: datetime | None


def place_pin(
    engine: Engine, *, dataset: str, match: str, reason: str, placed_by: str, until: datetime | None = None
) -> Pin:
    """Keep what matches until a date or until the pin is taken away; raises FilterError."""
    chosen = governed(dataset)
    written = text(parse(match, chosen.fields))
    if not reason.strip():
        raise PolicyError("A pin needs a reason.", hint="Say in a sentence what it is kept for.")
    if until is not None and until <= now(engine):
        raise PolicyError(f"{until:%Y-%m-%d %H:%M} is over already.", hint="Give a later end, or none.")
    with engine.begin() as con:
        number = con.execute(
            insert(PINS)
            .values(dataset=chosen.name, match=written, reason=reason, placed_by=placed_by, pinned_until=until)
            .returning(PINS.c.pin_id)
        ).scalar_one()
        # What matches may name a person or a study, and the audit is for ever: it says where to look.
        audit.record(
            driver(con),
            actor=placed_by,
            action="pin.placed",
            subject=f"pin {number}",
            details={"dataset": chosen.name, "until": None if until is None else until.isoformat()},
        )
    return next(pin for pin in list_pins(engine) if pin.pin_id == number)


def release_pin(engine: Engine, pin_id: int, *, released_by: str) -> Pin:
    """Take a pin away; what it kept follows its policy again."""
    with engine.begin() as con:
        ended = con.execute(
            update(PINS)
            .where(PINS.c.pin_id == pin_id, PINS.c.released_at.is_(None))
            .values(released_at=func.greatest(func.now(), PINS.c.placed_at))
        ).rowcount
        if not ended:
            raise PolicyError(f"There is no pin {pin_id} in force.", hint="`retention pins` lists them.")
        audit.record(driver(con), actor=released_by, action="pin.released", subject=f"pin {pin_id}")
    return next(pin for pin in list_pins(engine, ended=True) if pin.pin_id == pin_id)


def list_pins(engine: Engine, *, ended: bool = False) -> Sequence[Pin]:
    """Pins in force, oldest first; with `ended` also those that are over."""
    query = select(PINS).order_by(PINS.c.pin_id)
    if not ended:
        query = query.where(
            PINS.c.released_at.is_(None), or_(PINS.c.pinned_until.is_(None), PINS.c.pinned_until > func.now())
        )
    with engine.connect() as con:
        return tuple(
            Pin(**{name: getattr(row, name) for name in Pin.__dataclass_fields__}) for row in con.execute(query)
        )
