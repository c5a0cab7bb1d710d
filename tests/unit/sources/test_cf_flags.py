"""Flags of CF NetCDF files, written by xarray as others write them: variables of flags, packing, limits, units."""

from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest
import xarray as xr

from retention_pipelines.sources.gridded import GriddedReader
from retention_pipelines.warehouse.duck import open_connection
from tests.unit.sources.reading import Read, read_one

ARGO = "no_qc good probably_good probably_bad bad changed not_used nominal estimated missing"
CODES = np.arange(48, 58, dtype="i1")
QARTOD = {"flag_values": np.array([1, 2, 3, 4, 9], "i1"), "flag_meanings": "PASS NOT_EVALUATED SUSPECT FAIL MISSING"}


@pytest.fixture(scope="module")
def con() -> duckdb.DuckDBPyConnection:
    return open_connection()


def buoy(path: Path, temperature: dict[str, Any], encoding: dict[str, Any] | None = None, **more: Any) -> Path:
    """A series of four hours at one place; `more` are further variables over time."""
    hours = np.arange(4.0)
    variables = {"TEMP": ("time", temperature.pop("values", np.arange(4.0) + 10), temperature), **more}
    data = xr.Dataset(
        variables,
        coords={
            "time": ("time", hours, {"units": "hours since 2017-01-01", "standard_name": "time"}),
            "lat": ((), -9.0, {"units": "degrees_north", "standard_name": "latitude"}),
            "lon": ((), 13.0, {"units": "degrees_east", "standard_name": "longitude"}),
        },
    )
    data.to_netcdf(path, engine="netcdf4", encoding=encoding or {})
    return path


def sea(**more: Any) -> dict[str, Any]:
    return {"standard_name": "sea_water_temperature", "units": "degC", **more}


def told(found: Read) -> list[tuple[Any, ...]]:
    return [(one["value"], one["qc_flag"], one["qc_scale"], one["qc_good"]) for one in found.values("temperature_degc")]


def flags(values: list[int], **described: Any) -> tuple[str, np.ndarray[Any, Any], dict[str, Any]]:
    return "time", np.array(values, "i1"), described


@pytest.mark.parametrize(
    ("name", "stated", "described", "scale", "good"),
    [
        ("TEMP_QC", {}, {"flag_values": np.arange(10, dtype="i1"), "flag_meanings": ARGO}, "argo", [1, 1, 0, 1]),
        ("TEMP_QC", {}, {"conventions": "OceanSITES reference table 2"}, "argo", [1, 1, 0, 1]),
        ("checked", {"ancillary_variables": "checked"}, QARTOD, "qartod", [1, 0, 0, 0]),
        ("TEMP_SEADATANET_QC", {}, {"flag_values": CODES, "flag_meanings": ARGO}, "argo", [1, 1, 0, 1]),
        ("TEMP_qartod_agg", {}, {"standard_name": "aggregate_quality_flag"}, "qartod", [1, 0, 0, 0]),
    ],
)
def test_values_have_the_flag_of_their_variable_of_flags_and_count_by_its_scale(
    name: str,
    stated: dict[str, Any],
    described: dict[str, Any],
    scale: str,
    good: list[int],
    tmp_path: Path,
    con: duckdb.DuckDBPyConnection,
) -> None:
    codes = 48 if "SEADATANET" in name else 0
    path = buoy(tmp_path / "a.nc", sea(**stated), **{name: flags([one + codes for one in (1, 2, 4, 8)], **described)})
    found = read_one(GriddedReader(), path, con)
    assert told(found) == [
        (10.0 + number, flag, scale, bool(good[number])) for number, flag in enumerate(("1", "2", "4", "8"))
    ]
    assert found.staged.notes == ()


def test_flags_on_no_known_scale_are_not_read_and_the_report_says_so(
    tmp_path: Path, con: duckdb.DuckDBPyConnection
) -> None:
    levels = {"flag_values": np.arange(3, dtype="i1"), "flag_meanings": "land cloud clear"}
    error = ("time", np.ones(4), {"standard_name": "sea_water_temperature standard_error", "units": "degC"})
    path = buoy(tmp_path / "a.nc", sea(ancillary_variables="sd level"), level=flags([0, 1, 2, 2], **levels), sd=error)
    found = read_one(GriddedReader(), path, con)
    assert told(found) == [(10.0 + number, None, "none", True) for number in range(4)]
    assert any("level are on no scale that is known" in note for note in found.staged.notes)


