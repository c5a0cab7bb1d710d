"""What a training set is, in words and numbers: computed from the value itself, and left out where it cannot be.

What belongs here: feature names, classes, the validation split, preprocessing steps with what their fits learned, and
the parameters of the call, all fit for a JSON column. What does not: the matrices, and payloads of any size.
"""

import dataclasses
import math
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from retention_pipelines.cache.training.value import TrainingSet

_MOST_CLASSES = 256
_MOST_FLOAT_CLASSES = 20
_LONGEST_TEXT = 200
_LONGEST_LIST = 1_000
_SECRET_NAME = re.compile(r"passw|secret|token|credential|api_?key", re.IGNORECASE)
_SECRET_TEXT = re.compile(r"://[^/\s]*:[^/\s]*@|password\s*=", re.IGNORECASE)
_HIDDEN = "<hidden>"
_TRAIN, _VAL = ("X", "X_train"), ("X_val", "X_test")


@dataclass(frozen=True, kw_only=True)
class Description:
    """What is known about a set; None and empty: not known.

    Attributes:
        parameters: arguments of the preparation, large ones by their shape only.
        data_versions: lake tables with the version each had when the preparation began, and what the function named.
        preprocessing: one mapping per step, with its parameters and what its fit learned.
        class_distribution: share of each class of y, validation included.
        n_rows: rows of X, validation included.
    """

    parameters: Mapping[str, Any] = field(default_factory=dict)
    data_versions: Mapping[str, Any] = field(default_factory=dict)
    feature_names: tuple[str, ...] = ()
    preprocessing: tuple[Mapping[str, Any], ...] = ()
    class_distribution: Mapping[str, float] | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)
    n_rows: int | None = None
    n_features: int | None = None
    validation_share: float | None = None


def describe(
    value: object,
    *,
    parameters: Mapping[str, Any],
    data_versions: Mapping[str, Any],
    provenance: Mapping[str, Any],
) -> Description:
    """Describe what a function returned: a TrainingSet, (X, y), a split as scikit-learn returns it, a dict of them."""
    found = as_training_set(value)
    if found is None:
        return Description(
            parameters=shown_arguments(parameters), data_versions=plain(data_versions), provenance=plain(provenance)
        )
    rows, rows_val = _rows(found.X), _rows(found.X_val)
    total = None if rows is None else rows + (rows_val or 0)
    return Description(
        parameters=shown_arguments(parameters),
        data_versions=plain({**found.data_versions, **data_versions}),
        feature_names=tuple(str(name) for name in found.feature_names) or _column_names(found.X),
        preprocessing=tuple(plain(step) for step in found.preprocessing) or pipeline_steps(found.pipeline),
        class_distribution=class_distribution(found.y, found.y_val),
        provenance=plain({**found.provenance, **provenance}),
        n_rows=total,
        n_features=_columns(found.X),
        validation_share=rows_val / total if total and rows_val is not None else None,
    )


def as_training_set(value: object) -> TrainingSet | None:
    """The parts of what a function returned, where its form says which is which."""
    if isinstance(value, TrainingSet):
        return value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = {one.name: getattr(value, one.name, None) for one in dataclasses.fields(value)}
    elif isinstance(value, tuple) and hasattr(value, "_asdict"):
        value = value._asdict()
    if isinstance(value, Mapping):
        return _from_names(value)
    if isinstance(value, tuple | list):
        rows = [_rows(one) for one in value[:4]]
        if len(value) == 2 and rows[0] is not None and rows[0] == rows[1] and _width(value[1]) == 1:
            return TrainingSet(X=value[0], y=value[1])
        if len(value) == 4 and None not in rows and rows[0] == rows[2] and rows[1] == rows[3]:
            # As scikit-learn's train_test_split returns it: X, X_val, y, y_val.
            return TrainingSet(X=value[0], X_val=value[1], y=value[2], y_val=value[3])
    return None


def _from_names(value: Mapping[Any, Any]) -> TrainingSet | None:
    name = next((one for one in _TRAIN if one in value and _target(one) in value), None)
    if name is None:
        return None
    val = next((one for one in _VAL if one in value), "")
    names = value.get("feature_names")
    return TrainingSet(
        X=value[name],
        y=value[_target(name)],
        X_val=value.get(val),
        y_val=value.get(_target(val)),
        feature_names=tuple(names) if isinstance(names, Sequence | np.ndarray) else (),
        pipeline=value.get("pipeline"),
    )


def _target(name: str) -> str:
    return name.replace("X", "y")


def class_distribution(*targets: Any) -> dict[str, float] | None:
    """Share of each class of targets together; None where they are no classes (any numbers, several columns)."""
    values = [_flat(target) for target in targets if target is not None]
    if not values or any(one is None for one in values):
        return None
    joined = np.concatenate([np.asarray(one) for one in values])
    if not len(joined) or joined.dtype.kind not in "biufUSO":
        return None
    if joined.dtype.kind == "f":
        if not np.array_equal(joined, np.trunc(joined)):
            return None
    elif joined.dtype.kind == "O" and not all(isinstance(one, str | bool | int) for one in joined[:1_000_000]):
        return None
    labels, counts = np.unique(joined.astype(str) if joined.dtype.kind == "O" else joined, return_counts=True)
    if len(labels) > (_MOST_FLOAT_CLASSES if joined.dtype.kind == "f" else _MOST_CLASSES):
        return None
    return {str(label): float(n / len(joined)) for label, n in zip(labels.tolist(), counts.tolist(), strict=True)}


