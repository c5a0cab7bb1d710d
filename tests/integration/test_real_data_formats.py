"""The published sets in self-describing formats, against values worked out here from the raw files alone."""

import zipfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import netCDF4
import numpy as np
import pandas as pd
import pytest

from retention_pipelines.sources.ingest import ingest
from retention_pipelines.sources.report import FileReport
from retention_pipelines.warehouse import Lake
from tests.fixtures.real_data import NOW, ingested

pytestmark = pytest.mark.real_data


def _ingest(lake: Lake, path: Path) -> dict[str, FileReport]:
    report = ingest([path], lake, now=NOW)
    assert {file.status for file in report.files} == {"ingested"}
    for file in report.files:
        assert file.read == file.accepted + file.quarantined + file.duplicates
    lake.create_views()
    return {Path(file.path).name: file for file in report.files}


def _rows(lake: Lake, query: str) -> list[tuple[Any, ...]]:
    return lake.con.execute(query).fetchall()


def test_banc_d_arguin_keeps_the_precision_of_every_date(real_lake: Lake, real_data: Path) -> None:
    path = real_data / "occurrences" / "banc_darguin_dwca.zip"
    with zipfile.ZipFile(path) as archive, archive.open("occurrence.csv") as member:
        raw = pd.read_csv(member, dtype=str, keep_default_na=False)
    length = raw["eventDate"].str.len()
    impossible = (length == 10) & pd.to_datetime(raw["eventDate"], errors="coerce", format="%Y-%m-%d").isna()
    file, mine = ingested(real_lake, path), "dataset_id = 'banc-darguin-ccmar-2023'"
    assert file.read == len(raw) == 2298
    assert file.reasons == {"missing_date": int((length == 0).sum()), "invalid_date": int(impossible.sum())}
    assert file.reasons == {"missing_date": 145, "invalid_date": 1}
    found = dict(_rows(real_lake, f"select date_precision, count(*) from occurrences where {mine} group by all"))
    assert found == {
        "year": int((length == 4).sum()),
        "month": int((length == 7).sum()),
        "day": int((length == 10).sum() - impossible.sum()),
    }
    assert (found["year"], found["month"]) == (163, 2)
    names = raw.loc[(length > 0) & ~impossible, "scientificName"].str.strip()
    assert _rows(real_lake, f"select count(distinct scientific_name) from occurrences where {mine}") == [
        (names.nunique(),)
    ]
    (rights,) = _rows(
        real_lake, f"select distinct licence, dataset_id, locality, basis_of_record from occurrences where {mine}"
    )
    assert rights == ("CC0-1.0", "banc-darguin-ccmar-2023", "Banc d'Arguin National Park", "HumanObservation")
    (quarantined,) = _rows(
        real_lake, f"select source_row, raw_record from quarantine where reason = 'invalid_date' and {mine}"
    )
    assert quarantined[0] == int(np.flatnonzero(impossible)[0]) + 1
    assert "1987-19-23" in quarantined[1]
    years = _rows(
        real_lake,
        f"select event_date, event_start, event_end from occurrences where date_precision = 'year' and {mine}",
    )
    for text, start, end in years:
        assert (start, end) == (datetime(int(text), 1, 1, tzinfo=UTC), datetime(int(text) + 1, 1, 1, tzinfo=UTC))


