"""A small delimited file of a make of its own, for which the demo brings a mapping.

Belongs here: beach seine hauls with day/month/year dates, a missing-value code, and rows that are totals of others. The
mapping that says so is `beach_seine.yaml`. Not here: the ocean (`ocean.py`), mappings in general.
"""

import csv
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import numpy as np

from retention_pipelines.demo import ocean as sea
from retention_pipelines.demo.ocean import Ocean
from retention_pipelines.demo.taxa import TAXA

NAME = "simulated_angola_beach_seine.csv"
MAPPING = "simulated_angola_beach_seine.yaml"
COLUMNS = ("BEACH", "VISIT", "DAY", "LAT", "LON", "TAXON", "SIZE_CLASS", "NUMBER")
BEACHES = (("Musulo", -8.9), ("Sumbe", -11.2), ("Baia Azul", -12.6), ("Namibe", -15.2))
MISSING = -99
_SHALLOW = tuple(taxon for taxon in TAXA if taxon.best_depth_m <= 40)
_MONTHS_BETWEEN_VISITS = 3


@dataclass(frozen=True, kw_only=True)
class SeineFile:
    """What was written, in rows; `animals` counts each animal once."""

    path: Path
    mapping_path: Path
    rows: int
    subtotals: int
    missing: int
    animals: int


def write_beach_seine(ocean: Ocean, rng: np.random.Generator, folder: Path) -> SeineFile:
    """A haul at every beach each quarter: adults and juveniles of each taxon, and their total."""
    rows: list[tuple[object, ...]] = []
    subtotals = missing = animals = 0
    for visit, month in enumerate(range(1, 12 * sea.YEARS, _MONTHS_BETWEEN_VISITS), start=1):
        for beach, latitude in BEACHES:
            day = month * 30.4375 + rng.uniform(2, 26)
            longitude = float(sea.longitude_offshore(np.array(latitude), np.array(0.5)))
            degc = float(ocean.surface_temperature(np.array(latitude), np.array(longitude), np.array(day)))
            for taxon in _SHALLOW:
                mean = 0.15 * taxon.abundance * np.exp(-0.5 * ((degc - taxon.best_degc) / taxon.degc_width) ** 2)
                adults, juveniles = (int(number) for number in rng.negative_binomial(0.8, 0.8 / (0.8 + mean), 2))
                if not adults + juveniles:
                    continue
                counts = {"A": adults, "J": juveniles, "T": adults + juveniles}
                animals += adults + juveniles
                if rng.random() < 0.02:
                    animals -= juveniles
                    counts["J"] = MISSING
                    missing += 1
                subtotals += 1
                place = (f"{sea.instant_of(day):%d/%m/%Y}", f"{latitude:.3f}", f"{longitude:.3f}")
                rows.extend((beach, visit, *place, taxon.name, size, number) for size, number in counts.items())
    with (folder / NAME).open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, delimiter=";", lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(rows)
    mapping = files("retention_pipelines.demo").joinpath("beach_seine.yaml").read_text(encoding="utf-8")
    (folder / MAPPING).write_text(mapping, encoding="utf-8")
    return SeineFile(
        path=folder / NAME,
        mapping_path=folder / MAPPING,
        rows=len(rows),
        subtotals=subtotals,
        missing=missing,
        animals=animals,
    )
