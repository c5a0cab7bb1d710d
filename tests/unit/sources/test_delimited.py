"""What a mapping can say, each with a small file."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest

from retention_pipelines.errors import FileRefused, MappingError
from retention_pipelines.sources.check import check, load_macros
from retention_pipelines.sources.delimited import DelimitedReader, count_rows
from retention_pipelines.sources.mapping import Mappings, parse
from retention_pipelines.warehouse.duck import open_connection
from tests.unit.sources.reading import raw_file, read_one

NOW = datetime(2026, 1, 1, tzinfo=UTC)
Take = Callable[..., list[dict[str, Any]]]

OBSERVED = """
name: m
title: t
dataset_id: d
target: observations
source_type: other
recognise: {columns: [when, y, x, v]}
date: {column: when}
columns: {decimal_latitude: y, decimal_longitude: x}
variables: [{column: v, variable: temperature_degc, unit: degree_Celsius}]
"""
OCCURRED = """
name: m
title: t
dataset_id: d
target: occurrences
source_type: survey
recognise: {columns: [when, y, x, name, n]}
date: {column: when}
columns: {decimal_latitude: y, decimal_longitude: x, scientific_name: name, individual_count: n, abundance: n}
"""


@pytest.fixture(scope="module")
def con() -> duckdb.DuckDBPyConnection:
    opened = open_connection()
    load_macros(opened)
    return opened


@pytest.fixture
def take(con: duckdb.DuckDBPyConnection, tmp_path: Path) -> Take:
    """Rows of a file as a mapping reads them, with the verdict of the framework; further files lie beside it."""

    def run(mapping: str, text: str, **beside: str) -> list[dict[str, Any]]:
        path = tmp_path / "records.csv"
        path.write_text(text, encoding="utf-8")
        around = []
        for name, content in beside.items():
            around.append(tmp_path / f"{name}.csv")
            around[-1].write_text(content, encoding="utf-8")
        reader = DelimitedReader(mappings=Mappings.packaged(first=parse(mapping, "m.yaml")))
        found = read_one(reader, path, con, around)
        check(con, found.staged, now=NOW)
        table = con.table("checked_rows").order("source_row")
        rows = [dict(zip(table.columns, row, strict=True)) for row in table.fetchall()]
        return [row | {"notes": found.staged.notes} for row in rows]

    return run


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[misc, arg-type]


def with_date(rule: str, columns: str = "when, y, x, v") -> str:
    return OBSERVED.replace("date: {column: when}", f"date: {rule}").replace("[when, y, x, v]", f"[{columns}]")


@pytest.mark.parametrize(
    ("cells", "start", "length"),
    [
        ("1999,3,7,14:05", utc(1999, 3, 7, 14, 5), timedelta(minutes=1)),
        ("1999,03,07,", utc(1999, 3, 7), timedelta(days=1)),
        ("1999,3,,", utc(1999, 3, 1), timedelta(days=31)),
        ("1999,,,", utc(1999, 1, 1), timedelta(days=365)),
        ("1999,13,1,", None, None),
        ("1999,2,29,", None, None),
        (",3,7,", None, None),
    ],
)
def test_a_date_in_parts_is_as_precise_as_the_parts_that_are_there(take, cells, start, length):
    mapping = with_date("{parts: {year: yr, month: mo, day: dy, time: hm}}", "yr, mo, dy, hm, y, x, v")
    (row,) = take(mapping, f"yr,mo,dy,hm,y,x,v\n{cells},1,2,3\n")
    assert row["event_start"] == start
    if start is None:
        assert row["reason"] in {"invalid_date", "missing_date"}
    else:
        assert (row["reason"], row["event_end"] - row["event_start"]) == (None, length)


@pytest.mark.parametrize(
    ("text", "month"),
    [("1991.0833", "1991-02"), ("1991.0", "1991-01"), ("1991", "1991-01"), ("1991.9167", "1991-12"),
     ("1990.5", "1990-07"), ("abc", None), ("", None), ("inf", None)],
)  # fmt: skip
def test_a_decimal_year_is_a_month(take, text, month):
    (row,) = take(with_date("{decimal_year: when}"), f"when,y,x,v\n{text},1,2,3\n")
    assert (row["month"], row["date_precision"]) == (month, "month" if month else None)
    assert row["reason"] == (None if month else "missing_date" if not text else "invalid_date")


def test_a_local_time_becomes_utc_by_its_zone_and_summer_time(take):
    mapping = with_date('{column: when, format: "%d/%m/%Y %H:%M", timezone: America/Los_Angeles}')
    winter, summer, wrong = take(
        mapping, "when,y,x,v\n15/01/2020 20:00,1,2,3\n15/07/2020 20:00,1,2,3\n2020-01-15,1,2,3\n"
    )
    assert (winter["event_start"], winter["event_end"]) == (utc(2020, 1, 16, 4), utc(2020, 1, 16, 4, 1))
    assert summer["event_start"] == utc(2020, 7, 16, 3)
    assert (summer["event_date"], summer["source_timezone"]) == ("15/07/2020 20:00", "America/Los_Angeles")
    assert wrong["reason"] == "invalid_date"


@pytest.mark.parametrize(
    ("form", "text", "start", "precision"),
    [
        ("%d.%m.%Y", "07.03.1999", utc(1999, 3, 7), "day"),
        ("%Y%m%d", "19990307", utc(1999, 3, 7), "day"),
        ("%Y%j", "1999066", utc(1999, 3, 7), "day"),
        ("%b %Y", "Mar 1999", utc(1999, 3, 1), "month"),
        ("%m/%d/%y %I:%M %p", "03/07/99 02:05 PM", utc(1999, 3, 7, 14, 5), "time"),
        ("%d.%m.%Y %H:%M:%S", "07.03.1999 14:05:06", utc(1999, 3, 7, 14, 5, 6), "time"),
    ],
)
def test_a_written_form_has_the_precision_of_its_parts(take, form, text, start, precision):
    (row,) = take(with_date(f'{{column: when, format: "{form}"}}'), f"when,y,x,v\n{text},1,2,3\n")
    assert (row["event_start"], row["date_precision"], row["event_date"]) == (start, precision, text)


def test_missing_words_are_those_of_all_columns_and_of_the_column(take):
    mapping = OBSERVED.replace("date:", 'missing: ["", "-"]\ndate:').replace(
        "Celsius}", 'Celsius, missing: ["-999", "99.9"]}'
    )
    rows = take(
        mapping,
        "when,y,x,v\n" + "".join(f"1999-03-07,1,2,{text}\n" for text in ("-999", "-999.00", "99.90", "-", "99")),
    )
    values = [[one["value"] for one in row["measurements"]] for row in rows]
    assert values == [[], [], [], [], [99.0]]
    assert all(row["flags"] == ["DERIVED_EVENT_ID"] for row in rows)


def test_a_missing_word_of_one_column_is_a_value_in_another(take):
    mapping = OBSERVED.replace("latitude: y", 'latitude: {column: y, missing: ["-9"]}')
    row, gone = take(mapping, "when,y,x,v\n1999-03-07,1,-9,-9\n1999-03-07,-9,2,3\n")
    assert (row["decimal_longitude"], row["measurements"][0]["value"]) == (-9.0, -9.0)
    assert gone["reason"] == "missing_position"


@pytest.mark.parametrize(
    ("unit", "variable", "raw", "value"),
    [
        ("K", "temperature_degc", "273.15", 0.0),
        ("degree_F", "temperature_degc", "50", 10.0),
        ("ml/l", "oxygen_mmol_m3", "1", 44.6596),
        ("ug/l", "chlorophyll_mg_m3", "2", 2.0),
        ("cm/s", "northward_current_m_s", "25", 0.25),
    ],
)
def test_values_are_converted_by_the_unit_of_their_column(take, unit, variable, raw, value):
    mapping = OBSERVED.replace("temperature_degc, unit: degree_Celsius", f'{variable}, unit: "{unit}"')
    (row,) = take(mapping, f"when,y,x,v\n1999-03-07,1,2,{raw}\n")
    (found,) = row["measurements"]
    assert (found["variable"], found["value"]) == (variable, pytest.approx(value))


def test_depths_are_converted_and_one_that_is_no_number_is_an_invalid_value(take):
    mapping = OBSERVED.replace("y, dec", "y, depth_m: {column: z, unit: ft}, dec").replace("x, v]", "x, v, z]")
    feet, words = take(mapping, "when,y,x,v,z\n1999-03-07,1,2,3,100\n1999-03-07,1,2,3,deep\n")
    assert feet["depth_m"] == pytest.approx(30.48)
    assert (words["reason"], words["detail"]) == ("invalid_value", "z is 'deep'")


def test_flags_of_a_column_are_kept_with_their_scale_and_decide_what_is_good(take):
    mapping = OBSERVED.replace("Celsius}", "Celsius, qc: {column: q, scale: wod}}").replace("x, v]", "x, v, q]")
    rows = take(
        mapping, "when,y,x,v,q\n" + "".join(f"1999-03-07,1,2,{cells}\n" for cells in ("3,0", "3,4", "3,", ",4"))
    )
    found = [[(one["value"], one["qc_flag"], one["qc_good"]) for one in row["measurements"]] for row in rows]
    assert found == [[(3.0, "0", True)], [(3.0, "4", False)], [(3.0, None, False)], [(None, "4", False)]]
    assert rows[0]["measurements"][0]["qc_scale"] == "wod"
    own = mapping.replace("scale: wod", 'scale: qartod, good: ["1", "2"]')
    rows = take(own, "when,y,x,v,q\n1999-03-07,1,2,3,2\n1999-03-07,1,2,3,3\n")
    assert [row["measurements"][0]["qc_good"] for row in rows] == [True, False]


def test_a_decimal_comma_is_a_point_where_the_mapping_says_so(take):
    mapping = (
        OBSERVED.replace("date:", 'decimal: ","\ndate:').replace("y, dec", "y, depth_m: z, dec").replace("v]", "v, z]")
    )
    row, wrong = take(mapping, "when;y;x;v;z\n1999-03-07;-12,5;13,25;1,5e1;0,5\n1999-03-07;-12,5;13,25;1.000,5;1\n")
    assert (row["decimal_latitude"], row["decimal_longitude"], row["depth_m"]) == (-12.5, 13.25, 0.5)
    assert row["measurements"][0]["value"] == 15.0
    assert (wrong["measurements"], wrong["flags"][0]) == ([], "INVALID_MEASUREMENT")
    assert '"v":"1.000,5"' in wrong["dynamic_properties"]


def test_a_decimal_comma_without_a_word_about_it_is_no_number(take):
    (row,) = take(OBSERVED, "when;y;x;v\n1999-03-07;-12,5;13;1\n")
    assert row["reason"] == "invalid_position"


HAULS = """
lookups:
  haul: {describes: the hauls, columns: [cruise, nr, lat, lon], keys: {c: cruise, h: nr}}
