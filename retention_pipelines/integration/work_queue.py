"""The work queue: asking for work, and looking at what became of it.

What belongs here: jobs in Postgres, and `process_new_study`. What does not: doing the work (`worker.py`,
`study_work.py`). Why it is not the library procrastinate: docs/adr/0006-work-queue.md.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from importlib.resources import files
from typing import Any, Literal, Self

import psycopg
from psycopg.types.json import Jsonb

from retention_pipelines.cache import runtime as runtimes
from retention_pipelines.errors import IntegrationError
from retention_pipelines.postgres.engine import OF_AN_OLD_STATE, connect, outdated
from retention_pipelines.postgres.server import Server, open_server
from retention_pipelines.settings import Settings

State = Literal["waiting", "running", "done", "dead"]
PROCESS_STUDY = "process_study"
MOST_ATTEMPTS = 5
# Done jobs are kept for looking at, not for ever.
FORGET_DAYS = 30


@dataclass(frozen=True, kw_only=True)
class Queued:
    """A request was taken; `is_new` is False where the same was waiting already."""

    job_id: int
    subject: str
    is_new: bool


@dataclass(frozen=True, kw_only=True)
class Job:
    """A job as it stands; `reason` says why the last attempt failed."""

    job_id: int
    kind: str
    subject: str
    state: State
    attempts: int
    most_attempts: int
    queued_at: datetime
    run_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    reason: str | None


@dataclass(frozen=True, kw_only=True)
class Claimed:
    """A job in the hands of a worker."""

    job_id: int
    subject: str
    attempts: int
    most_attempts: int
    arguments: Mapping[str, Any] = field(default_factory=dict)


class WorkQueue:
    """The queue of the settings' tenant; connects when first used. Not for several threads at once."""

    def __init__(self, settings: Settings, *, server: Server | None = None) -> None:
        self.tenant = settings.tenant
        self._settings = settings
        self._server = server
        self._owns_server = server is None
        self._con: psycopg.Connection[Any] | None = None

    def connection(self) -> psycopg.Connection[Any]:
        """The connection, opened again where it was lost."""
        if self._con is None or self._con.closed:
            if self._server is None:
                self._server = open_server(self._settings)
            self._con = connect(self._server, role="service", tenant=self.tenant, autocommit=True)
        return self._con

    def put(
        self, kind: str, subject: str, *, arguments: Mapping[str, Any] | None = None, most_attempts: int = MOST_ATTEMPTS
    ) -> Queued:
        """Ask for work; when this returns it is committed and survives any crash."""
        self._settings.require_full("Queueing work")
        asked = {
            "tenant": self.tenant,
            "kind": kind,
            "subject": subject,
            "arguments": Jsonb(dict(arguments or {})),
            "most_attempts": most_attempts,
        }
        con = self.connection()
        try:
            with con.transaction():
                row = con.execute(sql("put"), asked).fetchone()
                found = row or con.execute(sql("waiting"), asked).fetchone()
        except OF_AN_OLD_STATE as error:
            raise outdated(error) from error
        if found is None:
            raise IntegrationError(f"{subject!r} could not be queued.", hint="Try again.")
        return Queued(job_id=found[0], subject=subject, is_new=row is not None)

    def due(self) -> int:
        """How many jobs a worker would take now."""
        row = self.connection().execute(sql("due"), {"tenant": self.tenant}).fetchone()
        return int(row[0]) if row else 0

    def jobs(self, *, state: State | None = None, most: int = 100) -> tuple[Job, ...]:
        """Jobs, newest first; those in one state, where one is named."""
        asked = {"tenant": self.tenant, "state": state, "most": most}
        cursor = self.connection().execute(sql("list"), asked)
        names = [column.name for column in cursor.description or ()]
        return tuple(Job(**dict(zip(names, row, strict=True))) for row in cursor.fetchall())

    def retry(self, job_id: int | None = None) -> int:
        """Let a dead job, or all of them, wait again with all attempts; returns how many there were."""
        self._settings.require_full("Retrying work")
        return self.connection().execute(sql("retry"), {"tenant": self.tenant, "job_id": job_id}).rowcount

    def forget(self, *, days: int = FORGET_DAYS) -> int:
        """Remove jobs that were done so many days ago; dead ones stay until somebody has looked at them."""
        return self.connection().execute(sql("forget"), {"tenant": self.tenant, "days": days}).rowcount

    def close(self) -> None:
        """Close the connection and leave the server."""
        if self._con is not None:
            self._con.close()
            self._con = None
        if self._owns_server and self._server is not None:
            self._server.close()
            self._server = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def sql(name: str) -> bytes:
    """A statement of `sql/`."""
    return files("retention_pipelines.integration").joinpath("sql", f"{name}.sql").read_bytes()


def _part(study: Any, name: str) -> Any:
    return study.get(name) if isinstance(study, Mapping) else getattr(study, name, None)


def study_name(study: Any) -> str:
    """The name `<dataset_id>/<event_id>` of a study, from itself, a mapping or an object that has its parts."""
    if isinstance(study, str):
        name = study
    else:
        part = partial(_part, study)
        parts = [part("dataset_id"), part("event_id")]
        name = part("source_data_id") or ("/".join(parts) if all(isinstance(one, str) for one in parts) else "")
    dataset, slash, event = name.partition("/") if isinstance(name, str) else ("", "", "")
    if not (dataset and slash and event) or "\0" in name or name != name.encode(errors="ignore").decode():
        raise IntegrationError(
            f"{study!r} does not name a study.",
            hint="Give '<dataset_id>/<event_id>', or something with source_data_id, or with dataset_id and event_id.",
        )
    return str(name)


def process_new_study(study: Any, *, queue: WorkQueue | None = None) -> Queued:
    """Ask for the features of a study and the series it enters; `retention queue work` or Dagster does it.

    The study's records must be in the lake by then; if they never come, the job is dead after its last attempt, with
    that reason. Asking twice while it waits asks once.

    Args:
        study: `<dataset_id>/<event_id>`, or a mapping or object with `source_data_id`, or `dataset_id` and `event_id`.
        queue: where to put it; by default that of the settings this process uses, opened for this call.
    """
    name = study_name(study)
    if queue is not None:
        return queue.put(PROCESS_STUDY, name)
    with WorkQueue(runtimes.settings_in_use()) as opened:
        return opened.put(PROCESS_STUDY, name)
