"""Run the pipeline in this process, without a daemon: what `retention materialize` starts.

`python -m retention_pipelines.defs.run [--select names] [--months 2017-08,2017-09]` runs the same jobs as the daemon
would, against the same instance, so that the UI shows them, and prints its progress as JSON lines. What does not
belong here: anything a job does.
"""

import argparse
import sys
import warnings
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

import dagster as dg

from retention_pipelines.catalog import DATASETS, dataset
from retention_pipelines.defs.home import instance_folder
from retention_pipelines.defs.jobs import CLIMATOLOGY, INGEST, JOB_ASSETS, MONTHS_JOB
from retention_pipelines.defs.partitions import FREE_GAP, KeyRange, key_ranges
from retention_pipelines.defs.progress import Line, write_line
from retention_pipelines.defs.resources import LakeResource, months_present, partition_keys
from retention_pipelines.defs.sensors import LAUNCHED_BY
from retention_pipelines.errors import RetentionError
from retention_pipelines.period import Period
from retention_pipelines.settings import Settings, load_settings


@dataclass(frozen=True, kw_only=True)
class Request:
    """What to materialize: datasets (all when empty) and event months (None: all there are data of)."""

    select: tuple[str, ...] = ()
    months: tuple[str, ...] | None = None

    def assets_of(self, job: str) -> tuple[str, ...]:
        """Datasets of a job that are asked for. Months alone leave the landing folder as it is."""
        if self.select:
            chosen = tuple(name for name in JOB_ASSETS[job] if name in self.select)
            # One ingest writes the ledger and the quarantine: either asks for both.
            return JOB_ASSETS[job] if chosen and job == INGEST else chosen
        return () if job == INGEST and self.months is not None else JOB_ASSETS[job]


@dataclass(frozen=True, kw_only=True)
class Step:
    """One run: a job, the assets of it that are asked for, and the partitions, if it has any."""

    job: str
    assets: tuple[str, ...]
    keys: KeyRange | None = None


def parse_request(select: Iterable[str], months: Iterable[str] | None) -> Request:
    """A checked request; raises RetentionError with what is possible."""
    copies = {name for names in JOB_ASSETS.values() for name in names} - DATASETS.keys()
    names = tuple(name if name in copies else dataset(name).name for name in select)
    try:
        keys = None if months is None else tuple(Period.of_month(month).month_key for month in months)
    except ValueError as error:
        raise RetentionError(f"{error}.") from None
    return Request(select=names, months=keys)


def steps_after_ingest(request: Request, present: Collection[str], keys: Sequence[str]) -> tuple[Step, ...]:
    """Runs that follow the ingest, in flow order."""
    steps: list[Step] = []
    if assets := request.assets_of(MONTHS_JOB):
        months = present if request.months is None else request.months
        steps += [
            Step(job=MONTHS_JOB, assets=assets, keys=span) for span in key_ranges(months, keys, free_gap=FREE_GAP)
        ]
    if assets := request.assets_of(CLIMATOLOGY):
        steps.append(Step(job=CLIMATOLOGY, assets=assets))
    return tuple(steps)


def run_step(definitions: dg.Definitions, instance: dg.DagsterInstance, step: Step) -> bool:
    """Run one step here; its progress goes to stdout."""
    line: Line = {"event": "run", "job": step.job, "assets": step.assets}
    if step.keys:
        line |= {"first": step.keys.start, "last": step.keys.end}
    write_line(line)
    result = definitions.resolve_job_def(step.job).execute_in_process(
        instance=instance,
        asset_selection=[dg.AssetKey(name) for name in step.assets],
        tags={LAUNCHED_BY: "command line"} | (step.keys.tags if step.keys else {}),
        run_config={"loggers": {"progress": {}}},
        raise_on_error=False,
    )
    return result.success


def run(request: Request, settings: Settings, definitions: dg.Definitions, instance: dg.DagsterInstance) -> bool:
    """Ingest what lies in the landing folder, then the months, then what depends on all years; stops at a failure."""
    if (assets := request.assets_of(INGEST)) and not run_step(definitions, instance, Step(job=INGEST, assets=assets)):
        return False
    with LakeResource(settings).open() as lake:
        present = months_present(lake)
    steps = steps_after_ingest(request, present, partition_keys())
    return all(run_step(definitions, instance, step) for step in steps)


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 0 when every run succeeded; the last line says so."""
    parser = argparse.ArgumentParser(prog="retention_pipelines.defs.run", description=__doc__)
    parser.add_argument("--select", default="", help="datasets, separated by commas; all when empty")
    parser.add_argument("--months", default=None, help="event months YYYY-MM, separated by commas; all when absent")
    given = parser.parse_args(arguments)
    warnings.simplefilter("ignore", dg.BetaWarning)
    from retention_pipelines.defs.build import build

    try:
        settings = load_settings()
        months = None if given.months is None else [month for month in given.months.split(",") if month]
        request = parse_request([name for name in given.select.split(",") if name], months)
        with dg.DagsterInstance.from_config(str(instance_folder())) as instance:
            success = run(request, settings, build(settings), instance)
    except RetentionError as error:
        write_line({"event": "end", "success": False, "error": error.message, "hint": error.hint})
        return 2
    write_line({"event": "end", "success": success})
    return 0 if success else 1


if __name__ == "__main__":
    sys.exit(main())
