"""The row beside a cached prediction: model, confidence, what else the model said, and a summary of what was asked.

What belongs here: where each column of `ml_inference_cache` comes from. What does not: the payload, which is the answer
itself. The summary says types, sizes and rounded numbers: no text, no identifier, nothing about a person.
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from retention_pipelines.cache.entry import Payload
from retention_pipelines.cache.feature_row import share
from retention_pipelines.cache.said import Said, member
from retention_pipelines.cache.spatial import position_of

if TYPE_CHECKING:
    from retention_pipelines.cache.calls import Call
    from retention_pipelines.cache.options import Bound

SUMMARY_BYTES = 2_000
METADATA_BYTES = 16_000
_ARGUMENTS = 20
_MEMBERS = 20
# Larger whole numbers may be identifiers or telephone numbers.
_SMALL = 1_000_000


@dataclass(frozen=True, kw_only=True, slots=True)
class PredictionRow:
    """Describes the entries of one function; the fields are what the decorator was told."""

    model_type: str
    confidence: Callable[[Any], Any] | None = None
    prediction_metadata: Callable[[Any], Any] | None = None
    input_summary: "Callable[[Bound], Any] | None" = None

    def __call__(self, call: "Call", result: Any, payload: Payload) -> Mapping[str, Any]:
        """The columns of an entry."""
        said = Said(bound=call.bound(), result=result)
        position = _position(call, said)
        cell = None if call.place is None else call.place.cell
        confidence = member(result, "confidence") if self.confidence is None else self.confidence(result)
        metadata = (
            member(result, "prediction_metadata", member(result, "metadata"))
            if self.prediction_metadata is None
            else self.prediction_metadata(result)
        )
        metadata = _plain(metadata, 0) if isinstance(metadata, Mapping) else {}
        if cell is not None:
            metadata = {**metadata, "location_grid": cell.name, "cell_deg": cell.cell_deg}
        summary = summarised(said.bound) if self.input_summary is None else _plain(self.input_summary(said.bound), 0)
        return {
            "model_id": call.model_id or self.model_type,
            "model_type": self.model_type,
            "model_version": call.model_version or "unknown",
            "input_summary": _bounded(summary, SUMMARY_BYTES),
            "prediction_metadata": _bounded(metadata, METADATA_BYTES),
            "latitude": None if position is None else position[0],
            "longitude": None if position is None else position[1],
            "location_grid": None if cell is None else cell.name,
            "cell_deg": None if cell is None else cell.cell_deg,
            "confidence": share(confidence),
        }


def summarised(bound: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments in short: names with types, sizes and rounded numbers."""
    names = [name for name in bound if name not in ("self", "cls")]
    summary = {name: _shape(bound[name]) for name in names[:_ARGUMENTS]}
    return summary if len(names) <= _ARGUMENTS else {**summary, "…": len(names) - _ARGUMENTS}


def _shape(value: Any) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, float):
        return float(f"{value:.4g}") if math.isfinite(value) else str(value)
    if isinstance(value, int):
        return value if -_SMALL < value < _SMALL else "int"
    name = type(value).__name__
    if isinstance(shape := getattr(value, "shape", None), tuple):
        return f"{name}{list(shape)}"
    return f"{name}[{len(value)}]" if isinstance(value, str | bytes | Sequence | Mapping | set | frozenset) else name


def _position(call: "Call", said: Said) -> tuple[float, float] | None:
    if call.place is not None:
        return call.place.latitude, call.place.longitude
    names = call.cached.located
    return None if names is None else position_of(said.bound.get(names[0]), said.bound.get(names[1]))


def _plain(value: Any, depth: int) -> Any:
    """As JSON can hold it; what it cannot is named by its type."""
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int | float):
        return value if math.isfinite(value) else str(value)
    if depth < 4 and isinstance(value, Mapping):
        return {str(name): _plain(item, depth + 1) for name, item in list(value.items())[: _MEMBERS * 5]}
    if depth < 4 and isinstance(value, list | tuple) and len(value) <= _MEMBERS * 5:
        return [_plain(item, depth + 1) for item in value]
    item = getattr(value, "item", None)
    if callable(item) and getattr(value, "shape", None) == ():
        return _plain(item(), depth + 1)
    return _shape(value)


def _bounded(document: Any, most_bytes: int) -> dict[str, Any]:
    """A document that is not too long; one that is says so instead."""
    if not isinstance(document, dict):
        document = {"value": document}
    size = len(json.dumps(document, ensure_ascii=False).encode("utf-8", "replace"))
    return document if size <= most_bytes else {"omitted_bytes": size}
