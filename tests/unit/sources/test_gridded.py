from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import netCDF4
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from retention_pipelines.errors import FileRefused
from retention_pipelines.sources.gridded import GriddedReader
from retention_pipelines.sources.gridded.variables import Group
from retention_pipelines.warehouse.duck import open_connection
from tests.unit.sources.reading import read, read_one, recognise


@pytest.fixture
def con() -> duckdb.DuckDBPyConnection:
    return open_connection()


def write_grid(
    path: Path,
    coordinates: Mapping[str, tuple[Sequence[float], Mapping[str, Any]]],
    variables: Mapping[str, tuple[tuple[str, ...], Any, Mapping[str, Any]]],
    attributes: Mapping[str, Any] | None = None,
    dtype: str = "f8",
) -> Path:
    with netCDF4.Dataset(path, "w") as data:
        data.setncatts(attributes or {})
        for name, (values, described) in coordinates.items():
            data.createDimension(name, len(values))
            variable = data.createVariable(name, dtype, (name,))
            variable.setncatts(described)
            variable[:] = values
        for name, (dimensions, values, described) in variables.items():
            for dimension in dimensions:
                if dimension not in data.dimensions:
                    data.createDimension(dimension, 2)
            storage = {key: described[key] for key in ("_FillValue",) if key in described}
            kind = "i2" if "scale_factor" in described else "f4" if name != "time_bnds" else "f8"
            variable = data.createVariable(name, kind, dimensions, fill_value=storage.get("_FillValue"))
            variable.setncatts({key: value for key, value in described.items() if key != "_FillValue"})
            variable[:] = values
    return path


_LAT = {"units": "degrees_north", "standard_name": "latitude"}
_LON = {"units": "degrees_east", "standard_name": "longitude"}
_DAYS = {"units": "days since 2017-01-01 00:00:00", "standard_name": "time", "calendar": "standard"}
_SST = {"standard_name": "sea_surface_temperature", "units": "K"}


def _simple(path: Path, times: Sequence[float] = (0.0,), time: Mapping[str, Any] = _DAYS, **more: Any) -> Path:
    shape = (len(times), 2, 2)
    values = more.pop("values", np.arange(np.prod(shape)).reshape(shape) + 280.0)
    return write_grid(
        path,
        {"time": (times, time), "lat": ((-10.0, -9.0), _LAT), "lon": ((0.5, 359.5), _LON)},
        {"sst": (("time", "lat", "lon"), values, more.pop("sst", _SST)), **more.pop("variables", {})},
        **more,
    )


def test_kelvin_becomes_degrees_and_every_cell_is_a_row(tmp_path: Path, con: duckdb.DuckDBPyConnection) -> None:
    found = read_one(GriddedReader(), _simple(tmp_path / "sst.nc", (0.0, 1.0)), con)
    assert found.staged.read == 8
    assert [row["source_row"] for row in found.rows] == list(range(1, 9))
    assert [one["value"] for one in found.values("temperature_degc")] == pytest.approx(np.arange(8) + 6.85, abs=1e-4)
    assert [(row["decimal_latitude"], row["decimal_longitude"]) for row in found.rows[:4]] == [
        (-10.0, 0.5), (-10.0, 359.5), (-9.0, 0.5), (-9.0, 359.5),
    ]  # fmt: skip
    assert {row["depth_m"] for row in found.rows} == {0.0}
    assert found.staged.source_type == "grid"


def test_masked_cells_are_rows_without_values(tmp_path: Path, con: duckdb.DuckDBPyConnection) -> None:
    values = np.array([[[280.0, 1e20], [np.nan, 9.96921e36]]])
    found = read_one(
        GriddedReader(), _simple(tmp_path / "sst.nc", values=values, sst={**_SST, "_FillValue": 1e20}), con
    )
    assert found.staged.read == 4
    assert [len(row["measurements"]) for row in found.rows] == [1, 0, 0, 0]


def test_packed_values_are_unpacked_and_their_fill_is_missing(tmp_path: Path, con: duckdb.DuckDBPyConnection) -> None:
    described = {**_SST, "scale_factor": 0.01, "add_offset": 273.15, "_FillValue": -32768}
    values = np.ma.array([[[283.15, 293.16], [300.0, 0.0]]], mask=[[[0, 0], [0, 1]]])
    found = read_one(GriddedReader(), _simple(tmp_path / "sst.nc", values=values, sst=described), con)
    assert [one["value"] for one in found.values("temperature_degc")] == pytest.approx([10.0, 20.01, 26.85], abs=0.006)


