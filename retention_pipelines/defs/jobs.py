"""Jobs: what one run does. One per rhythm of the pipeline, plus the upkeep of the lake.

A run's assets are linked by blocking checks; runs are linked by sensors. What does not belong here: when a job runs
(`schedules.py`, `sensors.py`).
"""

import dagster as dg

from retention_pipelines.catalog import DATASETS
from retention_pipelines.defs.resources import LakeResource

INGEST = "ingest"
MONTHS_JOB = "months"
CLIMATOLOGY = "climatology"
FOLD = "fold"
Lakes = dg.ResourceParam[LakeResource]

# Assets of the jobs, in flow order.
JOB_ASSETS: dict[str, tuple[str, ...]] = {
    INGEST: ("quarantine", "ingested_files"),
    MONTHS_JOB: (
        "occurrences",
        "observations",
        "feature_store",
        "aggregated_time_series",
        "biodiversity_statistics",
    ),
    CLIMATOLOGY: ("seasonal_patterns", "trends", "upwelling_frequency", "serving_copy"),
    FOLD: ("cached_features",),
}

ingest_job = dg.define_asset_job(
    INGEST,
    selection=list(JOB_ASSETS[INGEST]),
    description="Read the landing folder: raw files in, every row accounted for.",
)
months_job = dg.define_asset_job(
    MONTHS_JOB,
    selection=list(JOB_ASSETS[MONTHS_JOB]),
    description="Recompute event months: raw months tidied, then features, series and diversity.",
)
climatology_job = dg.define_asset_job(
    CLIMATOLOGY,
    selection=list(JOB_ASSETS[CLIMATOLOGY]),
    description="Recompute what depends on all months: seasonal patterns, trends, upwelling frequency, serving copy.",
)


@dg.op(description="Merge the small files of every dataset into sorted ones; rows stay the same.", pool="lake")
def compact_lake(context: dg.OpExecutionContext, lake: Lakes) -> None:
    """Rewrites only partitions of at least eight files."""
    with lake.open() as opened:
        for name in DATASETS:
            done = opened.table(name).compact()
            if done.rows_added:
                context.log.info(f"{name}: {done.bytes_removed} bytes became {done.bytes_added} in {done.partitions}")
        opened.publish()


@dg.op(description="Delete files that neither the undo window nor what readers see needs.", pool="lake")
def vacuum_lake(context: dg.OpExecutionContext, lake: Lakes) -> None:
    """The window is that of the lake: undo and time travel reach back seven days."""
    with lake.open() as opened:
        for name in DATASETS:
            deleted = opened.vacuum(name)
            if deleted:
                context.log.info(f"{name}: {len(deleted)} files deleted")


@dg.job(name="compaction", description="Merge small files.")
def compaction_job() -> None:
    """One step over all datasets."""
    compact_lake()


@dg.job(name="vacuum", description="Free the space of files nothing needs any more.")
def vacuum_job() -> None:
    """One step over all datasets."""
    vacuum_lake()


JOBS = (ingest_job, months_job, climatology_job, compaction_job, vacuum_job)
