"""The delimited real sets against values computed from the raw files with pandas, by docs/definitions.md."""

from pathlib import Path

import pandas as pd
import pytest

from retention_pipelines.sources.ingest import ingest
from retention_pipelines.sources.report import FileReport, IngestReport
from retention_pipelines.warehouse import Lake
from tests.fixtures.real_data import NOW, ingested

pytestmark = pytest.mark.real_data


def raw(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, dtype=str, keep_default_na=False)


def one(report: IngestReport, name: str) -> FileReport:
    (found,) = [file for file in report.files if Path(file.path).name == name]
    return found


def numbers(column: pd.Series) -> pd.Series:
    return pd.to_numeric(column, errors="coerce")


def query(lake: Lake, sql: str) -> list[tuple[object, ...]]:
    return lake.con.execute(sql).fetchall()


def expected_counts(frame: pd.DataFrame, lat: str, lon: str) -> tuple[int, int, int]:
    """Duplicates, and of the rest those without a valid position: zero and other."""
    duplicates = frame.duplicated()
    rest = frame[~duplicates]
    latitude, longitude = numbers(rest[lat]), numbers(rest[lon])
    zero = (latitude == 0) & (longitude == 0)
    invalid = ~(latitude.between(-90, 90) & longitude.between(-180, 360))
    return int(duplicates.sum()), int(zero.sum()), int(invalid.sum())


def test_rreas_catches_joined_to_hauls_and_species(real_lake: Lake, real_data: Path) -> None:
    folder = real_data / "occurrences"
    catch, haul, species = (raw(folder / f"rreas_{name}.csv") for name in ("catch", "haul", "species_codes"))
    joined = catch.merge(haul, on=["CRUISE", "HAUL_NO"], how="left", indicator=True).merge(
        species, on="SPECIES", how="left"
    )
    assert (joined["_merge"] == "both").all()
    duplicates, zero, invalid = expected_counts(joined, "NET_IN_LATDD", "NET_IN_LONDD")
    file = ingested(real_lake, folder / "rreas_catch.csv")
    assert (file.read, file.duplicates, file.quarantined) == (len(catch), duplicates, zero + invalid)
    assert file.reasons == {"zero_position": zero}
    assert (zero, invalid) == (31, 0)
    assert {ingested(real_lake, folder / f"rreas_{name}.csv").role for name in ("haul", "species_codes")} == {"lookup"}
    good = joined[~((numbers(joined.NET_IN_LATDD) == 0) & (numbers(joined.NET_IN_LONDD) == 0))]
    animals = good[good.MATURITY != "T"]
    (found,) = query(
        real_lake,
        """select count(*), count(*) filter (where is_subtotal), sum(abundance) filter (where not is_subtotal),
                  count(distinct event_id), count(distinct scientific_name), min(event_start), max(event_start),
                  bool_and(list_contains(flags, 'LOCAL_TIME_SUSPECTED')),
                  count(*) filter (where occurrence_status = 'absent')
           from occurrences where dataset_id = 'rreas'""",
    )
    dates = pd.to_datetime(good.HAUL_DATE)
    assert found == (
        len(good),
        int((good.MATURITY == "T").sum()),
        float(numbers(animals.TOTAL_NO).sum()),
        len(good[["CRUISE", "HAUL_NO"]].drop_duplicates()),
        good.SCI_NAME.str.strip().nunique(),
        dates.min().to_pydatetime(),
        dates.max().to_pydatetime(),
        True,
        int((numbers(good.TOTAL_NO) == 0).sum()),
    )


def test_rreas_as_darwin_core_knows_its_subtotals(real_lake: Lake, real_data: Path) -> None:
    path = real_data / "occurrences" / "rreas_occurrence_dwc.csv"
    frame = raw(path)
    duplicates, zero, invalid = expected_counts(frame, "decimalLatitude", "decimalLongitude")
    file = ingested(real_lake, path)
    assert (file.mapping, file.read, file.duplicates) == ("rreas_occurrence_dwc", len(frame), duplicates)
    assert file.reasons == {"zero_position": zero}
    assert invalid == 0
    total = query(
        real_lake, "select sum(abundance)::bigint from occurrences where is_subtotal and dataset_id = 'rreas_dwc'"
    )[0][0]
    subtotal = frame[(frame.lifeStage == "T") & (numbers(frame.decimalLatitude) != 0)]
    assert total == int(numbers(subtotal.individualCount).sum())


