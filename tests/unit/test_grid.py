"""Cells: Python, DuckDB and an independent oracle agree."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from retention_pipelines.grid import Cell, cell_index, fold_longitude
from retention_pipelines.warehouse.duck import open_connection

SIZES = st.sampled_from([0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 30.0])
# Positions as published have few decimals.
LATITUDES = st.decimals(-90, 90, places=4).map(float)
LONGITUDES = st.decimals(-180, 360, places=4).map(float)


@given(latitude=LATITUDES, longitude=LONGITUDES, size=SIZES)
@example(latitude=0.3, longitude=0.3, size=0.1)
@example(latitude=-12.25, longitude=180.0, size=0.25)
@example(latitude=-0.0, longitude=-0.0, size=0.25)
@settings(max_examples=200, derandomize=True, deadline=None)
def test_a_cell_holds_its_position_by_exact_arithmetic(latitude: float, longitude: float, size: float) -> None:
    cell = Cell.at(latitude, longitude, size)
    step = Fraction(str(size))
    folded = (Fraction(str(longitude)) + 180) % 360 - 180
    for corner, exact in ((cell.lat0, Fraction(str(latitude))), (cell.lon0, folded)):
        assert Fraction(str(corner)) == (exact // step) * step
    assert "-0.0_" not in cell.name
    assert not cell.name.endswith("_-0.0")


@given(st.lists(st.tuples(LATITUDES, LONGITUDES, SIZES), min_size=1, max_size=200))
@settings(max_examples=10, derandomize=True, deadline=None)
def test_the_macros_of_duckdb_say_the_same(positions: list[tuple[float, float, float]]) -> None:
    with open_connection() as con:
        con.execute("create table positions (lat double, lon double, size double)")
        con.executemany("insert into positions values (?, ?, ?)", positions)
        found = con.execute("select location_grid(lat, lon, size) from positions").fetchall()
    assert [row[0] for row in found] == [Cell.at(*position).name for position in positions]


@given(st.floats(-1e4, 1e4))
@settings(max_examples=100, derandomize=True, deadline=None)
def test_folding_keeps_the_place_and_the_range(longitude: float) -> None:
    folded = fold_longitude(longitude)
    assert -180 <= folded < 180
    assert np.cos(np.radians(folded)) == pytest.approx(np.cos(np.radians(longitude)), abs=1e-6)


@given(st.lists(st.floats(-1e4, 1e4), min_size=1, max_size=200))
@example([13.2, -13.2, 180.0, 360.0, 346.8, -180.0, -180.00000000000003, 359.99999999999994, 539.9999999999999, -0.0])
@settings(max_examples=20, derandomize=True, deadline=None)
def test_folding_in_duckdb_gives_the_very_same_numbers(longitudes: list[float]) -> None:
    with open_connection() as con:
        found = con.execute("select list_transform($1::double[], lambda x: fold_longitude(x))", [longitudes]).fetchall()
    assert [repr(folded) for folded in found[0][0]] == [repr(fold_longitude(one)) for one in longitudes]


@given(st.floats(-180, 180, exclude_max=True))
@settings(max_examples=100, derandomize=True, deadline=None)
def test_a_longitude_that_needs_no_folding_stays_as_it_was_written(longitude: float) -> None:
    assert fold_longitude(longitude) == longitude


def test_names_and_middles_are_as_documented() -> None:
    cell = Cell.at(-12.1, 13.6, 0.25)
    assert (cell.name, cell.center) == ("-12.25_13.5", (-12.125, 13.625))
    assert cell_index(0.1 + 0.2, 0.1) == 3
