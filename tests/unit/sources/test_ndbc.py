from pathlib import Path

import duckdb
import pytest

from retention_pipelines.errors import FileRefused
from retention_pipelines.sources.ndbc import NdbcReader, station_of
from retention_pipelines.warehouse.duck import open_connection
from tests.unit.sources.reading import read, read_one, recognise

_MODERN = """#YY  MM DD hh mm WDIR WSPD GST  WVHT   DPD   APD MWD   PRES  ATMP  WTMP  DEWP  VIS PTDY  TIDE
#yr  mo dy hr mn degT m/s  m/s     m   sec   sec degT   hPa  degC  degC  degC  nmi  hPa    ft
2023 08 01 00 50 234  8.3 10.0   1.8     7   5.2 219 1017.9  18.9  21.5  15.3   MM   MM    MM
2023 07 31 23 50  MM   MM   MM    MM    MM    MM  MM     MM    MM    MM    MM   MM   MM    MM
"""
_YEARLY = """#YY  MM DD hh mm WDIR WSPD GST  WVHT   DPD   APD MWD   PRES  ATMP  WTMP  DEWP  VIS  TIDE
#yr  mo dy hr mn degT m/s  m/s     m   sec   sec degT   hPa  degC  degC  degC   mi    ft
2017 01 01 00 50  99  9.0 10.0  1.80  7.14  5.23 999 1017.9 -99.0  99.0  15.3 99.0 99.00
2017 01 01 01 50 999 99.0 99.0 99.00 99.00 99.00 999 9999.0 999.0 999.0 999.0 99.0 99.00
"""
_OLD = """YYYY MM DD hh WD   WSPD GST  WVHT  DPD   APD  MWD  BAR    ATMP  WTMP  DEWP  VIS
1999 01 01 00 324 05.5 06.8 02.97 14.29 08.59 999 1024.2  11.3  14.0 999.0 99.0
"""
_OLDEST = _OLD.replace("YYYY", "YY").replace("1999", "84")


@pytest.fixture
def con() -> duckdb.DuckDBPyConnection:
    return open_connection()


@pytest.fixture
def stations(tmp_path: Path) -> Path:
    path = tmp_path / "stations.csv"
    path.write_text("station,latitude,longitude\n41001,34.7,-72.2\n46042,36.785,-122.4\n")
    return path


def _write(tmp_path: Path, text: str, name: str = "41001h2017.txt") -> Path:
    path = tmp_path / name
    path.write_text(text)
    return path


def test_a_realtime_file_is_read_with_its_station_and_utc_time(
    tmp_path: Path, stations: Path, con: duckdb.DuckDBPyConnection
) -> None:
    found = read_one(NdbcReader(), _write(tmp_path, _MODERN, "41001.txt"), con, [stations])
    first = found.rows[0]
    assert (first["event_date"], first["platform_id"]) == ("2023-08-01T00:50Z", "41001")
    assert (first["decimal_latitude"], first["decimal_longitude"], first["depth_m"]) == (34.7, -72.2, 0.0)
    assert {one["variable"]: one["value"] for one in first["measurements"]} == {
        "wind_from_direction_degree": 234.0, "wind_speed_m_s": 8.3, "wind_gust_m_s": 10.0, "wave_height_m": 1.8,
        "wave_period_s": 7.0, "average_wave_period_s": 5.2, "wave_from_direction_degree": 219.0,
        "air_pressure_hpa": 1017.9, "air_temperature_degc": 18.9, "temperature_degc": 21.5, "dew_point_degc": 15.3,
    }  # fmt: skip
    assert found.rows[1]["measurements"] == []
    assert found.staged.source_type == "buoy"
    assert [one.name for one in found.staged.lookups] == ["stations.csv"]


def test_missing_values_are_those_of_the_column_and_no_others(
    tmp_path: Path, stations: Path, con: duckdb.DuckDBPyConnection
) -> None:
    found = read_one(NdbcReader(), _write(tmp_path, _YEARLY), con, [stations])
    values = {one["variable"]: one["value"] for one in found.rows[0]["measurements"]}
    # 99 is a direction and a temperature of 99 is nonsense but not missing; 999 and 99.0 are missing elsewhere.
    assert values["wind_from_direction_degree"] == 99.0
    assert values["temperature_degc"] == 99.0
    assert values["air_temperature_degc"] == -99.0
    assert "wave_from_direction_degree" not in values
    assert found.rows[1]["measurements"] == []


