"""Writes the survey as a Darwin Core Archive: event core, occurrences, measurements, and who says so.

Belongs here: the archive's files and terms. Not here: what was caught (`survey.py`). The same survey gives the
same bytes: members have a fixed order and a fixed time.
"""

import csv
import io
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from xml.sax.saxutils import escape

from retention_pipelines.demo.labels import CITATION, LICENCE_URL, NOTICE, dataset_id
from retention_pipelines.demo.survey import Survey

NAME = "simulated_angola_trawl_survey.zip"
DATASET_ID = dataset_id("angola_trawl_survey")
_FIXED_TIME = (1980, 1, 1, 0, 0, 0)
_DWC = "http://rs.tdwg.org/dwc/terms/"
_OBIS = "http://rs.iobis.org/obis/terms/"

_EVENT = (
    "eventID", "datasetID", "eventDate", "decimalLatitude", "decimalLongitude", "geodeticDatum",
    "coordinateUncertaintyInMeters", "minimumDepthInMeters", "maximumDepthInMeters", "samplingProtocol", "countryCode",
    "locality", "license", "rightsHolder", "bibliographicCitation",
)  # fmt: skip
_OCCURRENCE = (
    "eventID", "occurrenceID", "basisOfRecord", "occurrenceStatus", "scientificName", "kingdom", "phylum", "class",
    "order", "family", "taxonRank", "individualCount", "occurrenceRemarks",
)  # fmt: skip
_MEASUREMENT = ("eventID", "occurrenceID", "measurementType", "measurementValue", "measurementUnit")
_ROW_TYPES = {
    "event.txt": f"{_DWC}Event",
    "occurrence.txt": f"{_DWC}Occurrence",
    "extendedmeasurementorfact.txt": f"{_OBIS}ExtendedMeasurementOrFact",
}
_OTHER_NAMESPACES = {
    "license": "http://purl.org/dc/terms/license",
    "rightsHolder": "http://purl.org/dc/terms/rightsHolder",
    "bibliographicCitation": "http://purl.org/dc/terms/bibliographicCitation",
}


def write_archive(survey: Survey, folder: Path) -> Path:
    """Write the archive and return its path."""
    tables = {
        "event.txt": (_EVENT, _event_rows(survey)),
        "occurrence.txt": (_OCCURRENCE, _occurrence_rows(survey)),
        "extendedmeasurementorfact.txt": (_MEASUREMENT, _measurement_rows(survey)),
    }
    path = folder / NAME
    with zipfile.ZipFile(path, "w") as archive:
        _add(archive, "meta.xml", _meta({name: columns for name, (columns, _) in tables.items()}))
        _add(archive, "eml.xml", _EML)
        for name, (columns, rows) in tables.items():
            _add(archive, name, _tab_separated(columns, rows))
    return path


def _event_rows(survey: Survey) -> Iterable[Sequence[object]]:
    for haul in survey.hauls:
        yield (
            haul.event_id, DATASET_ID, haul.event_date, haul.latitude, haul.longitude, "WGS84", 100,
            max(haul.depth_m - 2, 0), haul.depth_m, "bottom trawl, 30 minutes (simulated)", "AO",
            f"SIMULATED cruise {haul.cruise}", LICENCE_URL, "nobody: simulated", CITATION,
        )  # fmt: skip


def _occurrence_rows(survey: Survey) -> Iterable[Sequence[object]]:
    for catch in (*survey.catches, *survey.repeated):
        taxon = catch.taxon
        yield (
            catch.event_id, catch.occurrence_id, "MachineObservation", "present" if catch.count else "absent",
            taxon.name, "Animalia", taxon.phylum, taxon.class_, taxon.order, taxon.family, "species", catch.count,
            "SIMULATED",
        )  # fmt: skip


def _measurement_rows(survey: Survey) -> Iterable[Sequence[object]]:
    for haul in survey.hauls:
        yield haul.event_id, "", "sea_surface_temperature", haul.surface_degc, "degree_Celsius"
        yield haul.event_id, "", "sea_water_temperature_at_sea_floor", haul.bottom_degc, "degree_Celsius"
    for catch in survey.catches:
        if catch.count:
            yield catch.event_id, catch.occurrence_id, "wet weight biomass", catch.weight_kg, "kg"


def _tab_separated(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, delimiter="\t", lineterminator="\n", quoting=csv.QUOTE_NONE, quotechar=None)
    # The first column ties the files together, as archives of GBIF's IPT have it.
    writer.writerow(("id", *columns))
    writer.writerows((row[0], *row) for row in rows)
    return text.getvalue()


def _add(archive: zipfile.ZipFile, name: str, content: str) -> None:
    member = zipfile.ZipInfo(name, date_time=_FIXED_TIME)
    member.compress_type = zipfile.ZIP_DEFLATED
    member.external_attr = 0o644 << 16
    archive.writestr(member, content)


def _meta(tables: dict[str, Sequence[str]]) -> str:
    parts = ['<?xml version="1.0" encoding="UTF-8"?>']
    parts.append('<archive xmlns="http://rs.tdwg.org/dwc/text/" metadata="eml.xml">')
    for name, columns in tables.items():
        tag = "core" if name == "event.txt" else "extension"
        key = "id" if tag == "core" else "coreid"
        parts.append(
            f'  <{tag} encoding="UTF-8" fieldsTerminatedBy="\\t" linesTerminatedBy="\\n" fieldsEnclosedBy="" '
            f'ignoreHeaderLines="1" rowType="{_ROW_TYPES[name]}">'
        )
        parts.append(f"    <files><location>{name}</location></files>")
        parts.append(f'    <{key} index="0"/>')
        parts.extend(
            f'    <field index="{index}" term="{_OTHER_NAMESPACES.get(column, _DWC + column)}"/>'
            for index, column in enumerate(columns, start=1)
        )
        parts.append(f"  </{tag}>")
    parts.append("</archive>")
    return "\n".join(parts) + "\n"


_EML = f"""<?xml version="1.0" encoding="UTF-8"?>
<eml:eml xmlns:eml="eml://ecoinformatics.org/eml-2.1.1" packageId="{DATASET_ID}/v1" system="retention_pipelines"
  xml:lang="eng">
  <dataset>
    <alternateIdentifier>{DATASET_ID}</alternateIdentifier>
    <title>SIMULATED trawl survey of the Angola-Benguela shelf (not observations)</title>
    <creator><organizationName>retention_pipelines, simulated data</organizationName></creator>
    <pubDate>2026-01-01</pubDate>
    <language>eng</language>
    <abstract><para>{escape(NOTICE)}</para></abstract>
    <intellectualRights><para>To the extent possible under law, the rights are waived:
      <ulink url="{LICENCE_URL}"><citetitle>CC0 1.0</citetitle></ulink></para></intellectualRights>
  </dataset>
  <additionalMetadata><metadata><gbif><citation>{escape(CITATION)}</citation></gbif></metadata></additionalMetadata>
</eml:eml>
"""
