"""The rows beside cached answers: what call and result say, and nothing invented."""

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any

import numpy as np
import pytest

from retention_pipelines import Grid, cache_features, cache_predictions, caching
from retention_pipelines.cache import codec
from retention_pipelines.cache.feature_row import _HIGH_ABOVE, _MEDIUM_ABOVE, priority
from retention_pipelines.cache.prediction_row import METADATA_BYTES, SUMMARY_BYTES, summarised
from retention_pipelines.cache.runtime import CacheRuntime
from retention_pipelines.catalog.features import FEATURE_COLUMNS
from retention_pipelines.features import score


@pytest.fixture(autouse=True)
def caches() -> Iterator[CacheRuntime]:
    with caching.testing() as own:
        yield own


def described(function: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
    """The columns of the entry a call would store."""
    cached = function.cached
    call = cached.call(args, kwargs, "refresh")
    result = function.__wrapped__(*args, **kwargs)
    return dict(cached.describe(call, result, codec.encode(result)))


def test_well_known_arguments_fill_the_row() -> None:
    @cache_features("environmental", "occurrences")
    def features(
        study_id: str, lat: float, lon: float, event_time: Any, temporal_window: str = "P7D"
    ) -> dict[str, Any]:
        return {"spatial_resolution": "0.25"}

    row = described(features, "s1", -12.1, 13.2, date(2024, 3, 1))
    assert row["source_data_id"] == "s1"
    assert row["feature_id"] == "s1/environmental"
    assert row["location_grid"] == "-12.25_13.0"
    assert row["event_time"] == datetime(2024, 3, 1, tzinfo=UTC)
    assert (row["temporal_window"], row["spatial_resolution"]) == ("P7D", "0.25")
    assert (row["feature_type"], row["source_table"]) == ("environmental", "occurrences")
    assert row["quality_score"] is None
    assert row["priority"] is None


def test_keywords_name_arguments_or_compute_from_them() -> None:
    @cache_features(
        "environmental",
        "occurrences",
        source_data_id="haul",
        event_time=lambda bound: datetime(bound["year"], 1, 1, tzinfo=UTC),
        quality=lambda result: 0.7,
    )
    def features(haul: str, year: int) -> float:
        return 1.0

    row = described(features, "h1", 2020)
    assert row["source_data_id"] == "h1"
    assert row["event_time"].year == 2020
    assert (row["quality_score"], row["priority"]) == (0.7, "medium")


def test_quality_is_the_product_of_four_parts_or_unknown() -> None:
    names = [column.name for column in FEATURE_COLUMNS["species"]]
    full = dict.fromkeys(names, 1.0)

    @cache_features("species", "occurrences")
    def features(result: Any) -> Any:
        return result

    def quality(**parts: Any) -> float | None:
        return described(features, full | parts)["quality_score"]

    assert quality() is None, "only the completeness is known"
    others = {"quality_validity": 0.5, "quality_support": 0.5, "quality_precision": 1.0}
    assert quality(**others) == 0.25
    half = dict.fromkeys(names[: len(names) // 2], math.nan)
    assert quality(**others, **half) == pytest.approx(0.25 * (1 - len(half) / len(names)))
    assert quality(quality_score=0.9, **others) == 0.9
    assert quality(quality_score=1.5) is None
    assert quality(quality_score="high") is None
    assert quality(quality_score=np.float32(0.5)) == 0.5


def test_priorities_are_those_of_the_feature_store() -> None:
    assert (_HIGH_ABOVE, _MEDIUM_ABOVE) == (score.HIGH_ABOVE, score.MEDIUM_ABOVE)
    assert [priority(value) for value in (0.81, 0.8, 0.61, 0.6, 0.0)] == ["high", "medium", "medium", "low", "low"]


def test_equal_content_has_an_equal_hash_whatever_its_key() -> None:
    @cache_features("spatial", "occurrences")
    def features(study_id: str, depth: float) -> dict[str, float]:
        return {"depth": depth}

    one, two, other = (described(features, *args)["feature_hash"] for args in [("a", 1.0), ("b", 1.0), ("a", 2.0)])
    assert one == two != other


@dataclass
class Prediction:
    value: float
    confidence: float
    metadata: dict[str, Any] = field(default_factory=dict)


@pytest.mark.parametrize(
    "result",
    [
        {"prediction": 1, "confidence": 0.75, "prediction_metadata": {"trees": 100}},
        Prediction(1.0, 0.75, {"trees": 100}),
    ],
)
def test_confidence_and_metadata_are_taken_from_the_result(result: Any) -> None:
    @cache_predictions("species", model_id="tuna", model_version="7")
    def predict(lat: float, lon: float) -> Any:
        return result

    row = described(predict, -12.1, 13.2)
    assert (row["model_id"], row["model_type"], row["model_version"]) == ("tuna", "species", "7")
    assert row["confidence"] == 0.75
    assert row["prediction_metadata"] == {"trees": 100}
    assert (row["latitude"], row["longitude"]) == (-12.1, 13.2)
    assert row["location_grid"] is None, "without spatial= no answer is shared"


def test_callables_say_what_results_of_another_form_hold() -> None:
    @cache_predictions(
        "species",
        spatial=Grid(0.5),
        confidence=lambda result: result[1],
        prediction_metadata=lambda result: {"label": result[0]},
        input_summary=lambda bound: {"depth": round(bound["depth"])},
    )
    def predict(lat: float, lon: float, depth: float) -> tuple[str, float]:
        return "tuna", 0.5

    row = described(predict, -12.1, 13.2, 9.7)
    assert row["confidence"] == 0.5
    assert row["prediction_metadata"] == {"label": "tuna", "location_grid": "-12.5_13.0", "cell_deg": 0.5}
    assert row["input_summary"] == {"depth": 10}


def test_a_confidence_that_is_none_is_not_invented() -> None:
    for confidence in (None, 1.5, -0.1, math.nan, "high", True, [0.5]):

        @cache_predictions("species")
        def predict() -> Any:
            return {"confidence": confidence}  # noqa: B023 - called in this round only

        assert described(predict)["confidence"] is None


def test_a_summary_is_short_and_says_nothing_of_persons() -> None:
    bound = {
        "self": object(),
        "name": "Maria da Silva",
        "telephone": 351912345678,
        "row": {"email": "maria@example.org"},
        "depth": 12.3456789,
        "n": 3,
        "flag": True,
        "nothing": None,
        "missing": math.nan,
        "array": np.zeros((3, 4)),
    }
    summary = summarised(bound)
    text = json.dumps(summary)
    for secret in ("Maria", "351912345678", "example.org", "email"):
        assert secret not in text
    assert summary["depth"] == 12.35
    assert summary["array"] == "ndarray[3, 4]"
    assert summary["row"] == "dict[1]"
    assert "self" not in summary
    assert len(json.dumps(summarised({f"argument_{n}": "x" for n in range(500)}))) < SUMMARY_BYTES


def test_metadata_that_is_too_long_or_strange_is_cut_to_what_a_row_can_hold() -> None:
    @cache_predictions("species")
    def predict(metadata: Any) -> Any:
        return {"prediction_metadata": metadata}

    long = described(predict, {"text": "x" * METADATA_BYTES})["prediction_metadata"]
    assert list(long) == ["omitted_bytes"]
    strange = {"at": datetime(2024, 1, 1, tzinfo=UTC), 1: np.float32(0.5), "nan": math.nan, "deep": [[[[[[1]]]]]]}
    row = described(predict, strange)["prediction_metadata"]
    assert json.loads(json.dumps(row)) == row
    assert row["1"] == 0.5
