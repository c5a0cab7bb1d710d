"""`retention queue …`: work that waits to be done behind, such as the features of new studies.

What belongs here: arguments and words. The work is in `retention_pipelines.integration`.
"""

import json
import logging
from dataclasses import asdict
from typing import Annotated, Literal

import typer

from retention_pipelines.errors import IntegrationError
from retention_pipelines.integration.work_queue import WorkQueue, process_new_study
from retention_pipelines.integration.worker import Worker, study_work
from retention_pipelines.settings import load_settings

AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


def add(
    studies: Annotated[list[str], typer.Argument(help="Studies, as <dataset_id>/<event_id>.")], as_json: AsJson = False
) -> None:
    """Ask for the features of studies and for the series they enter."""
    with WorkQueue(load_settings()) as queue:
        queued = [process_new_study(study, queue=queue) for study in studies]
    if as_json:
        typer.echo(json.dumps([asdict(one) for one in queued]))
        return
    for one in queued:
        typer.echo(f"{one.subject}: job {one.job_id}{'' if one.is_new else ', which was waiting already'}.")


def work(
    watch: Annotated[bool, typer.Option("--watch", help="Go on, and look for work every second.")] = False,
    as_json: AsJson = False,
) -> None:
    """Do the work that is due."""
    settings = load_settings()
    settings.require_full("Working off the queue")
    with WorkQueue(settings) as queue:
        worker = Worker(queue, study_work(settings))
        if watch:
            logging.basicConfig(level=settings.log_level, format="%(asctime)s %(levelname)s %(message)s")
            worker.watch()
        done = worker.work_off()
    if as_json:
        typer.echo(json.dumps(asdict(done)))
    else:
        typer.echo(f"{len(done.done)} done, {len(done.again)} to be tried again, {len(done.dead)} given up.")


def jobs(
    state: Annotated[
        Literal["waiting", "running", "done", "dead"] | None, typer.Option(help="Only jobs in this state.")
    ] = None,
    most: Annotated[int, typer.Option(min=1, help="How many, newest first.")] = 100,
    as_json: AsJson = False,
) -> None:
    """List jobs, newest first; of those that failed, why."""
    with WorkQueue(load_settings()) as queue:
        found = queue.jobs(state=state, most=most)
    if as_json:
        typer.echo(json.dumps([asdict(job) for job in found], default=str))
    elif not found:
        typer.echo("There are no such jobs.")
    else:
        for job in found:
            told = f"  {job.reason}" if job.reason else ""
            typer.echo(f"{job.job_id}  {job.state}  {job.attempts}/{job.most_attempts}  {job.subject}{told}")


def retry(
    job: Annotated[int | None, typer.Argument(help="A dead job; see `retention queue list --state dead`.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Every dead job.")] = False,
) -> None:
    """Let dead jobs wait again, with all their attempts."""
    if (job is None) != every:
        raise IntegrationError("It is not said which jobs are to be retried.", hint="Name one, or say --all.")
    with WorkQueue(load_settings()) as queue:
        n = queue.retry(job)
    if n == 0 and job is not None:
        raise IntegrationError(
            f"{job} is no dead job.", hint="`retention queue list --state dead` lists them; others need no retry."
        )
    typer.echo(f"{n} wait again.")
