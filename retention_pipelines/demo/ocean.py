"""A simple ocean off Angola: temperature, salinity, oxygen and chlorophyll as functions of place, depth and day.

Belongs here: the coast, the sea floor and the fields, with the physics in comments. Not here: who samples them
(`survey.py`, `stations.py`), file formats. The numbers are chosen to look like the Angola-Benguela shelf (6-18 S):
upwelling in the austral winter, stronger in the south; a warm event in one year; an oxygen minimum below the
thermocline. It is a simulation and no substitute for data.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

FIRST_YEAR = 2018
YEARS = 4
WARM_EVENT_YEAR = 2019  # a Benguela-Nino-like event, strongest in March
EPOCH = datetime(FIRST_YEAR, 1, 1, tzinfo=UTC)
DAYS = (datetime(FIRST_YEAR + YEARS, 1, 1, tzinfo=UTC) - EPOCH).days

NORTH, SOUTH = -6.0, -18.0
KM_PER_DEGREE = 111.2
# Rough coastline, south to north: latitude, longitude.
_COAST = np.array(
    [
        (-18.0, 11.85), (-17.0, 11.70), (-16.0, 11.75), (-15.0, 12.05), (-14.0, 12.30), (-13.0, 12.85), (-12.0, 13.60),
        (-11.0, 13.75), (-10.0, 13.45), (-9.0, 12.95), (-8.0, 13.25), (-7.0, 12.80), (-6.0, 12.25), (-4.0, 11.40),
    ]
)  # fmt: skip
# Depth of the sea floor by distance from the coast: a narrow shelf, a steep slope, the Angola basin.
_FLOOR = np.array(
    [(0.0, 4.0), (12.0, 40.0), (25.0, 80.0), (45.0, 200.0), (80.0, 800.0), (150.0, 2500.0), (350.0, 4500.0)]
)


def coast_longitude(latitude: Array) -> Array:
    """Longitude of the coast in degrees east."""
    return np.asarray(np.interp(latitude, _COAST[:, 0], _COAST[:, 1]))


def offshore_km(latitude: Array, longitude: Array) -> Array:
    """Distance west of the coast in kilometres; negative on land."""
    return np.asarray((coast_longitude(latitude) - longitude) * KM_PER_DEGREE * np.cos(np.radians(latitude)))


def longitude_offshore(latitude: Array, distance_km: Array) -> Array:
    """Longitude at a distance west of the coast."""
    return np.asarray(coast_longitude(latitude) - distance_km / (KM_PER_DEGREE * np.cos(np.radians(latitude))))


def floor_depth(distance_km: Array) -> Array:
    """Depth of the sea floor in metres, positive down."""
    return np.asarray(np.interp(distance_km, _FLOOR[:, 0], _FLOOR[:, 1]))


def distance_of_floor(depth_m: Array) -> Array:
    """Distance from the coast at which the sea floor has a depth."""
    return np.asarray(np.interp(depth_m, _FLOOR[:, 1], _FLOOR[:, 0]))


def instant_of(day: float) -> datetime:
    """The instant, to the minute, of a number of days since the simulation's first midnight."""
    return EPOCH + timedelta(minutes=round(day * 1440))


def _southness(latitude: Array) -> Array:
    """0 at 6 S, 1 at 18 S."""
    return np.asarray(np.clip((NORTH - latitude) / (NORTH - SOUTH), 0.0, 1.2))


def _phase(day: Array, peak_day: float) -> Array:
    return np.asarray(np.cos(2 * np.pi * (day - peak_day) / 365.25))