def test_months_by_bounds_are_months_and_not_instants(tmp_path: Path, con: duckdb.DuckDBPyConnection) -> None:
    bounds = {"time_bnds": (("time", "bnds"), [[0.0, 31.0], [31.0, 59.0]], {})}
    path = _simple(tmp_path / "sst.nc", (15.5, 45.0), {**_DAYS, "bounds": "time_bnds"}, variables=bounds)
    found = read_one(GriddedReader(), path, con)
    assert [(row["event_date"], row["date_precision"]) for row in found.rows[::4]] == [
        ("2017-01", "month"),
        ("2017-02", "month"),
    ]
    assert found.rows[4]["event_start"] == datetime(2017, 2, 1, tzinfo=UTC)
    assert found.rows[4]["event_end"] == datetime(2017, 3, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("bounds", "text", "precision"),
    [
        ([0.0, 1.0], "2017-01-01", "day"),
        ([0.0, 365.0], "2017", "year"),
        ([0.0, 8.0], "2017-01-01T00:00:00Z/2017-01-09T00:00:00Z", "interval"),
    ],
)
def test_other_bounds_have_the_precision_they_span(
    bounds: list[float], text: str, precision: str, tmp_path: Path, con: duckdb.DuckDBPyConnection
) -> None:
    extra = {"time_bnds": (("time", "bnds"), [bounds], {})}
    path = _simple(tmp_path / "sst.nc", (0.5,), {**_DAYS, "bounds": "time_bnds"}, variables=extra)
    found = read_one(GriddedReader(), path, con)
    assert (found.rows[0]["event_date"], found.rows[0]["date_precision"]) == (text, precision)


def test_one_field_per_month_is_a_month_even_without_bounds(tmp_path: Path, con: duckdb.DuckDBPyConnection) -> None:
    found = read_one(GriddedReader(), _simple(tmp_path / "sst.nc", (15.0, 45.0, 74.0)), con)
    assert [row["event_date"] for row in found.rows[::4]] == ["2017-01", "2017-02", "2017-03"]
    assert found.staged.flags == ("MONTH_BY_SPACING",)


def test_a_time_without_bounds_is_an_instant(tmp_path: Path, con: duckdb.DuckDBPyConnection) -> None:
    path = _simple(tmp_path / "sst.nc", (12.0, 13.5), {**_DAYS, "units": "hours since 2017-01-01T00:00:00Z"})
    found = read_one(GriddedReader(), path, con)
    assert [row["event_date"] for row in found.rows[::4]] == ["2017-01-01T12:00:00Z", "2017-01-01T13:30:00Z"]
    assert found.rows[0]["date_precision"] == "time"
    assert found.rows[0]["source_timezone"] == "Z"


def test_daily_means_are_days(tmp_path: Path, con: duckdb.DuckDBPyConnection) -> None:
    path = _simple(tmp_path / "sst.nc", (0.5, 1.5), sst={**_SST, "cell_methods": "time: mean"})
    found = read_one(GriddedReader(), path, con)
    assert [row["event_date"] for row in found.rows[::4]] == ["2017-01-01", "2017-01-02"]


@pytest.mark.parametrize("calendar", ["360_day", "all_leap", "julian"])
def test_a_calendar_with_dates_that_do_not_exist_is_refused(
    calendar: str, tmp_path: Path, con: duckdb.DuckDBPyConnection
) -> None:
    path = _simple(tmp_path / "sst.nc", time={**_DAYS, "calendar": calendar})
    with pytest.raises(FileRefused, match=f"{calendar}.*convert_calendar"):
        read(GriddedReader(), path, con)


def test_a_calendar_without_leap_days_is_read_and_flagged(tmp_path: Path, con: duckdb.DuckDBPyConnection) -> None:
    time = {**_DAYS, "calendar": "noleap", "units": "days since 2016-02-28 00:00:00"}
    found = read_one(GriddedReader(), _simple(tmp_path / "sst.nc", (1.0,), time), con)
    assert found.rows[0]["event_date"] == "2016-03-01T00:00:00Z"
    assert found.staged.flags == ("MODEL_CALENDAR",)


