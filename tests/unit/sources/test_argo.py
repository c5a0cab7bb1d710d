from collections.abc import Mapping
from pathlib import Path
from typing import Any

import duckdb
import netCDF4
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from retention_pipelines.errors import FileRefused
from retention_pipelines.sources.argo import ArgoReader
from retention_pipelines.warehouse.duck import open_connection
from tests.unit.sources.reading import Read, raw_file, read_one, recognise

_FILL = 99999.0


@pytest.fixture
def con() -> duckdb.DuckDBPyConnection:
    return open_connection()


def _text(data: netCDF4.Dataset, name: str, dimensions: tuple[str, ...], values: list[str]) -> None:
    variable = data.createVariable(name, "S1", dimensions, fill_value=b" ")
    width = data.dimensions[dimensions[-1]].size
    if dimensions[-1].startswith("STRING"):
        letters = [list(value.ljust(width)) for value in values]
    else:
        letters = [list(value.ljust(width)) for value in values] if len(dimensions) == 2 else values  # type: ignore[assignment]
    variable[:] = np.array(letters, dtype="S1").reshape(variable.shape)


def write_profiles(path: Path, profiles: list[Mapping[str, Any]], units: Mapping[str, str] | None = None) -> Path:
    """Profiles as Argo's manual has them; a profile is a mapping of what differs from a good one at 0 N 5 E."""
    names = units or {"TEMP": "degree_Celsius", "PSAL": "psu"}
    levels = max(len(profile["PRES"]) for profile in profiles)
    with netCDF4.Dataset(path, "w", format="NETCDF3_CLASSIC") as data:
        for name, size in (
            ("N_PROF", len(profiles)), ("N_LEVELS", levels), ("N_PARAM", len(names) + 1),
            ("STRING8", 8), ("STRING16", 16),
        ):  # fmt: skip
            data.createDimension(name, size)
        for name, default in (("DIRECTION", "A"), ("DATA_MODE", "R"), ("JULD_QC", "1"), ("POSITION_QC", "1")):
            _text(data, name, ("N_PROF",), [profile.get(name, default) for profile in profiles])
        _text(data, "PLATFORM_NUMBER", ("N_PROF", "STRING8"), [one.get("PLATFORM_NUMBER", "1901") for one in profiles])
        cycle = data.createVariable("CYCLE_NUMBER", "i4", ("N_PROF",), fill_value=99999)
        cycle[:] = [one.get("CYCLE_NUMBER", number + 1) for number, one in enumerate(profiles)]
        for name, default in (("JULD", 25000.5), ("LATITUDE", 0.5), ("LONGITUDE", 5.0)):
            variable = data.createVariable(name, "f8", ("N_PROF",), fill_value=999999.0 if name == "JULD" else _FILL)
            variable[:] = [one.get(name, default) for one in profiles]
        data["JULD"].units = "days since 1950-01-01 00:00:00 UTC"
        for name in ("PRES", *names):
            for suffix in ("", "_ADJUSTED"):
                variable = data.createVariable(name + suffix, "f4", ("N_PROF", "N_LEVELS"), fill_value=_FILL)
                variable.units = names.get(name, "decibar")
                given_values = [one.get(name + suffix, []) for one in profiles]
                variable[:] = np.array([[*row, *[_FILL] * (levels - len(row))] for row in given_values], dtype="f4")
                flags = [
                    one.get(f"{name}{suffix}_QC", "1" * len(row))
                    for one, row in zip(profiles, given_values, strict=True)
                ]
                _text(data, f"{name}{suffix}_QC", ("N_PROF", "N_LEVELS"), flags)
        if any("PARAMETER_DATA_MODE" in one for one in profiles):
            _text(data, "PARAMETER_DATA_MODE", ("N_PROF", "N_PARAM"), [one["PARAMETER_DATA_MODE"] for one in profiles])
            parameters = data.createVariable("STATION_PARAMETERS", "S1", ("N_PROF", "N_PARAM", "STRING16"))
            parameters[:] = np.array([[list(name.ljust(16)) for name in ("PRES", *names)]] * len(profiles), dtype="S1")
    return path


_PROFILE = {"PRES": [5.0, 10.0], "TEMP": [20.0, 19.0], "PSAL": [35.0, 35.1]}


def _only(found: Read, variable: str = "salinity_psu") -> Mapping[str, Any]:
    (value,) = found.values(variable)
    return value


