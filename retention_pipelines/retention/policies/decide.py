"""The decision on one row: keep or expire, by which policy, and why.

Pure: the row, the rules and `as_of` go in, a decision comes out. `compiled.py` says the same in one SELECT for whole
tables, and the tests hold the two against each other. Authority, high to low: hold, erasure order, pin, root, lease,
policy.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from retention_pipelines.retention.filter.ast import Filter
from retention_pipelines.retention.filter.oracle import Value, matches
from retention_pipelines.retention.policies.policy import Policy, PolicySet

Verdict = Literal["keep", "expire"]
Anomaly = Literal["no_anchor", "in_future"]
ProtectionKind = Literal["hold", "erasure", "pin", "root", "lease"]
AUTHORITY: tuple[ProtectionKind, ...] = ("hold", "erasure", "pin", "root", "lease")


@dataclass(frozen=True, kw_only=True, slots=True)
class Protection:
    """What stands above the policies: `kind` says how high, `label` names it for people."""

    kind: ProtectionKind
    label: str
    match: Filter


@dataclass(frozen=True, kw_only=True, slots=True)
class Decision:
    """What happens to a row and why.

    Attributes:
        policy: the governing policy; None where none matches.
        anchored_at: the instant its age is counted from; None where it has none.
        expires_at: the last instant at which it is still kept, by its policy.
        ruled_by: the protection or erasure order that decided; None where the policy did.
        anomaly: why an odd row is kept.
    """

    verdict: Verdict
    policy: Policy | None
    anchored_at: datetime | None
    expires_at: datetime | None
    ruled_by: Protection | None
    anomaly: Anomaly | None

    @property
    def is_over(self) -> bool:
        """Whether it expired by its own end, not by a time to be kept for."""
        return self.verdict == "expire" and self.policy is not None and self.policy.anchor == "expires_at"


def in_order(protections: Sequence[Protection]) -> tuple[Protection, ...]:
    """Highest authority first; the order within a kind stays."""
    return tuple(sorted(protections, key=lambda protection: AUTHORITY.index(protection.kind)))


def rules(protection: Protection, matched: bool | None) -> bool:
    """Whether a protection decides a row: keeping it in doubt, erasing it only when sure."""
    return matched is True if protection.kind == "erasure" else matched is not False


def governing(row: Mapping[str, Value], policies: PolicySet) -> Policy | None:
    """The policy of highest priority whose match is TRUE; unknown is not TRUE."""
    return next((policy for policy in policies.policies if matches(policy.match, row) is True), None)


def anchor(row: Mapping[str, Value], policy: Policy) -> datetime | None:
    """The instant a row's age is counted from under a policy."""
    if policy.anchor == "last_used":
        used = [value for name in ("computed_at", "last_accessed_at") if isinstance(value := row.get(name), datetime)]
        return max(used, default=None)
    value = row.get(policy.anchor)
    return value if isinstance(value, datetime) else None


def decide(
    row: Mapping[str, Value], policies: PolicySet, protections: Sequence[Protection], as_of: datetime
) -> Decision:
    """The decision on a row at an instant. Unknown values and infinite instants are None in `row`."""
    policy = governing(row, policies)
    anchored_at = anchor(row, policy) if policy else None
    keep = timedelta(seconds=policy.keep_seconds) if policy else timedelta()
    anomaly: Anomaly | None = None
    expired = False
    if policy is not None:
        if anchored_at is None:
            anomaly = "no_anchor"
        elif policy.anchor != "expires_at" and anchored_at > as_of:
            anomaly = "in_future"
        else:
            expired = as_of - anchored_at > keep
    ruled_by = next(
        (protection for protection in in_order(protections) if rules(protection, matches(protection.match, row))), None
    )
    if ruled_by is not None:
        expired = ruled_by.kind == "erasure"
    return Decision(
        verdict="expire" if expired else "keep",
        policy=policy,
        anchored_at=anchored_at,
        expires_at=_later(anchored_at, keep),
        ruled_by=ruled_by,
        anomaly=anomaly,
    )


def reason(decision: Decision, as_of: datetime) -> str:
    """The decision as a sentence."""
    policy, anchored_at = decision.policy, decision.anchored_at
    if decision.ruled_by is not None:
        verb = "erased by order" if decision.ruled_by.kind == "erasure" else f"kept by the {decision.ruled_by.kind}"
        return f"{verb} {decision.ruled_by.label}"
    if policy is None:
        return "kept: no policy matches (ungoverned)"
    if decision.anomaly == "no_anchor" or anchored_at is None:
        return f"kept: {policy} governs, but {policy.anchor} is unknown"
    if decision.anomaly == "in_future":
        return f"kept: {policy} governs, but {policy.anchor} {_written(anchored_at)} is in the future"
    days, keep_days = (as_of - anchored_at) / timedelta(days=1), policy.keep_seconds / 86_400
    said = f"{policy.anchor} {_written(anchored_at)} is {days:.6g} d ago, {policy} keeps {keep_days:g} d"
    return f"expired: {said}" if decision.verdict == "expire" else f"kept: {said}"


def _written(instant: datetime) -> str:
    return instant.isoformat().replace("+00:00", "Z")


def _later(instant: datetime | None, keep: timedelta) -> datetime | None:
    try:
        return None if instant is None else instant + keep
    except OverflowError:
        return None