def test_ambon_s_event_core_is_joined_and_its_abundance_is_a_density(real_lake: Lake, real_data: Path) -> None:
    folder = real_data / "occurrences" / "ambon_event_core"
    event, occurrence, fact = (
        pd.read_csv(folder / f"{name}.csv", dtype=str, keep_default_na=False)
        for name in ("event", "occurrence", "measurementorfact")
    )
    names = ("event.csv", "occurrence.csv", "measurementorfact.csv")
    mine = "dataset_id = 'AMBON_Zooplankton_2017'"
    files = {name: ingested(real_lake, folder / name) for name in names}
    assert {name: (file.read, file.accepted) for name, file in files.items()} == {
        "event.csv": (len(event), len(event)),
        "occurrence.csv": (len(occurrence), len(occurrence)),
        "measurementorfact.csv": (len(fact), len(fact)),
    }
    abundance = fact[fact["measurementType"] == "Abundance_[#/m3]"].set_index("occurrenceID")["measurementValue"]
    expected = occurrence.merge(event, on="eventID").assign(
        density=lambda table: table["occurrenceID"].map(abundance).astype(float)
    )
    found = _rows(
        real_lake,
        "select count(*), sum(density), count(abundance), count(distinct event_id), any_value(density_unit), "
        "avg(decimal_latitude), avg(minimum_depth_in_meters), count(distinct dataset_id) from occurrences "
        f"where {mine}"
    )  # fmt: skip
    assert len(found) == 1
    rows, density, counts, events, unit, latitude, depth, datasets = found[0]
    assert (rows, counts, events, unit, datasets) == (4727, 0, event["eventID"].nunique(), "Number per m3", 1)
    assert density == pytest.approx(expected["density"].sum(), rel=1e-9)
    assert latitude == pytest.approx(expected["decimalLatitude"].astype(float).mean(), rel=1e-9)
    assert depth == pytest.approx(expected["minimumDepthInMeters"].astype(float).mean(), rel=1e-9)
    assert _rows(real_lake, f"select distinct flags from occurrences where {mine}") == [(["MISSPELT_TERM"],)]
    assert (abundance.astype(float) > 0).all()
    assert _rows(real_lake, f"select occurrence_status, count(*) from occurrences where {mine} group by all") == [
        ("present", 4727)
    ]
    assert set(occurrence["ocurrenceStatus"]) == {"present"}
    biomass = _rows(real_lake, f"select dynamic_properties from occurrences where source_row = 1 and {mine}")[0][0]
    assert "Biomass_[mg dw/m3]" in biomass


def test_argo_uses_adjusted_values_and_their_flags(real_lake: Lake, real_data: Path) -> None:
    path = real_data / "ocean" / "argo_3902131_prof.nc"
    with netCDF4.Dataset(path) as data:
        stored = {name: data[name][:] for name in ("PSAL", "PSAL_ADJUSTED", "TEMP_ADJUSTED", "PRES", "LATITUDE")}
        flags = {
            name: np.isin(np.ma.filled(data[name][:], b" "), [b"1", b"2", b"5", b"8"])
            for name in (
                "PSAL_QC",
                "PSAL_ADJUSTED_QC",
                "PRES_ADJUSTED_QC",
                "TEMP_ADJUSTED_QC",
                "POSITION_QC",
                "JULD_QC",
            )
        }
        assert set(np.ma.filled(data["DATA_MODE"][:], b" ").tolist()) == {b"D"}
        dates = netCDF4.num2date(data["JULD"][:], data["JULD"].units)
    levels = int(stored["PSAL"].count())
    place = (flags["POSITION_QC"] & flags["JULD_QC"])[:, np.newaxis] & flags["PRES_ADJUSTED_QC"]
    good = place & flags["PSAL_ADJUSTED_QC"] & ~np.ma.getmaskarray(stored["PSAL_ADJUSTED"])
    file = ingested(real_lake, path)
    assert (file.read, file.accepted) == (levels, levels) == (56450, 56450)
    assert int((flags["PSAL_QC"] & ~np.ma.getmaskarray(stored["PSAL"])).sum()) == 26863
    (found,) = _rows(
        real_lake,
        "select count(*), count(*) filter (qc_good), avg(value) filter (qc_good), "
        "stddev_samp(value) filter (qc_good), min(value) filter (qc_good), max(value) filter (qc_good), "
        "count(*) filter (raw_qc_flag in ('1', '2', '5', '8')), avg(raw_value) from observations "
        "where variable = 'salinity_psu' and dataset_id = 'argo'"
    )  # fmt: skip
    values = stored["PSAL_ADJUSTED"][good].astype("f8")
    assert found[:2] == (levels, int(good.sum())) == (56450, 30218)
    assert found[2:6] == pytest.approx((values.mean(), values.std(ddof=1), values.min(), values.max()), rel=1e-9)
    assert found[6] == 26863
    assert found[7] == pytest.approx(stored["PSAL"].astype("f8").mean(), rel=1e-9)
    warm = place & flags["TEMP_ADJUSTED_QC"]
    (temperature,) = _rows(
        real_lake,
        "select avg(value) from observations where variable = 'temperature_degc' and qc_good and dataset_id = 'argo'",
    )
    assert temperature[0] == pytest.approx(stored["TEMP_ADJUSTED"][warm].astype("f8").mean(), rel=1e-9)
    (events,) = _rows(
        real_lake,
        "select count(distinct event_id), min(event_start), any_value(platform_id) from observations "
        "where dataset_id = 'argo'",
    )
    assert events[0] == len(dates) == 162
    assert abs(events[1] - datetime.fromisoformat(min(dates).isoformat()).replace(tzinfo=UTC)).total_seconds() < 1
    assert events[2] == "3902131"


