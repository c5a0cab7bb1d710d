"""One call that writes the whole simulated survey: archive, beach seine, station files, float and grid.

The seed decides every number; the same seed writes the same bytes. Each part has a random stream of its own, so that
a change of one leaves the others as they are.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from retention_pipelines.demo.beach_seine import MAPPING as SEINE_MAPPING
from retention_pipelines.demo.beach_seine import NAME as SEINE_FILE
from retention_pipelines.demo.beach_seine import SeineFile, write_beach_seine
from retention_pipelines.demo.darwin_core_archive import NAME as ARCHIVE_FILE
from retention_pipelines.demo.darwin_core_archive import write_archive
from retention_pipelines.demo.float_profiles import NAME as FLOAT_FILE
from retention_pipelines.demo.float_profiles import FloatFile, write_float
from retention_pipelines.demo.ocean import Ocean
from retention_pipelines.demo.stations import CAST_FILE, COAST_FILE, StationFiles, write_stations
from retention_pipelines.demo.surface_grid import NAME as GRID_FILE
from retention_pipelines.demo.surface_grid import GridFile, write_grid
from retention_pipelines.demo.survey import HAULS_PER_CRUISE, Survey, simulate_survey

DEFAULT_SEED = 7
RAW_FILES = (ARCHIVE_FILE, SEINE_FILE, CAST_FILE, COAST_FILE, FLOAT_FILE, GRID_FILE)


@dataclass(frozen=True, kw_only=True)
class Simulation:
    """What was written, with the troubles put in, for whoever wants to check that all were found."""

    folder: Path
    seed: int
    archive: Path
    survey: Survey
    stations: StationFiles
    profiles: FloatFile
    grid: GridFile
    seine: SeineFile

    @property
    def files(self) -> tuple[Path, ...]:
        """The raw files."""
        return tuple(self.folder / name for name in RAW_FILES)


def simulate(folder: Path, *, seed: int = DEFAULT_SEED, hauls_per_cruise: int = HAULS_PER_CRUISE) -> Simulation:
    """Write the simulated files into a folder, which is made if it is not there."""
    folder.mkdir(parents=True, exist_ok=True)
    weather, nets, instruments, drift, satellite, beaches = (np.random.default_rng([seed, part]) for part in range(6))
    ocean = Ocean.simulate(weather)
    survey = simulate_survey(ocean, nets, hauls_per_cruise=hauls_per_cruise)
    return Simulation(
        folder=folder,
        seed=seed,
        archive=write_archive(survey, folder),
        survey=survey,
        stations=write_stations(ocean, instruments, folder),
        profiles=write_float(ocean, drift, folder),
        grid=write_grid(ocean, satellite, folder),
        seine=write_beach_seine(ocean, beaches, folder),
    )


__all__ = ["DEFAULT_SEED", "RAW_FILES", "SEINE_MAPPING", "Simulation", "simulate"]
