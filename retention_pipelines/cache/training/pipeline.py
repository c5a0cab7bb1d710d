"""Fitted scikit-learn pipelines: stored by skops, restored only when every type in them is trusted.

What belongs here: which types are trusted and whether a pipeline comes back the same. No code is stored or run: a
pipeline with a step of one's own is returned and not cached, unless its author says that the type may be restored
(`trusted=["package.module.Class"]` of the decorator).
"""

import math
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import sklearn
import skops
import skops.io

from retention_pipelines.cache.codec.wire import UnknownClass
from retention_pipelines.errors import CorruptEntry, Unstorable

# Beside what skops trusts itself (scikit-learn's estimators, NumPy's and SciPy's functions, Python's containers).
TRUSTED = frozenset(
    {
        "numpy.dtype",
        "sklearn.feature_selection._univariate_selection.chi2",
        "sklearn.feature_selection._univariate_selection.f_classif",
        "sklearn.feature_selection._univariate_selection.f_oneway",
        "sklearn.feature_selection._univariate_selection.f_regression",
        "sklearn.feature_selection._univariate_selection.r_regression",
        "sklearn.feature_selection._mutual_info.mutual_info_classif",
        "sklearn.feature_selection._mutual_info.mutual_info_regression",
        "sklearn.compose._column_transformer.make_column_selector",
    }
)
_DEEPEST = 60


def is_estimator(value: object) -> bool:
    """Whether it is a scikit-learn estimator, transformer or pipeline."""
    from sklearn.base import BaseEstimator

    return isinstance(value, BaseEstimator)


def library_versions() -> str:
    """Of the libraries whose objects a stored pipeline holds."""
    return f"scikit-learn {sklearn.__version__}, skops {skops.__version__}, numpy {np.__version__}"


def dump_pipeline(pipeline: Any, trusted: Collection[str] = ()) -> bytes:
    """A pipeline as bytes. Raises Unstorable when it holds something not trusted or would not come back the same."""
    try:
        content: bytes = skops.io.dumps(pipeline)
        foreign = _foreign(content, trusted)
        restored = None if foreign else _loads(content, trusted)
    except Exception as error:
        raise Unstorable(f"{type(pipeline).__name__} cannot be stored by skops: {error}") from error
    if foreign:
        raise Unstorable(
            f"{type(pipeline).__name__} holds {', '.join(foreign)}, which is not trusted to be restored.",
            hint="If it is yours, name it: @cache_training_data(…, trusted=[…]).",
        )
    if not same_state(restored, pipeline):
        raise Unstorable(f"{type(pipeline).__name__} would not come back the same.")
    return content


def load_pipeline(content: bytes, trusted: Collection[str] = ()) -> Any:
    """The pipeline in verified bytes. Raises CorruptEntry when it holds a type that is not trusted here."""
    try:
        if foreign := _foreign(content, trusted):
            raise UnknownClass(f"A stored pipeline holds {', '.join(foreign)}, which is not trusted here.")
        return _loads(content, trusted)
    except CorruptEntry:
        raise
    except Exception as error:
        raise CorruptEntry(f"A stored pipeline cannot be restored: {error}") from error


def _foreign(content: bytes, trusted: Collection[str]) -> list[str]:
    return sorted(set(skops.io.get_untrusted_types(data=content)) - TRUSTED - set(trusted))


def _loads(content: bytes, trusted: Collection[str]) -> Any:
    return skops.io.loads(content, trusted=sorted(TRUSTED | set(trusted)))


def same_state(one: Any, other: Any, depth: int = 0) -> bool:
    """Whether two objects are of the same type and hold the same, NaN equal to NaN; in doubt not."""
    if one is other:
        return True
    if type(one) is not type(other) or depth > _DEEPEST:
        return False
    if isinstance(one, np.ndarray):
        return one.dtype == other.dtype and one.shape == other.shape and _same_array(one, other, depth)
    if isinstance(one, float | np.floating):
        return bool(one == other) or (math.isnan(one) and math.isnan(other))
    if isinstance(one, str | bytes | int | bool | complex | slice | range | np.generic | np.dtype | type):
        return bool(one == other)
    if isinstance(one, Mapping):
        return list(one) == list(other) and all(same_state(one[key], other[key], depth + 1) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(same_state(a, b, depth + 1) for a, b in zip(one, other, strict=True))
    if isinstance(one, set | frozenset):
        return bool(one == other)
    if isinstance(one, np.random.RandomState):
        return same_state(one.get_state(legacy=False), other.get_state(legacy=False), depth + 1)
    if hasattr(one, "format") and hasattr(one, "tocoo"):
        a, b = one.tocoo(), other.tocoo()
        same = one.format == other.format and one.shape == other.shape and same_state(a.coords, b.coords, depth + 1)
        return same and _same_array(a.data, b.data, depth)
    state = getattr(one, "__getstate__", None)
    if state is None:
        return False
    mine, theirs = one.__getstate__(), other.__getstate__()
    return mine is not None and same_state(mine, theirs, depth + 1)


def _same_array(one: np.ndarray, other: np.ndarray, depth: int) -> bool:
    if one.dtype.hasobject:
        return same_state(one.tolist(), other.tolist(), depth + 1)
    return bool(np.array_equal(one, other, equal_nan=one.dtype.kind in "fc"))
