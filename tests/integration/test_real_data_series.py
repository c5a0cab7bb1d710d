"""Series of the real sets against the raw files, by plain pandas, numpy and scipy and the definitions alone."""

import functools
import zipfile
from pathlib import Path

import gsw
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from scipy import stats

from retention_pipelines.series.aggregate import update_series
from retention_pipelines.series.diversity import update_biodiversity
from retention_pipelines.series.seasonality import update_seasonal_patterns
from retention_pipelines.series.trend import update_trends
from retention_pipelines.warehouse import Lake

pytestmark = pytest.mark.real_data
WINDOWS = ("daily", "weekly", "monthly", "seasonal")


@pytest.fixture(scope="module")
def series(real_lake: Lake) -> Lake:
    """The lake with every set, and every series."""
    update_series(real_lake)
    update_biodiversity(real_lake)
    update_seasonal_patterns(real_lake)
    update_trends(real_lake)
    return real_lake


def frame(lake: Lake, query: str, arguments: list[str]) -> pd.DataFrame:
    # DuckDB's own .df() trips over a deprecation of pandas 3.1.
    return lake.con.sql(query, params=arguments).to_arrow_table().to_pandas()


# -- the definitions, a second time ---------------------------------------------------------------------------------


def cells(latitude: pd.Series, longitude: pd.Series) -> pd.Series:
    lat0 = np.floor(latitude / 0.25) * 0.25 + 0.0
    lon0 = np.floor(((longitude + 180) % 360 - 180) / 0.25) * 0.25 + 0.0
    return lat0.map(str) + "_" + lon0.map(str)


