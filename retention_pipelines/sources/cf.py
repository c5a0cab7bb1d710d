"""Which raw column is which quantity, and how its values become those that are stored.

What belongs here: telling a quantity by standard name, name and unit. What does not: the quantities (`quantities.py`),
spellings of units (`units.py`), coordinates, formats. A column is a quantity only when its name and its unit say so;
what is unclear is refused with a sentence.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from retention_pipelines.sources.quantities import QUANTITIES, Quantity
from retention_pipelines.sources.units import Conversion


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How to read one raw column: the quantity it holds, its standard name, the conversion of its values."""

    column: str
    quantity: Quantity
    variable: str
    standard_name: str
    conversion: Conversion
    at_surface: bool
    remark: str | None = None


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """A column that names a quantity but cannot be read as it, and why."""

    column: str
    reason: str
    unit_unknown: bool = False


def _key(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", name.casefold()).strip("_")


def quantity(variable: str) -> Quantity | None:
    """The quantity stored under a variable name, for example `temperature_degc`."""
    return next((found for found in QUANTITIES if found.variable == variable), None)


def _named(name: str) -> list[tuple[Quantity, bool]]:
    """Quantities a name may mean, with whether it means the surface."""
    key = _key(name)
    found = []
    for candidate in QUANTITIES:
        if key in candidate.surface_names:
            found.append((candidate, True))
        elif key == candidate.variable or key in candidate.standard_names or key in candidate.aliases:
            found.append((candidate, False))
    return found


def read_as(column: str, *, standard_name: str | None = None, unit: str | None = None) -> Reading | Refusal | None:
    """How to read a raw column, judged by its standard name first and its own name second, then by its unit.

    None where neither name is of a known quantity; a Refusal where the name is known and the unit is not.
    """
    # A standard name may carry a modifier after a blank ("sea_water_temperature status_flag"): another kind of data.
    words = (standard_name or "").split()
    if len(words) > 1:
        return None
    candidates = _named(words[0]) if words else []
    if words and not candidates:
        return None
    candidates = candidates or _named(column)
    if not candidates:
        return None
    for candidate, at_surface in candidates:
        convert = candidate.conversion(unit)
        if convert is not None:
            # The column's own name may say "surface" where its standard name is the general one.
            surface = at_surface or _key(column) in candidate.surface_names
            usual = (candidate.surface_standard_name if surface else None) or (
                candidate.standard_names or candidate.surface_names
            )[0]
            published = (
                words[0] if words and _key(words[0]) in candidate.standard_names + candidate.surface_names else None
            )
            return Reading(
                column=column,
                quantity=candidate,
                variable=candidate.variable,
                standard_name=published or usual,
                conversion=convert,
                at_surface=surface,
            )
    wanted = ", ".join(sorted({candidate.unit for candidate, _ in candidates}))
    stated = f"the unit {unit.strip()!r}" if unit and unit.strip() else "no unit"
    reason = f"{column} has {stated}, which cannot be converted to {wanted}."
    return Refusal(column=column, reason=reason, unit_unknown=True)


def readings(columns: Mapping[str, tuple[str | None, str | None]]) -> tuple[list[Reading], list[Refusal]]:
    """Read the columns of one file (name -> standard name, unit), each variable at most once.

    The first column of a variable is taken and later ones are refused, so that a row has one value per variable. A
    quantity that stands for another takes that one's name where the file has none of its own.
    """
    taken: dict[str, Reading] = {}
    refused: list[Refusal] = []
    for column, (standard_name, unit) in columns.items():
        found = read_as(column, standard_name=standard_name, unit=unit)
        if isinstance(found, Refusal):
            refused.append(found)
        elif found is not None and found.variable in taken:
            first = taken[found.variable].column
            refused.append(
                Refusal(column=column, reason=f"{column} is {found.variable} as well as {first}, which is used.")
            )
        elif found is not None:
            taken[found.variable] = found
    return [_standing_for(reading, taken) for reading in taken.values()], refused


def notes_on(columns: Iterable[str], found: Iterable[Reading], refused: Iterable[Refusal]) -> tuple[str, ...]:
    """Sentences on the columns of a file that are not read: those refused, each with why, and those nobody knows."""
    reasons = tuple(one.reason for one in refused)
    known = {one.column for one in found} | {one.column for one in refused}
    unknown = [name for name in columns if name not in known]
    return (*reasons, f"Not read, as no known quantity: {', '.join(unknown)}.") if unknown else reasons


def _standing_for(reading: Reading, taken: Mapping[str, Reading]) -> Reading:
    other = reading.quantity.stands_for
    if other is None or other in taken:
        return reading
    return Reading(
        column=reading.column,
        quantity=reading.quantity,
        variable=other,
        standard_name=reading.standard_name,
        conversion=reading.conversion,
        at_surface=reading.at_surface,
        remark=reading.variable.rsplit("_", 1)[0].upper(),
    )


__all__ = ["QUANTITIES", "Quantity", "Reading", "Refusal", "notes_on", "quantity", "read_as", "readings"]