def test_a_climatology_is_refused(tmp_path: Path, con: duckdb.DuckDBPyConnection) -> None:
    path = _simple(tmp_path / "sst.nc", time={**_DAYS, "climatology": "climatology_bounds"})
    with pytest.raises(FileRefused, match="climatology"):
        read(GriddedReader(), path, con)


def test_months_since_are_refused_with_a_sentence(tmp_path: Path, con: duckdb.DuckDBPyConnection) -> None:
    path = _simple(tmp_path / "sst.nc", time={**_DAYS, "units": "months since 2017-01-01"})
    with pytest.raises(FileRefused, match="time axis"):
        read(GriddedReader(), path, con)


def test_coordinates_are_found_by_units_and_axis_whatever_their_names(
    tmp_path: Path, con: duckdb.DuckDBPyConnection
) -> None:
    path = write_grid(
        tmp_path / "model.nc",
        {
            "t": ((0.0,), {"units": "days since 2017-01-01", "axis": "T"}),
            "k": ((0.5, 100.0), {"units": "m", "axis": "Z", "positive": "down"}),
            "j": ((3.0, 2.0), {"units": "degree_north"}),
            "i": ((10.0,), {"units": "degree_east"}),
        },
        {"votemper": (("t", "k", "j", "i"), np.full((1, 2, 2, 1), 12.0),
                      {"standard_name": "sea_water_temperature", "units": "degC"})},
    )  # fmt: skip
    found = read_one(GriddedReader(), path, con)
    assert [(row["depth_m"], row["decimal_latitude"]) for row in found.rows] == [
        (0.5, 3.0), (0.5, 2.0), (100.0, 3.0), (100.0, 2.0),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("described", "depths"),
    [
        ({"units": "m", "positive": "up", "axis": "Z"}, [-5.0, 20.0]),
        ({"units": "cm", "positive": "down", "axis": "Z"}, [0.05, -0.2]),
        ({"units": "1", "axis": "Z"}, [None, None]),
    ],
)
def test_the_vertical_axis_is_metres_down_or_not_a_depth(
    described: dict[str, str], depths: list[float | None], tmp_path: Path, con: duckdb.DuckDBPyConnection
) -> None:
    path = write_grid(
        tmp_path / "model.nc",
        {"time": ((0.0,), _DAYS), "z": ((5.0, -20.0), described), "lat": ((3.0,), _LAT), "lon": ((10.0,), _LON)},
        {"temp": (("time", "z", "lat", "lon"), np.full((1, 2, 1, 1), 12.0), {"units": "degC"})},
    )
    found = read_one(GriddedReader(), path, con)
    assert [row.get("depth_m") for row in found.rows] == (pytest.approx(depths) if None not in depths else depths)


def test_pressure_levels_are_kept_and_become_depths(tmp_path: Path, con: duckdb.DuckDBPyConnection) -> None:
    pressure = {"units": "dbar", "axis": "Z", "standard_name": "sea_water_pressure"}
    path = write_grid(
        tmp_path / "argo_grid.nc",
        {"time": ((0.0,), _DAYS), "pres": ((1000.0,), pressure), "lat": ((30.0,), _LAT), "lon": ((10.0,), _LON)},
        {"temp": (("time", "pres", "lat", "lon"), np.full((1, 1, 1, 1), 12.0), {"units": "degC"})},
    )
    (row,) = read_one(GriddedReader(), path, con).rows
    assert row["pressure_dbar"] == 1000.0
    assert row["depth_m"] == pytest.approx(990.8, abs=0.1)


def test_a_single_precision_coordinate_is_the_decimal_it_was_written_as(
    tmp_path: Path, con: duckdb.DuckDBPyConnection
) -> None:
    path = write_grid(
        tmp_path / "sst.nc",
        {"time": ((0.0,), _DAYS), "lat": ((0.7,), _LAT), "lon": ((13.1,), _LON)},
        {"sst": (("time", "lat", "lon"), np.full((1, 1, 1), 280.0), _SST)},
        dtype="f4",
    )
    (row,) = read_one(GriddedReader(), path, con).rows
    assert (row["decimal_latitude"], row["decimal_longitude"]) == (0.7, 13.1)


