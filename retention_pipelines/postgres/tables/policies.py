"""What may go and what went: policies, sealed plans, tombstones and regrets."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKeyConstraint,
    Identity,
    Index,
    Integer,
    PrimaryKeyConstraint,
)
from sqlalchemy import text as fragment

from retention_pipelines.postgres.tables.base import (
    choice,
    digest,
    document,
    in_order,
    instant,
    number,
    table,
    text,
    whole,
)

ANCHORS = ("computed_at", "last_used", "expires_at")
ACTIONS = ("delete", "archive", "compress", "downsample", "migrate")
PLAN_STATES = ("planned", "refused", "marked", "archived", "published", "swept", "done", "restored")
TARGETS = ("row", "partition", "file")
VERDICTS = ("keep", "expire")
OUTCOMES = ("removed", "kept", "missing", "restored")


def _plan_sha256(*, required: bool = True) -> Column[str]:
    return Column(
        "plan_sha256",
        text("plan_sha256", "").type,
        nullable=not required,
        comment="The plan, by the hash of its content.",
        info={"check": "{0} ~ '^[0-9a-f]{{64}}$'"},
    )


ML_RETENTION_POLICIES = table(
    "ml_retention_policies",
    "Retention policies with every version of each; a policy says what is kept and for how long.",
    text("policy_id", "Name of the policy."),
    Column("version", Integer, nullable=False, comment="1, 2, ...", info={"check": "{0} >= 1"}),
    text("dataset", "What it governs."),
    text("match", "Filter of the rows it governs, in the filter grammar."),
    whole("keep_seconds", "How long they are kept from the anchor."),
    choice("anchor", "Instant the time is counted from.", ANCHORS, server_default="computed_at"),
    choice("action", "What happens to expired rows.", ACTIONS, server_default="delete"),
    Column("priority", Integer, nullable=False, comment="The highest that matches governs a row."),
    Column("enabled", Boolean, nullable=False, server_default=fragment("true"), comment="Whether it takes part."),
    whole("grace_seconds", "How long an expired row can be brought back.", server_default="0"),
    text("reason", "Why this number."),
    text("created_by", "Who wrote this version."),
    instant("created_at", "When.", server_default=fragment("now()")),
    instant("superseded_at", "When the next version took over; null for the current one.", required=False),
    document("tolerance", "By how much compressing may change values, by column, in its unit; empty: not at all."),
    in_order("created_at", "superseded_at"),
    PrimaryKeyConstraint("policy_id", "version"),
    Index(
        "uq_ml_retention_policies_current", "policy_id", unique=True, postgresql_where=fragment("superseded_at is null")
    ),
    Index(
        "uq_ml_retention_policies_priority",
        "dataset",
        "priority",
        unique=True,
        postgresql_where=fragment("superseded_at is null"),
    ),
)

PLANS = table(
    "plans",
    "Sealed plans: what a run may remove, how far it came, and what it freed.",
    _plan_sha256(),
    text("dataset", "What it is about."),
    choice("action", "What happens to expired rows.", ACTIONS),
    instant("as_of", "Instant every decision refers to."),
    document("policy_versions", "Versions of the policies it was made with."),
    document("counts", "Rows, partitions and bytes by policy and verdict."),
    choice("state", "How far it came.", PLAN_STATES, server_default="planned"),
    text("refused_because", "Guard that refused it.", required=False),
    text("created_by", "Who asked for it."),
    instant("created_at", "When.", server_default=fragment("now()")),
    text("confirmed_by", "Who confirmed it by its hash.", required=False),
    instant("confirmed_at", "When.", required=False),
    instant("grace_until", "Until when it can be taken back.", required=False),
    instant("started_at", "Start of its execution.", required=False),
    instant("finished_at", "End of its execution.", required=False),
    whole("freed_logical_bytes", "Bytes of the removed rows.", required=False),
    whole("freed_file_bytes", "Bytes of removed files or relations.", required=False),
    Column("freed_disk_bytes", BigInteger, comment="Bytes the file system gained; other writers count too."),
    in_order("created_at", "confirmed_at"),
    in_order("started_at", "finished_at"),
    PrimaryKeyConstraint("plan_sha256"),
    Index(None, "dataset", "as_of"),
    Index("ix_plans_open", "state", postgresql_where=fragment("state not in ('refused', 'done', 'restored')")),
)

PLAN_ROWS = table(
    "plan_rows",
    "Rows, partitions or files of a plan, with the verdict on each and its reason.",
    _plan_sha256(),
    whole("position", "Place in the sorted plan."),
    choice("target_kind", "Row, partition or file.", TARGETS),
    text("target", "Its id."),
    choice("verdict", "What the policy says.", VERDICTS),
    text("reason", "Why, for people."),
    text("policy_id", "Governing policy; null where none governs.", required=False),
    Column("policy_version", Integer, comment="Its version."),
    instant("anchored_at", "Anchor the age was counted from.", required=False),
    instant("expires_at", "When it expires by that policy.", required=False),
    whole("size_bytes", "Its bytes.", required=False),
    choice("outcome", "What execution did; null before.", OUTCOMES, required=False),
    in_order("anchored_at", "expires_at"),
    PrimaryKeyConstraint("plan_sha256", "position"),
    ForeignKeyConstraint(["plan_sha256"], ["plans.plan_sha256"], ondelete="CASCADE"),
    ForeignKeyConstraint(
        ["policy_id", "policy_version"], ["ml_retention_policies.policy_id", "ml_retention_policies.version"]
    ),
    CheckConstraint("(policy_id is null) = (policy_version is null)", name="policy_has_version"),
)

TOMBSTONES = table(
    "tombstones",
    "What remains of a removed entry: a keyed digest, so that a later request for it is recognised as a regret.",
    text("tenant", "Whose entry it was."),
    text("dataset", "Where it was."),
    digest("key_digest", "Keyed digest of its key; the key itself is gone."),
    instant("removed_at", "When it was removed."),
    text("policy_id", "Policy that let it go.", required=False),
    Column("policy_version", Integer, comment="Its version."),
    _plan_sha256(required=False),
    number("age_seconds", "Its age when it went.", low=0),
    number("compute_seconds", "What computing it had cost, measured.", low=0),
    whole("size_bytes", "Its bytes.", required=False),
    whole("position", "Its place in the plan, by which the graveyard has it while its grace lasts.", required=False),
    PrimaryKeyConstraint("tenant", "dataset", "key_digest", "removed_at"),
    Index(None, "removed_at"),
)

REGRETS = table(
    "regrets",
    "Requests for entries that had been removed.",
    Column("seq", BigInteger, Identity(always=True), primary_key=True, comment="Order of arrival."),
    text("tenant", "Whose request."),
    text("dataset", "Where the entry was."),
    digest("key_digest", "Keyed digest of its key."),
    instant("removed_at", "When it had been removed."),
    instant("requested_at", "When it was asked for again."),
    text("policy_id", "Policy that had let it go.", required=False),
    number("recompute_seconds", "What computing it again cost, measured.", low=0),
    in_order("removed_at", "requested_at"),
    Index(None, "policy_id", "requested_at"),
)

DATASET_BUDGETS = table(
    "dataset_budgets",
    "How many bytes a dataset may take before pressure brings expiry forward; none: no limit.",
    text("dataset", "What it limits."),
    whole("budget_bytes", "The limit.", low=1),
    text("set_by", "Who set it."),
    instant("set_at", "When.", server_default=fragment("now()")),
    PrimaryKeyConstraint("dataset"),
)
