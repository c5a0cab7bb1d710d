"""Tables of the platform's own conduct: the audit chain, API keys and the invalidation log."""

from sqlalchemy import ARRAY, BigInteger, CheckConstraint, Column, Identity, Index, PrimaryKeyConstraint, Text
from sqlalchemy import text as fragment

from retention_pipelines.postgres.tables.base import choice, digest, document, in_order, instant, table, text

SCOPES = ("read", "run", "execute", "policy:write", "hold:write", "erase", "admin")
INVALIDATION_SCOPES = ("key", "function", "model", "source", "tag", "all")

AUDIT = table(
    "audit",
    "What was done, by whom: rows are only added, and each holds the hash of the one before. See audit.py.",
    Column("seq", BigInteger, nullable=False, comment="Place in the chain, without gaps; set by the database."),
    instant("at", "When, by the database's clock; set by the database."),
    text("actor", "Who: a person, key or process."),
    text("action", "What was done."),
    text("subject", "To what."),
    Column("plan_sha256", Text, comment="Plan it belongs to.", info={"check": "{0} ~ '^[0-9a-f]{{64}}$'"}),
    document("details", "Counts, versions, reasons; no personal data."),
    digest("previous_hash", "Hash of the row before; zeros for the first. Set by the database."),
    digest("hash", "SHA-256 over the row before and this one. Set by the database."),
    PrimaryKeyConstraint("seq"),
    # A chain has no forks: two rows cannot follow the same one.
    Index("uq_audit_previous_hash", "previous_hash", unique=True),
    Index(None, "subject", postgresql_using="hash"),
    Index(None, "at"),
)

API_KEYS = table(
    "api_keys",
    "Keys of the HTTP service; only their hashes are here.",
    text("key_id", "Public part of the key."),
    digest("key_sha256", "SHA-256 of the key."),
    text("tenant", "Tenant it speaks for."),
    text("label", "What it is for."),
    Column(
        "scopes",
        ARRAY(Text),
        nullable=False,
        comment="What it may do.",
        info={"check": "cardinality({0}) > 0 and {0} <@ array[" + ", ".join(f"'{scope}'" for scope in SCOPES) + "]"},
    ),
    instant("created_at", "When it was made.", server_default=fragment("now()")),
    instant("expires_at", "When it ends."),
    instant("revoked_at", "When it was taken back.", required=False),
    in_order("created_at", "expires_at"),
    PrimaryKeyConstraint("key_id"),
    Index("uq_api_keys_key_sha256", "key_sha256", unique=True),
)

INVALIDATION_LOG = table(
    "invalidation_log",
    "What caches must forget, in commit order: whoever missed a notification catches up from the last number seen.",
    Column("seq", BigInteger, Identity(always=True), primary_key=True, comment="Increases in commit order."),
    instant("at", "When, by the database's clock.", server_default=fragment("clock_timestamp()")),
    text("tenant", "Whose entries; null for everyone's.", required=False),
    choice("scope", "What `target` names.", INVALIDATION_SCOPES),
    text("target", "Key, function, model or tag; null for all.", required=False),
    text("version", "Version that took over, where there is one.", required=False),
    CheckConstraint("(scope = 'all') = (target is null)", name="target_fits_scope"),
    Index(None, "at"),
)
