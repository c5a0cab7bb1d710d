import json
import zipfile
from collections.abc import Sequence
from pathlib import Path

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retention_pipelines.errors import FileRefused
from retention_pipelines.sources.check import load_macros
from retention_pipelines.sources.darwin_core import ArchiveReader, TextReader
from retention_pipelines.sources.darwin_core.metadata import parse_metadata
from retention_pipelines.sources.darwin_core.terms import TERMS, kind_of, term_of
from retention_pipelines.sources.licences import licence_name
from retention_pipelines.warehouse.duck import open_connection, statement
from tests.unit.sources.reading import Read, read, read_one, recognise

_DWC = "http://rs.tdwg.org/dwc/terms/"


@pytest.fixture
def con() -> duckdb.DuckDBPyConnection:
    opened = open_connection()
    load_macros(opened)
    return opened


def _flat(tmp_path: Path, con: duckdb.DuckDBPyConnection, text: str, name: str = "records.csv") -> Read:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return read_one(TextReader(), path, con)


_HEAD = "occurrenceID,eventID,scientificName,decimalLatitude,decimalLongitude,eventDate"


# -- terms ----------------------------------------------------------------------------------------------------------


@given(st.sampled_from(TERMS), st.sampled_from([str, str.lower, str.upper, lambda t: f"dwc:{t}", lambda t: _DWC + t]))
@settings(max_examples=80, derandomize=True, deadline=None)
def test_a_term_is_known_in_any_case_and_with_any_prefix(term: str, written: object) -> None:
    assert callable(written)
    assert term_of(written(term)) == term


@pytest.mark.parametrize("name", ["latitude", "lon", "species", "depth", "ocean", ""])
def test_names_that_are_no_terms_are_not_guessed(name: str) -> None:
    assert term_of(name) is None


@pytest.mark.parametrize(
    ("header", "kind"),
    [
        ("scientificName decimalLatitude decimalLongitude eventDate", "flat"),
        ("scientific_name decimal_latitude decimal_longitude year", "flat"),
        ("eventID scientificName ocurrenceStatus", "occurrence"),
        ("eventID eventDate decimalLatitude decimalLongitude", "event"),
        ("eventID measurementType measurementValue", "measurement"),
        ("scientificName abundance", None),
        ("time latitude longitude", None),
    ],
)
def test_a_file_is_told_by_its_columns(header: str, kind: str | None) -> None:
    assert kind_of(header.split()) == kind


# -- flat text ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "count", "expected"),
    [
        ("present", "3", "present"), ("", "", "present"), ("absent", "", "absent"), ("notDetected", "", "absent"),
        ("not detected", "", "absent"), ("", "0", "absent"), ("present", "0", "absent"), ("absent", "5", "absent"),
        ("detected", "", "present"),
    ],
)  # fmt: skip
def test_an_absence_is_said_or_a_count_of_zero(
    status: str, count: str, expected: str, tmp_path: Path, con: duckdb.DuckDBPyConnection
) -> None:
    text = f"{_HEAD},occurrenceStatus,individualCount\no1,e1,Gadus morhua,1.5,2.5,2001-02-03,{status},{count}\n"
    (row,) = _flat(tmp_path, con, text).rows
    assert row["occurrence_status"] == expected
    contradicts = (status, count) in {("present", "0"), ("absent", "5")}
    assert ("STATUS_CONTRADICTS_COUNT" in row["flags"]) == contradicts


@pytest.mark.parametrize(
    ("quantity", "kind", "abundance", "density"),
    [
        ("12", "individuals", 12.0, None),
        ("12.5", "individuals per m3", None, None),
        ("12.5", "abundance [ind/m2]", None, 12.5),
        ("12.5", "density (individuals per 100 m2)", None, 12.5),
        ("12.5", "biomass [g/m2]", None, None),
        ("40", "% cover", None, None),
    ],
)
def test_a_quantity_is_an_abundance_a_density_or_neither(
    quantity: str, kind: str, abundance: float | None, density: float | None,
    tmp_path: Path, con: duckdb.DuckDBPyConnection,
) -> None:  # fmt: skip
    text = f"{_HEAD},organismQuantity,organismQuantityType\no1,e1,Gadus morhua,1.5,2.5,2001,{quantity},{kind}\n"
    (row,) = _flat(tmp_path, con, text).rows
    assert row["organism_quantity"] == float(quantity)
    assert row["organism_quantity_type"] == kind
    if kind != "individuals per m3":
        assert (row["abundance"], row["density"]) == (abundance, density)
    else:
        assert (row["abundance"], row["density"]) == (None, 12.5)


