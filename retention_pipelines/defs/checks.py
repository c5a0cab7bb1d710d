"""Blocking asset checks generated from the catalog; a failing one stops what depends on the dataset.

Per dataset: `schema`, `key_unique`, `required_not_null`, `values_in_range`; besides them `conservation` of the ledger.
What belongs here: turning a `Dataset` into checks, and the months a run's check looks at. What does not: the finding
of failing rows (`expectations.py`). A check never repairs anything.
"""

from collections.abc import Callable, Iterator

import dagster as dg

from retention_pipelines.catalog import DATASETS, Dataset
from retention_pipelines.defs import expectations
from retention_pipelines.defs.expectations import Finding
from retention_pipelines.defs.partitions import meant
from retention_pipelines.defs.resources import LakeResource, months_of, partition_keys
from retention_pipelines.warehouse import Lake

Expectation = Callable[[Lake, Dataset, tuple[str, ...] | None], Finding]
EXPECTATIONS: dict[str, tuple[str, Expectation]] = {
    "schema": ("Columns and types are those of the catalog.", expectations.schema_as_declared),
    "key_unique": ("No two rows share the key.", expectations.key_unique),
    "required_not_null": ("Required columns hold no null.", expectations.required_not_null),
    "values_in_range": ("Values lie within bounds and allowed values.", expectations.values_in_range),
}
CONSERVATION = (
    "conservation",
    "read = accepted + quarantined + duplicates, in the ledger and, less what was taken out since, in the tables.",
)


def run_months(context: dg.AssetCheckExecutionContext, lake: Lake, described: Dataset) -> tuple[str, ...] | None:
    """Event months the run is about; None, which means everything, for datasets and runs without partitions."""
    tags = context.run.tags
    first = tags.get("dagster/partition") or tags.get("dagster/asset_partition_range_start")
    if first is None or described.event_time is None:
        return None
    last = tags.get("dagster/partition") or tags["dagster/asset_partition_range_end"]
    return months_of(lake, meant([key for key in partition_keys() if first <= key <= last], tags))


def _as_result(described: Dataset, name: str, finding: Finding) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        asset_key=described.name,
        check_name=name,
        passed=finding.failing == 0,
        severity=dg.AssetCheckSeverity.WARN if finding.in_doubt else dg.AssetCheckSeverity.ERROR,
        description=finding.sentence,
        metadata={"failing_rows": finding.failing}
        | ({"examples": dg.MetadataValue.md(finding.examples)} if finding.examples else {}),
    )


def checks_of(described: Dataset) -> dg.AssetChecksDefinition:
    """The checks of one dataset, in one step so that they share a connection."""
    lines = {name: line for name, (line, _) in EXPECTATIONS.items()}
    if described.name == "ingested_files":
        lines |= dict([CONSERVATION])
    specs = [
        dg.AssetCheckSpec(name, asset=described.name, description=line, blocking=True) for name, line in lines.items()
    ]

    @dg.multi_asset_check(specs=specs, name=f"check_{described.name}", can_subset=True)
    def check(
        context: dg.AssetCheckExecutionContext, lake: dg.ResourceParam[LakeResource]
    ) -> Iterator[dg.AssetCheckResult]:
        wanted = {key.name for key in context.selected_asset_check_keys}
        with lake.open() as opened:
            months = run_months(context, opened, described)
            for name, (_, expectation) in EXPECTATIONS.items():
                if name in wanted:
                    yield _as_result(described, name, expectation(opened, described, months))
            if CONSERVATION[0] in wanted:
                yield _as_result(described, CONSERVATION[0], expectations.conserved(opened))

    return check


def build_checks() -> list[dg.AssetChecksDefinition]:
    """Checks of every dataset of the catalog, in its order."""
    return [checks_of(described) for described in DATASETS.values()]