def _flat(target: Any) -> np.ndarray | None:
    """A column of labels as an array; None for anything else."""
    if _is_frame(target) and not hasattr(target, "to_numpy"):
        target = target.columns[0] if len(target.columns) == 1 else None
    to_numpy = getattr(target, "to_numpy", None)
    array = to_numpy() if to_numpy else target
    if isinstance(array, list | tuple):
        array = np.asarray(array)
    if (
        not isinstance(array, np.ndarray)
        or array.dtype.names
        or math.prod(array.shape) != (len(array) if array.ndim else 0)
    ):
        return None
    return array.reshape(-1)


def _is_frame(value: Any) -> bool:
    return hasattr(value, "columns") and hasattr(value, "shape")


def _rows(value: Any) -> int | None:
    shape = getattr(value, "shape", None)
    if isinstance(shape, tuple) and shape:
        return int(shape[0])
    return len(value) if isinstance(value, list | tuple) else None


def _columns(value: Any) -> int | None:
    shape = getattr(value, "shape", None)
    return int(shape[1]) if isinstance(shape, tuple) and len(shape) == 2 else None


def _width(value: Any) -> int:
    return _columns(value) or 1


def _column_names(value: Any) -> tuple[str, ...]:
    names = getattr(value, "column_names", None) or getattr(value, "columns", None)
    if names is None:
        return ()
    listed = [name for name in names if not hasattr(name, "to_pylist")]
    return tuple(str(name) for name in listed)


# -- preprocessing --------------------------------------------------------------------------------------------------


def pipeline_steps(pipeline: Any, prefix: str = "") -> tuple[Mapping[str, Any], ...]:
    """Each step of a scikit-learn pipeline, nested ones too: its class, its parameters and what its fit learned."""
    if pipeline is None or "sklearn.base" not in sys.modules:
        return ()
    nested = getattr(pipeline, "steps", None)
    columns: dict[str, Any] = {}
    if nested is None and (fitted := getattr(pipeline, "transformers_", None)) is not None:
        nested = [(name, step) for name, step, _ in fitted]
        columns = {name: where for name, _, where in fitted}
    if nested is None:
        nested = getattr(pipeline, "transformer_list", None)
    if nested is None:
        return (_step(prefix or type(pipeline).__name__, pipeline),)
    steps: list[Mapping[str, Any]] = []
    for name, step in nested:
        label = f"{prefix}.{name}" if prefix else str(name)
        found = (
            ({"name": label, "type": str(step)},)
            if isinstance(step, str) or step is None
            else pipeline_steps(step, label)
        )
        steps += [{**one, "columns": plain(columns[name])} if name in columns else one for one in found]
    return tuple(steps)


def _step(name: str, step: Any) -> Mapping[str, Any]:
    learned = {
        key: value
        for key, value in vars(step).items()
        if key.endswith("_") and not key.startswith("_") and not hasattr(value, "get_params")
    }
    parameters = step.get_params(deep=False) if hasattr(step, "get_params") else {}
    kind = type(step)
    return {
        "name": name,
        "type": f"{kind.__module__.partition('.')[0]}.{kind.__qualname__}",
        "parameters": plain(parameters),
        "learned": plain(learned),
    }


# -- plain values ---------------------------------------------------------------------------------------------------


def shown_arguments(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a call without secrets: by their names, and addresses that hold a password."""
    return {name: _HIDDEN if _SECRET_NAME.search(name) else plain(value) for name, value in arguments.items()}


def plain(value: Any, depth: int = 0) -> Any:
    """A value as JSON can hold it: what is large or foreign by its type and shape, infinite numbers as text."""
    if isinstance(value, np.generic):
        return plain(value.item(), depth)
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, str):
        if _SECRET_TEXT.search(value):
            return _HIDDEN
        short = value if len(value) <= _LONGEST_TEXT else f"{value[:_LONGEST_TEXT]}…"
        return short.replace("\x00", "")  # which a JSON column cannot hold
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if depth > 8:
        return f"<{type(value).__name__}>"
    if isinstance(value, np.ndarray) and value.size <= _LONGEST_LIST and value.dtype.kind in "biufUOM":
        return plain(value.astype(str).tolist() if value.dtype.kind == "M" else value.tolist(), depth + 1)
    if isinstance(value, Mapping) and len(value) <= _LONGEST_LIST:
        return {str(key): plain(one, depth + 1) for key, one in value.items()}
    if isinstance(value, list | tuple | set | frozenset) and len(value) <= _LONGEST_LIST:
        return [plain(one, depth + 1) for one in value]
    if hasattr(value, "isoformat"):
        return str(value.isoformat())
    shape = getattr(value, "shape", None)
    size = f" {'x'.join(str(n) for n in shape)}" if isinstance(shape, tuple) else ""
    return f"<{type(value).__name__}{size}>"
