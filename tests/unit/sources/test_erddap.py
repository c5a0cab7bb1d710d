from pathlib import Path

import duckdb
import pytest

from retention_pipelines.errors import FileRefused
from retention_pipelines.sources.check import load_macros
from retention_pipelines.sources.erddap import ErddapReader
from retention_pipelines.warehouse.duck import open_connection
from tests.unit.sources.reading import Read, read, read_one, recognise


@pytest.fixture
def con() -> duckdb.DuckDBPyConnection:
    opened = open_connection()
    load_macros(opened)
    return opened


def _read(tmp_path: Path, con: duckdb.DuckDBPyConnection, text: str, name: str = "cwwcNDBCMet.csv") -> Read:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return read_one(ErddapReader(), path, con)


_BUOY = """station,time,latitude,longitude,depth,sea_water_temperature,sea_water_temperature_qc_agg,salinity,note
,UTC,degrees_north,degrees_east,m,degree_F,1,PSU,
A1,2017-08-01T00:00:00Z,-12.5,13.2,1.0,68.0,1,35.1,calm
A1,2017-08-01T01:00:00Z,-12.5,373.2,1.0,NaN,9,NaN,
A1,2017-08-01T02:00:00Z,NaN,13.2,1.0,59.0,3,34.0,"a, b"
"""


def test_a_row_of_units_is_no_data_and_converts_the_values(tmp_path: Path, con: duckdb.DuckDBPyConnection) -> None:
    found = _read(tmp_path, con, _BUOY)
    assert found.staged.read == 3
    assert found.staged.dataset_id == "cwwcNDBCMet"
    assert [one["value"] for one in found.values("temperature_degc")] == pytest.approx([20.0, None, 15.0])
    assert found.rows[0]["platform_id"] == "A1"
    assert found.rows[0]["dynamic_properties"] == '{"note":"calm"}'


def test_text_in_the_place_of_a_number_is_flagged_and_kept(tmp_path: Path, con: duckdb.DuckDBPyConnection) -> None:
    found = _read(tmp_path, con, _BUOY.replace("35.1", "3_5").replace("68.0", "-"))
    assert [row["flags"] for row in found.rows] == [["INVALID_MEASUREMENT"], None, None]
    assert found.rows[0]["dynamic_properties"] == '{"note":"calm","sea_water_temperature":"-","salinity":"3_5"}'
    assert [one["value"] for one in found.values("salinity_psu")] == [34.0]


def test_a_column_whose_unit_is_not_known_is_told(tmp_path: Path, con: duckdb.DuckDBPyConnection) -> None:
    found = _read(tmp_path, con, _BUOY.replace("degree_F", "furlong"))
    assert found.staged.flags == ("UNIT_NOT_READ",)
    assert "sea_water_temperature has the unit 'furlong'" in found.staged.notes[0]


def test_flags_are_qartod_s_and_only_pass_is_good(tmp_path: Path, con: duckdb.DuckDBPyConnection) -> None:
    values = _read(tmp_path, con, _BUOY).values("temperature_degc")
    assert [(one["qc_flag"], one["qc_scale"], one["qc_good"]) for one in values] == [
        ("1", "qartod", True), ("9", "qartod", False), ("3", "qartod", False),
    ]  # fmt: skip


def test_a_variable_without_flags_is_good_where_it_has_a_value(tmp_path: Path, con: duckdb.DuckDBPyConnection) -> None:
    values = _read(tmp_path, con, _BUOY).values("salinity_psu")
    assert [(one["value"], one["qc_scale"], one["qc_good"]) for one in values] == [
        (35.1, "none", True),
        (34.0, "none", True),
    ]


