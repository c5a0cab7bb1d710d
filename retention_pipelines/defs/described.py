"""Asset attributes and results from the catalog: what the UI shows of a dataset without running anything.

What belongs here: catalog in, Dagster arguments and metadata out. What does not: which function an asset calls.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import dagster as dg
from dagster import MetadataValue, TableColumn, TableColumnConstraints, TableColumnDep, TableColumnLineage, TableSchema

from retention_pipelines.catalog import Column, Dataset, dataset
from retention_pipelines.defs.freshness import POLICIES
from retention_pipelines.defs.partitions import MONTHS, key_of
from retention_pipelines.defs.plots import Plot
from retention_pipelines.defs.resources import partition_keys
from retention_pipelines.warehouse import Lake

KINDS = {"duckdb", "deltalake", "parquet"}
# Every file of a partition costs each query of it a third of a millisecond or more; merging this many pays at once.
# Fewer wait for the weekly compaction.
MANY_FILES = 24
Result = dg.MaterializeResult[None]


def _constraints(column: Column) -> TableColumnConstraints:
    bounds = [f">= {column.minimum:g}"] if column.minimum is not None else []
    bounds += [f"<= {column.maximum:g}"] if column.maximum is not None else []
    bounds += [f"one of {', '.join(column.allowed)}"] if column.allowed else []
    return TableColumnConstraints(nullable=not column.required, other=bounds)


def table_schema(described: Dataset) -> TableSchema:
    """Columns, types and constraints as the UI's Columns tab shows them."""
    return TableSchema(
        columns=[
            TableColumn(
                column.name,
                column.type.value,
                f"{column.description} Unit: {column.unit}." if column.unit else column.description,
                _constraints(column),
            )
            for column in described.columns
        ]
    )


def attributes(name: str, *, deps: Sequence[str], code_version: str) -> dict[str, Any]:
    """Arguments of `AssetSpec` and `@asset` that follow from the catalog; the key is the dataset's name.

    The column schema belongs to the definition, not to every materialization: it would be stored once per month.
    """
    described = dataset(name)
    return {
        "key": name,
        "deps": list(deps),
        "group_name": described.layer.value,
        "owners": [described.owner],
        "kinds": KINDS,
        "description": f"{described.description}\n\nGrain: {described.grain}.",
        "code_version": code_version,
        "freshness_policy": POLICIES[name],
        "metadata": {
            "dagster/column_schema": table_schema(described),
            "dagster/table_name": described.name,
            "key": ", ".join(described.key),
            "partition_by": ", ".join(described.partition_by) or "not partitioned",
        },
    }


def catalog_asset(
    name: str, *, deps: Sequence[str], code_version: str, by_month: bool = False
) -> Callable[[Callable[..., Result]], dg.AssetsDefinition]:
    """Decorator: the asset of a dataset of the catalog.

    By month, the months of a run go through one call of the function: hundreds cost little more than one.
    """
    partitioned: dict[str, Any] = (
        {"partitions_def": MONTHS, "backfill_policy": dg.BackfillPolicy.single_run()} if by_month else {}
    )

    def decorate(function: Callable[..., Result]) -> dg.AssetsDefinition:
        described = attributes(name, deps=deps, code_version=code_version)
        made: dg.AssetsDefinition = dg.asset(**described, **partitioned, pool="lake")(function)
        return made

    return decorate


def column_lineage(name: str, upstream: Sequence[str]) -> TableColumnLineage | None:
    """Columns that carry the same name, hence the same quantity and unit, in an upstream dataset."""
    deps: dict[str, list[TableColumnDep]] = {}
    for source in upstream:
        for column in dataset(name).column_names:
            if column in dataset(source).column_names:
                deps.setdefault(column, []).append(TableColumnDep(dg.AssetKey(source), column))
    return TableColumnLineage(deps_by_column=deps) if deps else None


@dataclass(frozen=True, kw_only=True)
class Size:
    """Rows, bytes and files of a dataset, and its version."""

    rows: int
    bytes: int
    files: int
    version: int


def size_of(lake: Lake, name: str) -> Size:
    """Size of a dataset by its log."""
    table = lake.table(name)
    files = table.files()
    return Size(
        rows=sum(file.rows for file in files),
        bytes=sum(file.bytes for file in files),
        files=len(files),
        version=table.version(),
    )


def rows_by_key(lake: Lake, name: str, keys: Sequence[str]) -> dict[str, int]:
    """Rows per partition key: by event month, from the log where the dataset is stored by month."""
    described, table = dataset(name), lake.table(name)
    if "month" in described.partition_by:
        counted = [(file.partition["month"], file.rows) for file in table.files()]
    else:
        label = f"strftime({described.event_time}, '%Y-%m')"
        counted = lake.con.sql(f"from {table.scan()}").aggregate(f"{label} as month, count(*) as n", label).fetchall()
    every = partition_keys()
    rows = dict.fromkeys(keys, 0)
    for month, n in counted:
        key = key_of(month, every)
        if key in rows:
            rows[key] += n
    return rows


def result(
    context: dg.AssetExecutionContext,
    lake: Lake,
    name: str,
    *,
    upstream: Sequence[str] = (),
    plot: Plot | None = None,
    extra: Mapping[str, Any] | None = None,
) -> Result:
    """Merge the dataset's small files where they have become many, publish the lake, describe what the dataset now is.

    Small figures go to every partition of the run. The plot and the lineage, which are large, go to the newest only.
    """
    lake.table(name).compact(min_files=MANY_FILES)
    lake.publish()
    size = size_of(lake, name)
    large: dict[str, Any] = {}
    if (lineage := column_lineage(name, upstream)) is not None:
        large["dagster/column_lineage"] = lineage
    if plot is not None and (picture := plot(lake)) is not None:
        large["plot"] = MetadataValue.md(picture)
    metadata: dict[str, Any] = {
        "dagster/row_count": size.rows,
        "bytes": size.bytes,
        "files": size.files,
        "lake_version": size.version,
        **(extra or {}),
    }
    if not context.has_partition_key and not context.has_partition_key_range:
        return dg.MaterializeResult(asset_key=name, metadata=metadata | large)
    keys = context.partition_keys
    for key, rows in rows_by_key(lake, name, keys).items():
        context.add_asset_metadata({"dagster/partition_row_count": rows}, partition_key=key)
    context.add_asset_metadata(large, partition_key=max(keys))
    return dg.MaterializeResult(metadata=metadata)