def label(day: pd.Series, window: str) -> pd.Series:
    """Name of the window of a UTC day (midnight)."""
    if window == "daily":
        return day.dt.strftime("%Y-%m-%d")
    if window == "weekly":
        iso = day.dt.isocalendar()
        return iso["year"].astype(str) + "-W" + iso["week"].map("{:02d}".format)
    if window == "monthly":
        return day.dt.strftime("%Y-%m")
    season = (day.dt.month % 12 // 3).map(dict(enumerate(("DJF", "MAM", "JJA", "SON"))))
    return (day.dt.year + (day.dt.month == 12)).astype(str) + "-" + season


def placed(rows: pd.DataFrame, window: str) -> pd.DataFrame:
    """Rows whose first and last day lie in one window, with `cell` and `label`."""
    rows = rows.assign(cell=cells(rows["lat"], rows["lon"]), label=label(rows["first"], window))
    return rows[rows["label"] == label(rows["last"], window)]


def month_interval(rows: pd.DataFrame, year: pd.Series, month: pd.Series) -> pd.DataFrame:
    first = pd.to_datetime({"year": year, "month": month, "day": 1})
    return rows.assign(first=first, last=first + pd.offsets.MonthEnd(0))


# -- raw files -------------------------------------------------------------------------------------------------------


@functools.cache
def argo(folder: Path) -> pd.DataFrame:
    """Levels with good flags of value, pressure, position and time; adjusted values where DATA_MODE is A or D."""
    with xr.open_dataset(folder / "ocean/argo_3902131_prof.nc", decode_times=False, mask_and_scale=True) as raw:
        profiles = raw.load()
    good = [b"1", b"2", b"5", b"8"]

    def flags(name: str) -> np.ndarray:
        return np.isin(profiles[name].values.astype("S1"), good)

    adjusted = np.isin(profiles["DATA_MODE"].values.astype("S1"), [b"A", b"D"])[:, None]

    def chosen(name: str) -> tuple[np.ndarray, np.ndarray]:
        value = np.where(adjusted, profiles[f"{name}_ADJUSTED"].values, profiles[name].values).astype(np.float64)
        return value, np.where(adjusted, flags(f"{name}_ADJUSTED_QC"), flags(f"{name}_QC"))

    pressure, pressure_good = chosen("PRES")
    latitude = np.broadcast_to(profiles["LATITUDE"].values[:, None], pressure.shape)
    longitude = np.broadcast_to(profiles["LONGITUDE"].values[:, None], pressure.shape)
    days = np.floor(profiles["JULD"].values).astype(int)
    first = np.broadcast_to((np.datetime64("1950-01-01", "D") + days).astype("datetime64[ns]")[:, None], pressure.shape)
    where = (flags("POSITION_QC") & flags("JULD_QC"))[:, None] & pressure_good
    parts = []
    for name, variable in (("TEMP", "temperature_degc"), ("PSAL", "salinity_psu")):
        value, value_good = chosen(name)
        keep = where & value_good & np.isfinite(value)
        parts.append(
            pd.DataFrame(
                {
                    "variable": variable,
                    "value": value[keep],
                    "surface": -gsw.z_from_p(pressure[keep], latitude[keep]) <= 10,
                    "lat": latitude[keep],
                    "lon": longitude[keep],
                    "first": first[keep],
                    "last": first[keep],
                }
            )
        )
    return pd.concat(parts)


@functools.cache
def sactn(folder: Path) -> pd.DataFrame:
    rows = pd.read_csv(folder / "ocean/sactn_monthly_v4.2.csv").dropna(subset="temp")
    sites = pd.read_csv(folder / "ocean/sactn_site_list_v4.2.csv", usecols=["index", "lon", "lat", "depth"])
    rows = rows.merge(sites, on="index", validate="many_to_one")
    year = np.floor(rows["date"] + 1e-6).astype(int)
    rows = month_interval(rows, year, ((rows["date"] - year) * 12).round().astype(int) + 1)
    return rows.rename(columns={"temp": "value"}).assign(variable="temperature_degc", surface=rows["depth"] <= 10)


@functools.cache
def bottle(folder: Path) -> pd.DataFrame:
    rows = pd.read_csv(folder / "ocean/calcofi_bottle_1985_2020.csv.gz")
    names = {"t_degc": "temperature_degc", "salinity": "salinity_psu", "o2sat": "oxygen_saturation_percent"}
    first = pd.to_datetime(rows["date"])
    rows = rows.assign(first=first, last=first, surface=rows["depth_m"] <= 10).rename(columns=names)
    long = rows.melt(["lat", "lon", "first", "last", "surface"], list(names.values()), "variable", "value")
    return long.dropna(subset="value")


@functools.cache
def ostia(folder: Path) -> pd.DataFrame:
    with xr.open_dataset(folder / "ocean/ostia_monthly.nc") as raw:
        field = raw["surface_temperature"].load()
    rows = field.astype(np.float64).rename("value").to_dataframe()[["value"]].reset_index().dropna(subset="value")
    time = pd.to_datetime(rows["time"].map(lambda t: pd.Timestamp(t.isoformat())))
    rows = month_interval(rows.rename(columns={"latitude": "lat", "longitude": "lon"}), time.dt.year, time.dt.month)
    return rows.assign(value=rows["value"] - 273.15, variable="temperature_degc", surface=True)


OCEAN = {"argo": argo, "sactn_monthly": sactn, "calcofi_bottle": bottle, "ostia_monthly": ostia}


@functools.cache
def rreas(folder: Path) -> pd.DataFrame:
    text = {"CRUISE": str, "SPECIES": str, "HAUL_NO": str}
    catch = pd.read_csv(folder / "occurrences/rreas_catch.csv", dtype=text)
    haul = pd.read_csv(folder / "occurrences/rreas_haul.csv", dtype=text)
    codes = pd.read_csv(folder / "occurrences/rreas_species_codes.csv", dtype=text)
    rows = catch.merge(haul, on=["CRUISE", "HAUL_NO"], validate="many_to_one").merge(
        codes[["SPECIES", "SCI_NAME"]], on="SPECIES", validate="many_to_one"
    )
    rows = rows[(rows["NET_IN_LATDD"] != 0) & (rows["MATURITY"] != "T") & (rows["TOTAL_NO"] > 0)]
    first = pd.to_datetime(rows["HAUL_DATE"], utc=True).dt.tz_localize(None).dt.floor("D")
    return pd.DataFrame(
        {
            "lat": rows["NET_IN_LATDD"],
            "lon": rows["NET_IN_LONDD"],
            "taxon": rows["SCI_NAME"].str.strip(),
            "abundance": rows["TOTAL_NO"].astype(float),
            "first": first,
            "last": first,
        }
    )


@functools.cache
def larvae(folder: Path) -> pd.DataFrame:
    rows = pd.read_csv(folder / "occurrences/calcofi_larvae.csv.gz", dtype=str).drop_duplicates()
    rows = rows[rows["larvae_10m2"].astype(float) > 0]
    first = pd.to_datetime(rows["time"]).dt.floor("D")
    return pd.DataFrame(
        {
            "lat": rows["lat_dd"].astype(float),
            "lon": rows["lon_dd"].astype(float),
            "taxon": rows["scientific_name"].str.strip(),
            "first": first,
            "last": first,
        }
    )


@functools.cache
def banc_darguin(folder: Path) -> pd.DataFrame:
    with zipfile.ZipFile(folder / "occurrences/banc_darguin_dwca.zip") as archive:
        name = next(name for name in archive.namelist() if name.endswith("occurrence.csv"))
        with archive.open(name) as file:
            rows = pd.read_csv(file, dtype=str, keep_default_na=False)
    written = rows["eventDate"].str.strip()
    is_day, is_month = written.str.fullmatch(r"\d{4}-\d{2}-\d{2}"), written.str.fullmatch(r"\d{4}-\d{2}")
    first = pd.to_datetime(written.where(is_day, written + "-01").where(is_day | is_month), errors="coerce")
    last = first.where(is_day, first + pd.offsets.MonthEnd(0))
    found = pd.DataFrame(
        {
            "lat": rows["decimalLatitude"].astype(float),
            "lon": rows["decimalLongitude"].astype(float),
            "taxon": rows["scientificName"].str.strip(),
            "first": first,
            "last": last,
        }
    )
    return found.dropna(subset="first")


@functools.cache
def ambon(folder: Path) -> pd.DataFrame:
    events = pd.read_csv(folder / "occurrences/ambon_event_core/event.csv")
    rows = pd.read_csv(folder / "occurrences/ambon_event_core/occurrence.csv", dtype=str)
    rows = rows.merge(events, on="eventID", validate="many_to_one")
    first = pd.to_datetime(rows["eventDate"], utc=True).dt.tz_localize(None).dt.floor("D")
    return pd.DataFrame(
        {
            "lat": rows["decimalLatitude"],
            "lon": rows["decimalLongitude"],
            "taxon": rows["scientificName"].str.strip(),
            "first": first,
            "last": first,
        }
    )


LIFE = {
    "rreas": rreas,
    "calcofi_larvae": larvae,
    "banc-darguin-ccmar-2023": banc_darguin,
    "AMBON_Zooplankton_2017": ambon,
}


# -- tests -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("dataset_id", OCEAN)
def test_statistics_of_every_cell_and_window_are_those_of_the_raw_file(
    series: Lake, real_data: Path, dataset_id: str, window: str
) -> None:
    key = ["variable", "layer", "cell", "label"]
    rows = placed(OCEAN[dataset_id](real_data), window)
    rows = pd.concat([rows.assign(layer="all"), rows[rows["surface"].astype(bool)].assign(layer="surface")])
    expected = rows.groupby(key)["value"].agg(["size", "mean", "std", "min", "max"]).sort_index()
    scan = series.table("aggregated_time_series").scan(keep=lambda file: file.partition["time_window"] == window)
    found = frame(
        series,
        f"select *, location_grid as cell, window_label as label from {scan} where dataset_id = $1",
        [dataset_id],
    )
    found = found.set_index(key)[["n", "mean", "std", "min", "max"]].sort_index()
    assert found.index.equals(expected.index)
    np.testing.assert_array_equal(found["n"], expected["size"])
    for name in ("mean", "std", "min", "max"):
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-9, atol=1e-9, equal_nan=True)
    assert len(found) > 0 or (dataset_id in ("sactn_monthly", "ostia_monthly") and window in ("daily", "weekly"))


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("dataset_id", LIFE)
def test_diversity_of_every_cell_and_window_is_that_of_the_raw_file(
    series: Lake, real_data: Path, dataset_id: str, window: str
) -> None:
    rows = placed(LIFE[dataset_id](real_data), window).assign(records=1.0)
    scan = series.table("biodiversity_statistics").scan(keep=lambda file: file.partition["time_window"] == window)
    found = frame(series, f"select * from {scan} where dataset_id = $1", [dataset_id])
    bases = ["records", "abundance"] if "abundance" in rows else ["records"]
    assert set(found["basis"]) == set(bases)
    for basis in bases:
        taxa = rows.rename(columns={"cell": "location_grid", "label": "window_label"})
        amount = taxa.groupby(["location_grid", "window_label", "taxon"])[basis].sum().rename("n_i").reset_index()
        key = ["location_grid", "window_label"]
        total = amount.groupby(key)["n_i"].transform("sum")
        share = amount["n_i"] / total
        amount = amount.assign(total=amount["n_i"], h=-share * np.log(share), d=share**2, richness=1, share=share)
        expected = amount.groupby(key).agg({"total": "sum", "h": "sum", "d": "sum", "richness": "sum", "share": "max"})
        ranked = amount.sort_values([*key, "n_i", "taxon"], ascending=[True, True, False, True])
        expected = expected.assign(dominant=ranked.groupby(key)["taxon"].first()).sort_index()
        mine = found[found["basis"] == basis].set_index(key).sort_index()
        assert mine.index.equals(expected.index)
        np.testing.assert_array_equal(mine["richness"], expected["richness"])
        np.testing.assert_array_equal(mine["dominant_taxon"], expected["dominant"])
        np.testing.assert_array_equal(mine["n_records"], taxa.groupby(key).size().sort_index())
        evenness = (expected["h"] / np.log(expected["richness"])).where(expected["richness"] > 1)
        for name, values in {
            "total": expected["total"],
            "shannon": expected["h"],
            "simpson_d": expected["d"],
            "gini_simpson": 1 - expected["d"],
            "inverse_simpson": 1 / expected["d"],
            "pielou": evenness,
            "dominant_share": expected["share"],
        }.items():
            np.testing.assert_allclose(mine[name], values, rtol=1e-9, atol=1e-9, equal_nan=True, err_msg=name)