def test_remarks_do_not_exclude_a_row(tmp_path: Path, con: duckdb.DuckDBPyConnection) -> None:
    text = (
        f"{_HEAD},minimumDepthInMeters,maximumDepthInMeters,individualCount,coordinateUncertaintyInMeters\n"
        "o1,e1,Gadus morhua,1.5,2.5,2001-02-03,,,,\n"
        "o2,e1,Gadus morhua,1.5,2.5,2001-02-03,20,10,,\n"
        "o3,e1,Gadus morhua,1.5,2.5,2001-02-03,0,12000,,99999999\n"
        "o4,e1,Gadus morhua,1.5,2.5,2001-02-03,0,5,many,30\n"
    )
    rows = _flat(tmp_path, con, text).rows
    assert [row["flags"] for row in rows] == [
        ["NO_DEPTH"], ["MIN_DEPTH_EXCEEDS_MAX"], ["DEPTH_OUT_OF_RANGE", "UNCERTAINTY_OUT_OF_RANGE"],
        ["INVALID_MEASUREMENT"],
    ]  # fmt: skip
    assert [row["reason"] for row in rows] == [None] * 4
    assert rows[3]["coordinate_uncertainty_in_meters"] == 30.0
    assert json.loads(rows[3]["dynamic_properties"]) == {"individualCount": "many"}


@pytest.mark.parametrize(
    ("columns", "values", "expected"),
    [
        ("year,month,day", "1998,7,5", "1998-07-05"),
        ("year,month,day", "1998,7,", "1998-07"),
        ("year,month,day", "1998,,", "1998"),
        ("year,month,day", "NA,7,5", None),
        ("eventDate,eventTime", "1998-07-05,9:30Z", "1998-07-05T09:30Z"),
        ("eventDate,eventTime", "1998-07-05,unknown", "1998-07-05"),
        ("eventDate,year", "1998-07-05/1998-07-09,1998", "1998-07-05/1998-07-09"),
    ],
)
def test_a_date_is_as_precise_as_its_parts(
    columns: str, values: str, expected: str | None, tmp_path: Path, con: duckdb.DuckDBPyConnection
) -> None:
    text = f"scientificName,decimalLatitude,decimalLongitude,{columns}\nGadus morhua,1,2,{values}\n"
    assert _flat(tmp_path, con, text).rows[0]["event_date"] == expected


def test_tabs_stray_quotes_and_a_byte_order_mark_are_read(tmp_path: Path, con: duckdb.DuckDBPyConnection) -> None:
    text = "\ufeffscientificName\tdecimalLatitude\tdecimalLongitude\teventDate\tlocality\tcountryCode\n"
    text += 'Sardinella aurita\t-12.5\t13.1\t2001\t"Fort" beach\tNA\nSardinops sagax\t-12.5\t13.1\t2001\t5" deep\tAO\n'
    rows = _flat(tmp_path, con, text, "occurrence.txt").rows
    assert [row["locality"] for row in rows] == ['"Fort" beach', '5" deep']
    # NA is Namibia.
    assert [row["country_code"] for row in rows] == ["NA", "AO"]


def test_columns_that_are_no_terms_are_kept(tmp_path: Path, con: duckdb.DuckDBPyConnection) -> None:
    text = f"{_HEAD},datasetID,recordedBy,fieldNotes\no1,e1,Gadus morhua,1,2,2001,https://x.org/ds/My Set,Ann,\n"
    found = _flat(tmp_path, con, text)
    assert json.loads(found.rows[0]["dynamic_properties"]) == {
        "recordedBy": "Ann",
        "datasetID": "https://x.org/ds/My Set",
    }
    assert found.staged.dataset_id == "My_Set"


def test_a_row_of_another_width_is_kept_for_quarantine_and_the_others_are_read(
    tmp_path: Path, con: duckdb.DuckDBPyConnection
) -> None:
    rows = _flat(
        tmp_path, con, f"{_HEAD}\no1,e1,A b,1,2,2001\no2,e1\no3,e1,A b,1,2,2001,more\no4,e1,A b,1,2,2001\n"
    ).rows
    assert [row["reason"] for row in rows] == [None, "unparseable_row", "unparseable_row", None]
    assert "2 fields" in rows[1]["detail"]
    assert "more" in rows[2]["detail"]


