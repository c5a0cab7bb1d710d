"""The raw datasets as assets: the landing folder goes in, tidy months come out.

`ingested_files` and `quarantine` are not partitioned: a file may hold any months. The ingest writes the rows of
`occurrences` and `observations` too; materializing a month of those merges what many deliveries left in small files
into sorted ones and counts the month, so that what follows reads few files.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import dagster as dg

from retention_pipelines.defs import plots
from retention_pipelines.defs.described import Result, attributes, catalog_asset, result
from retention_pipelines.defs.landing import put_aside, remove_erased, settled_entries
from retention_pipelines.defs.partitions import meant
from retention_pipelines.defs.resources import RAW_BY_MONTH, LakeResource, months_of, now
from retention_pipelines.warehouse import Lake, LakeFile

Lakes = dg.ResourceParam[LakeResource]
# Fewer files than this in a month are not worth a rewrite.
SMALL_FILES = 4

landing = dg.AssetSpec(
    "landing",
    group_name="raw",
    kinds={"file"},
    owners=["team:data-engineering"],
    description="Raw files as delivered, in the folder the sensor watches.",
)


class IngestConfig(dg.Config):
    """How the landing folder is read; `settle_seconds` is how long a file must not change to count as complete."""

    settle_seconds: float = 2.0


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """What one look at the landing folder brought: figures for the UI, and touched months by dataset."""

    figures: Mapping[str, Any]
    months: Mapping[str, Sequence[str]]


NOTHING = Delivery(
    figures={
        "delivered_files": 0,
        "rows_read": 0,
        "rows_accepted": 0,
        "rows_quarantined": 0,
        "rows_duplicate": 0,
        "refused": dg.MetadataValue.json([]),
    },
    months=dict.fromkeys(RAW_BY_MONTH, ()),
)


def take_in(lake: Lake, folder: Path, *, settle_seconds: float, at: datetime) -> Delivery:
    """Ingest what lies complete in the folder, then put it aside."""
    found = settled_entries(folder, settle_seconds=settle_seconds)
    if not found:
        return NOTHING
    from retention_pipelines.sources.ingest import ingest

    report = ingest([entry.path for entry in found.values()], lake, now=at)
    bad = [Path(file.path).absolute() for file in report.files if file.status == "refused"]
    refused = {name for name, entry in found.items() if any(path.is_relative_to(entry.path) for path in bad)}
    remove_erased(folder, [Path(file.erased) for file in report.files if file.erased is not None])
    put_aside(folder, found, refused=refused, at=at)
    return Delivery(
        figures={
            "delivered_files": len(report.files),
            "rows_read": report.read,
            "rows_accepted": report.accepted,
            "rows_quarantined": report.quarantined,
            "rows_duplicate": report.duplicates,
            "refused": dg.MetadataValue.json(sorted(refused)),
        },
        months={name: sorted(report.touched_months(name)) for name in RAW_BY_MONTH},
    )


@dg.multi_asset(
    specs=[
        dg.AssetSpec(**attributes("quarantine", deps=("landing",), code_version="1")),
        dg.AssetSpec(**attributes("ingested_files", deps=("landing",), code_version="1")),
    ],
    name="ingest_landing",
    pool="lake",
)
def ingest_landing(context: dg.AssetExecutionContext, config: IngestConfig, lake: Lakes) -> Iterator[Result]:
    """Ingest what lies complete in the landing folder and put it aside."""
    folder = lake.settings.landing_dir.absolute()
    with lake.open() as opened:
        delivery = take_in(opened, folder, settle_seconds=config.settle_seconds, at=now())
        yield result(context, opened, "quarantine", extra=delivery.figures)
        # The sensor `touched_months` reads this entry.
        touched = {"touched_months": dg.MetadataValue.text(json.dumps(delivery.months))}
        yield result(context, opened, "ingested_files", extra={**delivery.figures, **touched})


def _tidy_months(context: dg.AssetExecutionContext, lake: LakeResource, name: str, plot: plots.Plot) -> Result:
    with lake.open() as opened:
        months = set(months_of(opened, meant(context.partition_keys, context.run.tags)))

        def of_months(file: LakeFile) -> bool:
            return file.partition["month"] in months

        opened.table(name).rewrite(lambda rows: f"from {rows}", keep=of_months, op="compact", min_files=SMALL_FILES)
        return result(context, opened, name, plot=plot)


@catalog_asset("occurrences", deps=("ingested_files",), code_version="1", by_month=True)
def occurrences(context: dg.AssetExecutionContext, lake: Lakes) -> Result:
    """Species records of the months, in few sorted files."""
    return _tidy_months(context, lake, "occurrences", plots.map_of_records)


@catalog_asset("observations", deps=("ingested_files",), code_version="1", by_month=True)
def observations(context: dg.AssetExecutionContext, lake: Lakes) -> Result:
    """Ocean measurements of the months, in few sorted files."""
    return _tidy_months(context, lake, "observations", plots.map_of_measurements)


ASSETS = (landing, ingest_landing, occurrences, observations)
