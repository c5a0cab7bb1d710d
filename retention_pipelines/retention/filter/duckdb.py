"""A filter as a DuckDB expression: no text is put together, every literal is a constant of its own."""

from collections.abc import Callable
from functools import reduce
from typing import Any

import duckdb
from duckdb import CaseExpression, ColumnExpression, ConstantExpression, FunctionExpression

from retention_pipelines.retention.filter.ast import (
    And,
    Compare,
    Everything,
    Filter,
    In,
    Kind,
    Literals,
    Not,
    Operator,
    Or,
    Unknown,
)

_NAN = float("nan")
_COMPARE: dict[Operator, Callable[[Any, Any], duckdb.Expression]] = {
    "=": lambda left, right: left == right,
    "!=": lambda left, right: left != right,
    "<": lambda left, right: left < right,
    "<=": lambda left, right: left <= right,
    ">": lambda left, right: left > right,
    ">=": lambda left, right: left >= right,
}


def expression(node: Filter, kinds: "dict[str, Kind]") -> duckdb.Expression:
    """Three-valued: TRUE, FALSE or NULL for UNKNOWN. Fields are columns by name."""
    match node:
        case Everything():
            return ConstantExpression(True)
        case Compare(field=field, operator=operator, value=value):
            return _COMPARE[operator](known(field, kinds[field]), _literal(value, kinds[field]))
        case In(field=field, values=values):
            return known(field, kinds[field]).isin(*(_literal(value, kinds[field]) for value in values))
        case Unknown(field=field):
            return known(field, kinds[field]).isnull()
        case Not(term=term):
            return ~expression(term, kinds)
        case And(terms=terms):
            return reduce(lambda left, right: left & right, (expression(term, kinds) for term in terms))
        case Or(terms=terms):
            return reduce(lambda left, right: left | right, (expression(term, kinds) for term in terms))


def known(field: str, kind: Kind) -> duckdb.Expression:
    """The field as it is compared, NULL where it is unknown: NaN is above every number for DuckDB."""
    column = ColumnExpression(field)
    if kind is Kind.NUMBER:
        return FunctionExpression("nullif", column.cast("DOUBLE"), ConstantExpression(_NAN).cast("DOUBLE"))
    if kind is Kind.INSTANT:
        return CaseExpression(FunctionExpression("isfinite", column), column)
    return column


def _literal(value: Literals, kind: Kind) -> duckdb.Expression:
    constant = ConstantExpression(value)
    return constant.cast("DOUBLE") if kind is Kind.NUMBER else constant
