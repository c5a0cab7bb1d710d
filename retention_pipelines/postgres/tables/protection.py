"""What policies may not touch: holds, pins, leases, and the roots that live models need; and erasure orders."""

from typing import Any

from sqlalchemy import BigInteger, CheckConstraint, Column, ForeignKeyConstraint, Identity, Index, PrimaryKeyConstraint
from sqlalchemy import text as fragment

from retention_pipelines.postgres.tables.base import choice, digest, document, in_order, instant, table, text, whole

MODEL_STATES = ("live", "retired")
ERASURE_SUBJECTS = ("study", "taxon", "contributor", "dataset")
ERASURE_STATES = ("ordered", "running", "done")


def _what(noun: str) -> tuple[Any, ...]:
    """Columns that say what is protected, by whom and since when."""
    return (
        Column(f"{noun}_id", BigInteger, Identity(always=True), primary_key=True, comment=f"Number of the {noun}."),
        text("dataset", "Dataset it protects."),
        text("match", "Filter of what it protects, in the filter grammar."),
        text("reason", "Why."),
        text("placed_by", "Who placed it."),
        instant("placed_at", "When.", server_default=fragment("now()")),
    )


def _open(noun: str, ended: str) -> Index:
    return Index(f"ix_{noun}s_open", "dataset", postgresql_where=fragment(f"{ended} is null"))


HOLDS = table(
    "holds",
    "Legal holds: nothing they match is removed until they are released, not even by an erasure order.",
    *_what("hold"),
    text("released_by", "Who released it.", required=False),
    instant("released_at", "When; null while it holds.", required=False),
    in_order("placed_at", "released_at"),
    CheckConstraint("(released_at is null) = (released_by is null)", name="release_is_signed"),
    _open("hold", "released_at"),
)

PINS = table(
    "pins",
    "Pins: somebody wants this kept, until taken away or a date.",
    *_what("pin"),
    instant("pinned_until", "When it ends by itself.", required=False),
    instant("released_at", "When it was taken away.", required=False),
    in_order("placed_at", "pinned_until"),
    in_order("placed_at", "released_at"),
    _open("pin", "released_at"),
)

LEASES = table(
    "leases",
    "Leases: in use right now; they end by themselves if the user dies.",
    *_what("lease"),
    instant("leased_until", "When it ends unless renewed."),
    in_order("placed_at", "leased_until"),
    Index(None, "dataset", "leased_until"),
)

MODELS = table(
    "models",
    "Model registry: which models are live, and how long after retirement they must stay reproducible.",
    text("model_id", "The model."),
    text("model_version", "Its version."),
    digest("artifact_sha256", "Digest of its artifact.", required=False),
    choice("state", "live or retired.", MODEL_STATES, server_default="live"),
    document("details", "What its owners say about it."),
    instant("registered_at", "When it was registered.", server_default=fragment("now()")),
    instant("retired_at", "When it retired; null while live.", required=False),
    whole("reproducibility_seconds", "How long after that its inputs are kept."),
    instant(
        "activated_at",
        "When it became the current version, again after going back to it.",
        server_default=fragment("clock_timestamp()"),
    ),
    in_order("registered_at", "retired_at"),
    CheckConstraint("(state = 'retired') = (retired_at is not null)", name="retired_has_date"),
    PrimaryKeyConstraint("model_id", "model_version"),
)

ROOTS = table(
    "roots",
    "What a live model or its training set needs; protected until the model's window is over.",
    text("model_id", "The model."),
    text("model_version", "Its version."),
    text("dataset", "Dataset it uses."),
    text("match", "Filter of what it uses."),
    whole("lake_version", "Version of the lake table it was trained on.", required=False),
    instant("registered_at", "When.", server_default=fragment("now()")),
    PrimaryKeyConstraint("model_id", "model_version", "dataset", "match"),
    ForeignKeyConstraint(
        ["model_id", "model_version"], ["models.model_id", "models.model_version"], ondelete="CASCADE"
    ),
)

ERASURE_ORDERS = table(
    "erasure_orders",
    "Orders to erase a study, taxon, contributor or dataset from every tier, and the certificate.",
    Column("order_id", BigInteger, Identity(always=True), primary_key=True, comment="Number of the order."),
    choice("subject_kind", "What kind of thing.", ERASURE_SUBJECTS),
    digest("subject_digest", "Keyed digest of it: the list that keeps it from coming back must not hold it."),
    text("reason", "Why."),
    text("ordered_by", "Who ordered it."),
    instant("ordered_at", "When.", server_default=fragment("now()")),
    choice("state", "How far it is.", ERASURE_STATES, server_default="ordered"),
    instant("finished_at", "When it was done.", required=False),
    document("certificate", "Counts by tier."),
    in_order("ordered_at", "finished_at"),
    CheckConstraint("(state = 'done') = (finished_at is not null)", name="done_has_date"),
)