@dataclass(frozen=True, kw_only=True)
class Ocean:
    """Weather of one simulated period; the climate is the same for every seed.

    `pulse` is the strength of wind-driven upwelling per day, beyond the seasonal mean; `warmth` a slow
    anomaly of the whole region in degrees.
    """

    pulse: Array
    warmth: Array

    @classmethod
    def simulate(cls, rng: np.random.Generator) -> "Ocean":
        """Draw the weather: upwelling pulses of a few days (more in winter) and slow warm and cold months."""
        days = np.arange(DAYS)
        pulse = np.zeros(DAYS)
        for start in days[rng.random(DAYS) < 0.012 + 0.045 * _season(days.astype(float))]:
            length = int(rng.integers(4, 10))
            shape = np.sin(np.linspace(0, np.pi, length + 2))[1:-1] * rng.gamma(4.0, 0.28)
            end = min(start + length, DAYS)
            pulse[start:end] = np.maximum(pulse[start:end], shape[: end - start])
        shocks = rng.normal(0, 0.045, DAYS)
        warmth = np.zeros(DAYS)
        for day in range(1, DAYS):
            warmth[day] = 0.985 * warmth[day - 1] + shocks[day]
        return cls(pulse=pulse, warmth=warmth)

    def _daily(self, series: Array, day: Array) -> Array:
        return np.asarray(series[np.clip(np.floor(day), 0, DAYS - 1).astype(int)])

    def upwelling(self, latitude: Array, longitude: Array, day: Array) -> Array:
        """Strength of upwelling, about 0 to 3: winter, coast and south are strong."""
        near = np.exp(-np.clip(offshore_km(latitude, longitude), 0, None) / 70.0)
        return np.asarray(near * (0.35 + 0.9 * _southness(latitude)) * (_season(day) + self._daily(self.pulse, day)))

    def warm_event(self, latitude: Array, longitude: Array, day: Array) -> Array:
        """Degrees of the Benguela-Nino-like event; strongest along the coast around 20 March."""
        peak = (datetime(WARM_EVENT_YEAR, 3, 20, tzinfo=UTC) - EPOCH).days
        near = np.exp(-np.clip(offshore_km(latitude, longitude), 0, None) / 250.0)
        return np.asarray(3.2 * near * (0.6 + 0.5 * _southness(latitude)) * np.exp(-0.5 * ((day - peak) / 40.0) ** 2))

    def surface_temperature(self, latitude: Array, longitude: Array, day: Array) -> Array:
        """Temperature of the mixed layer in degree_Celsius."""
        south = _southness(latitude)
        climate = 25.6 - 5.4 * south + (2.3 + 0.7 * south) * _phase(day, 72) + 0.02 * day / 365.25
        return np.asarray(
            climate
            + self._daily(self.warmth, day)
            + self.warm_event(latitude, longitude, day)
            - 2.4 * self.upwelling(latitude, longitude, day)
        )

    def temperature(self, latitude: Array, longitude: Array, depth: Array, day: Array) -> Array:
        """In-situ temperature in degree_Celsius: a mixed layer over a thermocline that upwelling lifts."""
        thermocline = 42.0 - 10.0 * _phase(day, 72) - 9.0 * np.clip(self.upwelling(latitude, longitude, day), 0, 3)
        deep = 4.2 + 12.0 * np.exp(-depth / 330.0)
        shape = (1 + np.exp(-thermocline / 11.0)) / (1 + np.exp((depth - thermocline) / 11.0))
        return np.asarray(deep + (self.surface_temperature(latitude, longitude, day) - 16.2) * shape)

    def salinity(self, latitude: Array, longitude: Array, depth: Array, day: Array) -> Array:
        """Practical salinity: the Congo's plume freshens the surface in the north from February to May."""
        plume = 3.2 * np.exp((latitude - NORTH) / 1.6) * (0.6 + 0.4 * _phase(day, 95)) * np.exp(-depth / 7.0)
        upwelled = 0.25 * self.upwelling(latitude, longitude, day) * np.exp(-depth / 60.0)
        return np.asarray(34.55 + 1.35 * np.exp(-depth / 260.0) - plume - upwelled)

    def oxygen_saturation(self, latitude: Array, longitude: Array, depth: Array, day: Array) -> Array:
        """Oxygen saturation in percent: near 100 at the surface, a minimum around 350 m, more below."""
        lifted = 38.0 - 10.0 * np.clip(self.upwelling(latitude, longitude, day), 0, 3)
        surface = 92.0 / (1 + np.exp((depth - lifted - 25.0) / 16.0))
        minimum = 30.0 - 20.0 * np.exp(-0.5 * ((depth - 350.0) / 170.0) ** 2) * (1.15 - 0.25 * _southness(latitude))
        deep = 40.0 / (1 + np.exp(-(depth - 1100.0) / 220.0))
        return np.asarray(np.clip(surface * 0.78 + minimum + deep, 1.0, 115.0))

    def chlorophyll(self, latitude: Array, longitude: Array, depth: Array, day: Array) -> Array:
        """Chlorophyll a in mg m-3: blooms a few days after upwelling, near the coast, above the thermocline."""
        bloom = 0.18 + 2.6 * self.upwelling(latitude, longitude, day - 4.0) ** 1.3
        layer = np.exp(-((np.clip(depth - 12.0, 0, None) / 32.0) ** 2)) + 0.35 * np.exp(
            -0.5 * ((depth - 32.0) / 9.0) ** 2
        )
        return np.asarray(bloom * layer)


def _season(day: Array) -> Array:
    """Seasonal mean of upwelling, 0 to 1: June to September, most around 1 August."""
    return np.asarray(np.exp(3.0 * (_phase(day, 212) - 1.0)))