def test_ostia_s_months_are_months_in_degrees_celsius(real_lake: Lake, real_data: Path) -> None:
    path = real_data / "ocean" / "ostia_monthly.nc"
    with netCDF4.Dataset(path) as data:
        kelvin = data["surface_temperature"][:]
        first = netCDF4.num2date(data["time_bnds"][:, 0], data["time"].units)
        longitude = data["longitude"][:]
    file = ingested(real_lake, path)
    assert (file.read, file.accepted, file.values) == (kelvin.size, kelvin.size, kelvin.count())
    values = kelvin.compressed().astype("f8") - 273.15
    (found,) = _rows(
        real_lake,
        "select count(*), avg(value), min(value), max(value), min(decimal_longitude), max(decimal_longitude), "
        "count(distinct depth_m), any_value(depth_m), count(distinct variable), any_value(variable) from observations "
        "where dataset_id = 'ostia_monthly'"
    )  # fmt: skip
    assert found[0] == 308934 == values.size
    assert found[1:4] == pytest.approx((values.mean(), values.min(), values.max()), rel=1e-9)
    folded = (longitude.astype("f8") + 180) % 360 - 180
    assert found[4:6] == pytest.approx((folded.min(), folded.max()), abs=1e-4)
    assert found[6:] == (1, 0.0, 1, "temperature_degc")
    months = _rows(
        real_lake,
        "select event_date, date_precision, count(*) from observations where dataset_id = 'ostia_monthly' "
        "group by all order by all",
    )
    assert [(text, kind) for text, kind, _ in months] == [(f"{date:%Y-%m}", "month") for date in map(_plain, first)]
    assert [count for *_, count in months] == kelvin.reshape(len(first), -1).count(axis=1).tolist()


def _plain(date: Any) -> datetime:
    return datetime(date.year, date.month, date.day, tzinfo=UTC)


def test_the_same_delivery_again_adds_nothing(lake: Lake, real_data: Path) -> None:
    name = "occurrences/banc_darguin_dwca.zip"
    _ingest(lake, real_data / name)
    before = _rows(lake, "select (select count(*) from occurrences), (select count(*) from observations)")
    again = ingest([real_data / name], lake, now=NOW)
    assert {file.status for file in again.files} == {"duplicate"}
    assert again.accepted == again.quarantined == 0
    lake.create_views()
    assert _rows(lake, "select (select count(*) from occurrences), (select count(*) from observations)") == before


def test_an_event_core_in_a_zip_says_the_same_as_its_folder(lake: Lake, real_data: Path, tmp_path: Path) -> None:
    folder = real_data / "occurrences" / "ambon_event_core"
    with zipfile.ZipFile(tmp_path / "ambon.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path in folder.iterdir():
            archive.write(path, f"ambon/{path.name}")
    report = ingest([tmp_path / "ambon.zip"], lake, now=NOW)
    assert (report.read, report.accepted) == (154 + 4727 + 9454, 154 + 4727 + 9454)
    again = ingest([folder], lake, now=NOW)
    lake.create_views()
    assert _rows(lake, "select count(*) from occurrences") == [(4727,)]
    assert next(one for one in again.files if one.path.endswith("occurrence.csv")).accepted == 0
