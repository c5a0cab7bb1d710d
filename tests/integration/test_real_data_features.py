"""Features of the real sets against plain pandas and numpy over the raw files."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from retention_pipelines.features.compute import compute_features
from retention_pipelines.features.options import FeatureOptions
from retention_pipelines.settings import load_settings
from retention_pipelines.sources.ingest import ingest
from retention_pipelines.warehouse import Lake

pytestmark = pytest.mark.real_data
NOW = datetime(2026, 1, 1, tzinfo=UTC)
# Months with RREAS hauls, larvae and bottle casts.
MONTHS = ("2005-05", "2009-05", "2012-05")
# Bottle cruises are quarterly: with the default 14 days only few hauls of May find any.
OPTIONS = FeatureOptions(radius_km=100, window=timedelta(days=45))


@pytest.fixture(scope="module")
def features(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[pd.DataFrame]:
    root = tmp_path_factory.mktemp("real-features")
    with Lake(load_settings({}, lake_root=str(root / "warehouse"), state_dir=root / "state")) as lake:
        names = ("rreas_catch.csv", "rreas_haul.csv", "rreas_species_codes.csv")
        paths = [str(real_data / "occurrences" / name) for name in names]
        ingest([*paths, str(real_data / "ocean" / "calcofi_bottle_1985_2020.csv.gz")], lake, now=NOW)
        run = compute_features(lake, months=MONTHS, now=NOW, options=OPTIONS)
        assert run.rows_added == sum(run.rows_computed.values())
        assert compute_features(lake, months=MONTHS[:1], now=NOW, options=OPTIONS).rows_added == 0
        yield lake.con.sql(f"from {lake.table('feature_store').scan()}").to_arrow_table().to_pandas()


def rreas(real_data: Path) -> pd.DataFrame:
    folder = real_data / "occurrences"
    text = {"CRUISE": str, "HAUL_NO": str}
    catch = pd.read_csv(folder / "rreas_catch.csv", dtype=text)
    haul = pd.read_csv(folder / "rreas_haul.csv", dtype=text)
    joined = catch.merge(haul, on=["CRUISE", "HAUL_NO"], suffixes=("", "_haul"))
    joined["when"] = pd.to_datetime(joined["HAUL_DATE"], utc=True)
    return joined[(joined["NET_IN_LATDD"] != 0) & joined["when"].dt.strftime("%Y-%m").isin(MONTHS)]


def test_the_diversity_of_every_rreas_haul_equals_plain_pandas(features: pd.DataFrame, real_data: Path) -> None:
    counted = rreas(real_data)
    counted = counted[(counted["MATURITY"] != "T") & (counted["TOTAL_NO"] > 0)]
    # Species are codes in the catch table; the names they stand for are joined on their own.
    codes = pd.read_csv(real_data / "occurrences" / "rreas_species_codes.csv")
    name_column = next(
        column for column in codes.columns if column.upper() in ("SCI_NAME", "SCIENTIFIC_NAME", "SCIENTIFICNAME")
    )
    counted = counted.merge(codes[["SPECIES", name_column]].drop_duplicates("SPECIES"), on="SPECIES")
    taxa = counted.groupby(["CRUISE", "HAUL_NO", name_column])["TOTAL_NO"].sum().reset_index()
    share = taxa["TOTAL_NO"] / taxa.groupby(["CRUISE", "HAUL_NO"])["TOTAL_NO"].transform("sum")
    taxa["part"] = -share * np.log(share)
    expected = taxa.groupby(["CRUISE", "HAUL_NO"]).agg(
        shannon=("part", "sum"), richness=("part", "size"), total=("TOTAL_NO", "sum")
    )
    found = features[(features["feature_type"] == "species") & (features["dataset_id"] == "rreas")].dropna(
        subset=["shannon"]
    )
    assert len(found) == len(expected) > 150
    for name, column in (("shannon", "shannon"), ("richness", "richness"), ("total", "total_abundance")):
        np.testing.assert_allclose(
            np.sort(found[column].astype(float)), np.sort(expected[name].astype(float)), atol=1e-6
        )
    assert set(found["diversity_basis"]) == {"abundance"}


def test_match_ups_of_rreas_hauls_with_bottle_casts_equal_brute_force(features: pd.DataFrame, real_data: Path) -> None:
    bottle = pd.read_csv(real_data / "ocean" / "calcofi_bottle_1985_2020.csv.gz")
    bottle["when"] = pd.to_datetime(bottle["date"], utc=True)
    environmental = features[(features["feature_type"] == "environmental") & (features["dataset_id"] == "rreas")]
    spatial = features[features["feature_type"] == "spatial"].set_index("source_data_id")
    matched = environmental[environmental["temperature_n"] > 0]
    assert len(matched) >= 15
    sample = pd.concat(
        [matched.sample(min(40, len(matched)), random_state=3), environmental.sample(20, random_state=3)]
    )
    for _, row in sample.iterrows():
        study = spatial.loc[row["source_data_id"]]
        lat, lon = np.radians([study["latitude"], study["longitude"]])
        lats, lons = np.radians(bottle["lat"]), np.radians(bottle["lon"])
        cosine = np.sin(lat) * np.sin(lats) + np.cos(lat) * np.cos(lats) * np.cos(lon - lons)
        distance = 6371.0088 * np.arccos(np.clip(cosine, -1, 1))
        age = row["event_time"] - bottle["when"]
        first = -np.inf if np.isnan(study["minimum_depth_m"]) else study["minimum_depth_m"] - OPTIONS.depth_tolerance_m
        last = 10.0 if np.isnan(study["maximum_depth_m"]) else study["maximum_depth_m"] + OPTIONS.depth_tolerance_m
        near = (distance <= OPTIONS.radius_km) & (age >= pd.Timedelta(0)) & (age <= OPTIONS.window)
        near &= bottle["depth_m"].between(first, last)
        for raw, column, stem in (
            ("t_degc", "temperature_degc", "temperature"),
            ("salinity", "salinity_psu", "salinity"),
        ):
            values = bottle.loc[near & bottle[raw].notna(), raw]
            assert row[f"{stem}_n"] == len(values)
            if len(values):
                assert row[column] == pytest.approx(values.mean(), abs=1e-5)
                assert row[f"{stem}_distance_km"] == pytest.approx(distance[values.index].min(), abs=1e-3)
                assert row[f"{stem}_age_seconds"] == age[values.index].min().total_seconds()
            else:
                assert np.isnan(row[column])


def test_every_rreas_haul_is_at_sea_off_california_in_its_upwelling_region(features: pd.DataFrame) -> None:
    spatial = features[(features["feature_type"] == "spatial") & (features["dataset_id"] == "rreas")]
    assert spatial["distance_to_coast_km"].between(-5, 250).all()
    temporal = features[(features["feature_type"] == "temporal") & (features["dataset_id"] == "rreas")]
    assert temporal["climate_region"].str.startswith("california_current").mean() > 0.95
    assert temporal["is_upwelling_season"].dropna().all()


def test_every_score_is_the_product_of_its_parts(features: pd.DataFrame) -> None:
    parts = features[["quality_completeness", "quality_validity", "quality_support", "quality_precision"]]
    np.testing.assert_allclose(features["quality_score"], parts.prod(axis=1), atol=1e-8)
    assert parts.to_numpy().min() >= 0
    assert parts.to_numpy().max() <= 1
