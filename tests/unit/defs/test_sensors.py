"""Ticks of the sensors: what they ask for, and what they leave alone."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.definitions.sensor_definition import SensorExecutionData

from retention_pipelines.definitions import build_definitions
from retention_pipelines.defs.partitions import MOST_RUNS, meant
from retention_pipelines.defs.resources import LakeResource, partition_keys
from retention_pipelines.defs.sensors import LAUNCHED_BY, landing_folder, settled_months, touched_months
from retention_pipelines.settings import Settings


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as made:
        yield made


def _tick(settings: Settings, instance: dg.DagsterInstance, cursor: str | None) -> SensorExecutionData:
    with dg.build_sensor_context(instance, cursor=cursor, resources={"lake": LakeResource(settings)}) as context:
        return landing_folder.evaluate_tick(context)


def _deliver(settings: Settings, name: str, text: str = "a,b\n1,2\n") -> Path:
    path = settings.landing_dir / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_an_empty_or_missing_landing_folder_asks_for_nothing(settings: Settings, instance: dg.DagsterInstance) -> None:
    tick = _tick(settings, instance, None)
    assert not tick.run_requests
    assert tick.skip_message == "Nothing in the landing folder."


def test_a_file_asks_for_an_ingest_once_it_looks_the_same_in_two_ticks(
    settings: Settings, instance: dg.DagsterInstance
) -> None:
    path = _deliver(settings, "cruise.csv")
    first = _tick(settings, instance, None)
    assert not first.run_requests
    path.write_text("a,b\n1,2\n3,4\n")
    growing = _tick(settings, instance, first.cursor)
    assert not growing.run_requests
    still = _tick(settings, instance, growing.cursor)
    assert len(still.run_requests) == 1


def test_the_run_key_is_the_content_so_one_delivery_asks_once_and_a_changed_one_again(
    settings: Settings, instance: dg.DagsterInstance
) -> None:
    path = _deliver(settings, "cruise.csv")
    cursor = _tick(settings, instance, None).cursor
    once, twice = (_tick(settings, instance, cursor).run_requests[0].run_key for _ in range(2))
    assert once == twice
    os.utime(path, (1_700_000_000, 1_700_000_000))
    cursor = _tick(settings, instance, cursor).cursor
    assert _tick(settings, instance, cursor).run_requests[0].run_key != once


def test_a_file_still_growing_does_not_hold_up_one_that_is_complete(
    settings: Settings, instance: dg.DagsterInstance
) -> None:
    _deliver(settings, "done.csv")
    _deliver(settings, "unfinished.csv.part")
    growing = _deliver(settings, "growing.csv")
    cursor = _tick(settings, instance, None).cursor
    growing.write_text("a,b\n1,2\n3,4\n")
    tick = _tick(settings, instance, cursor)
    assert len(tick.run_requests) == 1
    assert tick.run_requests[0].tags["retention/landing_entries"] == "1"


def _ran(
    settings: Settings, instance: dg.DagsterInstance, months: dict[str, list[str]], tags: dict[str, str] | None = None
) -> dg.ExecuteInProcessResult:
    """A successful run that materialized the ledger with touched months, as the ingest does."""

    @dg.asset(key="ingested_files")
    def ledger() -> dg.MaterializeResult[None]:
        return dg.MaterializeResult(metadata={"touched_months": dg.MetadataValue.text(json.dumps(months))})

    return dg.materialize([ledger], instance=instance, tags=tags)


def _after(
    sensor: dg.SensorDefinition, result: dg.ExecuteInProcessResult, instance: dg.DagsterInstance, settings: Settings
) -> list[dg.RunRequest]:
    context = dg.build_run_status_sensor_context(
        sensor_name=sensor.name,
        dagster_instance=instance,
        dagster_run=result.dagster_run,
        dagster_event=result.get_run_success_event(),
        repository_def=build_definitions(settings).get_repository_def(),
    )
    answer = sensor(context)
    items = [answer] if isinstance(answer, dg.RunRequest | dg.SkipReason) else list(answer)
    return [item for item in items if isinstance(item, dg.RunRequest)]


def test_after_an_ingest_just_the_touched_months_are_asked_for(
    settings: Settings, instance: dg.DagsterInstance
) -> None:
    months = {"occurrences": ["1874-03", "2017-08"], "observations": ["2017-08", "2017-10"]}
    requests = _after(touched_months, _ran(settings, instance, months), instance, settings)
    assert {request.job_name for request in requests} == {"months"}
    spans = [
        (
            request.tags["dagster/asset_partition_range_start"],
            request.tags["dagster/asset_partition_range_end"],
        )
        for request in requests
    ]
    assert spans == [("1874-03", "1874-03"), ("2017-08", "2017-08"), ("2017-10", "2017-10")]
    assert len({request.run_key for request in requests}) == 3


def test_a_delivery_of_scattered_months_asks_for_few_runs_that_are_about_just_these_months(
    settings: Settings, instance: dg.DagsterInstance
) -> None:
    months = [f"{year}-{month:02d}" for year in range(1980, 2000) for month in (2, 3, 9)]
    result = _ran(settings, instance, {"occurrences": months, "observations": []})
    requests = _after(touched_months, result, instance, settings)
    assert len(requests) <= MOST_RUNS
    spans = [
        (
            request.tags["dagster/asset_partition_range_start"],
            request.tags["dagster/asset_partition_range_end"],
            request.tags,
        )
        for request in requests
    ]
    asked = [meant([key for key in partition_keys() if first <= key <= last], tags) for first, last, tags in spans]
    assert [key for keys in asked for key in keys] == months


def test_records_from_before_the_first_partition_ask_for_the_first(
    settings: Settings, instance: dg.DagsterInstance
) -> None:
    result = _ran(settings, instance, {"occurrences": ["1799-05"], "observations": []})
    requests = _after(touched_months, result, instance, settings)
    assert [request.tags["dagster/asset_partition_range_start"] for request in requests] == ["1850-01"]


@pytest.mark.parametrize("tags", [None, {LAUNCHED_BY: "command line"}])
def test_no_new_rows_or_a_run_of_the_command_line_ask_for_nothing(
    settings: Settings, instance: dg.DagsterInstance, tags: dict[str, str] | None
) -> None:
    months = ["2017-08"] if tags else []
    result = _ran(settings, instance, {"occurrences": months, "observations": []}, tags)
    assert _after(touched_months, result, instance, settings) == []


def test_a_run_that_ingested_nothing_is_left_alone(settings: Settings, instance: dg.DagsterInstance) -> None:
    @dg.asset
    def other() -> None: ...

    assert _after(touched_months, dg.materialize([other], instance=instance), instance, settings) == []


def test_the_climatology_is_asked_for_after_the_last_waiting_month_run(
    settings: Settings, instance: dg.DagsterInstance
) -> None:
    result = _ran(settings, instance, {"occurrences": [], "observations": []})
    assert len(_after(settled_months, result, instance, settings)) == 1
    job = build_definitions(settings).resolve_job_def("months")
    instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED)
    assert _after(settled_months, result, instance, settings) == []
