"""What Postgres can hold of a value that somebody computed: texts without NUL, finite numbers, instants with a zone.

What belongs here: making the columns beside a payload fit their types. What does not: the payload, which is bytes and
always exact. The columns are for reports, policies and invalidation; a value that has no equal in Postgres becomes the
nearest that has.
"""

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

_NUL, _NUL_SHOWN = "\0", "\u2400"
_DEEPEST = 16


def text(value: object) -> str | None:
    """A text; NUL and lone surrogates, which Postgres refuses, are replaced."""
    if value is None:
        return None
    shown = value if type(value) is str else str(value)
    if _NUL in shown:
        shown = shown.replace(_NUL, _NUL_SHOWN)
    if not shown.isascii():
        shown = shown.encode("utf-8", "replace").decode()
    return shown


def number(value: object) -> float | None:
    """A finite double; anything else is unknown."""
    if value is None:
        return None
    try:
        found = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return None
    return found if math.isfinite(found) else None


def instant(value: object) -> datetime | None:
    """An instant; a naive one is taken for UTC, never for local time."""
    if not isinstance(value, datetime):
        return None
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value


def document(value: object) -> dict[str, Any]:
    """A JSON object."""
    return _plain(value, _DEEPEST) if isinstance(value, Mapping) else {}


def array(values: Sequence[str]) -> str:
    """Texts as the literal of a Postgres array."""
    if not values:
        return "{}"
    quoted = (str(text(value)).replace("\\", "\\\\").replace('"', '\\"') for value in values)
    return "{" + ",".join(f'"{value}"' for value in quoted) + "}"


def _plain(value: object, depth: int) -> Any:
    if value is None or value is True or value is False:
        return value
    if isinstance(value, int) and -(2**53) <= value <= 2**53:
        return int(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else str(float(value))
    if depth and isinstance(value, Mapping):
        return {str(text(key)): _plain(one, depth - 1) for key, one in value.items()}
    if depth and isinstance(value, list | tuple | set | frozenset):
        return [_plain(one, depth - 1) for one in value]
    if isinstance(value, datetime):
        return str(instant(value))
    return text(value)


FITTED = {"text": text, "float8": number, "timestamptz": instant, "jsonb": document}
