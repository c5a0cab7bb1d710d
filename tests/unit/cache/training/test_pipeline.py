"""Fitted pipelines come back the same, and nothing that is not trusted is restored."""

import pickle
import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest
import skops.io
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import PCA
from sklearn.feature_selection import SelectKBest
from sklearn.impute import KNNImputer, SimpleImputer
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    KBinsDiscretizer,
    LabelEncoder,
    MinMaxScaler,
    OneHotEncoder,
    OrdinalEncoder,
    PolynomialFeatures,
    PowerTransformer,
    QuantileTransformer,
    RobustScaler,
    StandardScaler,
)

from retention_pipelines.cache.training.pipeline import TRUSTED, dump_pipeline, load_pipeline, same_state
from retention_pipelines.errors import CorruptEntry, Unstorable

RNG = np.random.default_rng(5)
X = RNG.normal(size=(60, 4))
Y = (X[:, 0] > 0).astype(int)
FRAME = pd.DataFrame(X, columns=list("abcd")).assign(zone=np.where(Y, "reef", "bay"))
HOLES = np.where(RNG.random(X.shape) < 0.1, np.nan, X)


class OwnStep(TransformerMixin, BaseEstimator):
    """A step of a user's own."""

    def fit(self, x: Any, y: Any = None) -> "OwnStep":
        self.top_ = np.max(x, axis=0)
        return self

    def transform(self, x: Any) -> Any:
        return x / self.top_


def columns() -> ColumnTransformer:
    numbers = make_pipeline(SimpleImputer(add_indicator=True), StandardScaler())
    return ColumnTransformer(
        [("numbers", numbers, list("abc")), ("zones", OneHotEncoder(handle_unknown="ignore"), ["zone"])],
        remainder="passthrough",
    )


PIPELINES: dict[str, tuple[Any, Any]] = {
    "standard": (StandardScaler(), X),
    "min max": (MinMaxScaler(), X),
    "robust": (RobustScaler(), X),
    "quantile": (QuantileTransformer(n_quantiles=20), X),
    "power": (PowerTransformer(), X),
    "bins": (KBinsDiscretizer(quantile_method="averaged_inverted_cdf"), X),
    "polynomial": (PolynomialFeatures(), X),
    "imputed": (make_pipeline(SimpleImputer(), PCA(2)), HOLES),
    "neighbours": (KNNImputer(), HOLES),
    "columns": (columns(), FRAME),
    "ordinal": (OrdinalEncoder(), FRAME[["zone"]]),
    "union": (FeatureUnion([("a", StandardScaler()), ("b", PCA(1))]), X),
    "function": (FunctionTransformer(np.log1p), np.abs(X)),
    "best": (SelectKBest(k=2), X),
}


@pytest.mark.parametrize("name", PIPELINES)
def test_a_fitted_pipeline_comes_back_equal(name: str) -> None:
    pipeline, data = PIPELINES[name]
    pipeline.fit(data, Y)
    found = load_pipeline(dump_pipeline(pipeline))
    assert type(found) is type(pipeline)
    assert same_state(found, pipeline)
    before, after = pipeline.transform(data), found.transform(data)
    assert type(before) is type(after)
    np.testing.assert_array_equal(dense(before), dense(after))


def dense(value: Any) -> np.ndarray:
    return value.toarray() if hasattr(value, "toarray") else np.asarray(value)


def test_a_label_encoder_comes_back_equal() -> None:
    encoder = LabelEncoder().fit(FRAME["zone"])
    found = load_pipeline(dump_pipeline(encoder))
    assert found.inverse_transform([0, 1]).tolist() == ["bay", "reef"]


def test_a_step_of_ones_own_is_stored_only_when_its_author_trusts_it() -> None:
    pipeline = Pipeline([("own", OwnStep()), ("scale", StandardScaler())]).fit(X)
    name = f"{OwnStep.__module__}.OwnStep"
    with pytest.raises(Unstorable, match="OwnStep"):
        dump_pipeline(pipeline)
    content = dump_pipeline(pipeline, trusted=[name])
    np.testing.assert_array_equal(load_pipeline(content, trusted=[name]).transform(X), pipeline.transform(X))
    with pytest.raises(CorruptEntry, match="OwnStep"):
        load_pipeline(content)


def test_a_lambda_is_refused() -> None:
    with pytest.raises(Unstorable):
        dump_pipeline(FunctionTransformer(lambda x: x).fit(X))


class Bomb(BaseEstimator):
    """Does harm when it is restored."""

    def __setstate__(self, state: Any) -> None:
        raise AssertionError("code of a stored object ran")

    def __reduce__(self) -> Any:
        return (print, ("code of a stored object ran",))


def test_r5_nothing_of_a_stored_object_runs_while_it_is_looked_at() -> None:
    """R5: training data came back through pickle.loads on a table column: whoever can write the row runs code."""
    for content in (skops.io.dumps(Bomb()), pickle.dumps(Bomb()), b"", b"PK\x05\x06" + bytes(18), b"no zip"):
        with pytest.raises(CorruptEntry):
            load_pipeline(content)


def test_what_is_trusted_beside_skops_own_list_exists_and_is_harmless() -> None:
    """No builtins, no os, no functools.partial: only NumPy's dtype and scikit-learn's own functions."""
    for name in TRUSTED:
        module, _, attribute = name.rpartition(".")
        assert hasattr(__import__(module, fromlist=[attribute]), attribute)
        assert name == "numpy.dtype" or name.startswith("sklearn.")


def test_states_that_differ_a_little_are_not_the_same() -> None:
    one, other = StandardScaler().fit(X), StandardScaler().fit(X)
    assert same_state(one, other)
    other.mean_ = np.nextafter(other.mean_, 9.0)
    assert not same_state(one, other)
    assert not same_state([1], [1.0])
    assert not same_state([1], [True])
    assert same_state({"a": float("nan")}, {"a": float("nan")})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not same_state(np.zeros(3), np.zeros(4))
