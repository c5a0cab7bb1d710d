"""Months whose raw rows retention has removed: what was computed from them stays, and a run for more says why."""

from collections.abc import Iterator
from typing import Any

import dagster as dg
import pytest

from retention_pipelines.definitions import build_definitions
from retention_pipelines.errors import SeriesError
from retention_pipelines.series.aggregate import update_series
from retention_pipelines.settings import Settings
from retention_pipelines.warehouse import Lake
from retention_pipelines.warehouse.removed import note_removal, removed_months
from tests.unit.defs.small_lake import fill

SERIES, FEATURES = "aggregated_time_series", "feature_store"
PLAN = "a" * 64
ID = f"retention:{PLAN}"


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as made:
        yield made


def remove(lake: Lake, month: str, name: str = "observations") -> int:
    """As an executed plan does it: a note, then a commit of the plan's id; returns the commit's version."""
    note_removal(lake, name, transaction=ID, partitions=[f"month={month}"])
    table = lake.table(name)
    delta = table.delta()
    gone = [file for file in table.live(delta) if file.partition["month"] == month]
    return table.commit(delta, [], gone, op="delete", transactions=[ID]).version


def rows(lake: Lake, name: str) -> list[tuple[Any, ...]]:
    return sorted(lake.con.execute(f"from {lake.table(name).scan()}").fetchall(), key=repr)


def run(settings: Settings, instance: dg.DagsterInstance, asset: str, first: str, last: str) -> Any:
    tags = {"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last}
    job = build_definitions(settings).resolve_job_def("months")
    return job.execute_in_process(
        instance=instance, asset_selection=[dg.AssetKey(asset)], tags=tags, raise_on_error=False
    )


@pytest.mark.parametrize("asset", [SERIES, FEATURES])
def test_a_month_whose_raw_rows_are_gone_is_refused_with_the_reason_and_its_rows_stay(
    settings: Settings, lake: Lake, instance: dg.DagsterInstance, asset: str
) -> None:
    fill(lake, ("2017-04", "2017-05"))
    assert run(settings, instance, asset, "2017-04", "2017-05").success
    before = rows(lake, asset)
    version = remove(lake, "2017-04")
    refused = run(settings, instance, asset, "2017-04", "2017-04")
    if asset == SERIES:
        (event,) = [event for event in refused.all_events if event.is_step_failure]
        said = event.step_failure_data.user_failure_data
        assert "Rows of observations of 2017-04 were removed or archived: computed again" in said.description
        assert f"retention restore --plan {PLAN}" in said.metadata["what_to_do"].value
    assert rows(lake, asset) == before
    # Beside other months it is left alone, and the run says so.
    assert run(settings, instance, asset, "2017-04", "2017-05").success
    assert rows(lake, asset) == before
    shown = instance.get_latest_materialization_event(dg.AssetKey(asset)).asset_materialization  # type: ignore[union-attr]
    assert shown is not None
    assert shown.metadata["left_alone_months"].value == {"2017-04": PLAN}
    # Taken back, the month is whole again.
    lake.table("observations").undo(version)
    assert run(settings, instance, asset, "2017-04", "2017-04").success
    assert rows(lake, asset) == before


def test_late_rows_enter_the_windows_that_are_whole_and_no_others(lake: Lake) -> None:
    fill(lake, ("2017-04", "2017-05"))
    update_series(lake)

    def means() -> dict[tuple[str, str], float]:
        scan = lake.table(SERIES).scan()
        found = lake.con.execute(f"select time_window, window_label, sum(n) from {scan} group by all").fetchall()
        return {(window, label): n for window, label, n in found}

    before = means()
    remove(lake, "2017-04")
    fill(lake, ("2017-05",))
    update_series(lake, months=("2017-05",))
    after = means()
    assert after["monthly", "2017-05"] == 2 * before["monthly", "2017-05"]
    kept = {name: n for name, n in before.items() if name[0] == "seasonal" or "2017-04" in name[1]}
    assert kept
    assert {name: after[name] for name in kept} == kept
    # All of it, too, keeps what cannot be computed any more.
    update_series(lake)
    assert means() == after


def test_other_settings_are_refused_where_raw_rows_are_gone(settings: Settings, lake: Lake) -> None:
    fill(lake, ("2017-04", "2017-05"))
    update_series(lake)
    before = rows(lake, SERIES)
    remove(lake, "2017-04")
    with (
        Lake(settings.model_copy(update={"cell_deg": 0.5})) as coarser,
        pytest.raises(SeriesError, match="with other settings: rows of observations of 1 months"),
    ):
        update_series(coarser, months=("2017-05",))
    assert rows(lake, SERIES) == before


def test_a_note_without_its_commit_means_nothing_and_commits_of_others_are_no_removal(lake: Lake) -> None:
    fill(lake, ("2017-04",))
    note_removal(lake, "observations", transaction=ID, partitions=["month=2017-04"])
    assert removed_months(lake, "observations", "occurrences") == {}
    note_removal(lake, "feature_store", transaction=ID, partitions=["feature_type=species/month=2017-04"])
    version = remove(lake, "2017-04")
    assert removed_months(lake, "observations") == {"2017-04": PLAN}
    lake.table("observations").undo(version)
    assert removed_months(lake, "observations") == {}


def test_months_with_rows_in_the_archive_are_left_alone_until_those_are_back(lake: Lake) -> None:
    fill(lake, ("2017-04", "2017-05"))
    update_series(lake)
    before = rows(lake, SERIES)
    some = "month = '2017-04' and record_hash < '8'"
    assert lake.archive("observations", some, run="by hand").rows_removed > 0
    assert removed_months(lake, "observations", "occurrences") == {"2017-04": "archive of observations"}
    with pytest.raises(SeriesError) as refused:
        update_series(lake, months=("2017-04",))
    assert "`retention lake archive observations --back --where \"month = '2017-04'\"" in str(refused.value)
    update_series(lake)
    assert rows(lake, SERIES) == before
    lake.unarchive("observations", "month = '2017-04'", run="by hand")
    assert removed_months(lake, "observations") == {}
    update_series(lake, months=("2017-04",))
    assert rows(lake, SERIES) == before
