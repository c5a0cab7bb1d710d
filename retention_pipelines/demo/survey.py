"""The trawl survey: where hauls are made, what is caught, and the warts real records have.

Belongs here: hauls and catches as values, with Darwin Core's meaning. Not here: the ocean (`ocean.py`), how the
archive is written (`darwin_core_archive.py`). Warts are added last and counted, so that a test can ask whether
every one of them was found again.
"""

from dataclasses import dataclass, replace
from datetime import timedelta

import numpy as np

from retention_pipelines.demo import ocean as sea
from retention_pipelines.demo.ocean import Array, Ocean
from retention_pipelines.demo.taxa import SURFACE, TAXA, Taxon

HAULS_PER_CRUISE = 64
# First day of the two cruises of a year: the warm season and the upwelling season.
CRUISES = ((46.0, "summer"), (196.0, "winter"))
OVERDISPERSION = 0.7  # k of the negative binomial; small means patchy


@dataclass(frozen=True, kw_only=True)
class Haul:
    """One trawl haul, the survey's sampling event; texts are as they will be written."""

    event_id: str
    event_date: str
    latitude: str
    longitude: str
    depth_m: float
    bottom_degc: float
    surface_degc: float
    cruise: str


@dataclass(frozen=True, kw_only=True)
class Catch:
    """A taxon in a haul; `count` 0 is an absence."""

    occurrence_id: str
    event_id: str
    taxon: Taxon
    count: int
    weight_kg: float


@dataclass(frozen=True, kw_only=True)
class Warts:
    """How many records of each kind of trouble were put in."""

    duplicate_rows: int
    zero_position: int
    missing_date: int
    invalid_date: int
    year_only: int
    month_only: int
    interval_of_days: int
    absences: int


@dataclass(frozen=True, kw_only=True)
class Survey:
    """Hauls and catches; `warts` counts occurrence rows except where it says otherwise."""

    hauls: tuple[Haul, ...]
    catches: tuple[Catch, ...]
    repeated: tuple[Catch, ...]
    warts: Warts


def simulate_survey(ocean: Ocean, rng: np.random.Generator, *, hauls_per_cruise: int = HAULS_PER_CRUISE) -> Survey:
    """Two cruises a year along the shelf and slope, a catch for every taxon of the list that is caught."""
    hauls: list[Haul] = []
    catches: list[Catch] = []
    for year in range(sea.FIRST_YEAR, sea.FIRST_YEAR + sea.YEARS):
        for first_day, season in CRUISES:
            start = (year - sea.FIRST_YEAR) * 365.25 + first_day
            made, caught = _cruise(ocean, rng, f"{year}-{season}", start, hauls_per_cruise)
            hauls.extend(made)
            catches.extend(caught)
    return _with_warts(hauls, catches, rng)


def _cruise(
    ocean: Ocean, rng: np.random.Generator, cruise: str, start: float, count: int
) -> tuple[list[Haul], list[Catch]]:
    # North to south, three weeks, in daylight.
    latitude = np.sort(rng.uniform(-17.2, -6.3, count))[::-1]
    depth = np.exp(rng.uniform(np.log(20.0), np.log(620.0), count))
    longitude = sea.longitude_offshore(latitude, sea.distance_of_floor(depth))
    day = np.floor(start + np.linspace(0, 21, count)) + rng.uniform(5.0, 17.0, count) / 24
    surface = ocean.surface_temperature(latitude, longitude, day) + rng.normal(0, 0.2, count)
    bottom = ocean.temperature(latitude, longitude, depth, day) + rng.normal(0, 0.15, count)
    oxygen = ocean.oxygen_saturation(latitude, longitude, depth, day)
    numbers = np.column_stack([_caught(taxon, rng, surface, bottom, depth, oxygen) for taxon in TAXA])
    hauls: list[Haul] = []
    catches: list[Catch] = []
    for row in range(count):
        event_id = f"SIM-{cruise}-H{row + 1:03d}"
        begin = sea.instant_of(float(day[row]))
        hauls.append(
            Haul(
                event_id=event_id,
                event_date=f"{begin:%Y-%m-%dT%H:%MZ}/{begin + timedelta(minutes=30):%Y-%m-%dT%H:%MZ}",
                latitude=f"{latitude[row]:.4f}",
                longitude=f"{longitude[row]:.4f}",
                depth_m=round(float(depth[row]), 0),
                bottom_degc=round(float(bottom[row]), 2),
                surface_degc=round(float(surface[row]), 2),
                cruise=cruise,
            )
        )
        catches.extend(
            Catch(
                occurrence_id=f"{event_id}-{column + 1:02d}",
                event_id=event_id,
                taxon=TAXA[column],
                count=int(numbers[row, column]),
                weight_kg=round(float(numbers[row, column]) * TAXA[column].grams / 1000, 3),
            )
            for column in np.flatnonzero(numbers[row])
        )
    return hauls, catches


