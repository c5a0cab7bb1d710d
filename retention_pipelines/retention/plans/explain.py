"""Explaining one row: its decision, the values it was made with, and what would change it.

Pure: finding the row is `planning.py`'s work.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from retention_pipelines.retention.filter.ast import fields
from retention_pipelines.retention.filter.oracle import Value, known
from retention_pipelines.retention.policies.decide import Decision, Protection, decide, reason
from retention_pipelines.retention.policies.governed import Governed
from retention_pipelines.retention.policies.places import places
from retention_pipelines.retention.policies.policy import PolicySet


@dataclass(frozen=True, kw_only=True, slots=True)
class Alternative:
    """If only this field were different: who would govern the row, and until when it would be kept."""

    field: str
    value: Value
    decision: Decision


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """A row's decision at an instant.

    Attributes:
        values: the fields that deciding looked at.
        blocked_by: what keeps the row though its policy would let it go; `newest_partition` where all of that would.
        worth: what keeping it is worth, as a sentence; None where nobody asked.
        alternatives: the nearest values of single fields that another policy would govern, or that change the verdict.
    """

    as_of: datetime
    values: Mapping[str, Value]
    decision: Decision
    reason: str
    blocked_by: str | None
    alternatives: tuple[Alternative, ...]
    worth: str | None = None


def explain(
    row: Mapping[str, Value],
    dataset: Governed,
    policies: PolicySet,
    protections: Sequence[Protection],
    as_of: datetime,
) -> Explanation:
    """Why a row is kept or goes, and what would change that."""
    decision = decide(row, policies, protections, as_of)
    free = decide(row, policies, (), as_of)
    asked = sorted({name for policy in policies.policies for name in fields(policy.match)})
    anchors = {name for policy in policies.policies for name in _anchored(policy.anchor)}
    looked_at = [*asked, *sorted(anchors - set(asked))]
    blocked = decision.ruled_by if decision.ruled_by and free.verdict == "expire" else None
    return Explanation(
        as_of=as_of,
        values={name: row.get(name) for name in looked_at if name in dataset.fields},
        decision=decision,
        reason=reason(decision, as_of),
        blocked_by=blocked.label if blocked else None,
        alternatives=tuple(
            found
            for name in asked
            for found in _alternatives(name, row, dataset, policies, protections, as_of, decision)
        ),
    )


def _anchored(anchor: str) -> tuple[str, ...]:
    return ("computed_at", "last_accessed_at") if anchor == "last_used" else (anchor,)


def _alternatives(
    name: str,
    row: Mapping[str, Value],
    dataset: Governed,
    policies: PolicySet,
    protections: Sequence[Protection],
    as_of: datetime,
    decision: Decision,
) -> list[Alternative]:
    """The nearest value of a field for every other outcome."""
    now = known(row.get(name))
    nearest: dict[tuple[object, object], Alternative] = {}
    for value in sorted(places(dataset, name, policies), key=lambda value: _distance(now, known(value))):
        if known(value) == now:
            continue
        other = decide({**row, name: value}, policies, protections, as_of)
        if (other.policy, other.verdict) != (decision.policy, decision.verdict):
            nearest.setdefault((other.policy, other.verdict), Alternative(field=name, value=value, decision=other))
    return list(nearest.values())


def _distance(now: Value, other: Value) -> float:
    if isinstance(now, datetime) and isinstance(other, datetime):
        return abs((now - other).total_seconds())
    if isinstance(now, int | float) and isinstance(other, int | float):
        return abs(float(now) - float(other))
    return 0.0 if other is not None else float("inf")
