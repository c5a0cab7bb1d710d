"""`retention demo`, whole: simulated files through ingestion and Dagster to the report, twice."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from retention_pipelines import connect
from retention_pipelines.catalog import DATASETS
from retention_pipelines.cli.demo import _must_start_over
from retention_pipelines.demo.holdings import empty_lake
from retention_pipelines.demo.language import PORTUGUESE
from retention_pipelines.demo.simulate import RAW_FILES, Simulation, simulate
from retention_pipelines.errors import RetentionError
from retention_pipelines.settings import Settings, load_settings
from retention_pipelines.warehouse import Lake
from tests.unit.demo.test_report import fill


@dataclass(frozen=True, kw_only=True)
class Demo:
    """A finished demo: its settings, its environment, what it printed."""

    settings: Settings
    environ: Mapping[str, str]
    cwd: Path
    printed: str


def retention(environ: Mapping[str, str], cwd: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "retention_pipelines.cli.app", *arguments]
    return subprocess.run(command, env=dict(environ), cwd=cwd, capture_output=True, text=True, timeout=280)


@pytest.fixture(scope="module")
def demo() -> Iterator[Demo]:
    # Not in pytest's folder: that is closed to the user the embedded server runs as, and its path is long for a socket.
    folder = Path(tempfile.mkdtemp(prefix="rp-demo-"))
    ours = {"RETENTION_LAKE_ROOT": str(folder / "lake"), "RETENTION_STATE_DIR": str(folder / "state")}
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("RETENTION_", "DAGSTER_"))}
    environ = kept | ours | {"COLUMNS": "100"}
    done = retention(environ, folder, "demo")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    yield Demo(settings=load_settings(ours), environ=environ, cwd=folder, printed=done.stdout)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def simulation(tmp_path_factory: pytest.TempPathFactory) -> Simulation:
    """The same simulation once more, for what was put in."""
    return simulate(tmp_path_factory.mktemp("again"))


def ask(demo: Demo, question: str) -> list[tuple[Any, ...]]:
    con = connect(demo.settings)
    try:
        return con.execute(question).fetchall()
    finally:
        con.close()


def test_the_demo_fills_every_dataset_and_reports_it(demo: Demo) -> None:
    for name in DATASETS:
        if name == "cached_features":
            continue  # answers of decorated functions, of which the demo has none
        ((rows,),) = ask(demo, f'select count(*) from "{name}"')
        assert rows > 0, name
        assert any(line.startswith(name) and f"{rows:,}" in line for line in demo.printed.splitlines()), name
    for text in (
        "SIMULATED",
        "zero_position",
        "Seasonal cycle: temperature_degc",
        "richest",
        "Parquet",
        "retention up",
    ):
        assert text in demo.printed, text


def test_the_doctor_finds_nothing_to_do_after_the_demo(demo: Demo) -> None:
    done = retention(demo.environ, demo.cwd, "doctor", "--start")
    assert done.returncode == 0, done.stdout


def test_every_raw_row_is_accounted_for(demo: Demo, simulation: Simulation) -> None:
    files = ask(demo, "select path, read, accepted, quarantined, duplicates, status from ingested_files")
    assert {Path(path).name for path, *_ in files} == set(RAW_FILES)
    for path, read, accepted, quarantined, duplicates, status in files:
        assert status == "ingested", path
        assert read == accepted + quarantined + duplicates, path
    ((casts,),) = ask(demo, "select read from ingested_files where path like '%ctd_casts%'")
    assert casts == simulation.stations.cast_rows


def test_every_wart_is_found_again(demo: Demo, simulation: Simulation) -> None:
    warts = simulation.survey.warts
    ((present, absent, distinct_ids),) = ask(
        demo,
        "select count(*) filter (occurrence_status = 'present'), count(*) filter (occurrence_status = 'absent' and "
        "scientific_name is not null), count(distinct occurrence_id) from occurrences "
        "where dataset_id = 'simulated_angola_trawl_survey'",
    )
    lost = warts.zero_position + warts.missing_date + warts.invalid_date
    kept = len(simulation.survey.catches) - lost
    assert present + absent == distinct_ids == kept
    assert absent == warts.absences
    reasons = ask(
        demo,
        "select reason, count(*) from quarantine where dataset_id = 'simulated_angola_trawl_survey' "
        "and raw_record like '%scientificName%' group by all order by all",
    )
    assert reasons == [
        ("invalid_date", warts.invalid_date),
        ("missing_date", warts.missing_date),
        ("zero_position", warts.zero_position),
    ]
    precision = dict(ask(demo, "select date_precision, count(*) from occurrences group by all"))
    assert precision["year"] == warts.year_only
    assert precision["month"] == warts.month_only
    ((duplicates,),) = ask(demo, "select sum(duplicates)::bigint from ingested_files")
    assert duplicates == warts.duplicate_rows + simulation.stations.duplicate_rows
    seine = ask(
        demo,
        "select sum(abundance) filter (not is_subtotal), count(*) filter (is_subtotal), count(*) from occurrences "
        "where dataset_id = 'simulated_angola_beach_seine'",
    )
    assert seine == [(simulation.seine.animals, simulation.seine.subtotals, simulation.seine.rows)]
    bad = ask(demo, "select count(*) from observations where not qc_good and qc_scale = 'argo' "
                    "and variable = 'salinity_psu'")  # fmt: skip
    assert bad == [(simulation.profiles.bad_salinity,)]


def test_every_record_says_that_it_is_simulated(demo: Demo) -> None:
    for name in ("occurrences", "observations", "quarantine"):
        rows = ask(demo, f"select count(*) from {name} where not starts_with(source_file, 'simulated_')")
        assert rows == [(0,)], name


def test_the_series_show_the_upwelling_season_and_the_warm_year(demo: Demo) -> None:
    coast = "variable = 'temperature_degc' and layer = 'surface' and dataset_id = 'simulated_angola_coastal_stations'"
    coldest = ask(
        demo,
        "select arg_min(month, climatology), arg_max(month, climatology) from seasonal_patterns "
        f"where {coast} group by location_grid",
    )
    assert coldest
    assert all(cold in {7, 8, 9} and warm in {2, 3, 4} for cold, warm in coldest)
    warmest = ask(
        demo,
        "select arg_max(year, mean) from aggregated_time_series "
        f"where {coast} and window_label like '%-03' and time_window = 'monthly'",
    )
    assert warmest == [("2019",)]
    assert ask(demo, "select max(upwelling_frequency) between 0.05 and 1 from upwelling_frequency") == [(True,)]


def test_a_second_run_adds_nothing_and_computes_nothing_again(demo: Demo) -> None:
    before = {name: ask(demo, f'select count(*) from "{name}"') for name in DATASETS if name != "ingested_files"}
    again = retention(demo.environ | {"RETENTION_LOCALE": "pt"}, demo.cwd, "demo")
    assert again.returncode == 0, again.stderr
    assert PORTUGUESE.step_simulate_kept.format(seed=7) in again.stdout
    assert PORTUGUESE.step_materialize_kept in again.stdout
    assert PORTUGUESE.all_simulated in again.stdout
    assert {name: ask(demo, f'select count(*) from "{name}"') for name in before} == before


def test_the_demo_refuses_a_lake_with_real_data_and_says_what_to_do(demo: Demo, tmp_path: Path) -> None:
    settings = load_settings({}, lake_root=str(tmp_path / "real"), state_dir=tmp_path / "state")
    with Lake(settings) as lake:
        fill(lake, "ingested_files", {"path": "bottle.csv", "status": "ingested", "role": "records", "reasons": "{}"})
    environ = demo.environ | {"RETENTION_LAKE_ROOT": settings.lake_root, "RETENTION_STATE_DIR": str(settings.state_dir)}
    done = retention(environ, tmp_path, "demo")
    assert done.returncode == 2
    assert "real data" in done.stderr
    assert "RETENTION_LAKE_ROOT" in done.stderr
    assert not (settings.state_dir / "demo").exists()


def test_a_path_that_is_not_there_is_an_error_that_names_it(demo: Demo) -> None:
    done = retention(demo.environ, demo.cwd, "demo", "--data", "nowhere")
    assert done.returncode == 2
    assert "nowhere" in done.stderr


def test_real_files_take_the_place_of_a_simulation_and_never_lie_beside_it(lake: Lake) -> None:
    def deliver(path: str) -> None:
        fill(lake, "ingested_files", {"path": path, "status": "ingested", "role": "records", "reasons": "{}"})

    assert not _must_start_over(lake, simulated=True, fresh=True)
    deliver("a/simulated_x.csv")
    assert not _must_start_over(lake, simulated=True, fresh=False)
    assert _must_start_over(lake, simulated=True, fresh=True)
    assert _must_start_over(lake, simulated=False, fresh=False)
    empty_lake(lake)
    deliver("bottle.csv")
    assert not _must_start_over(lake, simulated=False, fresh=False)
    with pytest.raises(RetentionError, match="real data"):
        _must_start_over(lake, simulated=True, fresh=False)
    with pytest.raises(RetentionError, match="--fresh would empty"):
        _must_start_over(lake, simulated=False, fresh=True)
