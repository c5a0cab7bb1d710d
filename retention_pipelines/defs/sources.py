"""The raw datasets as assets: the landing folder goes in, tidy months come out.

`ingested_files` and `quarantine` are not partitioned: a file may hold any months. The ingest writes the rows of
`occurrences` and `observations` too; materializing a month of those merges what many deliveries left in small files
into sorted ones and counts the month, so that what follows reads few files.
"""

import json
from collections.abc import Iterator

import dagster as dg

from retention_pipelines.defs import plots
from retention_pipelines.defs.described import Result, attributes, catalog_asset, result
from retention_pipelines.defs.landing import put_aside, settled_entries
from retention_pipelines.defs.resources import LakeResource, months_of, now
from retention_pipelines.warehouse import LakeFile

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
    from retention_pipelines.sources.ingest import ingest

    folder = lake.settings.landing_dir
    found = settled_entries(folder, settle_seconds=config.settle_seconds)
    with lake.open() as opened:
        started = now()
        report = ingest([entry.path for entry in found.values()], opened, now=started) if found else None
        refused = {
            name
            for name, entry in found.items()
            for file in (report.files if report else ())
            if file.status == "refused" and str(file.path).startswith(str(entry.path))
        }
        put_aside(folder, found, refused=refused, at=started)
        months = {
            name: sorted(report.touched_months(name)) if report else [] for name in ("occurrences", "observations")
        }
        figures = {
            "delivered_files": len(report.files) if report else 0,
            "rows_read": report.read if report else 0,
            "rows_accepted": report.accepted if report else 0,
            "rows_quarantined": report.quarantined if report else 0,
            "rows_duplicate": report.duplicates if report else 0,
            "refused": dg.MetadataValue.json(sorted(refused)),
        }
        yield result(context, opened, "quarantine", extra=figures)
        # The sensor `touched_months` reads this entry.
        touched = dg.MetadataValue.text(json.dumps(months))
        yield result(context, opened, "ingested_files", extra=figures | {"touched_months": touched})


def _tidy_months(context: dg.AssetExecutionContext, lake: LakeResource, name: str, plot: plots.Plot) -> Result:
    with lake.open() as opened:
        months = set(months_of(opened, context.partition_keys))

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