def test_positions_stay_as_written(tmp_path: Path, con: duckdb.DuckDBPyConnection) -> None:
    rows = _read(tmp_path, con, _BUOY).rows
    assert [(row["decimal_latitude"], row["decimal_longitude"]) for row in rows] == [
        ("-12.5", "13.2"), ("-12.5", "373.2"), ("NaN", "13.2"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("unit", "raw", "stored"),
    [("K", "293.15", 20.0), ("degree_C", "20.0", 20.0), ("deg_F", "68", 20.0)],
)
def test_a_csvp_header_names_units_in_parentheses(
    unit: str, raw: str, stored: float, tmp_path: Path, con: duckdb.DuckDBPyConnection
) -> None:
    text = (
        f'"time (UTC)","latitude (degrees_north)","longitude (degrees_east)","sst ({unit})","chlor_a (kg m-3)"\n'
        f"2017-01-16T00:00:00Z,-12.5,13.2,{raw},4e-7\n"
    )
    found = _read(tmp_path, con, text, "erdMWsstd8day_1a2b_3c4d_5e6f_U1700000000000.csvp")
    assert found.staged.dataset_id == "erdMWsstd8day"
    assert found.staged.source_type == "grid"
    assert found.values("temperature_degc")[0]["value"] == pytest.approx(stored)
    assert found.values("chlorophyll_mg_m3")[0]["value"] == pytest.approx(0.4)
    assert found.rows[0]["depth_m"] == 0.0


def test_units_with_parentheses_of_their_own_are_read_whole(tmp_path: Path, con: duckdb.DuckDBPyConnection) -> None:
    text = (
        "time (UTC),latitude (degrees_north),longitude (degrees_east),depth (m),temp (degree_C),x (m(2))\n"
        "2017-01-16T00:00:00Z,1,2,5,20,1\n"
    )
    found = _read(tmp_path, con, text)
    assert found.rows[0]["dynamic_properties"] == '{"x":"1"}'
    assert found.rows[0]["depth_m"] == 5.0


def test_a_grid_with_one_field_a_month_is_monthly(tmp_path: Path, con: duckdb.DuckDBPyConnection) -> None:
    lines = [f"2017-{month:02d}-16T00:00:00Z,{lat},13.0,20.0" for month in (1, 2, 3) for lat in (-1, 1)]
    text = "time,latitude,longitude,sst\nUTC,degrees_north,degrees_east,degree_C\n" + "\n".join(lines)
    found = _read(tmp_path, con, text)
    assert [row["event_date"] for row in found.rows[::2]] == ["2017-01", "2017-02", "2017-03"]
    assert found.staged.flags == ("MONTH_BY_SPACING",)


@pytest.mark.parametrize(
    ("column", "unit", "written", "depth", "pressure"),
    [
        ("altitude", "m", "-30", 30.0, None),
        ("depth", "m", "30", 30.0, None),
        ("z", "m", "-30", 30.0, None),
        ("pressure", "dbar", "100", 99.36, 100.0),
    ],
)
def test_depth_is_positive_down_however_it_is_given(
    column: str, unit: str, written: str, depth: float, pressure: float | None,
    tmp_path: Path, con: duckdb.DuckDBPyConnection,
) -> None:  # fmt: skip
    text = (
        f"station,time,latitude,longitude,{column},temp\n,UTC,degrees_north,degrees_east,{unit},degree_C\n"
        f"A,2017-01-16T00:00:00Z,30,2,{written},20\n"
    )
    (row,) = _read(tmp_path, con, text).rows
    assert row["depth_m"] == pytest.approx(depth, abs=0.2)
    assert row["pressure_dbar"] == pressure


def test_numbered_profiles_belong_to_their_platform_and_named_events_to_themselves(
    tmp_path: Path, con: duckdb.DuckDBPyConnection
) -> None:
    head = "station,cast,time,latitude,longitude,depth,temp\n,,UTC,degrees_north,degrees_east,m,degree_C\n"
    rows = "A,7,2017-01-16T00:00:00Z,30,2,1,20\nA,CTD-8,2017-01-16T00:00:00Z,30,2,1,20\n"
    found = _read(tmp_path, con, head + rows)
    assert [row["event_id"] for row in found.rows] == ["A_7", "CTD-8"]
    assert found.staged.source_type == "cast"


_ARGO = """fileNumber,platform_number,cycle_number,direction,data_mode,time,latitude,longitude,position_qc,time_qc,\
pres,pres_qc,pres_adjusted,pres_adjusted_qc,psal,psal_qc,psal_adjusted,psal_adjusted_qc
,,,,,UTC,degrees_north,degrees_east,,,decibar,,decibar,,PSU,,PSU,
1,3902131,1,D,D,2018-03-13T06:01:00Z,-6,5,1,1,5.0,1,5.0,1,35.0,4,35.5,1
1,3902131,2,A,R,2018-03-15T06:01:00Z,-6,5,1,1,5.0,1,NaN,,35.0,1,NaN,
1,3902131,3,A,R,2018-03-17T06:01:00Z,-6,5,4,1,5.0,1,NaN,,35.0,2,NaN,
"""


def test_argo_floats_from_erddap_follow_argo_s_rules(tmp_path: Path, con: duckdb.DuckDBPyConnection) -> None:
    found = _read(tmp_path, con, _ARGO, "ArgoFloats.csv")
    assert found.staged.source_type == "float"
    assert [row["event_id"] for row in found.rows] == ["3902131_1D", "3902131_2", "3902131_3"]
    assert [
        (one["value"], one["value_kind"], one["raw_value"], one["qc_flag"], one["qc_scale"], one["qc_good"])
        for one in found.values("salinity_psu")
    ] == [
        (35.5, "adjusted", 35.0, "1", "argo", True),
        (35.0, "raw", None, "1", "argo", True),
        (35.0, "raw", None, "2", "argo", False),
    ]


_SPECIES = """cruise,time,latitude,longitude,scientific_name,common_name,larvae_10m2,itis_tsn
,UTC,degrees_north,degrees_east,,,count/10m^2,
198501,1985-01-10T04:00:00Z,33.5,-118.2,Engraulis mordax,Northern anchovy,12.5,161828
198501,1985-01-10T04:00:00Z,33.5,-118.2,Sardinops sagax,Pacific sardine,0,161729
"""


def test_a_table_of_species_becomes_occurrences_and_zero_is_an_absence(
    tmp_path: Path, con: duckdb.DuckDBPyConnection
) -> None:
    found = _read(tmp_path, con, _SPECIES, "erdCalCOFIlrvcnt.csv")
    assert found.staged.dataset == "occurrences"
    assert [row["occurrence_status"] for row in found.rows] == ["present", "absent"]
    first = found.rows[0]
    assert (first["scientific_name"], first["vernacular_name"]) == ("Engraulis mordax", "Northern anchovy")
    assert (first["density"], first["abundance"], first["individual_count"]) == (12.5, None, None)
    assert "count/10m^2" in first["density_unit"]
    assert first["event_date"] == "1985-01-10T04:00:00Z"
    assert '"cruise":"198501"' in first["dynamic_properties"]


def test_a_species_table_with_counts_has_abundance(tmp_path: Path, con: duckdb.DuckDBPyConnection) -> None:
    head = "time,latitude,longitude,scientific_name,n\nUTC,degrees_north,degrees_east,,count\n"
    text = head + "2001-01-01T00:00:00Z,1,2,Gadus morhua,7\n"
    (row,) = _read(tmp_path, con, text).rows
    assert (row["individual_count"], row["abundance"], row["density"]) == (7.0, 7.0, None)


def test_a_file_without_a_position_is_refused_and_told_what_to_do(
    tmp_path: Path, con: duckdb.DuckDBPyConnection
) -> None:
    path = tmp_path / "x.csv"
    path.write_text("time,temp\nUTC,degree_C\n2001-01-01T00:00:00Z,7\n")
    with pytest.raises(FileRefused, match=r"no column latitude and no column longitude.*mapping"):
        read(ErddapReader(), path, con)


def test_a_file_of_unknown_units_only_is_refused_with_the_unit(tmp_path: Path, con: duckdb.DuckDBPyConnection) -> None:
    path = tmp_path / "x.csv"
    path.write_text(
        "time,latitude,longitude,temp\nUTC,degrees_north,degrees_east,furlongs\n2001-01-01T00:00:00Z,1,2,7\n"
    )
    with pytest.raises(FileRefused, match="'furlongs'"):
        read(ErddapReader(), path, con)


@pytest.mark.parametrize(
    "text",
    [
        "station,time,latitude,longitude,temp\nA,2001-01-01,1,2,3\n",
        "a,b\n1,2\n",
        "",
        "only one line",
        "eventID,eventDate,decimalLatitude,decimalLongitude\nx,2001,1,2\n",
    ],
)
def test_text_without_erddap_s_units_is_something_else(text: str, tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text(text)
    assert recognise(ErddapReader(), path) is None


def test_rows_of_the_wrong_width_are_kept_for_quarantine(tmp_path: Path, con: duckdb.DuckDBPyConnection) -> None:
    head = "time,latitude,longitude,temp\nUTC,degrees_north,degrees_east,degree_C\n"
    text = head + "2001-01-01T00:00:00Z,1,2,7\n2001-01-02T00:00:00Z,1\n"
    rows = _read(tmp_path, con, text).rows
    assert [row["reason"] for row in rows] == [None, "unparseable_row"]
    assert "2 fields" in rows[1]["detail"]
