"""Raw samples of performance metrics go behind their rollups, and only there."""

from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from retention_pipelines.errors import PolicyError, RunBusy
from retention_pipelines.postgres.partitions import add_day_partitions
from retention_pipelines.retention.actions import rollup
from retention_pipelines.retention.recovery.restore import restore_plan, restore_rows
from retention_pipelines.retention.runs.lock import run_lock
from retention_pipelines.retention.runs.run import Runner

pytestmark = pytest.mark.parametrize("database", ["embedded"], indirect=True)
_SAMPLE = """
insert into ml_performance_metrics (recorded_at, recorded_on, metric, value, labels)
select at, (at at time zone 'UTC')::date, 'm' || i %% 2, (i * 37 %% 1000) / 7.0,
    jsonb_build_object('kind', 'k' || i %% 3)
from generate_series(1, %(count)s) as i
cross join lateral (select %(first)s::timestamptz + i * interval '47 minutes' as at) as t
"""
STATISTICS = """
select resolution, metric, labels::text, window_start, n, round(sum::numeric, 9), min, max from ml_performance_rollups
order by 1, 2, 3, 4
"""
_EXPECTED = """
select resolution, metric, labels::text, start, count(*), round(sum(value::text::numeric), 9), min(value), max(value)
from ml_performance_metrics
cross join lateral (values ('hourly', date_trunc('hour', recorded_at, 'UTC')),
    ('daily', date_trunc('day', recorded_at, 'UTC'))) as w (resolution, start)
group by 1, 2, 3, 4 order by 1, 2, 3, 4
"""


@pytest.fixture
def samples(everyone: psycopg.Connection[Any]) -> list[tuple[Any, ...]]:
    """Six days of samples 95 to 89 days old, three in partitions of their days; their statistics by window."""
    first = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=95)
    add_day_partitions(everyone, "ml_performance_metrics", first.date(), (first + timedelta(days=2)).date())
    add_day_partitions(everyone, "ml_performance_metrics", datetime.now(UTC).date(), datetime.now(UTC).date())
    everyone.execute(_SAMPLE, {"count": 200, "first": first})
    return everyone.execute(_EXPECTED).fetchall()


def run(retention: Runner) -> Any:
    plan = retention.plan(retention.planner.registry.get("pm_raw"))
    return plan, retention.execute(plan.sha256, confirm=plan.sha256)


def test_samples_go_whole_days_and_single_and_their_rollups_stand_for_them(
    retention: Runner, everyone: psycopg.Connection[Any], samples: list[tuple[Any, ...]]
) -> None:
    before = everyone.execute("select * from ml_performance_metrics order by seq").fetchall()
    plan, outcome = run(retention)
    left = everyone.execute("select count(*) from ml_performance_metrics").fetchall()[0][0]
    assert {one.fate for one in plan.partitions} == {"drop", "rewrite"}
    assert outcome.removed == plan.removed_rows == len(before) - left > 0
    assert left > 0
    rolled = everyone.execute(STATISTICS).fetchall()
    assert set(rolled) <= set(samples)
    assert sum(row[4] for row in rolled if row[0] == "daily") >= outcome.removed
    # Computed again from what is left, they say the same; and so they do after all came back.
    first = min(row[3] for row in samples).date()
    with run_lock(retention.server, "performance_metrics", plan.sha256), pytest.raises(RunBusy, match="in the hands"):
        rollup.roll_up(retention.planner.engine, first, first + timedelta(days=20))
    rollup.roll_up(retention.planner.engine, first, first + timedelta(days=20))
    assert everyone.execute(STATISTICS).fetchall() == samples
    (one,) = restore_rows(retention, "performance_metrics", [str(before[0][0])])
    assert one.rows == 1
    rollup.roll_up(retention.planner.engine, first, first + timedelta(days=20))
    assert everyone.execute(STATISTICS).fetchall() == samples
    assert restore_plan(retention, plan.sha256).rows == outcome.removed - 1
    assert everyone.execute("select * from ml_performance_metrics order by seq").fetchall() == before
    assert everyone.execute("select sum(gone_n), sum(gone_sum) from ml_performance_rollups").fetchall() == [(0, 0)]
    rollup.roll_up(retention.planner.engine, first, first + timedelta(days=20))
    assert everyone.execute(STATISTICS).fetchall() == samples


def test_samples_whose_rollup_is_not_theirs_stay(
    retention: Runner, everyone: psycopg.Connection[Any], samples: list[tuple[Any, ...]], server_owner: Any
) -> None:
    server_owner(
        "create function spoil() returns trigger language plpgsql as"
        " $$ begin new.sum := new.sum + 1; return new; end $$;"
        " create trigger spoil before insert or update on ml_performance_rollups for each row"
        " when (new.resolution = 'hourly') execute function spoil()"
    )
    before = everyone.execute("select * from ml_performance_metrics order by seq").fetchall()
    plan = retention.plan(retention.planner.registry.get("pm_raw"))
    with pytest.raises(Exception, match="do not stand for its samples"):
        retention.execute(plan.sha256, confirm=plan.sha256)
    assert everyone.execute("select * from ml_performance_metrics order by seq").fetchall() == before


def test_deleting_samples_without_a_rollup_is_refused_when_the_policy_is_set(retention: Runner) -> None:
    registry = retention.planner.registry
    with pytest.raises(PolicyError, match="downsample"):
        registry.proposed("pm_raw", {"action": "delete"})
    with pytest.raises(PolicyError, match="Parquet"):
        registry.proposed("ic_old_unused", {"action": "compress"})
    with pytest.raises(PolicyError, match="Nothing sums them up"):
        registry.proposed("tc_rare", {"action": "downsample"})
