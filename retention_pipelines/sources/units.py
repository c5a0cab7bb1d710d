"""Unit conversions, as one explicit table of accepted spellings.

What belongs here: how a unit written in a raw file becomes the unit a quantity is stored in. What does not: which
quantity a column holds (`cf.py`). A unit that is not in the table is never guessed: the caller refuses the variable
with a sentence. The table is small on purpose; a units library would accept far more than marine files contain,
but also turn `psu`, `PSS-78` and `degrees_north` into errors.
"""

import re
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Conversion:
    """A linear conversion: stored value = raw value * scale + offset."""

    scale: float = 1.0
    offset: float = 0.0

    def apply(self, values: Any) -> Any:
        """Convert a number or an array; an identity returns it untouched."""
        return values if self.is_identity else values * self.scale + self.offset

    @property
    def is_identity(self) -> bool:
        """Whether nothing changes."""
        return self.scale == 1.0 and self.offset == 0.0


# base unit -> (scale, offset) to the base -> accepted spellings, in the form `normalise` gives, separated by bars.
_TABLE: dict[str, dict[tuple[float, float], str]] = {
    "degree_Celsius": {
        (
            1,
            0,
        ): "degree_celsius|degrees_celsius|degree_c|degrees_c|deg_c|degc|deg_celsius|celsius|c|°c|degree_centigrade",
        (1, -273.15): "k|kelvin|degree_kelvin|degrees_kelvin|degree_k|deg_k|degk",
        (5 / 9, -160 / 9): "degree_fahrenheit|degrees_fahrenheit|degree_f|degrees_f|deg_f|degf|fahrenheit|f|°f",
    },
    "1": {
        (1, 0): "1|dimensionless|unitless|none|fraction",
        (1e-3, 0): "1e-3|0.001|10-3",
        (0.01, 0): "percent|%|pct",
    },
    "psu": {
        (1, 0): "psu|pss|pss-78|pss78|pss_78|practical_salinity_unit|practical_salinity_units|ppt|‰",
    },
    "g kg-1": {(1, 0): "g kg-1", (1e3, 0): "kg kg-1", (1e-3, 0): "mg kg-1"},
    "mg m-3": {
        (1, 0): "mg m-3|ug l-1|ug dm-3",
        (1e3, 0): "g m-3|mg l-1|mg dm-3",
        (1e6, 0): "kg m-3",
        (1e-3, 0): "ug m-3|ng l-1",
    },
    "umol kg-1": {(1, 0): "umol kg-1", (1e3, 0): "mmol kg-1", (1e6, 0): "mol kg-1"},
    "mmol m-3": {
        (1, 0): "mmol m-3|umol l-1|umol dm-3",
        (1e3, 0): "mol m-3|mmol l-1|mmol dm-3",
        (1e-3, 0): "umol m-3",
        (1e6, 0): "mol l-1",
    },
    "ml l-1": {(1, 0): "ml l-1|ml dm-3"},
    "m": {
        (1, 0): "m|meter|meters|metre|metres",
        (0.01, 0): "cm|centimeter|centimeters|centimetre|centimetres",
        (0.001, 0): "mm|millimeter|millimeters|millimetre|millimetres",
        (1000, 0): "km|kilometer|kilometers|kilometre|kilometres",
        (0.3048, 0): "ft|foot|feet",
        (1852, 0): "nmi|nautical_mile|nautical_miles",
    },
    "m s-1": {
        (1, 0): "m s-1",
        (0.01, 0): "cm s-1",
        (1 / 3.6, 0): "km h-1|km hr-1",
        (1852 / 3600, 0): "kt|kts|knot|knots|kn",
    },
    "s": {(1, 0): "s|sec|secs|second|seconds", (60, 0): "min|minute|minutes"},
    "hPa": {(1, 0): "hpa|hectopascal|mb|mbar|millibar|millibars", (0.01, 0): "pa|pascal", (10, 0): "kpa"},
    "dbar": {(1, 0): "dbar|decibar|decibars|db"},
    "degree": {
        (1, 0): "degree|degrees|deg|degt|degree_true|degrees_true|°|angular_degree",
        (57.29577951308232, 0): "rad|radian|radians",
    },
    "degree_north": {(1, 0): "degree_north|degrees_north|degree_n|degrees_n|degreen|degreesn"},
    "degree_east": {(1, 0): "degree_east|degrees_east|degree_e|degrees_e|degreee|degreese"},
    "NTU": {(1, 0): "ntu"},
    "m-1": {(1, 0): "m-1"},
    "number": {(1, 0): "number|count|counts|individuals|individual|ind|#|organisms"},
}

_WORDS = {
    "microgram": "ug", "micrograms": "ug", "milligram": "mg", "milligrams": "mg", "gram": "g", "grams": "g",
    "micromole": "umol", "micromoles": "umol", "micromol": "umol", "millimole": "mmol", "millimoles": "mmol",
    "mole": "mol", "moles": "mol", "liter": "l", "litre": "l", "liters": "l", "litres": "l",
    "kilogram": "kg", "kilograms": "kg", "meter": "m", "metre": "m", "meters": "m", "metres": "m",
    "milliliter": "ml", "milliliters": "ml", "second": "s", "seconds": "s", "sec": "s",
}  # fmt: skip


_UNITS: dict[str, tuple[str, float, float]] = {
    spelling: (base, scale, offset)
    for base, units in _TABLE.items()
    for (scale, offset), spellings in units.items()
    for spelling in spellings.split("|")
}


def normalise(unit: str) -> str:
    """One spelling of a unit: lower case, `/x` as `x-1`, no `^` or `**`, micro as `u`, whole words shortened."""
    text = re.sub(r"\s+", " ", unit.strip())
    if text in {"uM", "µM", "μM"}:  # micromolar; in lower case it would be a micrometre
        return "umol l-1"
    text = text.casefold().replace("µ", "u").replace("μ", "u").replace("⁻", "-").replace("³", "3").replace("²", "2")
    if text in _UNITS:
        return text
    text = re.sub(r"\*\*|\^|[()]", "", text)
    text = re.sub(r"(?<=[a-z0-9])[.·*](?=[a-z])", " ", text)
    text = re.sub(r"\s*/\s*|\s+per\s+", "/", text)
    head, *below = text.split("/")
    words = [_WORDS.get(word, word) for word in head.split()]
    for part in below:
        for word in part.split():
            match = re.fullmatch(r"([a-z%#]+)(\d*)", word)
            words.append(f"{_WORDS.get(match[1], match[1])}-{match[2] or 1}" if match else word)
    words = [
        f"{_WORDS[m[1]]}{m[2]}" if (m := re.fullmatch(r"([a-z]+)(-\d)", w)) and m[1] in _WORDS else w for w in words
    ]
    joined = " ".join(words)
    return joined if joined in _UNITS or "_".join(words) not in _UNITS else "_".join(words)


def is_known(unit: str) -> bool:
    """Whether the unit is in the table."""
    return normalise(unit) in _UNITS


def conversion(unit: str, target: str) -> Conversion | None:
    """How to get from a unit to another one; None where one is unknown or they measure different things."""
    found, wanted = _UNITS.get(normalise(unit)), _UNITS.get(normalise(target))
    if found is None or wanted is None or found[0] != wanted[0]:
        return None
    if found == wanted:
        return Conversion()
    return Conversion(scale=found[1] / wanted[1], offset=(found[2] - wanted[2]) / wanted[1])