def test_a_mooring_with_scalar_position_is_read_too(tmp_path: Path, con: duckdb.DuckDBPyConnection) -> None:
    path = write_grid(
        tmp_path / "mooring.nc",
        {"time": ((0.0, 0.5), _DAYS)},
        {
            "lat": (("time",), [5.0, 5.0], _LAT),
            "lon": (("time",), [2.0, 2.1], _LON),
            "TEMP": (("time",), [20.0, 21.0], {"units": "degree_Celsius"}),
        },
        {"featureType": "timeSeries"},
    )
    found = read_one(GriddedReader(), path, con)
    assert [row["decimal_longitude"] for row in found.rows] == pytest.approx([2.0, 2.1])
    assert found.staged.source_type == "buoy"


def test_a_position_that_is_one_number_holds_for_every_row(tmp_path: Path, con: duckdb.DuckDBPyConnection) -> None:
    path = write_grid(
        tmp_path / "mooring.nc",
        {"time": ((0.0, 0.5), _DAYS)},
        {
            "lat": ((), 5.0, _LAT),
            "lon": ((), 2.0, _LON),
            "depth": ((), 30.0, {"units": "m", "positive": "down", "axis": "Z", "standard_name": "depth"}),
            "TEMP": (("time",), [20.0, 21.0], {"units": "degree_Celsius", "coordinates": "time lat lon depth"}),
        },
    )
    rows = read_one(GriddedReader(), path, con).rows
    assert [(row["decimal_latitude"], row["decimal_longitude"], row["depth_m"]) for row in rows] == [
        (5.0, 2.0, 30.0)
    ] * 2


def test_two_dimensional_coordinates_are_followed(tmp_path: Path, con: duckdb.DuckDBPyConnection) -> None:
    path = write_grid(
        tmp_path / "model.nc",
        {"time": ((0.0,), _DAYS)},
        {
            "nav_lat": (("y", "x"), [[1.0, 1.5], [2.0, 2.5]], {"units": "degrees_north"}),
            "nav_lon": (("y", "x"), [[10.0, 11.0], [10.5, 11.5]], {"units": "degrees_east"}),
            "tos": (("time", "y", "x"), np.full((1, 2, 2), 20.0),
                    {"standard_name": "sea_surface_temperature", "units": "degC", "coordinates": "nav_lat nav_lon"}),
        },
    )  # fmt: skip
    rows = read_one(GriddedReader(), path, con).rows
    assert [(row["decimal_latitude"], row["decimal_longitude"]) for row in rows] == [
        (1.0, 10.0), (1.5, 11.0), (2.0, 10.5), (2.5, 11.5),
    ]  # fmt: skip


def test_a_track_has_its_own_position_at_every_time(tmp_path: Path, con: duckdb.DuckDBPyConnection) -> None:
    path = write_grid(
        tmp_path / "track.nc",
        {"time": ((0.0, 0.5), _DAYS)},
        {
            "latitude": (("time",), [5.0, np.nan], _LAT),
            "longitude": (("time",), [2.0, 2.5], _LON),
            "sal": (("time",), [35.0, 35.5], {"units": "1"}),
        },
        {"featureType": "trajectory"},
    )
    found = read_one(GriddedReader(), path, con)
    assert [row["decimal_latitude"] for row in found.rows] == [5.0, None]
    assert found.staged.source_type == "other"


def test_variables_of_unknown_unit_do_not_stop_the_others(tmp_path: Path, con: duckdb.DuckDBPyConnection) -> None:
    extra = {
        "chl": (("time", "lat", "lon"), np.ones((1, 2, 2)), {"units": "furlongs"}),
        "mask": (("time", "lat", "lon"), np.ones((1, 2, 2)), {}),
    }
    found = read_one(GriddedReader(), _simple(tmp_path / "sst.nc", variables=extra), con)
    assert {one["variable"] for row in found.rows for one in row["measurements"]} == {"temperature_degc"}
    assert found.staged.flags == ("UNIT_NOT_READ",)
    assert "chl has the unit 'furlongs'" in found.staged.notes[0]
    assert found.staged.notes[1:] == ("Not read, as no known quantity: mask.",)


