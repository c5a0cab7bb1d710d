"""A worker: takes jobs, does them, says what became of them.

What belongs here: taking, isolating, retrying, giving up. What does not: the work itself (`study_work.py`). A worker
holds an advisory lock for as long as its session lives, so the jobs of one that was killed are free at once, and it can
only finish jobs while it holds it. Every kind of work gives the same result when it is done again.
"""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import psycopg

from retention_pipelines.errors import IntegrationError, RetentionError
from retention_pipelines.integration.hooks import HOOKS, Happening, Hooks
from retention_pipelines.integration.study_work import process_studies
from retention_pipelines.integration.work_queue import PROCESS_STUDY, Claimed, WorkQueue, sql
from retention_pipelines.settings import Settings
from retention_pipelines.warehouse import Lake

LOG = logging.getLogger(__name__)
# Studies of one month cost little more together than one alone.
JOBS_AT_ONCE = 200
FIRST_RETRY_SECONDS = 10.0
LONGEST_RETRY_SECONDS = 3600.0
LONGEST_REASON = 2000
NO_RECORDS = "The lake holds no records of the study. Ingest them, then run `retention queue retry`."

# Does the work of the jobs; returns the reason for each that could not be done, by job. May raise for all of them.
Work = Callable[[Sequence[Claimed]], dict[int, str]]


@dataclass(kw_only=True)
class WorkDone:
    """What a worker did: jobs done, jobs that will be tried again, jobs given up."""

    done: list[int] = field(default_factory=list)
    again: list[int] = field(default_factory=list)
    dead: list[int] = field(default_factory=list)


def seconds_to_retry(attempts: int, most_attempts: int, *, first_seconds: float = FIRST_RETRY_SECONDS) -> float | None:
    """How long a job that failed waits for its next attempt: four times as long each time. None: it is dead."""
    if attempts >= most_attempts:
        return None
    return float(min(first_seconds * 4 ** (attempts - 1), LONGEST_RETRY_SECONDS))


def reason_of(error: BaseException) -> str:
    """What to write down about a failure: its kind and its sentence, without the trace."""
    told = str(error) if isinstance(error, RetentionError) else f"{type(error).__name__}: {error}"
    return told.replace("\0", "")[:LONGEST_REASON].strip() or type(error).__name__


class Worker:
    """Works off a queue, on a session of its own."""

    def __init__(
        self,
        queue: WorkQueue,
        work: Work,
        *,
        kind: str = PROCESS_STUDY,
        first_retry_seconds: float = FIRST_RETRY_SECONDS,
    ) -> None:
        self._queue = queue
        self._work = work
        self._kind = kind
        self._first_retry_seconds = first_retry_seconds
        self._worker_id: int | None = None
        self._session: psycopg.Connection[Any] | None = None

    def work_off(self, *, most: int = 100_000) -> WorkDone:
        """Do what is due, up to `most` jobs, then return."""
        outcome = WorkDone()
        self._begin()
        for jobs in self._claims(most):
            self._do(jobs, outcome)
        self._queue.forget()
        return outcome

    def watch(self, *, seconds: float = 1.0, stop: Callable[[], bool] = lambda: False) -> None:
        """Work off the queue whenever something is due, until `stop` says so. A lost database is waited for."""
        while not stop():
            try:
                done = self.work_off()
                if done.done or done.again or done.dead:
                    LOG.info("Jobs: %d done, %d again, %d dead", len(done.done), len(done.again), len(done.dead))
            except (psycopg.OperationalError, RetentionError) as error:
                LOG.warning("The queue cannot be worked off now: %s", reason_of(error))
            time.sleep(seconds)

    def _begin(self) -> None:
        """Have a number and its lock on the present session, then free the jobs of workers that died."""
        con = self._queue.connection()
        if con is not self._session:
            row = con.execute(sql("become_worker")).fetchone()
            self._worker_id, self._session = (row[0] if row else None), con
        freed = con.execute(sql("reclaim"), {"tenant": self._queue.tenant}).rowcount
        if freed:
            LOG.warning("%d jobs of a worker that died are taken up again", freed)

    def _held(self) -> psycopg.Connection[Any]:
        """The session that holds the lock: with a new one the jobs may be in other hands already."""
        if self._session is None:
            raise IntegrationError("The worker has no session.", hint="Let it begin first.")
        return self._session

    def _claims(self, most: int) -> Iterator[list[Claimed]]:
        left = most
        while left > 0:
            jobs = self._claim(again=False, most=min(left, JOBS_AT_ONCE)) or self._claim(again=True, most=1)
            if not jobs:
                return
            left -= len(jobs)
            yield jobs

    def _claim(self, *, again: bool, most: int) -> list[Claimed]:
        asked = {
            "tenant": self._queue.tenant, "kind": self._kind, "again": again, "most": most,
            "worker_id": self._worker_id,
        }  # fmt: skip
        rows = self._held().execute(sql("claim"), asked).fetchall()
        return [
            Claimed(job_id=job_id, subject=subject, arguments=arguments, attempts=attempts, most_attempts=most_attempts)
            for job_id, subject, arguments, attempts, most_attempts in sorted(rows)
        ]

    def _do(self, jobs: Sequence[Claimed], outcome: WorkDone) -> None:
        """Do jobs together; where that fails, halves, so that what is wrong with one keeps no other from being done."""
        try:
            failed = self._work(jobs)
        except Exception as error:
            if len(jobs) > 1:
                middle = len(jobs) // 2
                self._do(jobs[:middle], outcome)
                self._do(jobs[middle:], outcome)
                return
            LOG.warning("The job %d failed", jobs[0].job_id, exc_info=error)
            failed = {jobs[0].job_id: reason_of(error)}
        fine = [job.job_id for job in jobs if job.job_id not in failed]
        self._held().execute(sql("finish"), {"job_ids": fine, "worker_id": self._worker_id})
        outcome.done += fine
        for job in jobs:
            if job.job_id in failed:
                self._fail(job, failed[job.job_id], outcome)

    def _fail(self, job: Claimed, reason: str, outcome: WorkDone) -> None:
        seconds = seconds_to_retry(job.attempts, job.most_attempts, first_seconds=self._first_retry_seconds)
        values = {"job_id": job.job_id, "worker_id": self._worker_id, "seconds": seconds, "reason": reason}
        self._held().execute(sql("fail"), values)
        (outcome.dead if seconds is None else outcome.again).append(job.job_id)


def study_work(settings: Settings, *, hooks: Hooks = HOOKS) -> Work:
    """The work of `process_new_study`: hooks before, features and series, hooks after."""

    def work(jobs: Sequence[Claimed]) -> dict[int, str]:
        begun = time.monotonic()
        for job in jobs:
            hooks.run(Happening(moment="before_study", subject=job.subject, source="work_queue"))
        try:
            with Lake(settings) as lake:
                done = process_studies(lake, [job.subject for job in jobs], now=datetime.now(UTC))
        except BaseException as error:
            _after(hooks, jobs, begun, error=error)
            raise
        missing = set(done.without_records)
        _after(hooks, [job for job in jobs if job.subject not in missing], begun, result=done)
        return {job.job_id: NO_RECORDS for job in jobs if job.subject in missing}

    return work


def _after(
    hooks: Hooks, jobs: Sequence[Claimed], begun: float, *, result: object = None, error: BaseException | None = None
) -> None:
    seconds = time.monotonic() - begun
    for job in jobs:
        hooks.run(
            Happening(
                moment="after_study", subject=job.subject, source="work_queue", result=result, error=error,
                elapsed_seconds=seconds,
            )
        )  # fmt: skip
