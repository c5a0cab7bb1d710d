"""The filter row by row in plain Python: slow, obvious, and what the compilers are tested against."""

import math
from collections.abc import Mapping
from datetime import datetime

from retention_pipelines.retention.filter.ast import And, Compare, Everything, Filter, In, Literals, Not, Or, Unknown

Value = str | float | int | bool | datetime | None


def matches(node: Filter, row: Mapping[str, Value]) -> bool | None:
    """TRUE, FALSE or None for UNKNOWN. A missing field is unknown; an infinite instant comes as None."""
    match node:
        case Everything():
            return True
        case Compare(field=field, operator=operator, value=literal):
            value = known(row.get(field))
            return None if value is None else _compare(value, operator, literal)
        case In(field=field, values=literals):
            value = known(row.get(field))
            return None if value is None else any(_compare(value, "=", literal) for literal in literals)
        case Unknown(field=field):
            return known(row.get(field)) is None
        case Not(term=term):
            inner = matches(term, row)
            return None if inner is None else not inner
        case And(terms=terms):
            results = [matches(term, row) for term in terms]
            return False if False in results else None if None in results else True
        case Or(terms=terms):
            results = [matches(term, row) for term in terms]
            return True if True in results else None if None in results else False


def known(value: Value) -> Value:
    """The value, None where it is unknown; whole numbers as the doubles they are compared as."""
    if isinstance(value, bool) or value is None or isinstance(value, str | datetime):
        return value
    number = float(value)
    return None if math.isnan(number) else number


def _compare(value: Value, operator: str, literal: Literals) -> bool:
    match operator:
        case "=":
            return value == literal
        case "!=":
            return value != literal
        case "<":
            return value < literal  # type: ignore[operator]
        case "<=":
            return value <= literal  # type: ignore[operator]
        case ">":
            return value > literal  # type: ignore[operator]
        case ">=":
            return value >= literal  # type: ignore[operator]
    raise ValueError(operator)
