"""The tree of a filter: frozen nodes that every compiler walks.

Logic is three-valued. A field is unknown when it is null, NaN or an infinite instant; comparing it is UNKNOWN, `not`
of UNKNOWN is UNKNOWN, and a filter matches a row only when it is TRUE. So no rule about a score ever catches a row
without one, in any engine.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Literal

Literals = str | float | bool | datetime


class Kind(StrEnum):
    """What a field holds; whole numbers are numbers, bound as doubles like every threshold."""

    TEXT = "text"
    NUMBER = "number"
    INSTANT = "instant"
    BOOLEAN = "boolean"


Operator = Literal["=", "!=", "<", "<=", ">", ">="]
ORDERED: tuple[Operator, ...] = ("<", "<=", ">", ">=")


@dataclass(frozen=True, slots=True)
class Everything:
    """Matches every row: the catch-all."""


@dataclass(frozen=True, slots=True)
class Compare:
    """A field against a literal of its kind."""

    field: str
    operator: Operator
    value: Literals


@dataclass(frozen=True, slots=True)
class In:
    """A field among literals of its kind."""

    field: str
    values: tuple[Literals, ...]


@dataclass(frozen=True, slots=True)
class Unknown:
    """Whether a field is unknown; never UNKNOWN itself."""

    field: str


@dataclass(frozen=True, slots=True)
class Not:
    """The opposite."""

    term: "Filter"


@dataclass(frozen=True, slots=True)
class And:
    """All of at least two terms."""

    terms: tuple["Filter", ...]


@dataclass(frozen=True, slots=True)
class Or:
    """At least one of at least two terms."""

    terms: tuple["Filter", ...]


Filter = Everything | Compare | In | Unknown | Not | And | Or


def fields(node: Filter) -> frozenset[str]:
    """The fields a filter looks at."""
    match node:
        case Everything():
            return frozenset()
        case Compare(field=name) | In(field=name) | Unknown(field=name):
            return frozenset({name})
        case Not(term=term):
            return fields(term)
        case And(terms=terms) | Or(terms=terms):
            return frozenset().union(*map(fields, terms))


def nodes(node: Filter) -> int:
    """How many nodes it has; each literal of an `in` counts."""
    match node:
        case In(values=values):
            return 1 + len(values)
        case Not(term=term):
            return 1 + nodes(term)
        case And(terms=terms) | Or(terms=terms):
            return 1 + sum(map(nodes, terms))
        case _:
            return 1


def depth(node: Filter) -> int:
    """How deep its nodes are nested."""
    match node:
        case Not(term=term):
            return 1 + depth(term)
        case And(terms=terms) | Or(terms=terms):
            return 1 + max(map(depth, terms))
        case _:
            return 1
