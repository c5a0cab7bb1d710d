"""Sealed plans on record: the header in `plans`, the rows as one Parquet object beside the lake.

What belongs here: saving, loading with the seal checked, and moving a plan from state to state with a row of the audit
in the same transaction. What does not: what a state means (`run.py`).
"""

import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, cast

import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
from sqlalchemy import Connection, Engine, Row, func, select, update
from sqlalchemy.dialects.postgresql import insert

from retention_pipelines.errors import PlanError
from retention_pipelines.postgres import audit
from retention_pipelines.postgres.tables import PLANS
from retention_pipelines.retention.plans.plan import ROW_SCHEMA, Haste, PartitionPlan, Plan, VerdictCount, is_intact
from retention_pipelines.warehouse.objects import Objects

FOLDER = "_plans"
_SHORTEST = 8


@dataclass(frozen=True, kw_only=True)
class PlanRecord:
    """What became of a plan.

    Attributes:
        counts: as planned, and under `done` what was measured.
        grace_until: until when it can be taken back; None before it was executed.
    """

    sha256: str
    dataset: str
    action: str
    as_of: datetime
    state: str
    counts: Mapping[str, Any]
    created_by: str
    created_at: datetime
    refused_because: str | None
    confirmed_by: str | None
    grace_until: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    freed_logical_bytes: int | None
    freed_file_bytes: int | None
    freed_disk_bytes: int | None

    @property
    def measured(self) -> Mapping[str, Any]:
        """What the run measured; empty before it was executed."""
        return cast(Mapping[str, Any], self.counts.get("done", {}))


class PlanStore:
    """Plans on record; `objects` are those under the lake's folder `_plans`."""

    def __init__(self, engine: Engine, objects: Objects) -> None:
        self.engine = engine
        self._objects = objects

    # -- plans ----------------------------------------------------------------------------------------------------

    def save(self, plan: Plan, *, created_by: str) -> None:
        """Put a plan on record; a second time changes nothing."""
        buffer = io.BytesIO()
        haste = {"haste": asdict(plan.haste)} if plan.haste else {}
        pq.write_table(plan.rows, buffer, compression="zstd")
        self._objects.write(_name(plan.sha256), buffer.getvalue())
        content = {
            "only": plan.only,
            "protections": list(plan.protections),
            "store_version": plan.store_version,
            "partitions": [asdict(one) for one in plan.partitions],
            "verdicts": [asdict(one) for one in plan.counts],
            **haste,
        }
        with self.engine.begin() as con:
            con.execute(
                insert(PLANS)
                .values(
                    plan_sha256=plan.sha256,
                    dataset=plan.dataset,
                    action=plan.action,
                    as_of=plan.as_of,
                    policy_versions={"policies": list(plan.policies)},
                    counts=content,
                    created_by=created_by,
                )
                .on_conflict_do_nothing()
            )

    def load(self, sha256: str) -> Plan:
        """The plan of a hash, or of its first 8 or more characters. Raises PlanError unless it is what was sealed."""
        with self.engine.connect() as con:
            row = self._find(con, sha256)
        content = self._objects.read(_name(row.plan_sha256))
        if content is None:
            raise PlanError(f"The rows of plan {row.plan_sha256[:12]} are gone from {FOLDER}.", hint="Make a new plan.")
        try:
            plan = Plan(
                dataset=row.dataset,
                action=row.action,
                only=row.counts["only"],
                as_of=row.as_of,
                policies=tuple(row.policy_versions["policies"]),
                protections=tuple(row.counts["protections"]),
                store_version=row.counts["store_version"],
                partitions=tuple(PartitionPlan(**one) for one in row.counts["partitions"]),
                counts=tuple(VerdictCount(**one) for one in row.counts["verdicts"]),
                rows=pq.read_table(io.BytesIO(content)).cast(ROW_SCHEMA),
                sha256=row.plan_sha256,
                haste=Haste(**row.counts["haste"]) if "haste" in row.counts else None,
            )
            intact = is_intact(plan)
        except (KeyError, TypeError, ValueError, pa.ArrowException):
            intact = False
        if not intact:
            raise PlanError(
                f"Plan {row.plan_sha256[:12]} is not what was sealed: somebody or something changed it.",
                hint="Nothing was removed. Find out who did, then make a new plan.",
            )
        return plan

    def record(self, sha256: str) -> PlanRecord:
        """What became of a plan."""
        with self.engine.connect() as con:
            return _record(self._find(con, sha256))

    def records(self, dataset: str | None = None, *, limit: int = 50) -> tuple[PlanRecord, ...]:
        """The newest plans on record."""
        query = select(PLANS).order_by(PLANS.c.created_at.desc()).limit(limit)
        if dataset is not None:
            query = query.where(PLANS.c.dataset == dataset)
        with self.engine.connect() as con:
            return tuple(_record(row) for row in con.execute(query))

    def open(self, dataset: str | None = None) -> tuple[PlanRecord, ...]:
        """Plans whose execution began and is not at its end, oldest first: crashed ones, and those in grace."""
        query = (
            select(PLANS)
            .where(PLANS.c.state.in_(("marked", "archived", "published", "swept")))
            .order_by(PLANS.c.started_at)
        )
        if dataset is not None:
            query = query.where(PLANS.c.dataset == dataset)
        with self.engine.connect() as con:
            return tuple(_record(row) for row in con.execute(query))

    @staticmethod
    def _find(con: Connection, sha256: str) -> Row[Any]:
        wanted = sha256.lower()
        if len(wanted) < _SHORTEST or not set(wanted) <= set("0123456789abcdef"):
            raise PlanError(f"{sha256!r} is no plan's hash.", hint=f"Give at least its first {_SHORTEST} characters.")
        rows = con.execute(select(PLANS).where(PLANS.c.plan_sha256.startswith(wanted)).limit(2)).all()
        if len(rows) != 1:
            said = "Several plans begin" if rows else "No plan begins"
            raise PlanError(f"{said} with {sha256}.", hint="`retention history` lists the plans on record.")
        return rows[0]

    # -- states ---------------------------------------------------------------------------------------------------

    @contextmanager
    def change(
        self, sha256: str, *, actor: str, action: str, dataset: str, details: Mapping[str, object], **values: Any
    ) -> Iterator[Connection]:
        """Change columns of a plan and say so in the audit, in one transaction with what the block does."""
        with self.engine.begin() as con:
            yield con
            done = values.pop("done", None)
            if done is not None:
                values["counts"] = PLANS.c.counts.concat({"done": done})
            if values:
                con.execute(update(PLANS).where(PLANS.c.plan_sha256 == sha256).values(**values))
            audit.record(
                driver(con), actor=actor, action=action, subject=dataset, plan_sha256=sha256, details=dict(details)
            )


def driver(con: Connection) -> psycopg.Connection[Any]:
    """The psycopg connection of a SQLAlchemy one, in the same transaction."""
    found = con.connection.driver_connection
    if not isinstance(found, psycopg.Connection):
        raise TypeError("plans are kept over psycopg")
    return found


def now(engine: Engine) -> datetime:
    """The database's clock."""
    with engine.connect() as con:
        return cast(datetime, con.scalar(select(func.clock_timestamp())))


def _name(sha256: str) -> str:
    return f"{sha256}.parquet"


def _record(row: Row[Any]) -> PlanRecord:
    renamed = {"sha256": row.plan_sha256}
    return PlanRecord(
        **renamed,
        **{name: getattr(row, name) for name in PlanRecord.__dataclass_fields__ if name not in renamed},
    )
