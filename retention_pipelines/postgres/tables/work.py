"""The work queue: what was asked for is done behind, survives crashes, and ends as done or as dead with a reason."""

from sqlalchemy import BigInteger, Column, Identity, Index, Sequence
from sqlalchemy import text as fragment

from retention_pipelines.postgres.tables.base import METADATA, choice, document, instant, table, text, whole

STATES = ("waiting", "running", "done", "dead")
# Numbers of workers: each holds an advisory lock on its own while it lives.
WORKER_IDS = Sequence("worker_id_seq", metadata=METADATA)

WORK_QUEUE = table(
    "work_queue",
    "Work to do behind, such as the features of a new study; a job ends as done, or as dead with the reason.",
    Column("job_id", BigInteger, Identity(always=True), primary_key=True, comment="The job."),
    text("tenant", "Who asked."),
    text("kind", "What is to be done."),
    text("subject", "To what: a study, by its own name of any length."),
    document("arguments", "How."),
    choice("state", "Where it is.", STATES, server_default="waiting"),
    whole("attempts", "How often it was begun.", server_default="0"),
    whole("most_attempts", "After how many it is dead.", low=1, server_default="5"),
    instant("queued_at", "When it was asked for.", server_default=fragment("now()")),
    instant("run_at", "Not before.", server_default=fragment("now()")),
    instant("started_at", "Begin of the last attempt.", required=False),
    instant("finished_at", "When it was done or given up.", required=False),
    Column("worker_id", BigInteger, comment="Worker that runs it; whose advisory lock is free is dead."),
    text("reason", "Why the last attempt failed.", required=False),
    Index("ix_work_queue_due", "tenant", "run_at", "job_id", postgresql_where=fragment("state = 'waiting'")),
    Index("ix_work_queue_running", "worker_id", postgresql_where=fragment("state = 'running'")),
    Index(None, "subject", postgresql_using="hash"),
)
