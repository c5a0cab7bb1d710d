"""EML: licence, citation and identifier of an archive.

What belongs here: `eml.xml`. What does not: rights of single records (columns of the core). A file without a usable
citation gets one from creators, year and title, as GBIF writes it.
"""

import re
from dataclasses import dataclass
from xml.etree import ElementTree

from retention_pipelines.sources.identity import first, from_package
from retention_pipelines.sources.licences import licence_name

# What the IPT leaves in the citation of a resource that was never published.
_PLACEHOLDER = re.compile(r"autogenerate", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Metadata:
    """What an EML document says that records need."""

    dataset_id: str | None = None
    licence: str | None = None
    citation: str | None = None


def read_metadata(document: ElementTree.Element) -> Metadata:
    """The metadata of an EML document."""
    package = document.attrib.get("packageId")
    other = _texts(document, "dataset/alternateIdentifier")
    resource = next((text for text in other if "resource" in text and "=" in text), None)
    identifier = first([package, resource, *other])
    rights = document.find(".//{*}dataset/{*}intellectualRights")
    licensed = document.find(".//{*}dataset/{*}licensed/{*}identifier")
    said = [*_words(licensed), *_words(rights)]
    said += [link.attrib.get("url", "") for link in document.iterfind(".//{*}dataset/{*}intellectualRights//{*}ulink")]
    return Metadata(
        dataset_id=from_package(identifier) if identifier else None,
        licence=licence_name(" ".join(said)),
        citation=_citation(document),
    )


def parse_metadata(content: bytes) -> Metadata:
    """The metadata of EML text; nothing where it is no XML, since records are readable without it."""
    try:
        # Python's parser resolves no external entities; a document type would only be there for an attack.
        if b"<!DOCTYPE" in content or b"<!ENTITY" in content:
            return Metadata()
        return read_metadata(ElementTree.fromstring(content))  # noqa: S314
    except ElementTree.ParseError:
        return Metadata()


def _words(element: ElementTree.Element | None) -> list[str]:
    return [] if element is None else [text.strip() for text in element.itertext() if text.strip()]


def _texts(document: ElementTree.Element, path: str) -> list[str]:
    steps = "/".join(f"{{*}}{step}" for step in path.split("/"))
    return [" ".join(_words(found)) for found in document.iterfind(f".//{steps}")]


def _creators(document: ElementTree.Element) -> list[str]:
    creators = document.iterfind(".//{*}dataset/{*}creator")
    names = []
    for creator in creators:
        surname = first(_texts(creator, "surName"))
        given = first(_texts(creator, "givenName"))
        person = f"{surname} {given[0]}" if surname and given else surname
        names.append(person or first(_texts(creator, "organizationName")) or "")
    return [name for name in names if name]


def _citation(document: ElementTree.Element) -> str | None:
    # The bibliography's citations are of other works; only the metadata's own names this one.
    written = [text for text in _texts(document, "gbif/citation") if not _PLACEHOLDER.search(text)]
    if written:
        return re.sub(r"\s+", " ", written[0])
    title = first(_texts(document, "dataset/title"))
    if title is None:
        return None
    who = ", ".join(dict.fromkeys(_creators(document)))
    year = (first(_texts(document, "dataset/pubDate")) or "")[:4]
    when = f" ({year})" if year else ""
    identifier = first([*_texts(document, "dataset/alternateIdentifier"), document.attrib.get("packageId")])
    return " ".join(part for part in (f"{who}{when}.".lstrip(), f"{title.rstrip('.')}.", identifier) if part)
