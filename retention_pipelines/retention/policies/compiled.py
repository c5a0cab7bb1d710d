"""The decision of `decide.py` as columns of one SELECT, for DuckDB and for Postgres.

The rules are written once, over an engine that knows how to say `case` and how to compare. What does not belong here:
which rows are read and what is done with them.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Generic, TypeVar

import duckdb
from duckdb import CaseExpression, CoalesceOperator, ConstantExpression, FunctionExpression
from sqlalchemy import ColumnElement, DateTime, Integer, Text, bindparam, case, cast, false, func, literal, null, or_

from retention_pipelines.retention.filter import duckdb as duckdb_filter
from retention_pipelines.retention.filter import postgres as postgres_filter
from retention_pipelines.retention.filter.ast import Filter, Kind
from retention_pipelines.retention.policies.decide import Protection, in_order
from retention_pipelines.retention.policies.policy import Policy, PolicySet

E = TypeVar("E")


@dataclass(frozen=True, kw_only=True)
class DecisionColumns(Generic[E]):
    """Expressions over a table's row; the numbers count from 0 in the order of the rules.

    Attributes:
        policy: place in `PolicySet.policies` of the governing one; null where none matches.
        ruled_by: place in `in_order(protections)` of the one that decides; null where none does.
        anchored_at: instant the age is counted from.
        anomaly: no_anchor, in_future or null.
        expired: whether the row goes; never null.
    """

    policy: E
    ruled_by: E
    anchored_at: E
    anomaly: E
    expired: E

    def named(self) -> dict[str, E]:
        """The columns by name."""
        return {
            "policy": self.policy,
            "ruled_by": self.ruled_by,
            "anchored_at": self.anchored_at,
            "anomaly": self.anomaly,
            "expired": self.expired,
        }


@dataclass(frozen=True, kw_only=True)
class _Engine(Generic[E]):
    """What the rules need from an engine; `case` takes pairs and what holds where none is TRUE."""

    matches: Callable[[Filter], E]
    field: Callable[[str], E]
    case: Callable[[Sequence[tuple[E, E]], E], E]
    number: Callable[[int], E]
    word: Callable[[str], E]
    instant: Callable[[datetime], E]
    greatest: Callable[[E, E], E]
    in_doubt: Callable[[E], E]
    none_instant: E
    none_number: E
    none_word: E
    yes: E
    no: E


def duckdb_columns(
    kinds: Mapping[str, Kind], policies: PolicySet, protections: Sequence[Protection], as_of: datetime
) -> DecisionColumns[duckdb.Expression]:
    """For a relation whose columns are the fields."""

    def _case(
        pairs: Sequence[tuple[duckdb.Expression, duckdb.Expression]], other: duckdb.Expression
    ) -> duckdb.Expression:
        if not pairs:
            return other
        built = CaseExpression(*pairs[0])
        for condition, value in pairs[1:]:
            built = built.when(condition, value)
        return built.otherwise(other)

    def _typed(value: Any, kind: str) -> duckdb.Expression:
        return ConstantExpression(value).cast(kind)

    engine = _Engine[duckdb.Expression](
        matches=lambda node: duckdb_filter.expression(node, dict(kinds)),
        field=lambda name: duckdb_filter.known(name, kinds[name]),
        case=_case,
        number=lambda value: _typed(value, "INTEGER"),
        word=lambda value: _typed(value, "VARCHAR"),
        instant=lambda value: _typed(value, "TIMESTAMPTZ"),
        greatest=lambda left, right: FunctionExpression("greatest", left, right),
        in_doubt=lambda matched: CoalesceOperator(matched, ConstantExpression(True)),
        none_instant=_typed(None, "TIMESTAMPTZ"),
        none_number=_typed(None, "INTEGER"),
        none_word=_typed(None, "VARCHAR"),
        yes=ConstantExpression(True),
        no=ConstantExpression(False),
    )
    return _columns(engine, policies, protections, as_of, is_null=lambda value: value.isnull())


def postgres_columns(
    columns: Mapping[str, ColumnElement[Any]],
    kinds: Mapping[str, Kind],
    policies: PolicySet,
    protections: Sequence[Protection],
    as_of: datetime,
) -> DecisionColumns[ColumnElement[Any]]:
    """For a SELECT in which `columns` says what each field is."""
    zoned = DateTime(timezone=True)
    engine = _Engine[ColumnElement[Any]](
        matches=lambda node: postgres_filter.expression(node, columns, kinds),
        field=lambda name: postgres_filter.known(columns[name], kinds[name]),
        case=lambda pairs, other: case(*pairs, else_=other) if pairs else other,
        number=lambda value: cast(literal(value), Integer),
        word=lambda value: cast(literal(value), Text),
        instant=lambda value: cast(bindparam(None, value, type_=zoned), zoned),
        greatest=lambda left, right: func.greatest(left, right),
        in_doubt=lambda matched: or_(matched, matched.is_(None)),
        none_instant=cast(null(), zoned),
        none_number=cast(null(), Integer),
        none_word=cast(null(), Text),
        yes=literal(True),
        no=false(),
    )
    return _columns(engine, policies, protections, as_of, is_null=lambda value: value.is_(None))


def _columns(
    engine: _Engine[E],
    policies: PolicySet,
    protections: Sequence[Protection],
    as_of: datetime,
    *,
    is_null: Callable[[E], E],
) -> DecisionColumns[E]:
    ordered = in_order(protections)
    matched = [engine.matches(policy.match) for policy in policies.policies]
    anchors = [_anchor(engine, policy) for policy in policies.policies]
    ruled = [
        engine.matches(one.match) if one.kind == "erasure" else engine.in_doubt(engine.matches(one.match))
        for one in ordered
    ]
    now = engine.instant(as_of)

    # Where every row is governed and all policies count from the same instant, nobody needs to ask which one governs.
    alike = policies.catch_all is not None and len({policy.anchor for policy in policies.policies}) == 1

    def _governed(values: Sequence[E], other: E, *, same: bool = False) -> E:
        return values[0] if same else engine.case(list(zip(matched, values, strict=True)), other)

    return DecisionColumns(
        policy=_governed([engine.number(place) for place in range(len(matched))], engine.none_number),
        ruled_by=engine.case(
            [(condition, engine.number(place)) for place, condition in enumerate(ruled)], engine.none_number
        ),
        anchored_at=_governed(anchors, engine.none_instant, same=alike),
        anomaly=_governed(
            [
                engine.case(
                    [
                        (is_null(at), engine.word("no_anchor")),
                        *([] if policy.anchor == "expires_at" else [(at > now, engine.word("in_future"))]),  # type: ignore[operator]
                    ],
                    engine.none_word,
                )
                for policy, at in zip(policies.policies, anchors, strict=True)
            ],
            engine.none_word,
            same=alike,
        ),
        expired=engine.case(
            [
                *(
                    (condition, engine.yes if one.kind == "erasure" else engine.no)
                    for one, condition in zip(ordered, ruled, strict=True)
                ),
                (
                    _governed(
                        [
                            _before(engine, at, policy, as_of)
                            for policy, at in zip(policies.policies, anchors, strict=True)
                        ],
                        engine.no,
                    ),
                    engine.yes,
                ),
            ],
            engine.no,
        ),
    )


def _anchor(engine: _Engine[E], policy: Policy) -> E:
    if policy.anchor == "last_used":
        # greatest of what is known: both engines leave nulls out.
        return engine.greatest(engine.field("computed_at"), engine.field("last_accessed_at"))
    return engine.field(policy.anchor)


def _before(engine: _Engine[E], at: E, policy: Policy, as_of: datetime) -> E:
    """Whether `as_of - at > keep`, strictly, said so that nothing can overflow."""
    try:
        horizon = as_of - timedelta(seconds=policy.keep_seconds)
    except OverflowError:
        return engine.no
    return at < engine.instant(horizon)  # type: ignore[operator,no-any-return]
