"""What all tables share: constraint names, column kinds, and the checks that come with them.

A score is a double in [0, 1] or null (unknown); a time is a finite timestamptz; a text is as long as it needs to be.
NaN passes a plain lower bound in Postgres (it sorts above every number), so every double has an upper one too.
"""

from typing import Any

from sqlalchemy import BigInteger, CheckConstraint, Column, DateTime, Double, LargeBinary, MetaData, Table, Text
from sqlalchemy.dialects.postgresql import JSONB

METADATA = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
    }
)


def text(name: str, comment: str, *, required: bool = True, **more: Any) -> Column[str]:
    """A text of any length; a required one is not empty."""
    return Column(name, Text, nullable=not required, comment=comment, info={"filled": required}, **more)


def instant(name: str, comment: str, *, required: bool = True, **more: Any) -> Column[Any]:
    """A finite instant."""
    return Column(
        name, DateTime(timezone=True), nullable=not required, comment=comment, info={"check": "isfinite({0})"}, **more
    )


def number(
    name: str, comment: str, *, required: bool = False, low: float | None = None, high: float | None = None
) -> Column[float]:
    """A finite double, within bounds where given."""
    return Column(name, Double, nullable=not required, comment=comment, info={"check": _finite("{0}", low, high)})


def score(name: str, comment: str, *, required: bool = False) -> Column[float]:
    """A double in [0, 1]; null is unknown."""
    return number(name, comment, required=required, low=0, high=1)


def whole(name: str, comment: str, *, required: bool = True, low: int | None = 0, **more: Any) -> Column[int]:
    """A whole number, not negative unless said so."""
    info = {} if low is None else {"check": f"{{0}} >= {low}"}
    return Column(name, BigInteger, nullable=not required, comment=comment, info=info, **more)


def digest(name: str, comment: str, *, required: bool = True, **more: Any) -> Column[bytes]:
    """A SHA-256 or another digest of 32 bytes."""
    return Column(
        name, LargeBinary, nullable=not required, comment=comment, info={"check": "octet_length({0}) = 32"}, **more
    )


def document(name: str, comment: str) -> Column[Any]:
    """A JSON object, empty by default."""
    return Column(
        name,
        JSONB,
        nullable=False,
        server_default="{}",
        comment=comment,
        info={"check": "jsonb_typeof({0}) = 'object'"},
    )


def choice(name: str, comment: str, allowed: tuple[str, ...], *, required: bool = True, **more: Any) -> Column[str]:
    """One of a few words."""
    words = ", ".join(f"'{word}'" for word in allowed)
    return Column(name, Text, nullable=not required, comment=comment, info={"check": f"{{0}} in ({words})"}, **more)


def in_order(earlier: str, later: str) -> CheckConstraint:
    """`earlier` is not after `later`; a null says nothing."""
    return CheckConstraint(f"{earlier} <= {later}", name=f"{earlier}_before_{later}")


def table(name: str, comment: str, *columns: Any, **more: Any) -> Table:
    """A table with the checks its columns bring."""
    checks = []
    for column in columns:
        if not isinstance(column, Column):
            continue
        if column.info.get("filled"):
            checks.append(CheckConstraint(f"{column.name} <> ''", name=f"{column.name}_filled"))
        if "check" in column.info:
            checks.append(CheckConstraint(column.info["check"].format(column.name), name=column.name))
    return Table(name, METADATA, *columns, *checks, comment=comment, **more)


def _finite(name: str, low: float | None, high: float | None) -> str:
    # Between two bounds there is no room for NaN (above everything) or the infinities.
    lowest = "> '-infinity'" if low is None else f">= {low:g}"
    highest = "< 'infinity'" if high is None else f"<= {high:g}"
    return f"{name} {lowest} and {name} {highest}"
