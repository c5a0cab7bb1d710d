"""Where a field can lie among the literals that policies compare it with: one value for each place.

Filters are made of comparisons of single fields, so values in the same place are the same to every policy.
"""

import math
from datetime import UTC, datetime, timedelta

from retention_pipelines.retention.filter.ast import And, Compare, Filter, In, Kind, Literals, Not, Or
from retention_pipelines.retention.filter.oracle import Value
from retention_pipelines.retention.policies.governed import Governed
from retention_pipelines.retention.policies.policy import PolicySet

# Counts of reads are whole numbers.
_WHOLE = frozenset({"access_count", "hit_count"})


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


def places(dataset: Governed, name: str, policies: PolicySet) -> list[Value]:
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
