"""Flags of CF NetCDF variables: which variable holds them, and which of the known scales they are on.

What belongs here: `ancillary_variables`, usual names (`TEMP_QC`), `flag_values` and `flag_meanings`, conventions named
in attributes. What does not: what is good on a scale (`mapping.QC_GOOD`). Flags on a scale nobody knows are not read,
and the report says so: guessed ones would let bad values in, or keep good ones out.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import netCDF4
import numpy as np

from retention_pipelines.sources.arrays import Array
from retention_pipelines.sources.mapping import QC_GOOD

_ENDINGS = ("_qc", "_quality_flag", "_qc_agg", "_qartod_agg", "_qc_flag", "_qcflag", "_flag", "_seadatanet_qc")
_STATUS = re.compile(r"(status|quality)_flag$")
_SUMS_UP = re.compile(r"aggregate_quality_flag|_agg\b|_primary_flag\b|_rollup")
_OF_A_TEST = 2
_BAD = re.compile(r"bad|fail|wrong|reject|err|spike|miss|suspect|question|doubt|invalid|stuck|outlier|out_of")
# In the order they are looked for; OceanSITES and Copernicus share the table of Argo.
_NAMED = {
    "qartod": re.compile(r"qartod"),
    "argo": re.compile(r"(?<![a-z])argo(?![a-z])|oceansites|copernicus|reference table 2\b"),
    "wod": re.compile(r"\bwod\b|world ocean database"),
}
_WORDS_SAYING_SCALE = ("conventions", "standard_name", "long_name", "comment", "references", "flag_conventions")


@dataclass(frozen=True, kw_only=True)
class FlagVariable:
    """The variable that holds the flags of another one, or several with a test each.

    `scale` is None where it is on none that is known; `good` are the flags that count, of which none says it is bad.
    """

    names: tuple[str, ...]
    scale: str | None
    good: tuple[str, ...] = ()


def flags_of(data: netCDF4.Dataset, name: str, *, places: bool = False) -> FlagVariable | None:
    """The flags of a variable, which `places` its rows where it is a coordinate; None where it has none.

    Of several, one that sums up the others, else the usual one, else all of the first known scale.
    """
    found = [described(data, one, places=places) for one in _candidates(data, name)]
    known = [one for one in found if one.scale is not None]
    if not known:
        return found[0] if found else None
    chosen = known[0]
    if chosen.scale != "qartod" or _rank(data[chosen.names[0]], name) < _OF_A_TEST:
        return chosen
    tests = tuple(test for one in known if one.scale == chosen.scale for test in one.names)
    return FlagVariable(names=tests, scale=chosen.scale, good=chosen.good)


def described(data: netCDF4.Dataset, name: str, *, places: bool = False) -> FlagVariable:
    """A variable of flags, with what counts as good on its scale."""
    scale, said = scale_of(data[name]), _said(data[name])
    good = [flag for flag in QC_GOOD.get(scale or "", ()) if not _BAD.search(said.get(flag, ""))]
    # A mooring's depth is the one it was meant for, by the table of OceanSITES and Copernicus.
    if places and scale == "argo" and "nominal" in said.get("7", "nominal"):
        good.append("7")
    return FlagVariable(names=(name,), scale=scale, good=tuple(good))


def flag_texts(variable: netCDF4.Variable, block: tuple[slice | int, ...]) -> Array:
    """Flags as text, empty where there is none."""
    variable.set_auto_chartostring(False)
    values = np.ma.asarray(variable[block])
    missing = np.ma.getmaskarray(values)
    if values.dtype.kind in "SUO":
        written = np.ma.filled(values, b" " if values.dtype.kind == "S" else "").astype(str)
        return np.where(missing, "", np.char.strip(written, " \0"))
    if values.dtype.kind == "f":
        missing = missing | ~np.isfinite(np.ma.filled(values, np.nan))
        return np.where(missing, "", np.char.mod("%g", np.where(missing, 0, np.ma.filled(values, 0))))
    written = np.ma.filled(values, 0).astype("i8")
    return np.where(
        missing, "", np.char.mod("%c", written.clip(0, 127)) if _are_codes(variable) else written.astype(str)
    )


def worst_of(tests: Sequence[Array]) -> Array:
    """One QARTOD flag of several tests: what was not evaluated or is missing stands only where no test says more."""
    worst = tests[0]
    for flag in ("9", "2", "1", "3", "4") if len(tests) > 1 else ():
        worst = np.where(np.any([test == flag for test in tests], axis=0), flag, worst)
    return worst


def _candidates(data: netCDF4.Dataset, name: str) -> list[str]:
    stated = str(getattr(data[name], "ancillary_variables", "")).split()
    usual = _usual(name)
    others = [one for one in dict.fromkeys([*stated, *data.variables]) if one in data.variables]
    found = [
        one
        for one in others
        if (one in stated or one.casefold() in usual) and _holds_flags(data[one], usual=one.casefold() in usual)
    ]
    return sorted(found, key=lambda one: _rank(data[one], name))


def _usual(name: str) -> set[str]:
    return {f"{name}{ending}".casefold() for ending in _ENDINGS}


def _rank(variable: netCDF4.Variable, name: str) -> int:
    """0 for flags that sum up others, 1 for those of the usual name, 2 for others, such as those of one test."""
    if _SUMS_UP.search(f"{variable.name} {getattr(variable, 'standard_name', '')}".casefold()):
        return 0
    return 1 if variable.name.casefold() in _usual(name) else _OF_A_TEST


def _holds_flags(variable: netCDF4.Variable, *, usual: bool) -> bool:
    """Flags, and not another ancillary kind of data such as a standard error or a number of observations."""
    is_text = variable.dtype == str
    if not is_text and variable.dtype.kind not in "iuSf":
        return False
    is_status = bool(_STATUS.search(str(getattr(variable, "standard_name", ""))))
    if usual or is_status or {"flag_values", "flag_meanings"} & set(variable.ncattrs()):
        return True
    return (is_text or variable.dtype.kind != "f") and _named(variable) is not None


def scale_of(variable: netCDF4.Variable) -> str | None:
    """The scale a variable of flags is on, by what its values mean, else by the conventions it names."""
    if "flag_masks" in variable.ncattrs():
        return None  # several flags in one number
    said = _said(variable)
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


def _said(variable: netCDF4.Variable) -> dict[str, str]:
    """What each flag means; nothing where it is not plain which word is of which."""
    meanings = str(getattr(variable, "flag_meanings", "")).casefold().split()
    values = _values(variable, len(meanings))
    return dict(zip(values, meanings, strict=True)) if len(values) == len(meanings) else {}


def _values(variable: netCDF4.Variable, meanings: int) -> list[str]:
    """Flag values as they are compared: a text `0b 1b 2b` or `0, 1, 2` holds numbers, too."""
    stated = getattr(variable, "flag_values", range(meanings))
    if isinstance(stated, str):
        return [word.rstrip("bB") for word in re.split(r"[\s,]+", stated.strip())]
    numbers = np.asarray(stated).ravel().tolist()
    if _are_codes(variable):
        return [chr(one) for one in numbers]
    return [f"{one:g}" if isinstance(one, float) else str(one) for one in numbers]


def _are_codes(variable: netCDF4.Variable) -> bool:
    """Whether flags are numbers of characters, 49 for "1", as SeaDataNet writes them."""
    stated = np.asarray(getattr(variable, "flag_values", 0))
    return stated.dtype.kind in "iu" and bool(((stated >= ord("0")) & (stated <= ord("z"))).all())


def _named(variable: netCDF4.Variable) -> str | None:
    attributes = {name.casefold(): str(variable.getncattr(name)) for name in variable.ncattrs()}
    words = " ".join(attributes.get(name, "") for name in _WORDS_SAYING_SCALE).casefold()
    text = f"{variable.name.casefold()} {words}"
    return next((scale for scale, pattern in _NAMED.items() if pattern.search(text)), None)


__all__ = ["FlagVariable", "described", "flag_texts", "flags_of", "worst_of"]
