"""A filter as an SQLAlchemy expression for Postgres: every literal is a bound parameter of its kind."""

import operator
from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy import (
    Boolean,
    ColumnElement,
    DateTime,
    Double,
    Text,
    and_,
    bindparam,
    case,
    cast,
    func,
    not_,
    or_,
    true,
)
from sqlalchemy.types import TypeEngine

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
_TYPES: dict[Kind, TypeEngine[Any]] = {
    Kind.TEXT: Text(),
    Kind.NUMBER: Double(),
    Kind.INSTANT: DateTime(timezone=True),
    Kind.BOOLEAN: Boolean(),
}
_COMPARE: dict[Operator, Callable[[Any, Any], Any]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def expression(
    node: Filter, columns: Mapping[str, ColumnElement[Any]], kinds: Mapping[str, Kind]
) -> ColumnElement[Any]:
    """Three-valued: TRUE, FALSE or NULL for UNKNOWN. `columns` says which column or expression a field is."""
    match node:
        case Everything():
            return true()
        case Compare(field=field, operator=sign, value=value):
            compared: ColumnElement[Any] = _COMPARE[sign](
                known(columns[field], kinds[field]), _literal(value, kinds[field])
            )
            return compared
        case In(field=field, values=values):
            return known(columns[field], kinds[field]).in_([_literal(value, kinds[field]) for value in values])
        case Unknown(field=field):
            return known(columns[field], kinds[field]).is_(None)
        case Not(term=term):
            return not_(expression(term, columns, kinds))
        case And(terms=terms):
            return and_(*(expression(term, columns, kinds) for term in terms))
        case Or(terms=terms):
            return or_(*(expression(term, columns, kinds) for term in terms))


def known(column: ColumnElement[Any], kind: Kind) -> ColumnElement[Any]:
    """The column as it is compared, NULL where it is unknown: NaN is above every number for Postgres."""
    if kind is Kind.NUMBER:
        return func.nullif(cast(column, Double), bindparam(None, _NAN, type_=Double()))
    if kind is Kind.INSTANT:
        return case((func.isfinite(column), column))
    return column


def _literal(value: Literals, kind: Kind) -> ColumnElement[Any]:
    return cast(bindparam(None, value, type_=_TYPES[kind]), _TYPES[kind])
