"""Darwin Core terms: which raw columns are which.

What belongs here: the terms the staging statements read, spellings met in real files, kinds of files by their
columns. What does not: values. A column that is no term here is kept in `dynamic_properties`.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

# Terms of Event and Location: an occurrence has them of its event, an event of its parent.
EVENT_TERMS = (
    "eventDate",
    "eventTime",
    "year",
    "month",
    "day",
    "decimalLatitude",
    "decimalLongitude",
    "coordinateUncertaintyInMeters",
    "minimumDepthInMeters",
    "maximumDepthInMeters",
    "bathymetry",
    "samplingProtocol",
    "locality",
    "countryCode",
    "license",
    "rightsHolder",
    "bibliographicCitation",
    "datasetID",
)
OCCURRENCE_TERMS = (
    "occurrenceID",
    "eventID",
    "parentEventID",
    *EVENT_TERMS,
    "scientificName",
    "scientificNameID",
    "vernacularName",
    "taxonRank",
    "kingdom",
    "phylum",
    "class",
    "order",
    "family",
    "genus",
    "lifeStage",
    "sex",
    "individualCount",
    "organismQuantity",
    "organismQuantityType",
    "occurrenceStatus",
    "absence",  # of OBIS' exports: true or false
    "basisOfRecord",
)
MEASUREMENT_TERMS = (
    "occurrenceID",
    "eventID",
    "measurementType",
    "measurementTypeID",
    "measurementValue",
    "measurementUnit",
    "measurementUnitID",
)
TERMS = tuple(dict.fromkeys((*OCCURRENCE_TERMS, *MEASUREMENT_TERMS)))

# Spellings met in published files.
_MISSPELT = {
    "ocurrencestatus": "occurrenceStatus",
    "occurencestatus": "occurrenceStatus",
    "occurrancestatus": "occurrenceStatus",
    "ocurrenceid": "occurrenceID",
    "occurenceid": "occurrenceID",
    "decimallattitude": "decimalLatitude",
    "decimallatitute": "decimalLatitude",
    "decimallongtitude": "decimalLongitude",
    "decimallongitud": "decimalLongitude",
    "scientficname": "scientificName",
    "scientifcname": "scientificName",
    "minimumdephinmeters": "minimumDepthInMeters",
    "maximumdephinmeters": "maximumDepthInMeters",
    "minumumdepthinmeters": "minimumDepthInMeters",
    "indivdualcount": "individualCount",
    "inidividualcount": "individualCount",
    "licence": "license",
}
_BY_KEY = {term.lower(): term for term in TERMS}


@dataclass(frozen=True, kw_only=True)
class Columns:
    """Raw column by term, and whether one of them was misspelt."""

    by_term: Mapping[str, str]
    misspelt: bool


def term_of(name: str) -> str | None:
    """The term a column name means: in any case, as snake_case, with `dwc:` or a namespace before it."""
    return _found(name)[0]


def _found(name: str) -> tuple[str | None, bool]:
    local = re.split(r"[/#]", name.strip().rstrip("/"))[-1]
    local = re.sub(r"^(dwc|dwciri|dcterms|dc|obis)[:_.]", "", local, flags=re.IGNORECASE)
    key = re.sub(r"[^a-z]", "", local.lower())
    if key in _BY_KEY:
        return _BY_KEY[key], False
    return _MISSPELT.get(key), key in _MISSPELT and key != "licence"


def columns_of(names: Iterable[str]) -> Columns:
    """Terms of a header; the first column of a term counts."""
    by_term: dict[str, str] = {}
    misspelt = False
    for name in names:
        term, wrong = _found(name)
        if term is not None and term not in by_term:
            by_term[term] = name
            misspelt = misspelt or wrong
    return Columns(by_term=by_term, misspelt=misspelt)


def has_position(terms: Mapping[str, str]) -> bool:
    """Whether latitude and longitude are there."""
    return {"decimalLatitude", "decimalLongitude"} <= set(terms)


def has_date(terms: Mapping[str, str]) -> bool:
    """Whether a date is there, whole or in parts."""
    return "eventDate" in terms or "year" in terms


def kind_of(names: Iterable[str]) -> str | None:
    """What a text file without a descriptor holds, by its columns: event, occurrence, measurement, or flat."""
    terms = columns_of(names).by_term
    if "measurementType" in terms and "measurementValue" in terms and {"occurrenceID", "eventID"} & set(terms):
        return "measurement"
    if "scientificName" in terms:
        if has_position(terms) and has_date(terms):
            return "flat"
        return "occurrence" if "eventID" in terms else None
    return "event" if "eventID" in terms and has_position(terms) and has_date(terms) else None
