"""Erasure orders as Postgres and the audit know them: begun, remembered, certified. A subject is a keyed digest here.

What belongs here: what is written down of an order. What does not: carrying it out (`eraser.py`), names (`notes.py`).
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import rfc8785
from sqlalchemy import Connection, Engine, func, insert, select, update

from retention_pipelines.errors import PolicyError
from retention_pipelines.postgres import audit
from retention_pipelines.postgres.tables import ERASURE_ORDERS
from retention_pipelines.retention.erasure.lake import Traces
from retention_pipelines.retention.plans.plan_store import driver


@dataclass(frozen=True, kw_only=True)
class Certificate:
    """What became of an order.

    Attributes:
        subject_digest: keyed digest of the subject, in hex.
        before, after: rows and files about it by tier, before the first attempt and after the last.
        held: rows that legal holds keep; while there are any the order is open.
        left: places that still mention it, which no attempt could mend.
        versions: versions of the lake's tables that hold nothing of it any more.
        not_reached: where it may still be, in words: places that no order reaches.
        sha256: over all of it; the audit has the same.
    """

    order: int
    state: str
    kind: str
    subject_digest: str
    plan: str
    reason: str
    ordered_by: str
    ordered_at: datetime
    finished_at: datetime | None
    before: Mapping[str, int]
    after: Mapping[str, int]
    held: Mapping[str, int]
    left: Mapping[str, int]
    versions: Mapping[str, int]
    not_reached: tuple[str, ...]
    sha256: str | None


@dataclass(frozen=True, kw_only=True)
class Orders:
    """The orders of one database."""

    engine: Engine

    def begin(
        self,
        *,
        kind: str,
        digest: bytes,
        reason: str,
        plan: str,
        counts: Mapping[str, int],
        held: Mapping[str, int],
        actor: str,
    ) -> int:
        """Write down an order that was confirmed, with what its preview counted; returns its number."""
        with self.engine.begin() as con:
            number = int(
                con.execute(
                    insert(ERASURE_ORDERS)
                    .values(
                        subject_kind=kind,
                        subject_digest=digest,
                        reason=reason,
                        ordered_by=actor,
                        state="running",
                        certificate={"plan": plan, "before": dict(counts), "held": dict(held)},
                    )
                    .returning(ERASURE_ORDERS.c.order_id)
                ).scalar_one()
            )
            audit.record(
                driver(con),
                actor=actor,
                action="erasure.ordered",
                subject=f"erasure order {number}",
                details={"kind": kind, "subject_digest": digest.hex(), "plan": plan},
            )
        return number

    def finish(
        self,
        number: int,
        *,
        after: Mapping[str, int],
        held: Mapping[str, int],
        left: Mapping[str, int],
        versions: Mapping[str, int],
        not_reached: Sequence[str] = (),
        actor: str,
    ) -> None:
        """Seal what an attempt came to; the order stays open where something is held or left."""
        is_open = any(held.values()) or bool(left)
        with self.engine.begin() as con:
            row = con.execute(select(ERASURE_ORDERS).where(ERASURE_ORDERS.c.order_id == number)).one()
            came_to = {"after": dict(after), "held": dict(held), "left": dict(left), "versions": dict(versions)}
            found = {**row.certificate, **came_to, "not_reached": list(not_reached)}
            finished = con.execute(select(func.clock_timestamp())).scalar_one()
            sealed = {
                "order": number,
                "kind": row.subject_kind,
                "subject": bytes(row.subject_digest).hex(),
                **{key: found[key] for key in ("plan", "before", "after", "held", "left", "versions", "not_reached")},
            }
            found["sha256"] = hashlib.sha256(rfc8785.dumps(sealed)).hexdigest()
            values: dict[str, Any] = {"certificate": found}
            if not is_open:
                values |= {"state": "done", "finished_at": finished}
            con.execute(update(ERASURE_ORDERS).where(ERASURE_ORDERS.c.order_id == number).values(**values))
            audit.record(
                driver(con),
                actor=actor,
                action="erasure.open" if is_open else "erasure.done",
                subject=f"erasure order {number}",
                details={"certificate": found["sha256"], "held": dict(held), "left": sum(left.values())},
            )

    def certificate(self, number: int) -> Certificate:
        """What became of an order; raises PolicyError where there is none of that number."""
        with self.engine.connect() as con:
            row = con.execute(select(ERASURE_ORDERS).where(ERASURE_ORDERS.c.order_id == number)).one_or_none()
        if row is None:
            raise PolicyError(f"There is no erasure order {number}.", hint="`retention erase --list` shows them.")
        said = row.certificate
        return Certificate(
            order=row.order_id,
            state=row.state,
            kind=row.subject_kind,
            subject_digest=bytes(row.subject_digest).hex(),
            plan=said.get("plan", ""),
            reason=row.reason,
            ordered_by=row.ordered_by,
            ordered_at=row.ordered_at,
            finished_at=row.finished_at,
            before=said.get("before", {}),
            after=said.get("after", {}),
            held=said.get("held", {}),
            left=said.get("left", {}),
            versions=said.get("versions", {}),
            not_reached=tuple(said.get("not_reached", ())),
            sha256=said.get("sha256"),
        )

    def all(self) -> tuple[Certificate, ...]:
        """Every order, oldest first."""
        with self.engine.connect() as con:
            numbers = con.scalars(select(ERASURE_ORDERS.c.order_id).order_by(ERASURE_ORDERS.c.order_id)).all()
        return tuple(self.certificate(number) for number in numbers)

    def of_plan(self, sha256: str) -> Certificate | None:
        """The newest order of a preview, if it was confirmed."""
        query = select(ERASURE_ORDERS.c.order_id).where(ERASURE_ORDERS.c.certificate["plan"].astext == sha256)
        with self.engine.connect() as con:
            number = con.scalar(query.order_by(ERASURE_ORDERS.c.order_id.desc()).limit(1))
        return None if number is None else self.certificate(number)

    def last_done(self, digest: bytes) -> int:
        """Number of the newest order of a subject that is done; 0: there is none."""
        mine = (ERASURE_ORDERS.c.subject_digest == digest, ERASURE_ORDERS.c.state == "done")
        with self.engine.connect() as con:
            return con.scalar(select(func.max(ERASURE_ORDERS.c.order_id)).where(*mine)) or 0

    def remember_traces(self, number: int, traces: Traces) -> Traces:
        """Add to what is known of an order, before anything goes; returns all of it."""
        with self.engine.begin() as con:
            said = _said(con, number)
            old = said.get("traces", {})
            known = Traces(
                months={name: tuple(of) for name, of in old.get("months", {}).items()},
                affected=tuple(old.get("affected", ())),
                files=tuple(old.get("files", ())),
                datasets=tuple(old.get("datasets", ())),
            ).joined(traces)
            said["traces"] = {
                "months": {name: list(of) for name, of in known.months.items()},
                "affected": list(known.affected),
                "files": list(known.files),
                "datasets": list(known.datasets),
            }
            con.execute(update(ERASURE_ORDERS).where(ERASURE_ORDERS.c.order_id == number).values(certificate=said))
        return known

    def remember_instant(self, number: int, instant: datetime) -> list[datetime]:
        """Add an instant at which rows were computed again; returns all of the order's."""
        with self.engine.begin() as con:
            said = _said(con, number)
            said["instants"] = [*said.get("instants", ()), instant.isoformat()]
            con.execute(update(ERASURE_ORDERS).where(ERASURE_ORDERS.c.order_id == number).values(certificate=said))
        return [datetime.fromisoformat(one) for one in said["instants"]]


def _said(con: Connection, number: int) -> dict[str, Any]:
    query = select(ERASURE_ORDERS.c.certificate).where(ERASURE_ORDERS.c.order_id == number).with_for_update()
    return dict(con.execute(query).scalar_one())