def test_a_file_in_another_encoding_is_refused_and_not_guessed(tmp_path: Path, con: duckdb.DuckDBPyConnection) -> None:
    path = tmp_path / "records.csv"
    lines = [f"o{n},e1,Mañana é,1,2,2001" for n in range(9)]
    path.write_bytes("\n".join([_HEAD, *lines]).encode("cp1252"))
    with pytest.raises(FileRefused, match="not UTF-8"):
        read(TextReader(), path, con)


def test_licences_of_rows_have_one_name_each(tmp_path: Path, con: duckdb.DuckDBPyConnection) -> None:
    text = f"{_HEAD},license\no1,e1,A b,1,2,2001,http://creativecommons.org/licenses/by-nc/4.0/legalcode\n"
    assert _flat(tmp_path, con, text).rows[0]["licence"] == "CC-BY-NC-4.0"


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("http://creativecommons.org/publicdomain/zero/1.0/legalcode", "CC0-1.0"),
        ("Public Domain (CC0 1.0)", "CC0-1.0"),
        ("https://creativecommons.org/licenses/by/4.0/", "CC-BY-4.0"),
        ("CC BY-NC 4.0", "CC-BY-NC-4.0"),
        ("CC-BY", "CC-BY"),
        ("This work is licensed under CC BY-SA 3.0.", "CC-BY-SA-3.0"),
        ("ask the author", "ask the author"),
    ],
)
def test_licences_are_named_alike_in_python_and_sql(written: str, name: str, con: duckdb.DuckDBPyConnection) -> None:
    con.execute(statement("retention_pipelines.sources", "licences"))
    assert licence_name(written) == name
    assert con.execute("select licence_of($1)", [written]).fetchall() == [(name,)]


# -- archives -------------------------------------------------------------------------------------------------------


def _section(tag: str, row_type: str, location: str, fields: str, attributes: str = "") -> str:
    key = "" if not tag.endswith("!") else f'<{"id" if tag == "core!" else "coreid"} index="0"/>'
    tag = tag.rstrip("!")
    return (
        f'<{tag} rowType="{_DWC}{row_type}" ignoreHeaderLines="1" {attributes}>'
        f"<files><location>{location}</location></files>{key}{fields}</{tag}>"
    )


def _fields(*terms: str, first: int = 1) -> str:
    return "".join(f'<field index="{first + at}" term="{_DWC}{term}"/>' for at, term in enumerate(terms))


def _zip(path: Path, sections: Sequence[str], members: dict[str, bytes]) -> Path:
    meta = f'<archive xmlns="http://rs.tdwg.org/dwc/text/" metadata="eml.xml">{"".join(sections)}</archive>'
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("meta.xml", meta)
        for name, content in members.items():
            archive.writestr(name, content)
    return path


_TSV = 'fieldsTerminatedBy="\\t" fieldsEnclosedBy="" linesTerminatedBy="\\n" encoding="UTF-8"'
_EVENTS = _section(
    "core!", "Event", "event.txt",
    _fields("eventID", "parentEventID", "eventDate", "decimalLatitude", "decimalLongitude", "maximumDepthInMeters"),
    _TSV,
)  # fmt: skip
_OCCURRENCES = _section(
    "extension!", "Occurrence", "occurrence.txt", _fields("occurrenceID", "scientificName", "individualCount"), _TSV
)
_FACTS = _section(
    "extension!", "MeasurementOrFact", "facts.txt",
    _fields("occurrenceID", "measurementType", "measurementValue", "measurementUnit"), _TSV,
)  # fmt: skip


def _tsv(*rows: str) -> bytes:
    return ("\n".join(row.replace("|", "\t") for row in ("header", *rows)) + "\n").encode()


def _event_core(path: Path, events: Sequence[str], occurrences: Sequence[str], facts: Sequence[str]) -> Path:
    return _zip(
        path,
        [_EVENTS, _OCCURRENCES, _FACTS],
        {"event.txt": _tsv(*events), "occurrence.txt": _tsv(*occurrences), "facts.txt": _tsv(*facts)},
    )


def _by_member(parts: list[Read]) -> dict[tuple[str | None, str], Read]:
    return {(part.staged.member, part.staged.dataset): part for part in parts}


