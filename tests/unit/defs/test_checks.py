"""The checks the catalog promises: each finds exactly the rows that break it, and stops what follows."""

from dataclasses import replace
from pathlib import Path

import dagster as dg
import pytest

from retention_pipelines.catalog import DATASETS, Dataset, dataset
from retention_pipelines.catalog.dataset import ColumnType
from retention_pipelines.definitions import build_definitions
from retention_pipelines.defs import expectations
from retention_pipelines.settings import Settings
from retention_pipelines.sources.ingest import ingest
from retention_pipelines.warehouse import Lake
from tests.unit.defs.small_lake import append, fill
from tests.unit.series.raw_rows import observe, utc

FEW = ("2017-07", "2017-08")


@pytest.mark.parametrize("name", DATASETS)
def test_an_empty_dataset_breaks_no_promise(lake: Lake, name: str) -> None:
    described = dataset(name)
    for look in (
        expectations.schema_as_declared,
        expectations.key_unique,
        expectations.required_not_null,
        expectations.values_in_range,
    ):
        assert look(lake, described, None).failing == 0


def test_a_key_held_twice_is_found_with_its_values(lake: Lake) -> None:
    observe(lake, [{"event_start": utc("2017-08-03T00:00:00"), "record_hash": "same", "value": 1.0}] * 2)
    found = expectations.key_unique(lake, dataset("observations"), None)
    assert found.failing == 1
    assert "| same | temperature_degc | 2 |" in found.examples


def test_only_the_months_of_the_run_are_looked_at(lake: Lake) -> None:
    observe(lake, [{"event_start": utc("2017-08-03T00:00:00"), "record_hash": "same", "value": 1.0}] * 2)
    observations = dataset("observations")
    assert expectations.key_unique(lake, observations, ("2017-08",)).failing == 1
    assert expectations.key_unique(lake, observations, ("2017-09",)).failing == 0


def _stricter(name: str, **changes: dict[str, object]) -> Dataset:
    """The dataset with changed promises: what the lake refuses on write can only be met after a catalog change."""
    described = dataset(name)
    columns = tuple(replace(column, **changes.get(column.name, {})) for column in described.columns)
    return replace(described, columns=columns)


def test_values_outside_bounds_or_allowed_values_are_named_by_column(lake: Lake) -> None:
    described = _stricter("observations", depth_m={"minimum": 0, "maximum": 100}, platform_id={"allowed": ("a", "b")})
    at = utc("2017-08-03T00:00:00")
    depths = (-1.0, 0.0, 100.0, 100.5, float("nan"), None)
    observe(lake, [{"event_start": at, "depth_m": depth} for depth in depths])
    observe(lake, [{"event_start": at, "platform_id": name} for name in ("a", "perhaps", None)])
    found = expectations.values_in_range(lake, described, None)
    assert found.failing == 4
    assert "platform_id (1), depth_m (3)" in found.sentence
    assert "perhaps" in found.examples


def test_a_null_in_a_required_column_is_found(lake: Lake) -> None:
    observe(lake, [{"event_start": utc("2017-08-03T00:00:00"), "platform_id": name} for name in ("a", None)])
    found = expectations.required_not_null(lake, _stricter("observations", platform_id={"required": True}), None)
    assert found.failing == 1
    assert "platform_id (1)" in found.sentence


def test_a_table_made_under_another_catalog_is_found(lake: Lake) -> None:
    described = _stricter("observations", depth_m={"type": ColumnType.BIGINT})
    lake.table("observations")
    assert expectations.schema_as_declared(lake, dataset("observations"), None).failing == 0
    lake._tables["observations"].dataset = described
    found = expectations.schema_as_declared(lake, described, None)
    assert found.failing == 1
    assert "| depth_m | " in found.examples


def test_a_ledger_that_adds_up_is_conserved(lake: Lake) -> None:
    fill(lake, FEW)
    assert expectations.conserved(lake).failing == 0


def test_rows_that_no_delivery_accounts_for_are_found(lake: Lake) -> None:
    fill(lake, FEW)
    observe(lake, [{"event_start": utc("2017-08-03T00:00:00"), "value": 1.0, "source_sha256": "aa"}])
    found = expectations.conserved(lake)
    assert found.failing == 1
    assert "| rows written | aa | 6 | 7 |" in found.examples


def test_a_ledger_row_that_does_not_add_up_is_found(lake: Lake) -> None:
    ledger = {"sha256": "cc", "bytes": 1, "role": "records", "status": "ingested", "reasons": "{}"}
    counts = {"read": 10, "accepted": 8, "quarantined": 0, "duplicates": 1, "values": 0}
    append(lake, "ingested_files", {**ledger, **counts, "path": "cc.csv", "ingested_at": utc("2026-01-01T00:00:00")})
    found = expectations.conserved(lake)
    assert found.failing == 1
    assert "| read = accepted + quarantined + duplicates | cc.csv | 10 | 9 |" in found.examples


def test_rows_that_vanished_without_a_commit_that_took_them_out_are_found(lake: Lake) -> None:
    fill(lake, FEW)
    table = lake.table("observations")
    with lake.transaction("ingest:late"):
        observe(lake, [{"event_start": utc("2017-08-03T00:00:00"), "value": 1.0, "source_sha256": "dd"}])
        ledger = {
            "path": "dd.csv",
            "sha256": "dd",
            "bytes": 1,
            "role": "records",
            "status": "ingested",
            "reasons": "{}",
        }
        counts = {"read": 1, "accepted": 1, "quarantined": 0, "duplicates": 0, "values": 1}
        append(lake, "ingested_files", {**ledger, **counts, "ingested_at": utc("2026-01-01T00:00:00")})
    assert expectations.conserved(lake).failing == 0
    table.undo(table.version())  # of one table only: the ledger still claims the row
    found = expectations.conserved(lake)
    assert (found.failing, found.in_doubt) == (1, False)
    assert "| rows written | dd | 1 | 0 |" in found.examples


