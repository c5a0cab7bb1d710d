"""What becomes of every row and every file."""

import gzip
import os
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from retention_pipelines.catalog import dataset
from retention_pipelines.sources.delimited import DelimitedReader
from retention_pipelines.sources.erased import add_erased, digest_for
from retention_pipelines.sources.ingest import ingest
from retention_pipelines.sources.mapping import Mappings
from retention_pipelines.sources.report import IngestReport
from retention_pipelines.warehouse import Lake

NOW = datetime(2026, 1, 1, tzinfo=UTC)
HEADER = "lon,lat,date,quarter,depth_m,sta_dpos,t_degc,salinity,o2sat"
GOOD = "-120.5,33.5,2001-02-03,1,0,1,15.5,33.1,98"


def bottle(folder: Path, *rows: str, name: str = "bottle.csv") -> Path:
    path = folder / name
    path.write_text("\n".join([HEADER, *rows]) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def take(lake: Lake) -> Callable[..., IngestReport]:
    def run(*paths: object, **options: object) -> IngestReport:
        return ingest([str(path) for path in paths], lake, now=NOW, **options)  # type: ignore[arg-type]

    return run


def rows(lake: Lake, query: str) -> list[tuple[object, ...]]:
    lake.create_views()
    return lake.con.execute(query).fetchall()


def test_a_row_becomes_one_observation_per_value(lake, take, tmp_path):
    report = take(bottle(tmp_path, GOOD, "-120.5,33.5,2001-02-03,1,10,1,14.5,,"))
    assert (report.read, report.accepted, report.files[0].values) == (2, 2, 4)
    found = rows(lake, "select variable, depth_m, value, qc_good from observations order by all")
    assert found == [
        ("oxygen_saturation_percent", 0.0, 98.0, True),
        ("salinity_psu", 0.0, 33.1, True),
        ("temperature_degc", 0.0, 15.5, True),
        ("temperature_degc", 10.0, 14.5, True),
    ]
    assert report.touched_months("observations") == {"2001-02"}


@pytest.mark.parametrize("depths", [1, 1200])  # few rows of a month go through one query, many through one for each
def test_files_hold_the_types_of_the_catalog_whatever_the_source_leaves_out(lake, take, tmp_path, depths):
    good = [f"-120.5,33.5,2001-{month}-03,1,{depth},1,14.5,33,98" for month in ("02", "03") for depth in range(depths)]
    report = take(bottle(tmp_path, *good, "-120.5,95,2001-03-03,1,10,1,14.5,,"))
    assert (report.accepted, report.quarantined, report.files[0].values) == (2 * depths, 1, 6 * depths)
    for name in ("observations", "quarantine"):
        glob = f"{lake.settings.lake_root}/{name}/**/*.parquet"
        described = lake.con.execute("describe select * from read_parquet($1, hive_partitioning = true)", [glob])
        found = {column: kind for column, kind, *_ in described.fetchall()}
        assert found.items() >= dataset(name).types.items()
    found = rows(lake, "select month, variable, count(*), sum(value) from observations group by all order by all")
    values = {"oxygen_saturation_percent": 98.0, "salinity_psu": 33.0, "temperature_degc": 14.5}
    assert found == [
        (f"2001-{month}", name, depths, value * depths) for month in ("02", "03") for name, value in values.items()
    ]


def test_blanks_around_a_value_do_not_count_whatever_blanks_they_are(lake, take, tmp_path):
    take(bottle(tmp_path, " -120.5 ,33.5, 2001-02-03,1,0 ,1,\u00a015.5\u00a0,\u200933.1,98"))
    found = rows(
        lake, "select event_date, depth_m, decimal_longitude, round(sum(value), 6) from observations group by all"
    )
    assert found == [("2001-02-03", 0.0, -120.5, 146.6)]


def test_months_of_which_a_delivery_brings_nothing_new_get_no_file(lake, take, tmp_path):
    other = "-120.5,33.5,2001-03-03,1,0,1,15.5,33.1,98"
    take(bottle(tmp_path, GOOD))
    report = take(bottle(tmp_path, GOOD, other, name="again.csv"))
    assert (report.accepted, report.duplicates, report.touched_months("observations")) == (1, 1, {"2001-03"})
    written = Path(f"{lake.settings.lake_root}/_lake/observations").glob("**/*.parquet")
    assert sorted(path.parent.name for path in written) == ["month=2001-02", "month=2001-03"]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (",33.5,2001-02-03,1,0,1,15.5,33.1,98", "missing_position"),
        ("NaN,33.5,2001-02-03,1,0,1,15.5,33.1,98", "missing_position"),
        ("east,33.5,2001-02-03,1,0,1,15.5,33.1,98", "invalid_position"),
        ("-120.5,90.5,2001-02-03,1,0,1,15.5,33.1,98", "invalid_position"),
        ("361,33.5,2001-02-03,1,0,1,15.5,33.1,98", "invalid_position"),
        ("-180.5,33.5,2001-02-03,1,0,1,15.5,33.1,98", "invalid_position"),
        ("inf,33.5,2001-02-03,1,0,1,15.5,33.1,98", "invalid_position"),
        ("0,-0,2001-02-03,1,0,1,15.5,33.1,98", "zero_position"),
        ("-120.5,33.5,,1,0,1,15.5,33.1,98", "missing_date"),
        ("-120.5,33.5,1987-19-23,1,0,1,15.5,33.1,98", "invalid_date"),
        ("-120.5,33.5,2001-02-03,1,deep,1,15.5,33.1,98", "invalid_value"),
        ("-120.5,33.5,2001-02-03,1,0,1,15.5,33.1", "unparseable_row"),
        ("-120.5,33.5,2001-02-03,1,0,1,15.5,33.1,98,7", "unparseable_row"),
    ],
)
def test_a_row_that_cannot_be_used_is_kept_with_its_reason(lake, take, tmp_path, row, reason):
    report = take(bottle(tmp_path, GOOD, row))
    assert report.files[0].reasons == {reason: 1}
    assert (report.read, report.accepted, report.quarantined) == (2, 1, 1)
    (found,) = rows(lake, "select reason, source_row, source_file, raw_record->>'quarter', detail from quarantine")
    assert found[:4] == (reason, 2, "bottle.csv", "1")
    assert len(found[4]) > 5