def test_defaults_of_the_guidelines_hold_where_the_descriptor_is_silent(
    tmp_path: Path, con: duckdb.DuckDBPyConnection
) -> None:
    fields = _fields("occurrenceID", "scientificName", "eventDate", "decimalLatitude", "decimalLongitude", first=0)
    constant = (
        f'<field term="{_DWC}occurrenceStatus" default="absent"/><field index="5" default="sea" term="{_DWC}locality"/>'
    )
    body = b'id,name,date,lat,lon,place\n1,"Gadus, morhua",2001,1.5,2.5,\n2,A b,2002,1,2,bay\n'
    path = _zip(tmp_path / "a.zip", [_section("core", "Occurrence", "o.csv", fields + constant)], {"o.csv": body})
    found = read_one(ArchiveReader(), path, con)
    assert [row["scientific_name"] for row in found.rows] == ["Gadus, morhua", "A b"]
    assert [row["occurrence_status"] for row in found.rows] == ["absent", "absent"]
    assert [row["locality"] for row in found.rows] == ["sea", "bay"]
    assert found.staged.dataset_id == "a"


def test_delimiter_quote_and_encoding_are_those_of_the_descriptor(
    tmp_path: Path, con: duckdb.DuckDBPyConnection
) -> None:
    fields = _fields("scientificName", "eventDate", "decimalLatitude", "decimalLongitude", "locality")
    attributes = 'fieldsTerminatedBy="|" fieldsEnclosedBy="\'" encoding="ISO-8859-1"'
    body = "id|n|d|a|o|l\nx|A b|2001|1|2|'Baía | Sul'\n".encode("latin-1")
    path = _zip(tmp_path / "a.zip", [_section("core!", "Occurrence", "o.txt", fields, attributes)], {"o.txt": body})
    assert read_one(ArchiveReader(), path, con).rows[0]["locality"] == "Baía | Sul"


def test_events_inherit_from_their_parents_what_they_lack(tmp_path: Path, con: duckdb.DuckDBPyConnection) -> None:
    path = _event_core(
        tmp_path / "a.zip",
        ["c|c||2001-01/2001-02|||", "s|s|c||-10|12|", "h1|h1|s|2001-01-05|||30", "h2|h2|s||||"],
        ["h1|o1|A b|3", "h2|o2|A b|4"],
        [],
    )
    parts = _by_member(read(ArchiveReader(), path, con))
    rows = parts["occurrence.txt", "occurrences"].rows
    assert [(row["event_id"], row["event_date"], row["decimal_latitude"]) for row in rows] == [
        ("h1", "2001-01-05", "-10"),
        ("h2", "2001-01/2001-02", "-10"),
    ]
    assert [row["maximum_depth_in_meters"] for row in rows] == [30.0, None]
    # The cruise has no position of its own; it counts as accepted because its stations have one.
    events = parts["event.txt", "observations"].rows
    assert [(row["event_id"], row["decimal_latitude"]) for row in events] == [
        ("c", "-10"), ("s", "-10"), ("h1", "-10"), ("h2", "-10"),
    ]  # fmt: skip
    assert all(row["measurements"] == [] for row in events)


def test_parents_that_go_in_a_circle_end(tmp_path: Path, con: duckdb.DuckDBPyConnection) -> None:
    path = _event_core(tmp_path / "a.zip", ["a|a|b|2001|1|2|", "b|b|a||||"], ["a|o1|A b|1", "b|o2|A b|1"], [])
    rows = _by_member(read(ArchiveReader(), path, con))["occurrence.txt", "occurrences"].rows
    assert [row["event_date"] for row in rows] == ["2001", "2001"]


def test_an_event_at_which_nothing_was_found_is_an_absence_without_a_name(
    tmp_path: Path, con: duckdb.DuckDBPyConnection
) -> None:
    path = _event_core(tmp_path / "a.zip", ["h1|h1||2001|1|2|", "h2|h2||2001|1|2|"], ["h1|o1|A b|3"], [])
    parts = _by_member(read(ArchiveReader(), path, con))
    (empty,) = parts["event.txt", "occurrences"].rows
    assert (empty["event_id"], empty["occurrence_status"], empty.get("scientific_name")) == ("h2", "absent", None)
    assert empty["flags"] == ["EVENT_WITHOUT_OCCURRENCES"]
    assert [row["event_id"] for row in parts["event.txt", "observations"].rows] == ["h1"]


def test_an_event_that_is_listed_twice_does_not_multiply_its_occurrences(
    tmp_path: Path, con: duckdb.DuckDBPyConnection
) -> None:
    path = _event_core(tmp_path / "a.zip", ["h1|h1||2001|1|2|", "h1|h1||2002|1|2|"], ["h1|o1|A b|3"], [])
    parts = _by_member(read(ArchiveReader(), path, con))
    (row,) = parts["occurrence.txt", "occurrences"].rows
    assert row["event_date"] == "2001"
    assert parts["event.txt", "observations"].rows[1]["flags"] == ["EVENT_ID_NOT_UNIQUE"]


