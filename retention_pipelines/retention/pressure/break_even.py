"""Break-even of rows and of what a plan removes: whether the computing that reads save costs more than the bytes kept.

It informs and it orders what goes under pressure; whether a row may go at all is for policies to say, so nothing ever
goes because of it. What does not belong here: the arithmetic (`value.py`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import BigInteger, Engine, Float, and_, cast, extract, func, literal, literal_column, null, select

from retention_pipelines.postgres.tables import METADATA
from retention_pipelines.retention.filter.oracle import Value
from retention_pipelines.retention.plans.select_postgres import decided, with_reads
from retention_pipelines.retention.policies.decide import Protection
from retention_pipelines.retention.policies.governed import Governed
from retention_pipelines.retention.policies.policy import Action, PolicySet
from retention_pipelines.retention.pressure.value import Measured, Prices, describe


@dataclass(frozen=True, kw_only=True, slots=True)
class Balance:
    """Of the rows that expired: how many keeping would pay for, how many not, and of how many nobody can say."""

    worth: int
    not_worth: int
    unknown: int

    def sentence(self) -> str:
        """For people."""
        if not self.worth and not self.not_worth:
            return "nobody measured what computing them takes"
        said = f"{self.not_worth:,} cost more to keep than to compute again, {self.worth:,} less"
        return said + (f", {self.unknown:,} unknown" if self.unknown else "")


def worth(row: Mapping[str, Value], dataset: Governed, as_of: datetime, prices: Prices) -> str | None:
    """What keeping a row is worth, as a sentence; None where its age or its size is not known."""
    computed, size = row.get("computed_at"), row.get("size_bytes")
    if not isinstance(computed, datetime) or not isinstance(size, int | float):
        return None
    seconds = row.get("compute_seconds")
    counted = row.get("hit_count", row.get("access_count"))
    if counted is None and dataset.read_key is None:
        return None
    return describe(
        Measured(
            compute_seconds=float(seconds) if isinstance(seconds, int | float) else None,
            hits=int(counted) if isinstance(counted, int | float) else 0,
            age_seconds=max(0.0, (as_of - computed).total_seconds()),
            size_bytes=round(size),
        ),
        prices,
    )


def balance(
    engine: Engine,
    dataset: Governed,
    policies: PolicySet,
    protections: tuple[Protection, ...],
    *,
    as_of: datetime,
    action: Action,
    only: str | None,
    prices: Prices,
) -> Balance | None:
    """The balance of the rows of a Postgres dataset that an action would remove; None where nothing is measured."""
    if dataset.store == "lake" or "compute_seconds" not in dataset.fields:
        return None
    _, fields = with_reads(dataset)
    table = METADATA.tables[dataset.table]
    size = table.c.size_bytes if "size_bytes" in table.c else func.pg_column_size(literal_column(f"{table.name}.*"))
    query = decided(dataset, policies, protections, as_of, action, only)
    age = func.greatest(cast(extract("epoch", literal(as_of) - fields["computed_at"]), Float), 1.0)
    rows = (
        query.with_only_columns(
            cast(fields["compute_seconds"], Float).label("seconds"),
            (cast(fields.get("hit_count", null()), BigInteger) + 1).label("reads"),
            age.label("age"),
            cast(size, Float).label("size"),
            maintain_column_froms=True,
        )
        .where(query.selected_columns["expired"])
        .subquery()
    )
    pays = rows.c.seconds * prices.compute_second * rows.c.reads >= rows.c.size * prices.byte_second * rows.c.age
    known = rows.c.seconds.is_not(None)
    counts = select(
        func.count().filter(and_(known, pays)), func.count().filter(and_(known, ~pays)), func.count().filter(~known)
    )
    with engine.connect() as con:
        paying, losing, unknown = con.execute(counts.select_from(rows)).one()
    return Balance(worth=paying, not_worth=losing, unknown=unknown)
