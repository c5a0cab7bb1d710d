"""Warnings about a set of policies: what it would do that its reader does not expect.

Every filter is made of comparisons of single fields, so which policies match depends only on where each field lies
among the literals it is compared with. Trying one row per combination of those places is therefore a proof, not a
sample; sets with too many combinations are said to be unchecked.
"""

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

from retention_pipelines.retention.filter.ast import And, Compare, Filter, In, Kind, Literals, Not, Or, Unknown, fields
from retention_pipelines.retention.filter.oracle import Value, matches
from retention_pipelines.retention.governed import Governed
from retention_pipelines.retention.policy import PolicySet

MAX_ROWS = 200_000
# Counts of reads are whole numbers.
_WHOLE = frozenset({"access_count", "hit_count"})
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
        return (
            Finding(
                severity="error",
                code="no_policies",
                policies=(),
                message=f"{dataset.name} has no enabled policy: everything is kept for ever.",
            ),
        )
    findings = [*_catch_all(dataset, policies), *_holes(dataset, policies)]
    places = {name: _places(dataset, name, policies) for name in sorted(_named(policies))}
    if math.prod(map(len, places.values())) > MAX_ROWS:
        findings.append(
            Finding(
                severity="warning",
                code="unchecked",
                policies=(),
                message=f"{dataset.name}: too many combinations to prove that every policy is reachable.",
            )
        )
        return tuple(findings)
    return (*findings, *_by_rows(policies, _rows(places)))


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


def _literals(node: Filter, name: str) -> set[Literals]:
    match node:
        case Compare(field=field, value=value) if field == name:
            return {value}
        case In(field=field, values=values) if field == name:
            return set(values)
        case Not(term=term):
            return _literals(term, name)
        case And(terms=terms) | Or(terms=terms):
            return set().union(*(_literals(term, name) for term in terms))
        case _:
            return set()


def _places(dataset: Governed, name: str, policies: PolicySet) -> list[Value]:
    """One value for each place a field can lie in: on each literal, between them, and unknown."""
    literals: set[Literals] = set().union(*(_literals(policy.match, name) for policy in policies.policies))
    kind = dataset.fields[name]
    unknown: list[Value] = [] if name in dataset.always_known else [None]
    if kind is Kind.BOOLEAN:
        return [True, False, *unknown]
    if kind is Kind.TEXT:
        other = "".join(["other", *sorted(str(literal) for literal in literals)])
        return [*sorted(str(literal) for literal in literals), other, *unknown]
    if kind is Kind.INSTANT:
        instants = sorted(literal for literal in literals if isinstance(literal, datetime))
        tick = timedelta(microseconds=1)
        around = [value for at in instants for value in (at - tick, at, at + tick)]
        return [*(around or [datetime(2000, 1, 1, tzinfo=UTC)]), *unknown]
    numbers = sorted(float(literal) for literal in literals if isinstance(literal, int | float))
    whole = name in _WHOLE
    beside = [
        value
        for number in numbers
        for value in (
            (math.ceil(number) - 1, number, math.floor(number) + 1)
            if whole
            else (math.nextafter(number, -math.inf), number, math.nextafter(number, math.inf))
        )
    ]
    return [*dict.fromkeys([value for value in beside if not whole or value >= 0] or [0.0]), *unknown]


def _rows(places: Mapping[str, list[Value]]) -> Iterator[dict[str, Value]]:
    for values in itertools.product(*places.values()):
        yield dict(zip(places, values, strict=True))