def _caught(
    taxon: Taxon, rng: np.random.Generator, surface: Array, bottom: Array, depth: Array, oxygen: Array
) -> Array:
    """Numbers per haul: negative binomial around abundance times the fit of temperature, depth and oxygen."""
    degc = surface if taxon.lives == SURFACE else bottom
    fit = np.exp(-0.5 * ((degc - taxon.best_degc) / taxon.degc_width) ** 2)
    fit *= np.exp(-0.5 * (np.log(depth / taxon.best_depth_m) / taxon.depth_width) ** 2)
    if not taxon.tolerates_low_oxygen:
        fit *= np.clip((oxygen - 8.0) / 30.0, 0.05, 1.0)
    mean = np.maximum(taxon.abundance * fit, 1e-9)
    return np.asarray(rng.poisson(rng.gamma(OVERDISPERSION, mean / OVERDISPERSION)), dtype=np.float64)


def _with_warts(hauls: list[Haul], catches: list[Catch], rng: np.random.Generator) -> Survey:
    order = rng.permutation(len(hauls))
    odd_dates = ("", "2019-02-30", str(sea.FIRST_YEAR + 1), f"{sea.FIRST_YEAR + 1}-07")
    spoiled: dict[str, str] = {}
    for number, index in enumerate(order[:10]):
        haul = hauls[index]
        if number < 2:
            hauls[index] = replace(haul, latitude="0", longitude="0")
            spoiled[haul.event_id] = "zero_position"
        elif number < 7:
            kind = ("missing_date", "invalid_date", "year_only", "month_only", "missing_date")[number - 2]
            date = dict(zip(("missing_date", "invalid_date", "year_only", "month_only"), odd_dates, strict=True))[kind]
            hauls[index] = replace(haul, event_date=date)
            spoiled[haul.event_id] = kind
        else:
            day = haul.event_date[:10]
            following = np.datetime64(day) + np.timedelta64(1, "D")
            hauls[index] = replace(haul, event_date=f"{day}/{following}")
            spoiled[haul.event_id] = "interval_of_days"
    caught = {(catch.event_id, catch.taxon.name) for catch in catches}
    absences = []
    for index in order[10:50]:
        event_id = hauls[index].event_id
        for name in ("Sardinella aurita", "Sardinops sagax"):
            if (event_id, name) not in caught:
                taxon = next(taxon for taxon in TAXA if taxon.name == name)
                absences.append(
                    Catch(
                        occurrence_id=f"{event_id}-{TAXA.index(taxon) + 1:02d}",
                        event_id=event_id,
                        taxon=taxon,
                        count=0,
                        weight_kg=0.0,
                    )
                )
    catches = sorted([*catches, *absences], key=lambda catch: catch.occurrence_id)
    clean = [catch for catch in catches if catch.event_id not in spoiled]
    repeated = tuple(clean[index] for index in sorted(rng.choice(len(clean), 9, replace=False)))
    kinds = [spoiled[catch.event_id] for catch in catches if catch.event_id in spoiled]
    return Survey(
        hauls=tuple(hauls),
        catches=tuple(catches),
        repeated=repeated,
        warts=Warts(
            duplicate_rows=len(repeated),
            zero_position=kinds.count("zero_position"),
            missing_date=kinds.count("missing_date"),
            invalid_date=kinds.count("invalid_date"),
            year_only=kinds.count("year_only"),
            month_only=kinds.count("month_only"),
            interval_of_days=kinds.count("interval_of_days"),
            absences=len(absences),
        ),
    )