def test_facts_are_counts_densities_conditions_or_remarks(tmp_path: Path, con: duckdb.DuckDBPyConnection) -> None:
    path = _event_core(
        tmp_path / "a.zip",
        ["h1|h1||2001-01-05|1|2|"],
        ["h1|o1|A b|", "h1|o2|C d|", "h1|o3|E f|"],
        [
            "h1|o1|number of individuals|12|individuals", "h1|o2|Abundance_[#/m3]|0.5|Number per m3",
            "h1|o3|Abundance|0|ind/m2", "h1|o2|Biomass_[mg dw/m3]|7|Number per m3", "h1||temperature|59|deg_F",
            "h1||sea_surface_temperature|16|degree_Celsius", "h1||mesh size|150|um", "h9||salinity|35|psu",
            "h1|o9|count|3|individuals",
        ],
    )  # fmt: skip
    parts = _by_member(read(ArchiveReader(), path, con))
    rows = parts["occurrence.txt", "occurrences"].rows
    assert [(row["abundance"], row["density"], row["density_unit"], row["occurrence_status"]) for row in rows] == [
        (12.0, None, None, "present"), (None, 0.5, "Number per m3", "present"), (None, 0.0, "ind/m2", "absent"),
    ]  # fmt: skip
    kept = json.loads(rows[1]["dynamic_properties"])
    assert kept["measurementOrFact"] == [{"type": "Biomass_[mg dw/m3]", "value": "7", "unit": "Number per m3"}]
    assert kept["eventMeasurementOrFact"] == [{"type": "mesh size", "value": "150", "unit": "um"}]
    facts = parts["facts.txt", "observations"]
    assert facts.staged.read == 9
    assert [row["reason"] for row in facts.rows] == [None] * 7 + ["unmatched_join"] * 2
    assert [(row["source_row"], one["value"], row["depth_m"]) for row in facts.rows for one in row["measurements"]] == [
        (5, pytest.approx(15.0), None), (6, 16.0, 0.0),
    ]  # fmt: skip


def test_an_occurrence_of_an_unknown_event_is_unmatched(tmp_path: Path, con: duckdb.DuckDBPyConnection) -> None:
    path = _event_core(tmp_path / "a.zip", ["h1|h1||2001|1|2|"], ["h1|o1|A b|1", "h7|o2|A b|1"], [])
    rows = _by_member(read(ArchiveReader(), path, con))["occurrence.txt", "occurrences"].rows
    assert [row["reason"] for row in rows] == [None, "unmatched_join"]
    assert "h7" in rows[1]["detail"]


@pytest.mark.parametrize(
    ("meta", "message"),
    [
        ("<archive", "cannot be read"),
        ('<archive xmlns="http://rs.tdwg.org/dwc/text/"></archive>', "names no core"),
        ("<!DOCTYPE x><archive/>", "document type"),
        (f'<archive><core rowType="{_DWC}Taxon"><files><location>t.txt</location></files></core></archive>', "Taxon"),
        (
            f'<archive><core rowType="{_DWC}Event"><files><location>no.txt</location></files></core></archive>',
            "lacks no.txt",
        ),
    ],
)
def test_an_archive_that_cannot_be_read_is_refused_with_a_sentence(
    meta: str, message: str, tmp_path: Path, con: duckdb.DuckDBPyConnection
) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("meta.xml", meta)
    with pytest.raises(FileRefused, match=message):
        read(ArchiveReader(), tmp_path / "a.zip", con)


def test_an_unzipped_archive_is_read_file_by_file(tmp_path: Path, con: duckdb.DuckDBPyConnection) -> None:
    packed = _event_core(tmp_path / "a.zip", ["h1|h1||2001|1|2|"], ["h1|o1|A b|1"], ["h1|o1|count|3|individuals"])
    folder = tmp_path / "a"
    with zipfile.ZipFile(packed) as archive:
        archive.extractall(folder)
    files = sorted(folder.iterdir())
    roles = {path.name: recognise(ArchiveReader(), path, files) for path in files}
    assert {name: found.role for name, found in roles.items() if found} == {
        "event.txt": "records", "facts.txt": "records", "meta.xml": "metadata", "occurrence.txt": "records",
    }  # fmt: skip
    found = read_one(ArchiveReader(), folder / "occurrence.txt", con, files)
    assert found.rows[0]["abundance"] == 1.0
    assert {one.name for one in found.staged.lookups} == {"event.txt", "facts.txt"}