def test_a_real_time_profile_keeps_its_raw_values(tmp_path: Path, con: duckdb.DuckDBPyConnection) -> None:
    found = read_one(ArgoReader(), write_profiles(tmp_path / "a_prof.nc", [_PROFILE]), con)
    assert [row["event_id"] for row in found.rows] == ["1901_1", "1901_1"]
    assert [row["event_date"] for row in found.rows] == ["2018-06-13T12:00:00Z"] * 2
    assert found.rows[0]["pressure_dbar"] == 5.0
    assert found.rows[0]["depth_m"] == pytest.approx(4.97, abs=0.01)
    assert [one["value"] for one in found.values("temperature_degc")] == [20.0, 19.0]
    assert {(one["value_kind"], one["raw_value"], one["qc_good"]) for one in found.values("salinity_psu")} == {
        ("raw", None, True)
    }


@pytest.mark.parametrize("mode", ["A", "D"])
def test_adjusted_values_and_flags_count_where_the_mode_says_so(
    mode: str, tmp_path: Path, con: duckdb.DuckDBPyConnection
) -> None:
    profile = {
        "PRES": [5.0], "PSAL": [35.0], "TEMP": [20.0], "DATA_MODE": mode, "PSAL_QC": "3",
        "PRES_ADJUSTED": [5.5], "PSAL_ADJUSTED": [35.5], "TEMP_ADJUSTED": [20.0],
    }  # fmt: skip
    found = read_one(ArgoReader(), write_profiles(tmp_path / "a_prof.nc", [profile]), con)
    value = _only(found)
    assert (value["value"], value["raw_value"]) == (35.5, 35.0)
    assert (value["qc_flag"], value["raw_qc_flag"], value["qc_good"]) == ("1", "3", True)
    assert found.rows[0]["pressure_dbar"] == 5.5


def test_a_value_that_was_adjusted_away_keeps_its_raw_value_and_its_flag(
    tmp_path: Path, con: duckdb.DuckDBPyConnection
) -> None:
    profile = {
        "PRES": [5.0], "PSAL": [35.0], "TEMP": [20.0], "DATA_MODE": "D", "PSAL_QC": "4", "PRES_ADJUSTED": [5.0],
        "PSAL_ADJUSTED": [_FILL], "PSAL_ADJUSTED_QC": "4", "TEMP_ADJUSTED": [20.0],
    }  # fmt: skip
    value = _only(read_one(ArgoReader(), write_profiles(tmp_path / "a_prof.nc", [profile]), con))
    assert (value["value"], value["raw_value"], value["qc_flag"], value["qc_good"]) == (None, 35.0, "4", False)


@pytest.mark.parametrize(
    "bad", [{"POSITION_QC": "4"}, {"JULD_QC": "3"}, {"PRES_QC": "4"}, {"PSAL_QC": "4"}, {"PSAL_QC": "0"}]
)
def test_position_time_pressure_and_value_must_all_be_good(
    bad: dict[str, str], tmp_path: Path, con: duckdb.DuckDBPyConnection
) -> None:
    profile = {"PRES": [5.0], "PSAL": [35.0], "TEMP": [20.0], **bad}
    value = _only(read_one(ArgoReader(), write_profiles(tmp_path / "a_prof.nc", [profile]), con))
    assert (value["value"], value["qc_good"]) == (35.0, False)


