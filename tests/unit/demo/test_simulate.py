"""The simulated files, read back by other people's readers."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from dwca.read import DwCAReader

from retention_pipelines.demo import ocean as sea
from retention_pipelines.demo.simulate import RAW_FILES, SEINE_MAPPING, Simulation, simulate
from retention_pipelines.sources.mapping import parse


@pytest.fixture(scope="module")
def simulation(tmp_path_factory: pytest.TempPathFactory) -> Simulation:
    return simulate(tmp_path_factory.mktemp("raw"), seed=3, hauls_per_cruise=20)


def test_the_same_seed_writes_the_same_bytes_and_another_seed_does_not(simulation: Simulation, tmp_path: Path) -> None:
    again = simulate(tmp_path / "again", seed=3, hauls_per_cruise=20)
    other = simulate(tmp_path / "other", seed=4, hauls_per_cruise=20)
    for first, second, third in zip(simulation.files, again.files, other.files, strict=True):
        assert first.read_bytes() == second.read_bytes(), first.name
        assert first.read_bytes() != third.read_bytes(), first.name


def test_every_file_says_that_it_is_simulated(simulation: Simulation) -> None:
    assert sorted(path.name for path in simulation.folder.iterdir()) == sorted([*RAW_FILES, SEINE_MAPPING])
    for path in simulation.files:
        assert path.name.startswith("simulated_")
        if path.suffix == ".nc":
            with xr.open_dataset(path) as file:
                assert "SIMULATED" in file.attrs["title"]
                assert file.attrs["license"] == "CC0-1.0"
                assert file.attrs["citation"].startswith("Simulated by retention_pipelines")
    for path in (simulation.stations.cast_path, simulation.stations.coast_path):
        table = pd.read_csv(path, skiprows=[1])
        assert set(table["license"]) == {"CC0-1.0"}
        assert table["citation"].str.startswith("Simulated by retention_pipelines").all()


def test_the_archive_is_an_event_core_that_a_darwin_core_reader_reads_whole(simulation: Simulation) -> None:
    survey = simulation.survey
    with DwCAReader(str(simulation.archive)) as archive:
        assert archive.descriptor.core.type.endswith("/Event")
        assert "SIMULATED" in archive.metadata.find("dataset/title").text
        events = archive.pd_read("event.txt", dtype=str, keep_default_na=False)
        occurrences = archive.pd_read("occurrence.txt", dtype=str, keep_default_na=False)
        facts = archive.pd_read("extendedmeasurementorfact.txt", dtype=str, keep_default_na=False)
    assert set(events["datasetID"]) == {"simulated_angola_trawl_survey"}
    assert len(events) == len(survey.hauls)
    assert events["eventID"].is_unique
    assert len(occurrences) == len(survey.catches) + survey.warts.duplicate_rows
    assert set(occurrences["eventID"]) <= set(events["eventID"])
    assert set(facts["eventID"]) == set(events["eventID"])
    assert occurrences.duplicated().sum() == survey.warts.duplicate_rows

    absent = occurrences[occurrences["occurrenceStatus"] == "absent"]
    assert len(absent) == survey.warts.absences > 0
    assert set(absent["individualCount"]) == {"0"}
    joined = occurrences.drop_duplicates().merge(events, on="eventID")
    assert (
        (joined["decimalLatitude"] == "0") & (joined["decimalLongitude"] == "0")
    ).sum() == survey.warts.zero_position
    assert (joined["eventDate"] == "").sum() == survey.warts.missing_date
    assert (joined["eventDate"] == "2019-02-30").sum() == survey.warts.invalid_date
    assert joined["eventDate"].str.fullmatch(r"\d{4}").sum() == survey.warts.year_only
    assert joined["eventDate"].str.fullmatch(r"\d{4}-\d{2}").sum() == survey.warts.month_only
    assert joined["eventDate"].str.fullmatch(r"[\d-]{10}/[\d-]{10}").sum() == survey.warts.interval_of_days


def test_taxa_are_caught_where_their_niche_is(simulation: Simulation) -> None:
    depth = {haul.event_id: haul.depth_m for haul in simulation.survey.hauls}
    latitude = {haul.event_id: float(haul.latitude) for haul in simulation.survey.hauls}

    def mean(name: str, of: dict[str, float]) -> float:
        catches = [catch for catch in simulation.survey.catches if catch.taxon.name == name]
        return float(np.average([of[c.event_id] for c in catches], weights=[c.count for c in catches]))

    assert mean("Merluccius polli", depth) > 2 * mean("Sardinella maderensis", depth)
    assert mean("Sardinops sagax", latitude) < mean("Sardinella maderensis", latitude)  # further south


def test_casts_have_a_units_row_longitudes_to_360_and_flags_that_mark_the_spikes(simulation: Simulation) -> None:
    path = simulation.stations.cast_path
    units = pd.read_csv(path, nrows=1).iloc[0]
    assert units["sea_water_temperature"] == "degree_Celsius"
    assert units["time"] == "UTC"
    table = pd.read_csv(path, skiprows=[1])
    assert len(table) == simulation.stations.cast_rows
    assert table["longitude"].max() > 350
    assert table["latitude"].isna().sum() == simulation.stations.missing_position == 1
    assert table.duplicated().sum() == simulation.stations.duplicate_rows == 10
    assert set(table["sea_water_temperature_qc_agg"]) == {1, 3, 4, 9}
    assert table.loc[table["sea_water_temperature_qc_agg"] == 9, "sea_water_temperature"].isna().all()
    shallow = table[table["depth"] == 0]
    good = shallow[shallow["sea_water_temperature_qc_agg"] == 1]
    assert good["sea_water_temperature"].max() < 33
    assert shallow.loc[shallow["sea_water_temperature_qc_agg"] == 4, "sea_water_temperature"].min() > 25


def test_the_coast_is_cold_in_the_austral_winter_and_warm_in_the_year_of_the_event(simulation: Simulation) -> None:
    table = pd.read_csv(simulation.stations.coast_path, skiprows=[1], parse_dates=["time"])
    good = table[(table["sea_water_temperature_qc_agg"] == 1) & (table["station_id"] == "SIM-TOMBUA")]
    monthly = good.groupby([good["time"].dt.year, good["time"].dt.month])["sea_water_temperature"].mean().unstack()
    climatology = monthly.mean()
    assert climatology.idxmin() in {7, 8, 9}
    assert climatology.idxmax() in {2, 3, 4}
    assert monthly[3].idxmax() == sea.WARM_EVENT_YEAR
    chlorophyll = good.groupby(good["time"].dt.month)["mass_concentration_of_chlorophyll_a_in_sea_water"].mean()
    assert chlorophyll[8] > 3 * chlorophyll[2]


def test_oxygen_has_a_minimum_at_mid_depth(simulation: Simulation) -> None:
    table = pd.read_csv(simulation.stations.cast_path, skiprows=[1])
    good = table[table["fractional_saturation_of_oxygen_in_sea_water_qc_agg"] == 1]
    by_depth = good.groupby("depth")["fractional_saturation_of_oxygen_in_sea_water"].mean()
    assert by_depth[0.0] > 80
    assert by_depth.idxmin() in {300.0, 400.0}
    assert by_depth[1000.0] > 2 * by_depth.min()


def test_the_float_follows_the_argo_manual(simulation: Simulation) -> None:
    with xr.open_dataset(simulation.profiles.path) as file:
        assert file.sizes["N_PROF"] == simulation.profiles.profiles
        modes = file["DATA_MODE"].values.astype(str)
        assert set(modes) == {"D", "A", "R"}
        assert file["JULD"].values.min() >= np.datetime64(f"{sea.FIRST_YEAR}-01-01")
        assert file["JULD"].values.max() < np.datetime64(f"{sea.FIRST_YEAR + sea.YEARS}-01-01")
        adjusted = file["TEMP_ADJUSTED"].values
        assert np.isnan(adjusted[modes == "R"]).all()
        good = file["TEMP_ADJUSTED_QC"].values.astype(str)[modes != "R"] != "4"
        assert np.isfinite(adjusted[modes != "R"][good]).all()
        flags = file["PSAL_QC"].values.astype(str)
        assert (flags == "4").sum() == simulation.profiles.bad_salinity
        assert np.isnan(file["PSAL_ADJUSTED"].values[flags == "4"]).all()
        assert (np.diff(file["PRES"].values, axis=1) > 0).all()


def test_the_grid_is_in_kelvin_with_longitudes_to_360_and_land_is_missing(simulation: Simulation) -> None:
    with xr.open_dataset(simulation.grid.path) as file:
        sst = file["sst"]
        assert sst.attrs["units"] == "K"
        assert float(file["longitude"].max()) == 359.5
        assert file.sizes["time"] == 12 * sea.YEARS
        assert int(sst.notnull().sum()) == simulation.grid.points
        assert int(sst.isnull().sum()) == simulation.grid.land
        assert 285 < float(sst.min()) < float(sst.max()) < 305


def test_the_beach_seine_has_totals_that_its_mapping_calls_subtotals(simulation: Simulation) -> None:
    table = pd.read_csv(simulation.seine.path, sep=";")
    assert len(table) == simulation.seine.rows
    parts = table[table["SIZE_CLASS"] != "T"]
    totals = table[table["SIZE_CLASS"] == "T"]
    assert len(totals) == simulation.seine.subtotals
    assert (table["NUMBER"] == -99).sum() == simulation.seine.missing > 0
    assert parts.loc[parts["NUMBER"] >= 0, "NUMBER"].sum() == simulation.seine.animals
    mapping = parse(simulation.seine.mapping_path.read_text(), "the demo")
    assert mapping.recognise.fits(list(table.columns))
    assert mapping.dataset_id.startswith("simulated_")
    assert mapping.subtotal is not None
    assert mapping.subtotal.values == ("T",)