def test_flags_of_time_and_position_count_for_every_value_of_the_row(
    tmp_path: Path, con: duckdb.DuckDBPyConnection
) -> None:
    table = {"conventions": "Copernicus Marine In Situ reference table 2"}
    path = buoy(
        tmp_path / "a.nc", sea(), time_QC=flags([1, 4, 1, 1], **table), POSITION_QC=flags([1, 1, 4, 1], **table)
    )
    found = read_one(GriddedReader(), path, con)
    assert [one["qc_good"] for one in found.values("temperature_degc")] == [True, False, False, True]


def good(found: Read) -> list[bool]:
    return [one["qc_good"] for one in found.values("temperature_degc")]


def test_a_flag_that_says_bad_does_not_count_whatever_its_number_is(
    tmp_path: Path, con: duckdb.DuckDBPyConnection
) -> None:
    words = {"flag_values": np.array([1, 2, 5, 8], "i1"), "flag_meanings": "good probably_good spike missing"}
    found = read_one(GriddedReader(), buoy(tmp_path / "a.nc", sea(), TEMP_QC=flags([1, 2, 5, 8], **words)), con)
    assert good(found) == [True, True, False, False]


@pytest.mark.parametrize(
    ("values", "encoding"),
    [
        (np.array([1.0, 4.0, np.nan, 2.0]), {}),
        (np.array(["1", "4", "", "2"], dtype=object), {}),
        (np.array([b"1", b"4", b" ", b"2"], "S1"), {"dtype": "S1"}),
    ],
)
def test_flags_written_as_decimals_or_characters_count(
    values: Any, encoding: dict[str, Any], tmp_path: Path, con: duckdb.DuckDBPyConnection
) -> None:
    described = {"flag_values": np.arange(10.0), "flag_meanings": ARGO}
    both = dict.fromkeys(("TEMP_QC", "POSITION_QC"), ("time", values, described))
    path = buoy(tmp_path / "a.nc", sea(), dict.fromkeys(both, encoding), **both)
    assert told(read_one(GriddedReader(), path, con)) == [
        (10.0, "1", "argo", True),
        (11.0, "4", "argo", False),
        (12.0, None, "argo", False),
        (13.0, "2", "argo", True),
    ]


def test_of_several_flags_the_one_that_sums_up_counts_else_the_worst(
    tmp_path: Path, con: duckdb.DuckDBPyConnection
) -> None:
    tests = {"t_flat_flag": flags([1, 1, 2, 9], **QARTOD), "t_gross_flag": flags([1, 4, 1, 1], **QARTOD)}
    total = {"t_primary_flag": flags([1, 4, 3, 1], standard_name="aggregate_quality_flag", **QARTOD)}
    for more, expected in (({}, ["1", "4", "1", "1"]), (total, ["1", "4", "3", "1"])):
        path = buoy(tmp_path / "a.nc", sea(ancillary_variables=" ".join([*tests, *more])), **tests, **more)
        assert [flag for _, flag, _, _ in told(read_one(GriddedReader(), path, con))] == expected


@pytest.mark.parametrize("stated", [{}, {"ancillary_variables": "TEMP_QC"}])
def test_flags_that_say_nothing_of_themselves_are_told_to_be_unread(
    stated: dict[str, Any], tmp_path: Path, con: duckdb.DuckDBPyConnection
) -> None:
    unsaid = {"TEMP_QC": flags([1, 2, 3, 4], long_name="as told by the cargo ship"), "POSITION_QC": flags([4] * 4)}
    found = read_one(GriddedReader(), buoy(tmp_path / "a.nc", sea(**stated), **unsaid), con)
    assert good(found) == [True] * 4
    assert [note.split(" are on no scale")[0] for note in found.staged.notes] == [f"The flags {one}" for one in unsaid]


def test_flags_of_another_shape_than_the_values_are_told_to_be_unread(
    tmp_path: Path, con: duckdb.DuckDBPyConnection
) -> None:
    path = buoy(tmp_path / "a.nc", sea(), TEMP_QC=("other", np.array([1, 4, 1], "i1"), QARTOD))
    found = read_one(GriddedReader(), path, con)
    assert found.staged.notes == ("The flags TEMP_QC are not of the dimensions of the values, so every value counts.",)