def test_a_depth_of_zero_and_a_position_on_the_equator_or_meridian_are_valid(take, tmp_path):
    report = take(bottle(tmp_path, "0,5,2001-02-03,1,0,1,15,33,98", "5,0,2001-02-03,1,0,1,15,33,98"))
    assert report.accepted == 2


def test_longitudes_are_folded(lake, take, tmp_path):
    lons = ("359.5", "360", "180", "-180", "200", "12")
    take(bottle(tmp_path, *(f"{lon},33.5,2001-02-03,1,0,1,15.5,," for lon in lons)))
    found = rows(lake, "select decimal_longitude from observations order by source_row")
    assert [row[0] for row in found] == [-0.5, 0.0, -180.0, -180.0, -160.0, 12.0]


def test_exact_duplicates_in_a_file_and_of_an_earlier_delivery_are_counted(lake, take, tmp_path):
    bad = "0,0,2001-02-03,1,0,1,15.5,33.1,98"
    first = take(bottle(tmp_path, GOOD, GOOD, bad, bad))
    assert (first.accepted, first.quarantined, first.duplicates) == (1, 1, 2)
    second = take(bottle(tmp_path, GOOD, bad, GOOD.replace("15.5", "15.50"), name="again.csv"))
    assert (second.read, second.accepted, second.quarantined, second.duplicates) == (3, 1, 0, 2)
    assert rows(lake, "select count(*) from observations") == [(6,)]
    assert rows(lake, "select count(*) from quarantine") == [(1,)]


