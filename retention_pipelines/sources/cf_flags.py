"""Flags of CF NetCDF variables: which variable holds them, and which of the known scales they are on.

What belongs here: `ancillary_variables`, usual names (`TEMP_QC`), `flag_values` and `flag_meanings`, conventions named
in attributes. What does not: what is good on a scale (`mapping.QC_GOOD`). Flags on a scale nobody knows are not read,
and the report says so: guessed ones would let bad values in, or keep good ones out.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

import netCDF4
import numpy as np

from retention_pipelines.sources.arrays import Array

_ENDINGS = ("_qc", "_quality_flag", "_qc_agg", "_qartod_agg", "_qc_flag", "_qcflag", "_flag")
_STATUS = re.compile(r"(status|quality)_flag$")
# In the order they are looked for; OceanSITES and Copernicus share the table of Argo.
_NAMED = {
    "qartod": re.compile(r"qartod"),
    "argo": re.compile(r"argo|oceansites|copernicus|reference table 2\b"),
    "wod": re.compile(r"\bwod\b|world ocean database"),
}
_WORDS_SAYING_SCALE = ("conventions", "standard_name", "long_name", "comment", "references", "flag_conventions")


@dataclass(frozen=True, kw_only=True)
class FlagVariable:
    """The variable that holds the flags of another one; `scale` is None where it is on none that is known."""

    name: str
    scale: str | None


def flags_of(data: netCDF4.Dataset, name: str) -> FlagVariable | None:
    """The flags of a variable: of several the first whose scale is known; None where it has none."""
    found = [FlagVariable(name=one, scale=scale_of(data[one])) for one in _candidates(data, name)]
    return next((one for one in found if one.scale is not None), found[0] if found else None)


def flag_texts(variable: netCDF4.Variable, block: tuple[slice, ...]) -> Array:
    """Flags as text, empty where there is none."""
    variable.set_auto_chartostring(False)
    values = np.ma.asarray(variable[block])
    missing = np.ma.getmaskarray(values)
    if values.dtype.kind in "SU":
        return np.where(missing, "", np.char.strip(np.ma.filled(values, b" ").astype(str), " \0"))
    return np.where(missing, "", np.ma.filled(values, 0).astype("i8").astype(str))


def _candidates(data: netCDF4.Dataset, name: str) -> Iterator[str]:
    stated = str(getattr(data[name], "ancillary_variables", "")).split()
    usual = {f"{name}{ending}".casefold() for ending in _ENDINGS}
    for other in [*stated, *(one for one in data.variables if one.casefold() in usual and one not in stated)]:
        if other in data.variables and _holds_flags(data[other], stated=other in stated):
            yield other


def _holds_flags(variable: netCDF4.Variable, *, stated: bool) -> bool:
    """Flags, and not another ancillary kind of data such as a standard error or a number of observations."""
    if variable.dtype == str or variable.dtype.kind not in "iuS":
        return False
    described = set(variable.ncattrs())
    is_status = bool(_STATUS.search(str(getattr(variable, "standard_name", ""))))
    return not stated or is_status or bool({"flag_values", "flag_meanings"} & described) or _named(variable) is not None


def scale_of(variable: netCDF4.Variable) -> str | None:
    """The scale a variable of flags is on, by what its values mean, else by the conventions it names."""
    meanings = str(getattr(variable, "flag_meanings", "")).casefold().split()
    said = dict(zip(_values(variable, len(meanings)), meanings, strict=False))
    if "flag_masks" in variable.ncattrs():
        return None  # several flags in one number
    if not said:
        return _named(variable)
    first, second, fourth = (said.get(value, "") for value in "124")
    if "good" in first or "pass" in first:
        if "probably" in second:
            return "argo"
        if "fail" in fourth or re.search("evaluat|unknown", second):
            return "qartod"
    if said.get("0", "").startswith("accept"):
        return "wod"
    return None


def _values(variable: netCDF4.Variable, meanings: int) -> list[str]:
    """Flag values as they are compared: a text `0b 1b 2b` or `0, 1, 2` holds numbers, too."""
    stated = getattr(variable, "flag_values", range(meanings))
    if isinstance(stated, str):
        return [word.rstrip("bB") for word in re.split(r"[\s,]+", stated.strip())]
    return [str(one) for one in np.asarray(stated).ravel().tolist()]


def _named(variable: netCDF4.Variable) -> str | None:
    attributes = {name.casefold(): str(variable.getncattr(name)) for name in variable.ncattrs()}
    words = " ".join(attributes.get(name, "") for name in _WORDS_SAYING_SCALE).casefold()
    text = f"{variable.name.casefold()} {words}"
    return next((scale for scale, pattern in _NAMED.items() if pattern.search(text)), None)


__all__ = ["FlagVariable", "flag_texts", "flags_of", "scale_of"]
