"""Faults of the first system that no other file of retention tests holds; each named after what must hold instead.

P1, P2 and P9 are in `test_retention_run.py`, P4 in `test_retention_select_postgres.py`, P7 in
`test_integration_guide.py`, P5 and P8 in the unit tests of decisions and policies, P11 in those of the filters.
"""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import psycopg
import pytest

from retention_pipelines.errors import PlanError
from retention_pipelines.postgres.tables import METADATA
from retention_pipelines.retention.runs.run import Runner, runner
from retention_pipelines.settings import Settings
from tests.fixtures.retention import add_predictions, prediction_rows

pytestmark = pytest.mark.parametrize("database", ["embedded"], indirect=True)


def test_the_first_run_after_a_start_cleans(
    retention: Runner, everyone: psycopg.Connection[Any], database_settings: Settings
) -> None:
    """P3: every policy's first run was put one interval ahead, so a process restarted daily never cleaned."""
    add_predictions(everyone, 300)
    before = len(prediction_rows(everyone))
    policy = retention.planner.registry.get("ic_expired")
    assert retention.execute_policy(policy).removed > 0
    assert len(prediction_rows(everyone)) < before
    add_predictions_again(everyone)
    # Another process that starts with nothing in memory; entries past their own end need no person.
    with runner(database_settings) as restarted:
        assert restarted.execute_policy(policy).removed > 0


def add_predictions_again(con: psycopg.Connection[Any]) -> None:
    con.execute("delete from ml_inference_cache")
    add_predictions(con, 300)


def test_a_row_s_own_end_decides_and_no_table_has_a_time_to_keep_that_nobody_reads(
    retention: Runner, everyone: psycopg.Connection[Any]
) -> None:
    """P6: the row's own retention_days was written and read by nothing."""
    columns = {column.name for table in METADATA.tables.values() for column in table.columns}
    assert not columns & {"retention_days", "retention_policy", "retention_until"}
    add_predictions(everyone, 300)
    ended = everyone.execute("select count(*) from ml_inference_cache where expires_at < now()").fetchone()
    plan = retention.plan(retention.planner.registry.get("ic_expired"))
    assert ended is not None
    assert plan.removed_rows == ended[0] == 100


def test_a_run_that_fails_in_the_middle_is_in_the_history_and_the_audit(
    retention: Runner, everyone: psycopg.Connection[Any]
) -> None:
    """P10: a failed policy run left no trace in the history."""
    add_predictions(everyone, 300)
    plan = retention.plan(retention.planner.registry.get("ic_old_unused"))

    def fail(name: str) -> None:
        if name == "deleting":
            raise PlanError("The disk caught fire.")

    with pytest.raises(PlanError, match="caught fire"):
        replace(retention, step=fail).execute(plan.sha256, confirm=plan.sha256)
    (record,) = retention.store.records("inference_cache")
    assert record.refused_because == "failed: The disk caught fire."
    told = everyone.execute("select action, details ->> 'reason' from audit order by seq").fetchall()
    assert told == [("retention.marked", None), ("retention.failed", "The disk caught fire.")]
    assert retention.execute(plan.sha256).removed == plan.removed_rows


def test_changing_a_row_is_no_read_of_it(retention: Runner, everyone: psycopg.Connection[Any]) -> None:
    """P12: any UPDATE counted as an access: marking a row invalid raised its hits and made it young."""
    add_predictions(everyone, 300)
    policy = retention.planner.registry.get("ic_old_unused")
    planned = retention.plan(policy).removed_rows
    everyone.execute("update ml_inference_cache set confidence = 0.1")
    assert everyone.execute("select count(*) from access_counts").fetchall() == [(0,)]
    assert retention.plan(policy).removed_rows == planned > 0
    # A read, in contrast, keeps the entry.
    everyone.execute(
        "insert into access_counts (tenant, dataset, key, hits, last_accessed_at)"
        " select tenant, 'ml_inference_cache', cache_key, 1, %s from ml_inference_cache where expires_at is null"
        " and cache_key = 'k0'",
        (retention.planner.as_of() - timedelta(days=1),),
    )
    assert retention.plan(policy).removed_rows == planned - 1
