"""The trap of retention.md: a table of what is KEPT, read as a list of what is deleted.

"High quality features: 2 years if quality > 0.8 and access > 5" has two tempting misreadings. Each is written out here
in SQL, apart from the engine; the right answer is worked out by hand in Python and then asked of the engine twice: row
by row, and as a plan over a lake. retention.md gives 73,817, 6,214 and 58,189 of 100,000 rows, but not the rows; those
here come from a generator of our own, so its figures are pinned in their place. What the document says of them must
hold: the careless reading deletes about 74 % of all rows, good ones among them, the timid one under a tenth and none of
the worthless ones, the right answer lies between the two.
"""

import math
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import duckdb
import pyarrow as pa
import pytest

from retention_pipelines.retention.plans.lake_rows import READS_SCHEMA
from retention_pipelines.retention.plans.select_lake import plan_lake
from retention_pipelines.retention.policies.decide import decide
from retention_pipelines.retention.policies.defaults import default_policies
from retention_pipelines.retention.policies.governed import FEATURE_STORE
from retention_pipelines.retention.policies.policy import PolicySet
from retention_pipelines.warehouse import Lake
from tests.unit.warehouse.rows import rows

AS_OF = datetime(2026, 11, 22, tzinfo=UTC)
FEATURES = PolicySet.of("feature_store", default_policies())
ROWS, SEED = 100_000, 20261122
CARELESS, RIGHT, TIMID = 73_811, 59_175, 8_009
# Every tier as a DELETE of its own: the tier for everything else matches the good rows as well.
CARELESS_SQL = """
select number, days from trap where days > 730 and quality > 0.8 and reads > 5
union select number, days from trap where days > 365 and quality > 0.6 and reads > 2
union select number, days from trap where days > 90
"""
# The conditions of the table as those of a DELETE: it can only ever delete good rows.
TIMID_SQL = """
select number, quality from trap where not isnan(quality)
    and (days > 730 and quality > 0.8 and reads > 5 or days > 365 and quality > 0.6 and reads > 2)
"""


def plausible() -> Iterator[tuple[int, float | None, int]]:
    """Age in seconds, score and reads of each row: many young rows, middling scores, few of them read much.

    Only `random.random` with a seed, so the rows are the same in every version of Python. Ages fall off with a mean of
    296.5 days; 2 % have no score and 1 % NaN; reads fall off with a mean of 5.
    """
    source = random.Random(SEED)
    for _ in range(ROWS):
        one, two, three, four, five = (source.random() for _ in range(5))
        score = None if four < 0.02 else math.nan if four < 0.03 else round((two * three) ** 0.3, 4)
        yield int(-296.5 * 86_400 * math.log(1 - one)), score, int(-5.0 * math.log(1 - five))


def goes(age: int, quality: float | None, reads: int) -> bool:
    """The right answer by hand: the first tier that a row fits keeps it; an unknown score is not a low one."""
    if quality is None or math.isnan(quality):
        days = 365
    elif quality > 0.8 and reads > 5:
        days = 730
    elif quality > 0.6 and reads > 2:
        days = 365
    else:
        days = 90
    return age > days * 86_400


@pytest.fixture(scope="module")
def trap() -> pa.Table:
    """The rows as a table."""
    ages, scores, reads = zip(*plausible(), strict=True)
    return pa.table(
        {
            "number": range(ROWS),
            "days": [age / 86_400 for age in ages],
            "quality": pa.array(scores, pa.float64()),
            "reads": reads,
            "computed_at": pa.array([AS_OF - timedelta(seconds=age) for age in ages], pa.timestamp("us", "UTC")),
        }
    )


def test_the_two_misreadings_delete_too_much_and_too_little_and_the_right_answer_lies_between(trap: pa.Table) -> None:
    with duckdb.connect() as con:
        con.register("trap", trap)
        careless = {row[0] for row in con.execute(CARELESS_SQL).fetchall()}
        timid = {row[0] for row in con.execute(TIMID_SQL).fetchall()}
    right = {number for number, row in enumerate(plausible()) if goes(*row)}
    assert (len(careless), len(right), len(timid)) == (CARELESS, RIGHT, TIMID)
    # What makes the misreadings wrong: good rows eaten, worthless ones kept for ever.
    assert right < careless
    assert len(right - timid) > 50_000


def test_the_engine_decides_the_right_answer_row_by_row() -> None:
    expired = 0
    for age, quality, reads in plausible():
        row = {
            "quality_score": quality,
            "access_count": reads,
            "computed_at": AS_OF - timedelta(seconds=age),
        }
        decision = decide(row, FEATURES, (), AS_OF)
        assert (decision.verdict == "expire") == goes(age, quality, reads)
        expired += decision.verdict == "expire"
    assert expired == RIGHT


def test_a_plan_over_the_lake_holds_the_right_answer(lake: Lake, trap: pa.Table) -> None:
    columns = {
        "feature_hash": "'hash-' || number",
        "feature_id": "'study-' || number",
        "month": "'2026-01'",
        "quality_score": "quality",
        "computed_at": "computed_at",
    }
    lake.con.register("trap", trap)
    # The lake asks every feature for a score; the 3 % without one are decided in the other test.
    scored = "from trap where not isnan(quality)"
    select = rows("feature_store", **columns).replace("from range(1) as numbers(i)", scored)
    lake.table("feature_store").append(select)
    reads = pa.table(
        {
            "key": [f"study-{number}" for number in range(ROWS)],
            "hits": trap["reads"],
            "last_accessed_at": pa.nulls(ROWS, pa.timestamp("us", "UTC")),
        },
        schema=READS_SCHEMA,
    )
    plan = plan_lake(lake, FEATURE_STORE, FEATURES, as_of=AS_OF, reads=reads)
    known = {
        f"hash-{number}": goes(age, quality, reads)
        for number, (age, quality, reads) in enumerate(plausible())
        if quality is not None and not math.isnan(quality)
    }
    assert (plan.total_rows, plan.expired_rows) == (len(known), sum(known.values()))
    assert set(plan.rows["row_id"].to_pylist()) == {name for name, gone in known.items() if gone}