def test_the_whole_of_rreas_has_the_known_shannon_without_subtotals(series: Lake, real_data: Path) -> None:
    scan = series.table("biodiversity_statistics").scan(keep=lambda file: file.partition["time_window"] == "daily")
    query = f"select sum(total) from {scan} where dataset_id = 'rreas' and basis = 'abundance'"
    assert series.con.execute(query).fetchall() == [(10_129_803.0,)]
    counts = rreas(real_data).groupby("taxon")["abundance"].sum()
    share = counts / counts.sum()
    assert -(share * np.log(share)).sum() == pytest.approx(2.557, abs=5e-4)


def test_climatology_and_trend_of_a_coastal_site_are_those_of_the_raw_file(series: Lake, real_data: Path) -> None:
    rows = sactn(real_data).assign(cell=lambda frame: cells(frame["lat"], frame["lon"]))
    cell = rows[rows["index"] == "Port Nolloth/SAWS"]["cell"].iloc[0]
    mine = rows[rows["cell"] == cell]
    monthly = mine.groupby("first")["value"].mean().sort_index()
    year, month = monthly.index.year.to_numpy(), monthly.index.month.to_numpy()
    by_month = monthly.groupby(month)
    climatology = by_month.mean()
    arguments = ["sactn_monthly", cell]
    where = "where dataset_id = $1 and location_grid = $2 and layer = 'all'"
    patterns = series.table("seasonal_patterns").scan()
    found = frame(series, f"select * from {patterns} {where} order by month", arguments)
    np.testing.assert_allclose(found["climatology"], climatology, rtol=1e-9)
    np.testing.assert_allclose(found["climatology_std"], by_month.std(), rtol=1e-9)
    np.testing.assert_array_equal(found["n_years"], by_month.size())
    np.testing.assert_allclose(found["index_additive"], climatology - climatology.mean(), atol=1e-9)
    np.testing.assert_allclose(found["index_ratio"], climatology / climatology.mean(), rtol=1e-9)

    x = year + (month - 0.5) / 12
    (trend,) = (
        series.con.execute(f"select * from {series.table('trends').scan()} {where}", arguments).df().to_dict("records")
    )
    assert trend["n_months"] == len(monthly) > 300
    for prefix, slope, y in (
        ("", "slope_per_year", monthly.to_numpy()),
        ("deseasonalised_", "deseasonalised_slope", monthly.to_numpy() - climatology.loc[month].to_numpy()),
    ):
        line = stats.linregress(x, y)
        assert trend[slope] == pytest.approx(line.slope, rel=1e-8)
        assert trend[f"{prefix}stderr"] == pytest.approx(line.stderr, rel=1e-8)
        assert trend[f"{prefix}p_value"] == pytest.approx(line.pvalue, rel=1e-6)
        assert trend[f"{prefix}r2"] == pytest.approx(line.rvalue**2, rel=1e-8)
        assert trend[f"{prefix}theil_sen_slope"] == pytest.approx(stats.theilslopes(y, x)[0], rel=1e-8)
