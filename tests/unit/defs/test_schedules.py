"""Ticks of the schedules."""

from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest

from retention_pipelines.definitions import build_definitions
from retention_pipelines.defs.schedules import SCHEDULES
from retention_pipelines.settings import Settings
from retention_pipelines.warehouse import Lake
from tests.unit.series.raw_rows import observe, record, utc

AT = datetime(2026, 11, 22, 2, 10, tzinfo=UTC)


def _requests(settings: Settings, name: str, at: datetime) -> list[dg.RunRequest]:
    definitions = build_definitions(settings)
    with dg.DagsterInstance.ephemeral() as instance:
        context = dg.build_schedule_context(
            instance=instance,
            scheduled_execution_time=at,
            repository_def=definitions.get_repository_def(),
            resources=definitions.resources,
        )
        return list(definitions.resolve_schedule_def(name).evaluate_tick(context).run_requests or ())


@pytest.mark.parametrize("name", [schedule.name for schedule in SCHEDULES])
def test_every_schedule_ticks_in_utc_and_asks_for_a_run(settings: Settings, name: str) -> None:
    assert build_definitions(settings).resolve_schedule_def(name).execution_timezone == "UTC"
    assert len(_requests(settings, name, AT)) == 1


def test_there_is_a_schedule_for_every_rhythm() -> None:
    rhythms = {schedule.name.partition("_")[0] for schedule in SCHEDULES}
    assert rhythms == {"hourly", "daily", "weekly", "monthly"}


def test_late_rows_bring_their_months_back_whichever_way_they_came(settings: Settings, lake: Lake) -> None:
    observe(lake, [{"event_start": utc("2017-08-03T00:00:00"), "ingested_at": AT - timedelta(hours=47), "value": 1.0}])
    record(lake, [{"event_start": utc("1999-01-03T00:00:00"), "ingested_at": AT - timedelta(hours=3)}])
    record(lake, [{"event_start": utc("2010-01-03T00:00:00"), "ingested_at": AT - timedelta(hours=49)}])
    starts = [
        request.tags["dagster/asset_partition_range_start"] for request in _requests(settings, "daily_months", AT)
    ]
    assert starts == ["1999-01", "2017-08", "2026-11"]
