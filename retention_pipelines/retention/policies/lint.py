"""Warnings about a set of policies: what it would do that its reader does not expect.

Every filter is made of comparisons of single fields, so which policies match depends only on where each field lies
among the literals it is compared with. Trying one row per combination of those places is therefore a proof, not a
sample; sets with too many combinations are said to be unchecked.
"""

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from retention_pipelines.retention.filter.ast import And, Filter, Not, Or, Unknown, fields
from retention_pipelines.retention.filter.oracle import Value, matches
from retention_pipelines.retention.policies.governed import Governed
from retention_pipelines.retention.policies.places import places
from retention_pipelines.retention.policies.policy import PolicySet

MAX_ROWS = 200_000
Code = Literal["no_policies", "no_catch_all", "unreachable", "unknown_hole", "not_the_longest", "unchecked"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """Something to look at; `error` must be mended before the set is used, `row` is an example.

    Attributes:
        policies: ids of those it is about.
    """

    severity: Literal["error", "warning"]
    code: Code
    policies: tuple[str, ...]
    message: str
    row: Mapping[str, Value] | None = None


def lint(dataset: Governed, policies: PolicySet) -> tuple[Finding, ...]:
    """What is wrong or surprising in a set of policies."""
    if not policies.policies:
        if dataset.keeps_all:
            return ()
        return (
            Finding(
                severity="error",
                code="no_policies",
                policies=(),
                message=f"{dataset.name} has no enabled policy: everything is kept for ever.",
            ),
        )
    findings = [*_catch_all(dataset, policies), *_holes(dataset, policies)]
    tried = {name: places(dataset, name, policies) for name in sorted(_named(policies))}
    if math.prod(map(len, tried.values())) > MAX_ROWS:
        findings.append(
            Finding(
                severity="warning",
                code="unchecked",
                policies=(),
                message=f"{dataset.name}: too many combinations to prove that every policy is reachable.",
            )
        )
        return tuple(findings)
    return (*findings, *_by_rows(policies, _rows(tried)))


def _catch_all(dataset: Governed, policies: PolicySet) -> Iterator[Finding]:
    if policies.catch_all is None:
        yield Finding(
            severity="error",
            code="no_catch_all",
            policies=(policies.policies[-1].policy_id,),
            message=f"{dataset.name} has no catch-all: rows that no policy matches are kept for ever, ungoverned."
            " Add a policy of the lowest priority with `match: everything`.",
        )


def _holes(dataset: Governed, policies: PolicySet) -> Iterator[Finding]:
    asked = frozenset().union(*(_asked_unknown(policy.match) for policy in policies.policies))
    for name in sorted(_named(policies) - asked - dataset.always_known):
        last = policies.catch_all
        fate = f"fall to {last.policy_id}" if last else "are governed by none"
        yield Finding(
            severity="warning",
            code="unknown_hole",
            policies=tuple(policy.policy_id for policy in policies.policies if name in fields(policy.match)),
            message=f"No policy says what happens where {name} is unknown (null or NaN): such rows {fate}."
            f" Add one with `match: {name} is unknown`.",
            row={name: None},
        )


def _by_rows(policies: PolicySet, rows: Iterator[dict[str, Value]]) -> Iterator[Finding]:
    governs: set[str] = set()
    shorter: dict[tuple[str, str], dict[str, Value]] = {}
    for row in rows:
        matching = [policy for policy in policies.policies if matches(policy.match, row) is True]
        if not matching:
            continue
        first = matching[0]
        governs.add(first.policy_id)
        longest = max(
            (policy for policy in matching if policy.anchor == first.anchor), key=lambda policy: policy.keep_seconds
        )
        if longest.keep_seconds > first.keep_seconds:
            shorter.setdefault((first.policy_id, longest.policy_id), row)
    for policy in policies.policies:
        if policy.policy_id not in governs:
            yield Finding(
                severity="error",
                code="unreachable",
                policies=(policy.policy_id,),
                message=f"{policy.policy_id} never governs a row: policies of higher priority match all that it does.",
            )
    for (first_id, longest_id), row in shorter.items():
        yield Finding(
            severity="warning",
            code="not_the_longest",
            policies=(first_id, longest_id),
            message=f"{first_id} governs rows that {longest_id} also matches and would keep longer.",
            row=row,
        )


def _named(policies: PolicySet) -> frozenset[str]:
    return frozenset().union(*(fields(policy.match) for policy in policies.policies))


def _asked_unknown(node: Filter) -> frozenset[str]:
    match node:
        case Unknown(field=name):
            return frozenset({name})
        case Not(term=term):
            return _asked_unknown(term)
        case And(terms=terms) | Or(terms=terms):
            return frozenset().union(*map(_asked_unknown, terms))
        case _:
            return frozenset()


def _rows(tried: Mapping[str, list[Value]]) -> Iterator[dict[str, Value]]:
    for values in itertools.product(*tried.values()):
        yield dict(zip(tried, values, strict=True))
