"""Which partitions plans and erasures took rows out of: what whoever keeps books about partitions has to look at again.

What belongs here: asking the plans and orders on record. What does not: whether a partition is empty now (that is for
who keeps the books to ask the lake), and rows (`plan.py`).
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Engine, cast, func, select
from sqlalchemy.dialects.postgresql import JSONPATH

from retention_pipelines.postgres.tables import ERASURE_ORDERS, PLANS

# Older ones were looked at long ago.
LOOK_BACK = timedelta(days=90)
_TOUCHED = '$.partitions[*] ? (@.fate == "drop" || @.fate == "rewrite").partition'
# An erasure remembers months of raw rows; windows of series over them are computed again, or go.
_MADE_FROM = {"aggregated_time_series": "observations", "biodiversity_statistics": "occurrences"}


@dataclass(frozen=True, kw_only=True)
class Removal:
    """What an executed plan or erasure went through.

    Attributes:
        plan_sha256: the plan, or the preview that an erasure was confirmed by.
        began_at: when its execution began, before anything was removed.
        partitions: those it took rows out of, such as `feature_type=species/month=2026-06`.
        is_restored: whether it was taken back as a whole.
        order: number of the erasure; None: it was no erasure.
    """

    plan_sha256: str
    began_at: datetime
    partitions: tuple[str, ...]
    is_restored: bool
    order: int | None = None


def removals(engine: Engine, dataset: str) -> tuple[Removal, ...]:
    """Plans of a dataset that took rows out of partitions, oldest first; the database picks the partitions."""
    touched = func.jsonb_path_query_array(PLANS.c.counts, cast(_TOUCHED, JSONPATH))
    query = (
        select(PLANS.c.plan_sha256, PLANS.c.started_at, touched, PLANS.c.state)
        .where(
            PLANS.c.dataset == dataset,
            PLANS.c.state.in_(("published", "swept", "done", "restored")),
            PLANS.c.started_at > func.now() - LOOK_BACK,
            func.jsonb_array_length(touched) > 0,
        )
        .order_by(PLANS.c.started_at)
    )
    with engine.connect() as con:
        return tuple(
            Removal(plan_sha256=sha256, began_at=began, partitions=tuple(names), is_restored=state == "restored")
            for sha256, began, names, state in con.execute(query)
        )


def erasures(engine: Engine, table: str) -> tuple[Removal, ...]:
    """Erasures that took rows out of months of a table of the lake, oldest first; of open ones what they came to."""
    orders = ERASURE_ORDERS.c
    query = (
        select(orders.order_id, orders.ordered_at, orders.certificate)
        .where(orders.ordered_at > func.now() - LOOK_BACK)
        .order_by(orders.order_id)
    )
    with engine.connect() as con:
        rows = con.execute(query).all()
    found = []
    for number, at, said in rows:
        traces = said.get("traces", {})
        months = traces.get("months", {}).get(_MADE_FROM.get(table, table), ())
        if table == "feature_store":
            months = sorted({*months, *traces.get("affected", ())})
        if months:
            names = tuple(f"month={month}" for month in months)
            found.append(
                Removal(plan_sha256=said["plan"], began_at=at, partitions=names, is_restored=False, order=number)
            )
    return tuple(found)