def test_an_event_core_without_a_descriptor_is_told_by_its_columns(
    tmp_path: Path, con: duckdb.DuckDBPyConnection
) -> None:
    (tmp_path / "event.csv").write_text("EVENTID,eventdate,decimalLattitude,decimalLongitude\ne1,2001-01-05,1,2\n")
    (tmp_path / "occ.csv").write_text(
        "datasetID,eventID,occurrenceID,scientificName,ocurrenceStatus\nD1,e1,o1,A b,absent\n"
    )
    files = [tmp_path / "event.csv", tmp_path / "occ.csv"]
    found = read_one(ArchiveReader(), files[1], con, files)
    assert (found.rows[0]["event_date"], found.rows[0]["occurrence_status"]) == ("2001-01-05", "absent")
    assert found.staged.flags == ("MISSPELT_TERM",)
    assert found.staged.dataset_id == read(ArchiveReader(), files[0], con, files)[0].staged.dataset_id == "D1"
    assert recognise(ArchiveReader(), files[1]) is None


def test_of_two_event_cores_in_a_folder_each_keeps_its_own_files(
    tmp_path: Path, con: duckdb.DuckDBPyConnection
) -> None:
    for name in ("a", "b"):
        (tmp_path / f"event_{name}.csv").write_text(
            f"eventID,eventDate,decimalLatitude,decimalLongitude\n{name}1,2001,1,2\n{name}2,2001,1,2\n"
        )
        (tmp_path / f"occ_{name}.csv").write_text(
            f"eventID,scientificName\n{name}1,Gadus morhua\n{name}2,Gadus morhua\n"
        )
    files = sorted(tmp_path.iterdir())
    for path in files:
        parts = read(ArchiveReader(), path, con, files)
        assert [row["reason"] for part in parts for row in part.rows] == [None, None], path.name


def test_events_beside_a_stranger_s_occurrences_are_no_empty_ones(
    tmp_path: Path, con: duckdb.DuckDBPyConnection
) -> None:
    (tmp_path / "event.csv").write_text("eventID,eventDate,decimalLatitude,decimalLongitude\ne1,2001,1,2\n")
    (tmp_path / "other.csv").write_text(f"{_HEAD}\no1,x1,A b,1,2,2001\n")
    (part,) = read(ArchiveReader(), tmp_path / "event.csv", con, [tmp_path / "other.csv"])
    assert part.staged.dataset == "observations"


def test_an_obis_export_says_absence_in_a_column_of_its_own(tmp_path: Path, con: duckdb.DuckDBPyConnection) -> None:
    rows = _flat(tmp_path, con, f"{_HEAD},absence\no1,e1,A b,1,2,2001,true\no2,e1,A b,1,2,2001,false\n").rows
    assert [row["occurrence_status"] for row in rows] == ["absent", "present"]


# -- metadata -------------------------------------------------------------------------------------------------------


def test_a_placeholder_citation_is_replaced_by_one_of_creators_year_and_title() -> None:
    found = parse_metadata(
        b"""<eml:eml xmlns:eml="eml://x" packageId="https://ipt.x.org/resource?id=my-set/v1.3"><dataset>
        <title>Fish of the bay.</title><creator><individualName><givenName>Ana</givenName><surName>Silva</surName>
        </individualName></creator><pubDate>2020-05-01</pubDate><intellectualRights><para>
        <ulink url="http://creativecommons.org/licenses/by-nc/4.0/legalcode"><citetitle>x</citetitle></ulink></para>
        </intellectualRights></dataset><additionalMetadata><metadata><gbif>
        <citation>IPT will autogenerate this</citation></gbif></metadata></additionalMetadata></eml:eml>"""
    )
    assert found.dataset_id == "my-set"
    assert found.licence == "CC-BY-NC-4.0"
    assert found.citation == "Silva A (2020). Fish of the bay. https://ipt.x.org/resource?id=my-set/v1.3"


@pytest.mark.parametrize("content", [b"", b"<broken", b"<!DOCTYPE a [<!ENTITY x 'y'>]><a>&x;</a>", b"<a/>"])
def test_metadata_that_says_nothing_stops_nothing(content: bytes) -> None:
    found = parse_metadata(content)
    assert (found.dataset_id, found.licence, found.citation) == (None, None, None)
