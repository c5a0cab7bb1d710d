"""An entry: one cached answer, as the tiers below memory hold it.

What belongs here: the value objects that pass between decorators, memory, Postgres, the lake and the writer. What does
not: how a value becomes bytes (`codec/`), how a call becomes a key (`keys.py`), who decides when to store.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

Kind = Literal["features", "predictions", "training"]

# The Postgres tier takes no larger one: every read of it must end well within the deadline of a call, or it would look
# like a database that does not answer.
LARGEST_PAYLOAD_BYTES = 8 * 2**20


# Payloads and entries are made at each hit or miss, and a frozen dataclass takes three times as long to make. Nobody
# changes one.
@dataclass(kw_only=True, slots=True)
class Payload:
    """A value as bytes; `codec` names the encoding with its version."""

    codec: str
    data: bytes


@dataclass(kw_only=True, slots=True)
class NewEntry:
    """An entry on its way to a store.

    Ages are measured by the monotonic clock of this process; the database turns them into instants by its own clock
    (`computed_at` = its now - age, `expires_at` = `computed_at` + ttl), so that no host's clock matters.

    Attributes:
        key: hex digest of the call, with tenant, function and versions in it.
        computed_monotonic: `time.monotonic()` when the value was computed.
        ttl_seconds: life from then on; None: never by time.
        compute_seconds: how long the function took.
        function: qualified name of the function, for invalidation and reports.
        tags: what the entry may be invalidated by.
        columns: further columns of the kind's table (`model_id`, `feature_type`, `quality_score`, ...).
        as_of_seq: number of the invalidation log that was known when the computation began; the entry is not stored if
            a later line names it. None: not checked.
    """

    kind: Kind
    key: str
    payload: Payload
    computed_monotonic: float
    ttl_seconds: float | None
    compute_seconds: float
    function: str
    tags: tuple[str, ...] = ()
    columns: Mapping[str, Any] = field(default_factory=dict)
    as_of_seq: int | None = None


@dataclass(kw_only=True, slots=True)
class StoredEntry:
    """An entry that a store answered with, authenticated; ages are by the store's clock at the time of the answer.

    Attributes:
        age_seconds: since it was computed.
        remaining_seconds: until it expires, negative when it has (only for those who asked for stale); None: never.
        columns: the further columns, where they were asked for.
        is_buried: a retention run took it out, and its grace lasts.
    """

    key: str
    payload: Payload
    age_seconds: float
    remaining_seconds: float | None
    compute_seconds: float
    columns: Mapping[str, Any] = field(default_factory=dict)
    is_buried: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Invalidation:
    """A line of the invalidation log; `scope` says what `target` names."""

    seq: int
    at: datetime
    tenant: str | None
    scope: Literal["key", "function", "model", "source", "tag", "all"]
    target: str | None
    version: str | None