@given(flag=st.sampled_from("0123456789"), adjusted=st.booleans())
@settings(max_examples=20, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_flag_comes_through_and_only_the_stated_ones_are_good(
    flag: str, adjusted: bool, tmp_path: Path, con: duckdb.DuckDBPyConnection
) -> None:
    suffix = "_ADJUSTED" if adjusted else ""
    profile = {
        "PRES": [5.0], "PSAL": [35.0], "TEMP": [20.0], "PRES_ADJUSTED": [5.0], "PSAL_ADJUSTED": [35.0],
        "TEMP_ADJUSTED": [20.0], "DATA_MODE": "D" if adjusted else "R", f"PSAL{suffix}_QC": flag,
    }  # fmt: skip
    value = _only(read_one(ArgoReader(), write_profiles(tmp_path / "a_prof.nc", [profile]), con))
    assert value["qc_flag"] == flag
    assert value["qc_good"] == (flag in "1258")
    assert value["qc_scale"] == "argo"


def test_padding_of_short_profiles_is_no_row(tmp_path: Path, con: duckdb.DuckDBPyConnection) -> None:
    short = {"PRES": [5.0], "TEMP": [20.0], "PSAL": [35.0]}
    found = read_one(ArgoReader(), write_profiles(tmp_path / "a_prof.nc", [_PROFILE, short]), con)
    assert found.staged.read == 3
    assert [row["event_id"] for row in found.rows] == ["1901_1", "1901_1", "1901_2"]


def test_a_level_that_is_only_flagged_is_a_row(tmp_path: Path, con: duckdb.DuckDBPyConnection) -> None:
    profile = {"PRES": [5.0, _FILL], "PSAL": [35.0, _FILL], "TEMP": [20.0, _FILL], "PRES_QC": "19", "PSAL_QC": "19"}
    found = read_one(ArgoReader(), write_profiles(tmp_path / "a_prof.nc", [profile]), con)
    assert found.staged.read == 2
    missing = found.values("salinity_psu")[1]
    assert (missing["value"], missing["qc_flag"], missing["qc_good"]) == (None, "9", False)


def test_missing_position_and_date_are_left_empty_for_quarantine(
    tmp_path: Path, con: duckdb.DuckDBPyConnection
) -> None:
    profiles = [{**_PROFILE, "LATITUDE": _FILL, "LONGITUDE": _FILL}, {**_PROFILE, "JULD": 999999.0}]
    found = read_one(ArgoReader(), write_profiles(tmp_path / "a_prof.nc", profiles), con)
    assert {row["decimal_latitude"] for row in found.rows[:2]} == {None}
    assert {row["event_date"] for row in found.rows[2:]} == {None}


def test_a_descending_profile_is_an_event_of_its_own(tmp_path: Path, con: duckdb.DuckDBPyConnection) -> None:
    profiles = [{**_PROFILE, "CYCLE_NUMBER": 1, "DIRECTION": "D"}, {**_PROFILE, "CYCLE_NUMBER": 1}]
    found = read_one(ArgoReader(), write_profiles(tmp_path / "a_prof.nc", profiles), con)
    assert {row["event_id"] for row in found.rows} == {"1901_1D", "1901_1"}


def test_biogeochemical_parameters_have_their_own_data_mode(tmp_path: Path, con: duckdb.DuckDBPyConnection) -> None:
    profile = {
        "PRES": [5.0], "TEMP": [20.0], "DOXY": [200.0], "CHLA": [0.5], "DATA_MODE": "R", "PARAMETER_DATA_MODE": "RRDA",
        "DOXY_ADJUSTED": [210.0], "CHLA_ADJUSTED": [0.25],
    }  # fmt: skip
    units = {"TEMP": "degree_Celsius", "DOXY": "micromole/kg", "CHLA": "mg/m3"}
    found = read_one(ArgoReader(), write_profiles(tmp_path / "a_prof.nc", [profile], units), con)
    assert (_only(found, "oxygen_umol_kg")["value"], _only(found, "oxygen_umol_kg")["raw_value"]) == (210.0, 200.0)
    assert (_only(found, "chlorophyll_mg_m3")["value"], _only(found, "chlorophyll_mg_m3")["value_kind"]) == (
        0.25,
        "adjusted",
    )
    assert _only(found, "temperature_degc")["value_kind"] == "raw"


def test_the_same_level_has_the_same_hash_whatever_else_is_in_the_file(
    tmp_path: Path, con: duckdb.DuckDBPyConnection
) -> None:
    first = read_one(ArgoReader(), write_profiles(tmp_path / "a_prof.nc", [_PROFILE]), con)
    more = [{**_PROFILE, "CYCLE_NUMBER": 1}, {**_PROFILE, "CYCLE_NUMBER": 2, "PRES": [5.0, 10.0, 20.0]}]
    second = read_one(ArgoReader(), write_profiles(tmp_path / "later_prof.nc", more), con)
    assert [row["record_hash"] for row in first.rows] == [row["record_hash"] for row in second.rows[:2]]
    assert len({row["record_hash"] for row in second.rows}) == 5 == second.staged.read


def test_other_netcdf_is_not_argo(tmp_path: Path) -> None:
    with netCDF4.Dataset(tmp_path / "grid.nc", "w") as data:
        data.createDimension("time", 1)
    assert recognise(ArgoReader(), tmp_path / "grid.nc") is None
    (tmp_path / "text.csv").write_text("a,b\n1,2\n")
    assert recognise(ArgoReader(), tmp_path / "text.csv") is None


def test_a_file_without_profiles_has_no_rows(tmp_path: Path, con: duckdb.DuckDBPyConnection) -> None:
    path = write_profiles(tmp_path / "a_prof.nc", [{"PRES": [_FILL], "PRES_QC": " "}])
    assert read_one(ArgoReader(), path, con).staged.read == 0


def test_a_damaged_file_is_refused_with_a_sentence(tmp_path: Path, con: duckdb.DuckDBPyConnection) -> None:
    path = write_profiles(tmp_path / "a_prof.nc", [_PROFILE])
    recognition = recognise(ArgoReader(), path)
    assert recognition is not None
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(FileRefused, match="damaged"):
        list(ArgoReader().read(raw_file(path), recognition, (), con))