def test_a_nominal_place_counts_as_that_of_a_mooring_and_a_nominal_value_does_not(
    tmp_path: Path, con: duckdb.DuckDBPyConnection
) -> None:
    table = {"flag_values": np.arange(10, dtype="i1"), "flag_meanings": ARGO}
    path = buoy(
        tmp_path / "a.nc", sea(), POSITION_QC=flags([7, 7, 1, 4], **table), TEMP_QC=flags([1, 7, 7, 1], **table)
    )
    assert good(read_one(GriddedReader(), path, con)) == [True, False, False, False]


def test_the_flag_of_a_missing_value_is_kept_unless_it_only_says_missing(
    tmp_path: Path, con: duckdb.DuckDBPyConnection
) -> None:
    path = buoy(tmp_path / "a.nc", sea(values=[10.0, np.nan, np.nan, 13.0]), TEMP_QC=flags([1, 4, 9, 9], **QARTOD))
    found = read_one(GriddedReader(), path, con)
    assert told(found) == [(10.0, "1", "qartod", True), (None, "4", "qartod", False), (13.0, "9", "qartod", False)]
    assert found.staged.read == 4


def test_a_new_flag_makes_a_new_row(tmp_path: Path, con: duckdb.DuckDBPyConnection) -> None:
    hashes = []
    for last in (1, 3):
        path = buoy(tmp_path / "a.nc", sea(), TEMP_QC=flags([1, 1, 1, last], **QARTOD))
        hashes.append([row["record_hash"] for row in read_one(GriddedReader(), path, con).rows])
    assert [before == after for before, after in zip(*hashes, strict=True)] == [True, True, True, False]


@pytest.mark.parametrize(
    ("described", "encoding"),
    [
        ({"valid_range": np.array([0.0, 40.0])}, {}),
        ({"valid_min": 0.0, "valid_max": 40.0}, {}),
        ({}, {"_FillValue": 99.0}),
        ({}, {"_FillValue": None, "missing_value": 99.0}),
        ({}, {"dtype": "i2", "scale_factor": 0.5, "add_offset": 20.0, "_FillValue": -32768}),
    ],
)
def test_fill_values_and_values_out_of_the_stated_limits_are_missing(
    described: dict[str, Any], encoding: dict[str, Any], tmp_path: Path, con: duckdb.DuckDBPyConnection
) -> None:
    outside = 99.0 if described else np.nan
    path = buoy(tmp_path / "a.nc", sea(values=[10.0, outside, 12.5, outside], **described), {"TEMP": encoding})
    found = read_one(GriddedReader(), path, con)
    assert [one["value"] for one in found.values("temperature_degc")] == [10.0, 12.5]


@pytest.mark.parametrize(
    ("standard_name", "unit", "variable", "value"),
    [
        ("sea_water_temperature", "degC", "temperature_degc", 1.0),
        ("sea_water_temperature", "Celsius", "temperature_degc", 1.0),
        ("sea_water_temperature", "celsius", "temperature_degc", 1.0),
        ("sea_water_temperature", "K", "temperature_degc", -272.15),
        ("sea_water_practical_salinity", "1e-3", "salinity_psu", 1.0),
        ("sea_water_practical_salinity", "psu", "salinity_psu", 1.0),
        ("sea_water_practical_salinity", "1", "salinity_psu", 1.0),
        ("mass_concentration_of_chlorophyll_a_in_sea_water", "mg m-3", "chlorophyll_mg_m3", 1.0),
        ("mass_concentration_of_chlorophyll_a_in_sea_water", "kg m-3", "chlorophyll_mg_m3", 1e6),
        ("moles_of_oxygen_per_unit_mass_in_sea_water", "umol kg-1", "oxygen_umol_kg", 1.0),
        ("moles_of_oxygen_per_unit_mass_in_sea_water", "µmol/kg", "oxygen_umol_kg", 1.0),
    ],
)
def test_a_quantity_is_known_by_its_standard_name_and_any_spelling_of_its_unit(
    standard_name: str, unit: str, variable: str, value: float, tmp_path: Path, con: duckdb.DuckDBPyConnection
) -> None:
    described = {"values": np.ones(4), "standard_name": standard_name, "units": unit}
    found = read_one(GriddedReader(), buoy(tmp_path / "a.nc", described), con)
    assert [one["value"] for one in found.values(variable)] == pytest.approx([value] * 4)