def test_the_same_file_again_adds_nothing_under_any_name_and_packing(lake, take, tmp_path):
    path = bottle(tmp_path, GOOD, GOOD.replace("15.5", "16"))
    take(path)
    packed = tmp_path / "copy.csv.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    archive = tmp_path / "copy.zip"
    with zipfile.ZipFile(archive, "w") as target:
        target.write(path, "inner/bottle.csv")
    for again in (path, packed, archive):
        report = take(again)
        assert (report.read, report.accepted, report.duplicates) == (2, 0, 2), again
        assert report.touched_months("observations") == set()
    assert rows(lake, "select count(*) from observations") == [(6,)]
    assert rows(lake, "select count(*), sum(read), sum(accepted) from ingested_files") == [(4, 8, 2)]


def test_order_of_columns_does_not_make_a_row_new(take, tmp_path):
    take(bottle(tmp_path, GOOD))
    other = tmp_path / "turned.csv"
    other.write_text(
        "lat,lon,date,quarter,depth_m,sta_dpos,t_degc,salinity,o2sat\n33.5,-120.5,2001-02-03,1,0,1,15.5,33.1,98\n"
    )
    assert take(other).duplicates == 1


def damaged_gzip(folder: Path) -> Path:
    path = folder / "cut.csv.gz"
    path.write_bytes(gzip.compress((HEADER + "\n" + (GOOD + "\n") * 999).encode())[:-20])
    return path


def damaged_zip(folder: Path) -> Path:
    path = folder / "cut.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.csv", HEADER + "\n" + GOOD)
    path.write_bytes(path.read_bytes()[:-30])
    return path


