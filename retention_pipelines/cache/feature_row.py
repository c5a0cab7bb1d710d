"""The row beside a cached feature: what its columns say, taken from the call and the result.

What belongs here: where each column of `ml_feature_store` comes from. What does not: the payload, which is the answer
itself. A column nobody said anything about stays empty: nothing is guessed, and an unknown quality is not a low one.
"""

import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from typing import TYPE_CHECKING, Any

from retention_pipelines.cache.entry import Payload
from retention_pipelines.cache.said import Said, member
from retention_pipelines.cache.spatial import position_of

if TYPE_CHECKING:
    from retention_pipelines.cache.calls import Call
    from retention_pipelines.cache.options import FromCall

# The limits of the feature store's score: `features.score`, which needs NumPy; a test compares the two.
_HIGH_ABOVE, _MEDIUM_ABOVE = 0.8, 0.6
_PARTS = {part: f"quality_{part}" for part in ("completeness", "validity", "support", "precision")}
_ABSENT = object()
# What arguments and results may say of a row, beside the columns that a declared type has.
_SAID = frozenset(
    {"source_data_id", "study_id", "temporal_window", "spatial_resolution", "location_grid", "event_time"}
    | {"quality_score", *_PARTS.values()}
)


@dataclass(frozen=True, kw_only=True, slots=True)
class FeatureRow:
    """Describes the entries of one function; the fields are what the decorator was told."""

    feature_type: str
    source_table: str
    source_data_id: "FromCall | None" = None
    event_time: "FromCall | None" = None
    temporal_window: "FromCall | None" = None
    quality: Callable[[Any], Any] | None = None

    def __call__(self, call: "Call", result: Any, payload: Payload) -> Mapping[str, Any]:
        """The columns of an entry."""
        row = {
            "feature_type": self.feature_type,
            "source_table": self.source_table,
            "feature_hash": content_hash(payload),
            "code_version": call.cached.code_version,
        }
        if self._is_silent(call, result):
            # The usual case costs the caller a fifth of the other.
            return row
        said = Said(bound=call.bound(), result=result)
        source_data_id = said.text(self.source_data_id, "source_data_id", "study_id")
        score = self._score(result)
        return row | {
            "source_data_id": source_data_id,
            "feature_id": None if source_data_id is None else f"{source_data_id}/{self.feature_type}",
            "temporal_window": said.text(self.temporal_window, "temporal_window"),
            "spatial_resolution": said.text(None, "spatial_resolution"),
            "location_grid": _cell(call, said),
            "event_time": _instant(said.value(self.event_time, "event_time")),
            "quality_score": score,
            "priority": None if score is None else priority(score),
        }

    def _is_silent(self, call: "Call", result: Any) -> bool:
        """Whether nobody says more of the row: the decorator, arguments, or the members of the result."""
        cached = call.cached
        return (
            type(result) is dict
            and _SAID.isdisjoint(result)
            and call.place is None
            and cached.located is None
            and (self.source_data_id or self.event_time or self.temporal_window or self.quality) is None
            and cached.keys.says_none_of(_SAID, call.args, call.kwargs)
        )

    def _score(self, result: Any) -> float | None:
        """What `quality` or the result says as one score, or the product of all four parts, never of fewer."""
        told = result if self.quality is None else self.quality(result)
        whole = share(told if self.quality is not None else member(told, "quality_score"))
        if whole is not None:
            return whole
        parts = [
            share(member(told, name, member(told, part) if self.quality is not None else None))
            for part, name in _PARTS.items()
        ]
        if None in parts[1:]:
            return None
        if parts[0] is None:
            parts[0] = self._completeness(result)
        return None if None in parts else math.prod(part for part in parts if part is not None)

    def _completeness(self, result: Any) -> float | None:
        """Share of the declared columns that have a value, where the type is declared and the result has some."""
        from retention_pipelines.catalog.features import FEATURE_COLUMNS

        columns = FEATURE_COLUMNS.get(self.feature_type, ())
        values = [member(result, column.name, _ABSENT) for column in columns]
        if all(value is _ABSENT for value in values):
            return None
        present = [value for value in values if not (value is _ABSENT or value is None or value != value)]
        return len(present) / len(values)


def priority(score: float) -> str:
    """High above 0.8, medium above 0.6, else low."""
    return "high" if score > _HIGH_ABOVE else "medium" if score > _MEDIUM_ABOVE else "low"


def content_hash(payload: Payload) -> str:
    """Hash of the content: equal results have equal hashes, whatever their keys."""
    return hashlib.blake2b(payload.codec.encode() + b"\0" + payload.data, digest_size=16).hexdigest()


def _cell(call: "Call", said: Said) -> str | None:
    if call.place is not None:
        return call.place.cell.name
    named = said.text(None, "location_grid")
    if named is not None:
        return named
    names = call.cached.located
    if names is None:
        return None
    position = position_of(said.bound.get(names[0]), said.bound.get(names[1]))
    if position is None:
        return None
    from retention_pipelines.grid import Cell

    return Cell.at(*position, call.runtime.settings.cell_deg).name


def share(value: Any) -> float | None:
    """A number of 0 to 1; None for anything else."""
    if value is None:
        return None
    if isinstance(value, bool) or not hasattr(value, "__float__"):
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if 0 <= number <= 1 else None


def _instant(value: Any) -> datetime | None:
    """An instant with a zone; without one it is UTC, as everywhere here."""
    if isinstance(value, datetime):
        return value if value.tzinfo is not None else value.replace(tzinfo=UTC)
    return datetime.combine(value, time(), UTC) if isinstance(value, date) else None
