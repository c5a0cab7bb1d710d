"""What is said about a set is computed from it, or left out."""

import json
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import scipy.sparse as sp
from sklearn.compose import ColumnTransformer
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, OneHotEncoder, StandardScaler

from retention_pipelines.cache.training.description import Description, class_distribution, describe, plain
from retention_pipelines.cache.training.value import TrainingSet

X = np.arange(40.0).reshape(20, 2)
Y = np.array([0] * 15 + [1] * 5)


def told(value: Any) -> Description:
    return describe(value, parameters={}, data_versions={}, provenance={})


@pytest.mark.parametrize(
    "target",
    [
        Y,
        Y.astype(bool).astype(int),
        Y.reshape(-1, 1),
        Y.astype(float),
        Y.tolist(),
        pd.Series(Y),
        pd.DataFrame({"y": Y}),
        pl.Series("y", Y),
        pl.DataFrame({"y": Y}),
        pa.table({"y": Y}),
    ],
)
def test_classes_are_counted_in_targets_of_every_kind(target: Any) -> None:
    found = class_distribution(target)
    assert found is not None
    assert [float(name) for name in found] == [0.0, 1.0]
    assert list(found.values()) == [0.75, 0.25]


def test_classes_of_text_and_of_both_parts_of_a_split() -> None:
    assert class_distribution(np.array(["reef", "bay"]), np.array(["reef", "reef"])) == {"bay": 0.25, "reef": 0.75}
    assert class_distribution(pd.Series(["reef", "bay"], dtype="category")) == {"bay": 0.5, "reef": 0.5}


@pytest.mark.parametrize(
    "target",
    [
        None,
        np.array([0.5, 1.5]),
        np.array([1.0, np.nan]),
        np.zeros((4, 2)),
        np.arange(10_000),
        np.array([]),
        np.array([{"a": 1}], dtype=object),
        "reef",
        sp.csr_matrix(X),
        np.array(["2024-01-01"], dtype="M8[D]"),
    ],
)
def test_no_classes_are_invented(target: Any) -> None:
    assert class_distribution(target) is None


class Split(NamedTuple):
    X: Any
    y: Any


def test_the_forms_a_set_is_returned_in() -> None:
    pair = told((X, Y))
    assert (pair.n_rows, pair.n_features, pair.validation_share) == (20, 2, None)
    split = told(tuple(train_test_split(X, Y, test_size=0.25, random_state=0)))
    assert (split.n_rows, split.n_features, split.validation_share) == (20, 2, 0.25)
    assert split.class_distribution == {"0": 0.75, "1": 0.25}
    named = told({"X_train": X, "y_train": Y, "X_test": X[:5], "y_test": Y[:5], "feature_names": ["a", "b"]})
    assert (named.n_rows, named.validation_share, named.feature_names) == (25, 0.2, ("a", "b"))
    assert told(Split(X, Y)).n_rows == 20
    assert told(TrainingSet(X=pd.DataFrame(X, columns=["u", "v"]), y=Y)).feature_names == ("u", "v")
    assert told(TrainingSet(X=pl.DataFrame(X, schema=["u", "v"]), y=Y)).feature_names == ("u", "v")
    assert told(TrainingSet(X=pa.table({"u": X[:, 0]}), y=Y)).feature_names == ("u",)
    assert told(TrainingSet(X=sp.csr_matrix(X), y=Y)).n_features == 2


@pytest.mark.parametrize("value", [None, 3, X, (X, X), (X, Y[:3]), [X], {"a": X}, "text", (1, 2)])
def test_what_has_no_known_form_has_no_numbers(value: Any) -> None:
    found = told(value)
    assert found.class_distribution is None
    assert found.n_rows is None


def test_steps_of_a_pipeline_with_what_their_fits_learned() -> None:
    frame = pd.DataFrame(X, columns=["a", "b"]).assign(zone=["reef", "bay"] * 10)
    pipeline = ColumnTransformer(
        [("numbers", make_pipeline(StandardScaler(), MinMaxScaler()), ["a", "b"]), ("zone", OneHotEncoder(), ["zone"])]
    ).fit(frame)
    steps = told(TrainingSet(X=frame, y=Y, pipeline=pipeline)).preprocessing
    assert [step["name"] for step in steps] == ["numbers.standardscaler", "numbers.minmaxscaler", "zone"]
    assert steps[0]["learned"]["mean_"] == X.mean(axis=0).tolist()
    assert steps[0]["parameters"] == {"copy": True, "with_mean": True, "with_std": True}
    assert steps[2]["learned"]["categories_"] == [["bay", "reef"]]
    assert steps[2]["columns"] == ["zone"]


def test_everything_told_fits_a_json_column() -> None:
    strange = {
        "nan": np.nan,
        "inf": [np.float32("inf")],
        "array": np.zeros(5),
        "large": np.zeros((5000, 3)),
        "frame": pd.DataFrame(X),
        "text": "a\0b" * 200,
        1: {2: {3: object()}},
        "when": pd.Timestamp("2024-01-01"),
        "set": {1},
    }
    found = plain(strange)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert found["large"] == "<ndarray 5000x3>"
    assert found["frame"] == "<DataFrame 20x2>"
    assert "\0" not in found["text"]
    deep: Any = 1
    for _ in range(100):
        deep = [deep]
    json.dumps(plain(deep))


def test_no_secret_among_the_arguments_is_told() -> None:
    given = {
        "db_password": "hunter2",
        "apiKey": "hunter2",
        "source": "postgresql://me:hunter2@host/db",
        "options": {"dsn": "host=x password=hunter2"},
        "days": 3,
        "page": "https://example.org/a:b",
    }
    found = describe((X, Y), parameters=given, data_versions={}, provenance={}).parameters
    assert "hunter2" not in json.dumps(found)
    assert found["days"] == 3
    assert found["page"] == "https://example.org/a:b"