def written(name: str, content: bytes) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        (folder / name).write_bytes(content)
        return folder / name

    return make


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (damaged_gzip, "truncated or damaged"),
        (damaged_zip, "truncated or damaged"),
        (written("empty.csv", b""), "empty"),
        (written("empty.csv.gz", gzip.compress(b"")), "empty"),
        (written("header.csv", HEADER.encode() + b"\n"), "no data rows"),
        (written("binary.csv", bytes(range(256)) * 9), "No format is known for this binary file"),
        (written("picture.csv.gz", b"not gzip at all"), "not a gzip file"),
        (written("latin.csv", (HEADER + ("\n" + GOOD + "\xe9") * 9).encode("latin-1")), "another encoding"),
        (written("unknown.csv", b"alpha,beta\n1,2\n"), "No mapping knows this header"),
        (lambda folder: folder / "absent.csv", "no such file"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused_kept_aside_and_does_not_stop_others(lake, take, tmp_path, make, why):
    path = make(tmp_path)
    report = take(path, bottle(tmp_path, GOOD))
    (refused,) = report.refused
    assert why in str(refused.error)
    assert report.accepted == 1
    assert rows(lake, "select status, count(*) from ingested_files group by all order by all") == [
        ("ingested", 1),
        ("refused", 1),
    ]
    if path.exists():
        assert Path(str(refused.kept_aside)).read_bytes() == path.read_bytes()


def test_a_file_with_a_few_broken_bytes_loses_no_row(take, tmp_path):
    path = tmp_path / "bytes.csv"
    lines = [HEADER, *(f"-120.5,33.5,2001-02-03,1,{n},1,15.5,33.1,98" for n in range(50))]
    content = "\n".join(lines).encode().replace(b",33.5,2001-02-03,1,7,", b",33.5,2001-02-03,1\xff,7,")
    path.write_bytes(content + b"\n")
    report = take(path)
    assert report.files[0].reasons == {"unparseable_row": 1}
    assert (report.read, report.accepted) == (50, 49)


def test_hidden_and_partial_files_of_a_folder_are_left_alone_with_a_word(take, tmp_path):
    bottle(tmp_path, GOOD)
    for name in (".hidden.csv", "upload.csv.part", "README.md", "~$book.csv"):
        (tmp_path / name).write_text("x")
    report = take(tmp_path)
    assert [Path(file.path).name for file in report.files] == ["bottle.csv"]
    assert {Path(one.path).name for one in report.ignored} == {
        ".hidden.csv",
        "upload.csv.part",
        "README.md",
        "~$book.csv",
    }


def test_folders_and_globs_name_the_same_file_once(take, tmp_path):
    bottle(tmp_path, GOOD)
    report = take(tmp_path, tmp_path / "*.csv", tmp_path / "bottle.csv")
    assert len(report.files) == 1


def test_the_ledger_adds_up_and_names_licence_and_content(lake, take, tmp_path):
    take(bottle(tmp_path, GOOD, "0,0,2001-02-03,1,0,1,15.5,33.1,98", GOOD))
    (found,) = rows(
        lake,
        "select read, accepted, quarantined, duplicates, licence, mapping, reasons, length(sha256) from ingested_files",
    )
    assert found == (3, 1, 1, 1, "CC BY 4.0", "calcofi_bottle", '{"zero_position": 1}', 64)


def test_an_event_without_an_id_gets_one_and_says_so(lake, take, tmp_path):
    mapping = tmp_path / "m.yaml"
    mapping.write_text(
        """
name: simple
title: x
dataset_id: simple
target: observations
source_type: other
recognise: {columns: [when, y, x, sst]}
date: {column: when}
columns: {decimal_latitude: y, decimal_longitude: x}
variables: [{column: sst, variable: temperature_degc, unit: K}]
"""
    )
    path = tmp_path / "simple.csv"
    path.write_text("when,y,x,sst\n2027-01-01T00:00:00Z,1,2,300.15\n1971,1,2,\n")
    report = take(path, mapping=str(mapping))
    assert (report.accepted, report.files[0].values) == (2, 1)
    (found,) = rows(lake, "select event_id, flags, value, date_precision from observations")
    assert found[0] == "simple:2027-01-01T00:00:00Z_1.0_2.0"
    assert found[1] == ["DATE_IN_FUTURE", "DERIVED_EVENT_ID"]
    assert found[2] == pytest.approx(27.0)


def test_a_measurement_that_is_no_number_is_flagged_and_its_text_kept(lake, take, tmp_path):
    take(bottle(tmp_path, GOOD.replace("33.1", "salty")))
    found = rows(lake, "select variable, flags, dynamic_properties->>'salinity' from observations order by all")
    assert found == [
        ("oxygen_saturation_percent", ["INVALID_MEASUREMENT"], "salty"),
        ("temperature_degc", ["INVALID_MEASUREMENT"], "salty"),
    ]


def test_the_rows_of_a_lookup_are_counted_and_those_nobody_names_are_told(lake, take, tmp_path):
    sites = tmp_path / "sites.csv"
    sites.write_text("site,src,index,lon,lat,depth,type,coast\nA,x,A/x,18,-33,2,t,wc\nB,x,B/x,19,-34,2,t,wc\n")
    temperatures = tmp_path / "temperatures.csv"
    temperatures.write_text("index,date,temp\nA/x,1991.0833,12.5\n")
    report = take(sites, temperatures)
    assert {file.role: (file.read, file.accepted, file.values) for file in report.files} == {
        "lookup": (2, 2, 0),
        "records": (1, 1, 1),
    }
    again = take(sites, temperatures)
    assert [(file.status, file.read, file.duplicates) for file in again.files] == [
        ("duplicate", 2, 2),
        ("duplicate", 1, 1),
    ]
    query = "select notes from ingested_files where role = 'records' and status = 'ingested'"
    assert rows(lake, query) == [("1 of the 2 rows of sites.csv are named by no record.",)]


@pytest.fixture
def never_read(monkeypatch: pytest.MonkeyPatch) -> None:
    def read(*_: object) -> None:
        raise AssertionError("a known file is read")

    monkeypatch.setattr(DelimitedReader, "read", read)


SITES = "site,src,index,lon,lat,depth,type,coast\nA,x,A/x,18,-33,2,t,wc\n"


def with_sites(folder: Path, sites: str = SITES) -> tuple[Path, Path]:
    (folder / "sites.csv").write_text(sites)
    (folder / "temperatures.csv").write_text("index,date,temp\nA/x,1991.0833,12.5\nB/x,1991.0833,13.5\n")
    return folder / "sites.csv", folder / "temperatures.csv"


def test_known_files_are_told_so_without_reading_them_in_one_commit(lake, take, tmp_path, request):
    paths = [*with_sites(tmp_path), bottle(tmp_path, GOOD, GOOD)]
    first = take(*paths)
    before = lake.table("ingested_files").version()
    request.getfixturevalue("never_read")
    again = take(*paths)
    assert [(file.status, file.read, file.duplicates) for file in again.files] == [
        ("duplicate", file.read, file.read) for file in first.files
    ]
    described = ("format", "mapping", "role", "dataset_id", "licence", "bibliographic_citation", "fingerprint")
    for old, new in zip(first.files, again.files, strict=True):
        assert [getattr(new, name) for name in described] == [getattr(old, name) for name in described]
        assert " ".join(new.notes) == " ".join(old.notes)
    assert lake.table("ingested_files").version() == before + 1
    assert rows(lake, "select count(*), count(distinct path) from ingested_files") == [(6, 3)]


def test_a_file_whose_delivery_was_taken_back_is_read_again(lake, take, tmp_path):
    path = bottle(tmp_path, GOOD)
    take(path)
    lake.undo("observations", lake.table("observations").version())
    assert [file.status for file in take(path).files] == ["ingested"]
    assert rows(lake, "select count(*) from observations") == [(3,)]


def test_a_known_file_with_another_file_beside_it_is_read_again(take, tmp_path):
    _, temperatures = with_sites(tmp_path)
    assert (take(temperatures).accepted, take(temperatures).accepted) == (1, 0)
    with_sites(tmp_path, SITES + "B,x,B/x,19,-34,2,t,wc\n")
    assert (take(temperatures).accepted, take(temperatures).accepted) == (1, 0)


def test_a_known_file_is_read_again_where_another_of_the_same_lookups_lies_in_its_folder(take, tmp_path):
    more = SITES + "B,x,B/x,19,-34,2,t,wc\n"
    accepted = []
    for run, there, here in (("first", "z", SITES), ("second", "0", more)):
        for name, sites in ((there, more if here == SITES else SITES), ("a", here)):
            (tmp_path / run / name).mkdir(parents=True)
            with_sites(tmp_path / run / name, sites)
        (tmp_path / run / there / "temperatures.csv").unlink()
        report = take(tmp_path / run)
        accepted.append([file.accepted for file in report.files if file.role == "records"])
    assert accepted == [[1], [1]]


def test_a_name_that_is_no_text_beside_a_file_does_not_stop_it(take, tmp_path):
    (tmp_path / "event.txt").write_text(
        "eventID\teventDate\tdecimalLatitude\tdecimalLongitude\ne1\t2001-01-01\t-9\t13\n"
    )
    (tmp_path / "occurrence.txt").write_text("eventID\toccurrenceID\tscientificName\ne1\to1\tSardina\n")
    odd = os.fsencode(tmp_path) + b"/caf\xe9.csv"
    try:
        with open(odd, "w") as file:
            file.write("a,b\n1,2\n")
    except OSError:
        pytest.skip("names must be UTF-8 here")
    statuses = [[file.status for file in take(tmp_path / "occurrence.txt").files] for _ in range(2)]
    assert statuses == [["ingested"], ["duplicate"]]


def test_a_known_file_with_another_mapping_is_read_again(take, tmp_path):
    path = bottle(tmp_path, GOOD)
    take(path)
    mapping = tmp_path / "mine.yaml"
    mapping.write_text(Mappings.text_of("calcofi_bottle").replace("dataset_id: ", "dataset_id: other_"))
    report = take(path, mapping=str(mapping))
    assert [(file.status, file.accepted) for file in report.files] == [("ingested", 1)]


def test_a_refused_file_is_refused_again(take, tmp_path):
    path = bottle(tmp_path)
    assert [take(path).files[0].status for _ in range(2)] == ["refused", "refused"]


def test_a_known_file_of_what_was_erased_since_is_refused(lake, take, tmp_path):
    path = bottle(tmp_path, GOOD)
    (taken,) = take(path).files
    add_erased(lake, "dataset", digest_for(lake.settings, "dataset", taken.dataset_id), 7)
    (again,) = take(path).files
    assert again.status == "refused"
    assert "order 7" in str(again.error)
