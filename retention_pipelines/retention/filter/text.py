"""From tree to text, so that what is stored, shown and parsed again is the same filter."""

from datetime import UTC, datetime

from retention_pipelines.retention.filter.ast import (
    And,
    Compare,
    Everything,
    Filter,
    In,
    Literals,
    Not,
    Or,
    Unknown,
)


def text(node: Filter) -> str:
    """The text of a filter; parsing it gives an equal tree."""
    match node:
        case Everything():
            return "everything"
        case Compare(field=field, operator=operator, value=value):
            return f"{field} {operator} {_literal(value)}"
        case In(field=field, values=values):
            return f"{field} in ({', '.join(map(_literal, values))})"
        case Unknown(field=field):
            return f"{field} is unknown"
        case Not(term=Unknown(field=field)):
            return f"{field} is known"
        case Not(term=In(field=field, values=values)):
            return f"{field} not in ({', '.join(map(_literal, values))})"
        case Not(term=term):
            return f"not {_bracketed(term)}"
        case And(terms=terms):
            return " and ".join(map(_bracketed, terms))
        case Or(terms=terms):
            return " or ".join(map(_bracketed, terms))


def _bracketed(node: Filter) -> str:
    return f"({text(node)})" if isinstance(node, And | Or) else text(node)


def _literal(value: Literals) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case float():
            return f"{value:.0f}" if value.is_integer() and abs(value) < 1e15 and str(value) != "-0.0" else repr(value)
        case datetime():
            return f"'{value.astimezone(UTC).isoformat().replace('+00:00', 'Z')}'"
        case _:
            return "'" + value.replace("'", "''") + "'"