recognise: {columns: [when, c, h, v]}
"""
JOINED = (
    OBSERVED.replace("recognise: {columns: [when, y, x, v]}", HAULS.strip())
    .replace("latitude: y", "latitude: haul.lat")
    .replace("longitude: x", "longitude: haul.lon")
)


def test_keys_of_several_columns_are_compared_as_text_with_their_zeros(take):
    hauls = "cruise,nr,lat,lon\n0101,1,1,10\n101,1,2,20\n0101,01,3,30\n9,9,4,40\n"
    rows = take(
        JOINED,
        "when,c,h,v\n1999-03-07,0101,1,5\n1999-03-07,101,1,5\n1999-03-07, 0101 ,01,5\n1999-03-07,101,01,5\n",
        hauls=hauls,
    )
    assert [row["decimal_latitude"] for row in rows] == [1.0, 2.0, 3.0, None]
    assert [row["reason"] for row in rows] == [None, None, None, "unmatched_join"]
    assert rows[3]["detail"] == "no haul for c=101 h=01"
    assert rows[0]["notes"] == ("1 of the 4 rows of hauls.csv are named by no record.",)


def test_a_row_of_a_lookup_that_cannot_be_read_places_no_record(take, con, tmp_path):
    hauls = "cruise,nr,lat,lon\n1,1,1,10\n2,2,99,2,20\n"
    rows = take(JOINED, "when,c,h,v\n1999-03-07,1,1,5\n1999-03-07,2,2,5\n", hauls=hauls)
    assert [row["reason"] for row in rows] == [None, "unmatched_join"]
    assert count_rows(con, raw_file(tmp_path / "hauls.csv")) == (
        2, ("1 of its rows cannot be read; no record is joined to them.",)
    )  # fmt: skip


def test_a_lookup_that_repeats_a_key_or_is_not_there_refuses_the_file_and_says_what_to_do(take):
    records = "when,c,h,v\n1999-03-07,1,1,5\n"
    with pytest.raises(FileRefused, match="repeat the key cruise, nr"):
        take(JOINED, records, hauls="cruise,nr,lat,lon\n1,1,1,10\n1,1,2,20\n")
    with pytest.raises(FileRefused, match="pass both in one call"):
        take(JOINED, records)


def test_counts_that_are_no_numbers_are_invalid_and_zero_is_an_absence(take):
    mapping = OCCURRED + "subtotal: {column: name, values: [All]}\n"
    cells = ("Aus bus,3", "Aus bus,0", "Aus bus,2-3", "Aus bus,>10", "Aus bus,-1", "Aus bus,", "All,3")
    rows = take(mapping, "when,y,x,name,n\n" + "".join(f"1999-03-07,1,2,{one}\n" for one in cells))
    assert [row["reason"] for row in rows] == [
        None,
        None,
        "invalid_value",
        "invalid_value",
        "invalid_value",
        None,
        None,
    ]
    assert [row["occurrence_status"] for row in rows] == [
        "present",
        "absent",
        "present",
        "present",
        "present",
        "present",
        "present",
    ]
    assert [row["is_subtotal"] for row in rows] == [False] * 6 + [True]
    assert rows[2]["detail"] == "n is '2-3'"


@pytest.mark.parametrize(
    ("change", "key"),
    [
        (("date: {column: when}", "date: {colum: when}"), "date.colum"),
        (("date: {column: when}", "date: {column: when, parts: {year: y}}"), "date"),
        (("date: {column: when}", "date: {parts: {month: y}}"), "date"),
        (("date: {column: when}", "date: {column: when, timezone: Mars/Olympus}"), "date.timezone"),
        (("temperature_degc,", "temprature,"), "variables.0.variable"),
        (("unit: degree_Celsius", "unit: furlong"), "variables.v.unit"),
        (("decimal_longitude: x", "decimal_longitud: x"), "columns.decimal_longitud"),
        (("decimal_longitude: x", "decimal_longitude: {column: x, template: y}"), "columns.decimal_longitude"),
        (("source_type: other", "source_type: ship"), "source_type"),
        (("dataset_id: d", "dataset_id: a b/c"), "dataset_id"),
        (("Celsius}", "Celsius, qc: {column: q, scale: mine}}"), "variables.0.qc.scale"),
        (("date:", "decimal: x\ndate:"), "decimal"),
        (("[when, y", "[no, y"), "recognise.columns.0: Input should be a valid string. Put it in quotes"),
        (("x, v]}", "x, v], exactly: true}\nsubtotal: {column: vv, values: [T]}"), "subtotal.column"),
    ],
)  # fmt: skip
def test_a_mistake_in_a_mapping_is_told_with_its_key(change, key):
    with pytest.raises(MappingError, match=rf"m\.yaml: (\S+ )?{key.replace('.', '[.]')}"):
        parse(OBSERVED.replace(*change), "m.yaml")