def test_a_catch_whose_haul_is_unknown_is_quarantined(lake: Lake, real_data: Path, tmp_path: Path) -> None:
    folder = real_data / "occurrences"
    (tmp_path / "rreas_species_codes.csv").write_bytes((folder / "rreas_species_codes.csv").read_bytes())
    catch = raw(folder / "rreas_catch.csv")
    catch = catch[catch.CRUISE.isin(["0103", "0205"])]
    assert catch.CRUISE.nunique() == 2
    catch.to_csv(tmp_path / "rreas_catch.csv", index=False)
    haul = raw(folder / "rreas_haul.csv")
    haul[haul.CRUISE != "0103"].to_csv(tmp_path / "rreas_haul.csv", index=False)
    file = one(ingest([tmp_path], lake, now=NOW), "rreas_catch.csv")
    assert file.reasons["unmatched_join"] == int((catch.CRUISE == "0103").sum())
    # With the whole haul table the rows come in: what was quarantined for want of it is no duplicate.
    (tmp_path / "rreas_haul.csv").write_bytes((folder / "rreas_haul.csv").read_bytes())
    again = one(ingest([tmp_path], lake, now=NOW), "rreas_catch.csv")
    assert again.accepted == file.reasons["unmatched_join"]
    assert again.duplicates == again.read - again.accepted


def test_catches_without_their_hauls_are_refused_with_the_file_they_need(
    lake: Lake, real_data: Path, tmp_path: Path
) -> None:
    (tmp_path / "rreas_catch.csv").write_bytes((real_data / "occurrences" / "rreas_catch.csv").read_bytes())
    (file,) = ingest([tmp_path], lake, now=NOW).files
    assert file.status == "refused"
    assert "rreas_haul.csv" in str(file.error)


def test_larvae_are_densities_with_absences_and_exact_duplicates(real_lake: Lake, real_data: Path) -> None:
    path = real_data / "occurrences" / "calcofi_larvae.csv.gz"
    frame = raw(path)
    duplicates, zero, invalid = expected_counts(frame, "lat_dd", "lon_dd")
    file = ingested(real_lake, path)
    assert (file.read, file.duplicates, file.quarantined) == (len(frame), duplicates, zero + invalid) == (67761, 89, 0)
    rest = frame[~frame.duplicated()]
    (found,) = query(
        real_lake,
        """select count(*) filter (where occurrence_status = 'absent'), sum(density), count(abundance),
                  avg(decimal_latitude), count(distinct scientific_name), any_value(licence)
           from occurrences where dataset_id = 'calcofi_larvae'""",
    )
    larvae = numbers(rest.larvae_10m2)
    assert found[0] == int((larvae == 0).sum())
    assert found[1] == pytest.approx(larvae.sum())
    assert found[2] == 0
    assert found[3] == pytest.approx(numbers(rest.lat_dd).mean())
    assert found[4:] == (rest.scientific_name.str.strip().nunique(), "CC BY 4.0")


def test_bottles_become_one_observation_per_value(real_lake: Lake, real_data: Path) -> None:
    path = real_data / "ocean" / "calcofi_bottle_1985_2020.csv.gz"
    frame = raw(path)
    duplicates, zero, invalid = expected_counts(frame, "lat", "lon")
    file = ingested(real_lake, path)
    assert (file.read, file.duplicates, file.quarantined) == (len(frame), duplicates, zero + invalid)
    rest = frame[~frame.duplicated()]
    found = query(
        real_lake,
        """select variable, count(value), avg(value), min(value), max(value), max(depth_m)
           from observations where dataset_id = 'calcofi_bottle' group by all order by all""",
    )
    expected = []
    for variable, column in (
        ("oxygen_saturation_percent", "o2sat"),
        ("salinity_psu", "salinity"),
        ("temperature_degc", "t_degc"),
    ):
        values = numbers(rest[column])
        depth = numbers(rest.depth_m)[values.notna()].max()
        expected.append((variable, int(values.count()), values.mean(), values.min(), values.max(), depth))
    assert [row[:2] for row in found] == [row[:2] for row in expected]
    for got, wanted in zip(found, expected, strict=True):
        assert got[2:] == pytest.approx(wanted[2:])


def test_sactn_decimal_years_are_months(real_lake: Lake, real_data: Path) -> None:
    folder = real_data / "ocean"
    frame, sites = raw(folder / "sactn_monthly_v4.2.csv"), raw(folder / "sactn_site_list_v4.2.csv")
    joined = frame.merge(sites[["index", "lat", "lon"]], on="index", how="left")
    duplicates, zero, invalid = expected_counts(joined, "lat", "lon")
    file = ingested(real_lake, folder / "sactn_monthly_v4.2.csv")
    assert (file.read, file.duplicates, file.quarantined) == (len(frame), duplicates, zero + invalid)
    values = numbers(joined.temp)
    assert file.values == int(values.count())
    year = numbers(joined.date)
    month = ((year - year.astype(int)) * 12).round().astype(int) + 1
    expected = pd.DataFrame({"month": month, "value": values}).dropna().groupby("month")["value"].agg(["count", "mean"])
    found = query(
        real_lake,
        """select month(event_start), count(*), avg(value)
           from observations where dataset_id = 'sactn_monthly' group by all order by all""",
    )
    assert [row[:2] for row in found] == [(index, row["count"]) for index, row in expected.iterrows()]
    assert [row[2] for row in found] == pytest.approx(expected["mean"].tolist())
    assert query(
        real_lake,
        """select distinct date_precision, event_end = event_start + interval 1 month
           from observations where dataset_id = 'sactn_monthly'""",
    ) == [("month", True)]
