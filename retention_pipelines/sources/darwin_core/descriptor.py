"""The descriptor `meta.xml` of an archive.

What belongs here: the Darwin Core text guidelines: files, their dialects and fields. What does not: data.
python-dwca-reader is not used for it: it cannot read a core without an id, and takes tabs and no quotes as the defaults
where the guidelines say commas and double quotes (both in a real archive of OBIS).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from xml.etree import ElementTree

from retention_pipelines.errors import FileRefused

_ESCAPES = {"\\t": "\t", "\\n": "\n", "\\r": "\r", "\\\\": "\\"}
_KINDS = {
    "Event": "event",
    "Occurrence": "occurrence",
    "MeasurementOrFact": "measurement",
    "ExtendedMeasurementOrFact": "measurement",
}


@dataclass(frozen=True, kw_only=True)
class DataFile:
    """One file of an archive; `key` is the index of the id (core) or of the core's id (extension)."""

    location: str
    row_type: str
    is_core: bool
    delimiter: str | None
    quote: str
    encoding: str
    skip: int
    key: int | None
    fields: Mapping[int, str]
    defaults: Mapping[str, str]

    @property
    def kind(self) -> str | None:
        """event, occurrence or measurement; None for what is not read (images, references, identifications)."""
        return _KINDS.get(local_name(self.row_type))


@dataclass(frozen=True, kw_only=True)
class Descriptor:
    """Files of an archive, core first, and the name of its metadata document."""

    files: tuple[DataFile, ...]
    metadata: str

    @property
    def readable(self) -> tuple[DataFile, ...]:
        """The files that hold events, occurrences or facts."""
        return tuple(file for file in self.files if file.kind is not None)


def local_name(term: str) -> str:
    """Last part of a term's URI."""
    return re.split(r"[/#]", term.rstrip("/"))[-1]


def parse_descriptor(content: bytes, name: str) -> Descriptor:
    """Read a descriptor. Raises FileRefused where it is none or has no core of events or occurrences."""
    if b"<!DOCTYPE" in content or b"<!ENTITY" in content:
        raise FileRefused(f"The meta.xml of {name} has a document type, which a descriptor never needs.")
    try:
        document = ElementTree.fromstring(content)  # noqa: S314 - no document type, so no entities
        core = document.find("{*}core")
        if core is None:
            raise ValueError("it names no core")
        files = (_data_file(core), *(_data_file(one) for one in document.iterfind("{*}extension")))
    except (ElementTree.ParseError, ValueError) as error:
        raise FileRefused(
            f"The meta.xml of {name} cannot be read: {error}.", hint="Export the archive again."
        ) from error
    if files[0].kind not in {"event", "occurrence"}:
        raise FileRefused(
            f"The core of {name} is {files[0].row_type or 'of no stated type'}, which holds no records of places.",
            hint="Read are archives with an occurrence or event core.",
        )
    return Descriptor(files=files, metadata=document.get("metadata") or "eml.xml")


def _data_file(section: ElementTree.Element) -> DataFile:
    locations = [found.text.strip() for found in section.iterfind("{*}files/{*}location") if found.text]
    if len(locations) != 1:
        raise ValueError(f"a section names {len(locations)} files instead of one")
    is_core = section.tag.endswith("core")
    key = section.find("{*}id" if is_core else "{*}coreid")
    fields: dict[int, str] = {}
    defaults: dict[str, str] = {}
    for one in section.iterfind("{*}field"):
        term = (one.get("term") or "").strip()
        if one.get("index"):
            fields[int(one.get("index", ""))] = term
        if one.get("default"):
            defaults[term] = one.get("default", "")
    return DataFile(
        location=locations[0],
        row_type=section.get("rowType", ""),
        is_core=is_core,
        delimiter=_unescaped(section.get("fieldsTerminatedBy")) or None,
        quote=_unescaped(section.get("fieldsEnclosedBy", '"')),
        encoding=section.get("encoding") or "utf-8",
        skip=int(section.get("ignoreHeaderLines") or 0),
        key=int(key.get("index", "")) if key is not None else None,
        fields=fields,
        defaults=defaults,
    )


def _unescaped(text: str | None) -> str:
    return re.sub(r"\\[tnr\\]", lambda found: _ESCAPES[found[0]], text or "")