def test_an_ingest_that_was_undone_is_conserved_and_may_come_again(lake: Lake, tmp_path: Path) -> None:
    source = tmp_path / "survey.csv"
    columns = "occurrenceID,datasetID,eventID,scientificName,eventDate,decimalLatitude,decimalLongitude"
    good, bad = "1,s,h,Dentex macrophthalmus,2017-08-14,-12.1,13.3", "2,s,h,Dentex macrophthalmus,2017-08-14,95,13.3"
    source.write_text(f"{columns},occurrenceStatus\n{good},present\n{bad},present\n")
    for _ in range(2):
        report = ingest([source], lake, now=utc("2026-01-01T00:00:00"))
        assert (report.accepted, report.quarantined) == (1, 1)
        undone = lake.undo("occurrences", lake.table("occurrences").version())
        assert [name for name, _ in undone] == ["occurrences", "quarantine", "ingested_files"]
        assert sum(file.rows for name, _ in undone for file in lake.table(name).files()) == 0
        assert expectations.conserved(lake).failing == 0


def test_an_ingest_is_undone_also_after_its_files_were_merged_with_others(lake: Lake, tmp_path: Path) -> None:
    columns = (
        "occurrenceID,datasetID,eventID,scientificName,eventDate,decimalLatitude,decimalLongitude,occurrenceStatus"
    )
    versions = []
    for number in range(3):
        source = tmp_path / f"survey_{number}.csv"
        rows = [
            f"{number}{i},s,h,Dentex macrophthalmus,2017-08-14,{lat},13.3,present" for i, lat in enumerate((-12, 95))
        ]
        source.write_text("\n".join([columns, *rows]))
        ingest([source], lake, now=utc("2026-01-01T00:00:00"))
        versions.append(lake.table("occurrences").version())
    for name in ("occurrences", "quarantine", "ingested_files"):
        lake.table(name).compact(min_files=2)
    lake.undo("occurrences", versions[1])
    for name in ("occurrences", "quarantine", "ingested_files"):
        assert sum(file.rows for file in lake.table(name).files()) == 2, name
    assert expectations.conserved(lake).failing == 0
    report = ingest([tmp_path / "survey_1.csv"], lake, now=utc("2026-01-02T00:00:00"))
    assert (report.accepted, report.quarantined) == (1, 1)
    assert expectations.conserved(lake).failing == 0


def test_rows_deleted_restored_or_archived_since_do_not_break_conservation(lake: Lake) -> None:
    fill(lake, FEW)
    lake.archive("occurrences", "month = '2017-07'", run="old")
    assert expectations.conserved(lake).sentence == "Every row read is accounted for."
    lake.table("observations").delete("month = '2017-07'", op="delete")
    lake.table("quarantine").drop_partitions(lambda _: True, op="policy")
    found = expectations.conserved(lake)
    assert (found.failing, found.in_doubt) == (0, False)
    assert "took out 3 of the rows written" in found.sentence
    assert "took out 1 of the rows in quarantine" in found.sentence
    lake.table("observations").restore(lake.table("observations").version() - 1)
    assert "rows written" not in expectations.conserved(lake).sentence


def test_rows_too_few_are_a_warning_once_the_log_that_would_explain_them_is_gone(lake: Lake) -> None:
    fill(lake, FEW)
    table = lake.table("observations")
    for month in FEW:
        table.delete(f"month = '{month}'", op="delete")
    table.delta().create_checkpoint()
    for entry in sorted((Path(table.root) / "_delta_log").glob("*.json"))[:-1]:
        entry.unlink()
    found = expectations.conserved(lake)
    assert (found.failing, found.in_doubt) == (1, True)
    observe(lake, [{"event_start": utc("2017-08-03T00:00:00"), "value": 1.0, "source_sha256": "not delivered"}])
    assert not expectations.conserved(lake).in_doubt, "a row too many is wrong whatever happened before"


def test_a_failing_blocking_check_stops_what_depends_on_the_dataset(lake: Lake, settings: Settings) -> None:
    fill(lake, FEW)
    observe(lake, [{"event_start": utc("2017-08-03T00:00:00"), "value": 1.0, "qc_scale": "invented"}])
    with dg.DagsterInstance.ephemeral() as instance:
        result = (
            build_definitions(settings)
            .resolve_job_def("months")
            .execute_in_process(
                instance=instance,
                asset_selection=[
                    dg.AssetKey(name)
                    for name in ("observations", "occurrences", "aggregated_time_series", "biodiversity_statistics")
                ],
                tags={
                    "dagster/asset_partition_range_start": "2017-07",
                    "dagster/asset_partition_range_end": "2017-08",
                },
                raise_on_error=False,
            )
        )
        assert not result.success
        failed = [check for check in result.get_asset_check_evaluations() if not check.passed]
        assert [(check.asset_key.to_user_string(), check.check_name) for check in failed] == [
            ("observations", "values_in_range")
        ]
        assert "invented" in str(failed[0].metadata["examples"].value)
        assert instance.get_materialized_partitions(dg.AssetKey("observations")) == set(FEW)
        assert instance.get_materialized_partitions(dg.AssetKey("aggregated_time_series")) == set()
        # What does not depend on the broken dataset goes on.
        assert instance.get_materialized_partitions(dg.AssetKey("biodiversity_statistics")) == set(FEW)