@pytest.mark.parametrize("described", [{"units": "furlongs", "long_name": "x"}, {}])
def test_a_file_without_a_readable_variable_is_refused_with_the_reason(
    described: dict[str, str], tmp_path: Path, con: duckdb.DuckDBPyConnection
) -> None:
    with pytest.raises(FileRefused, match="no variable that can be read"):
        read(GriddedReader(), _simple(tmp_path / "sst.nc", sst=described), con)


def test_a_file_without_coordinates_is_refused_and_told_which(tmp_path: Path, con: duckdb.DuckDBPyConnection) -> None:
    path = write_grid(tmp_path / "x.nc", {"time": ((0.0,), _DAYS)}, {"sst": (("time",), [1.0], _SST)})
    with pytest.raises(FileRefused, match="latitude, longitude"):
        read(GriddedReader(), path, con)


def test_a_truncated_file_is_refused(tmp_path: Path, con: duckdb.DuckDBPyConnection) -> None:
    path = _simple(tmp_path / "sst.nc")
    path.write_bytes(path.read_bytes()[:3000])
    assert recognise(GriddedReader(), path) is not None
    with pytest.raises(FileRefused, match="no readable NetCDF"):
        read(GriddedReader(), path, con)


def test_a_truncated_classic_file_is_refused_and_not_read_as_zeros(
    tmp_path: Path, con: duckdb.DuckDBPyConnection
) -> None:
    with netCDF4.Dataset(tmp_path / "sst.nc", "w", format="NETCDF3_CLASSIC") as data:
        for name, size in (("time", None), ("lat", 2), ("lon", 50)):
            data.createDimension(name, size)
        for name, described, values in (
            ("time", _DAYS, [0.0, 1.0]),
            ("lat", _LAT, [1.0, 2.0]),
            ("lon", _LON, range(50)),
        ):
            variable = data.createVariable(name, "f8", (name,))
            variable.setncatts(described)
            variable[:] = list(values)
        variable = data.createVariable("sst", "f4", ("time", "lat", "lon"))
        variable.setncatts(_SST)
        variable[:] = np.full((2, 2, 50), 280.0)
    assert read_one(GriddedReader(), tmp_path / "sst.nc", con).staged.read == 200
    (tmp_path / "cut.nc").write_bytes((tmp_path / "sst.nc").read_bytes()[:-500])
    with pytest.raises(FileRefused, match="shorter than its header says"):
        read(GriddedReader(), tmp_path / "cut.nc", con)


def test_the_dataset_is_named_by_the_file_s_own_identifier_or_title(
    tmp_path: Path, con: duckdb.DuckDBPyConnection
) -> None:
    first = _simple(tmp_path / "a.nc", attributes={"id": "OSTIA-UKMO-L4", "license": "CC BY-NC 4.0"})
    second = _simple(tmp_path / "b.nc", attributes={"title": "A title, with words"})
    third = _simple(tmp_path / "sst_20170801.nc")
    names = [read_one(GriddedReader(), path, con).staged for path in (first, second, third)]
    assert [one.dataset_id for one in names] == ["OSTIA-UKMO-L4", "A_title_with_words", "sst"]
    assert names[0].licence == "CC-BY-NC-4.0"


def test_blocks_give_the_same_rows_as_the_whole(tmp_path: Path, con: duckdb.DuckDBPyConnection) -> None:
    path = _simple(tmp_path / "sst.nc", (0.0, 1.0, 2.0))
    whole = read_one(GriddedReader(), path, con).rows
    parts = read(GriddedReader(block_rows=3), path, con)
    assert len(parts) == 6
    assert [row for part in parts for row in part.rows] == whole


@given(shape=st.lists(st.integers(1, 6), min_size=1, max_size=4).map(tuple), limit=st.integers(1, 40))
@settings(max_examples=80, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_blocks_cover_every_cell_once_in_storage_order(shape: tuple[int, ...], limit: int) -> None:
    group = Group(dimensions=tuple(f"d{n}" for n in range(len(shape))), shape=shape, variables=())
    cells = np.arange(np.prod(shape)).reshape(shape)
    seen = [cells[block].ravel() for block in group.blocks(limit)]
    assert np.concatenate(seen).tolist() == cells.ravel().tolist()
    assert all(one.size <= max(limit, 1) for one in seen)
