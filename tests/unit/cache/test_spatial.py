"""Spatial sharing: within a cell, and across nothing else."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retention_pipelines import Grid, cache_predictions, caching
from retention_pipelines.cache.events import CacheEvent
from retention_pipelines.cache.runtime import CacheRuntime
from retention_pipelines.errors import CacheError
from retention_pipelines.grid import Cell


@pytest.fixture(autouse=True)
def caches() -> Iterator[CacheRuntime]:
    with caching.testing() as own:
        yield own


@cache_predictions("species", spatial=Grid(0.05))
def predict(latitude: float, longitude: float, depth: float = 0.0) -> tuple[float, float, float]:
    return latitude, longitude, depth


@settings(max_examples=200, derandomize=True, deadline=None)
@given(
    one=st.tuples(st.floats(-90, 90), st.floats(-180, 180)),
    other=st.tuples(st.floats(-90, 90), st.floats(-180, 180)),
)
def test_two_positions_share_a_key_exactly_when_they_share_a_cell(
    one: tuple[float, float], other: tuple[float, float]
) -> None:
    same_cell = Cell.at(*one, 0.05) == Cell.at(*other, 0.05)
    assert (predict.key(*one) == predict.key(*other)) == same_cell


def test_within_a_cell_the_first_answer_is_shared_and_further_arguments_divide() -> None:
    assert predict(-12.01, 13.51) == (-12.01, 13.51, 0.0), "the function runs with its caller's own position"
    assert predict(-12.02, longitude=13.52) == (-12.01, 13.51, 0.0)
    assert predict(-12.02, 13.52, 5.0) == (-12.02, 13.52, 5.0)
    assert predict(-12.06, 13.51) == (-12.06, 13.51, 0.0)


def test_models_and_versions_never_share_a_cell() -> None:
    def at(lat: float, lon: float) -> str:
        return "x"

    grid = Grid(0.05)
    keys = {
        cache_predictions("species", spatial=grid, **options)(at).key(1.0, 2.0)
        for options in ({}, {"model_id": "b"}, {"model_version": "2"})
    }
    assert len(keys) == 3
    assert cache_predictions("species", spatial=Grid(0.1))(at).key(1.0, 2.0) not in keys
    assert cache_predictions("species")(at).key(1.0, 2.0) not in keys


@pytest.mark.parametrize("nowhere", [None, math.nan, math.inf, 91.0, "12.0", True, [1.0], "x"])
def test_what_is_no_position_shares_with_nothing_but_itself(nowhere: Any) -> None:
    ran = []

    @cache_predictions("species", spatial=Grid(1))
    def at(lat: Any, lon: float = 0.0) -> str:
        ran.append(lat)
        return repr(lat)

    for _ in range(2):
        assert at(nowhere) == repr(nowhere)
        assert at(12.0) == "12.0"
    assert len(ran) == 2


def test_numbers_of_other_types_are_positions_too() -> None:
    @cache_predictions("species", spatial=Grid(1))
    def at(lat: Any, lon: Any) -> int:
        return 1

    keys = {at.key(lat, 2.5) for lat in (12, 12.0, np.float32(12), np.int64(12), Decimal(12))}
    assert len(keys) == 1
    assert at.key(0.5, 180.5) == at.key(0.5, -179.5), "longitudes are folded"


def test_names_of_the_position_are_found_or_given() -> None:
    @cache_predictions("species", spatial=Grid(1, latitude="y", longitude="x"))
    def at(x: float, y: float) -> int:
        return 1

    @cache_predictions("species", spatial=Grid(1, latitude="y", longitude="x"))
    def collected(**kwargs: float) -> int:
        return 1

    assert at.key(1.1, 2.1) == at.key(1.9, y=2.9)
    assert collected.key(x=1.1, y=2.1) == collected.key(y=2.9, x=1.9)
    assert collected.key(x=1.1, y=2.1, z=1) != collected.key(x=1.1, y=2.1)


def test_a_grid_that_does_not_fit_is_refused_when_decorating() -> None:
    def nowhere(a: float) -> float:
        return a

    with pytest.raises(CacheError, match=r"Name it: Grid\(0.05, latitude="):
        cache_predictions("species", spatial=Grid(0.05))(nowhere)
    with pytest.raises(CacheError, match="no such argument"):
        cache_predictions("species", spatial=Grid(0.05, latitude="b"))(nowhere)
    with pytest.raises(CacheError, match="does not tile the globe"):
        Grid(0.07)
    with pytest.raises(CacheError, match="does not tile the globe"):
        Grid(0)


def test_the_cell_is_told_with_every_event() -> None:
    heard: list[CacheEvent] = []

    @cache_predictions("species", spatial=Grid(0.5), hooks=(heard.append,))
    def at(lat: float, lon: float) -> dict[str, Any]:
        return {"prediction": 1, "prediction_metadata": {"model": "a"}}

    at(1.2, 2.3)
    at(1.3, 2.4)
    assert [event.location_grid for event in heard] == ["1.0_2.0"] * 2
    assert Grid(0.5).cell(1.2, 2.3).name == "1.0_2.0"


@dataclass
class Prediction:
    value: int
    metadata: dict[str, Any]


@pytest.mark.parametrize("kept", [{"value": 1, "prediction_metadata": {"model": "a"}}, Prediction(1, {"model": "a"})])
def test_the_metadata_of_a_shared_answer_states_the_cell_on_miss_and_hit_alike(kept: Any) -> None:
    before = repr(kept)

    @cache_predictions("species", spatial=Grid(0.5))
    def at(lat: float, lon: float) -> Any:
        return kept

    miss, hit = at(1.2, 2.3), at(1.3, 2.4)
    assert miss == hit
    assert type(hit) is type(kept)
    metadata = hit.metadata if isinstance(hit, Prediction) else hit["prediction_metadata"]
    assert metadata == {"model": "a", "location_grid": "1.0_2.0", "cell_deg": 0.5}
    assert repr(kept) == before, "what the function keeps is its own"


def test_a_result_without_metadata_is_what_the_function_returned() -> None:
    @cache_predictions("species", spatial=Grid(0.5))
    def at(lat: float, lon: float) -> dict[str, float]:
        return {"lat": lat}

    assert at(1.2, 2.3) == at(1.3, 2.4) == {"lat": 1.2}
