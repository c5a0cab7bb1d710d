"""Which partitions executed plans took rows out of: what whoever keeps books about partitions has to look at again.

What belongs here: asking the plans on record. What does not: whether a partition is empty now (that is for who keeps
the books to ask the lake), and rows (`plan.py`).
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Engine, cast, func, select
from sqlalchemy.dialects.postgresql import JSONPATH

from retention_pipelines.postgres.tables import PLANS

# Older ones were looked at long ago.
LOOK_BACK = timedelta(days=90)
_TOUCHED = '$.partitions[*] ? (@.fate == "drop" || @.fate == "rewrite").partition'


@dataclass(frozen=True, kw_only=True)
class Removal:
    """What an executed plan went through.

    Attributes:
        began_at: when its execution began, before anything was removed.
        partitions: those it took rows out of, such as `feature_type=species/month=2026-06`.
        is_restored: whether it was taken back as a whole.
    """

    plan_sha256: str
    began_at: datetime
    partitions: tuple[str, ...]
    is_restored: bool


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