@pytest.mark.parametrize(("text", "date"), [(_OLD, "1999-01-01T00:00Z"), (_OLDEST, "1984-01-01T00:00Z")])
def test_older_headers_without_units_are_read(
    text: str, date: str, tmp_path: Path, stations: Path, con: duckdb.DuckDBPyConnection
) -> None:
    found = read_one(NdbcReader(), _write(tmp_path, text, "46042h1999.txt"), con, [stations])
    (row,) = found.rows
    assert row["event_date"] == date
    values = {one["variable"]: one["value"] for one in row["measurements"]}
    assert (values["temperature_degc"], values["air_pressure_hpa"]) == (14.0, 1024.2)
    assert "dew_point_degc" not in values


def test_a_reading_that_is_no_number_is_flagged_and_kept(
    tmp_path: Path, stations: Path, con: duckdb.DuckDBPyConnection
) -> None:
    found = read_one(NdbcReader(), _write(tmp_path, _MODERN.replace("21.5", "21,5")), con, [stations])
    assert [row["flags"] for row in found.rows] == [["INVALID_MEASUREMENT"], None]
    assert '"WTMP":"21,5"' in found.rows[0]["dynamic_properties"]


def test_without_a_position_the_file_is_refused_and_told_how_to_give_one(
    tmp_path: Path, con: duckdb.DuckDBPyConnection
) -> None:
    with pytest.raises(FileRefused, match=r"where station 41001 is, and no stations\.csv.*station,latitude,longitude"):
        read(NdbcReader(), _write(tmp_path, _YEARLY), con)


def test_a_station_that_the_table_lacks_is_refused(
    tmp_path: Path, stations: Path, con: duckdb.DuckDBPyConnection
) -> None:
    with pytest.raises(FileRefused, match=r"station 44014 is, and stations\.csv has no row for it"):
        read(NdbcReader(), _write(tmp_path, _YEARLY, "44014h2017.txt"), con, [stations])


def test_the_table_of_stations_is_a_lookup_only_beside_such_files(tmp_path: Path, stations: Path) -> None:
    beside = recognise(NdbcReader(), stations, [_write(tmp_path, _YEARLY)])
    assert beside is not None
    assert beside.role == "lookup"
    assert recognise(NdbcReader(), stations) is None


def test_a_line_that_was_cut_off_is_kept_for_quarantine(
    tmp_path: Path, stations: Path, con: duckdb.DuckDBPyConnection
) -> None:
    found = read_one(NdbcReader(), _write(tmp_path, _YEARLY + "2017 01 01 02 50 234  9.0\n"), con, [stations])
    assert [row["reason"] for row in found.rows] == [None, None, "unparseable_row"]


def test_the_same_reading_of_two_stations_is_two_rows(
    tmp_path: Path, stations: Path, con: duckdb.DuckDBPyConnection
) -> None:
    one = read_one(NdbcReader(), _write(tmp_path, _YEARLY), con, [stations])
    other = read_one(NdbcReader(), _write(tmp_path, _YEARLY, "46042h2017.txt"), con, [stations])
    again = read_one(NdbcReader(), _write(tmp_path, _YEARLY, "41001.txt"), con, [stations])
    assert one.rows[0]["record_hash"] != other.rows[0]["record_hash"]
    assert one.rows[0]["record_hash"] == again.rows[0]["record_hash"]


@pytest.mark.parametrize(
    ("name", "station"),
    [("41001h2017.txt", "41001"), ("46042.txt", "46042"), ("42a01h1998.txt.gz", "42A01"), ("bhbm3.txt", "BHBM3")],
)
def test_the_station_is_in_the_name(name: str, station: str) -> None:
    assert station_of(name) == station


@pytest.mark.parametrize("text", ["a,b\n1,2\n", "YY MM DD hh\n1 2 3 4\n", "", "# a comment\n"])
def test_other_text_is_something_else(text: str, tmp_path: Path) -> None:
    assert recognise(NdbcReader(), _write(tmp_path, text)) is None
