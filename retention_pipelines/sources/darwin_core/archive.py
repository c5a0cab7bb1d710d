"""Darwin Core Archives, zipped or unzipped, and event cores that have no descriptor.

What belongs here: which files belong together and how `meta.xml` describes them. What does not: terms and rules of
records. In a folder every file is a delivery of its own, so its rows are counted on its own; in a zip they are members.
"""

import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from difflib import SequenceMatcher
from pathlib import Path, PurePosixPath

import duckdb

from retention_pipelines.errors import FileRefused
from retention_pipelines.sources.darwin_core.descriptor import DataFile, local_name, parse_descriptor
from retention_pipelines.sources.darwin_core.flat import dataset_id_of
from retention_pipelines.sources.darwin_core.metadata import Metadata, parse_metadata
from retention_pipelines.sources.darwin_core.parts import Layout, Part, layout_of, load_part
from retention_pipelines.sources.darwin_core.records import DataSet, stage
from retention_pipelines.sources.darwin_core.terms import columns_of, kind_of, term_of
from retention_pipelines.sources.identity import from_file_name, slug
from retention_pipelines.sources.staging import RawFile, Recognition, Staged
from retention_pipelines.sources.text_table import Dialect, header, reader

_META = "meta.xml"


class ArchiveReader:
    """Reads archives by their descriptor, and event cores by their columns."""

    format = "darwin_core_archive"

    def recognises(self, file: RawFile, around: Sequence[RawFile]) -> Recognition | None:
        """A zip with a descriptor; in a folder, the files a descriptor names or the files of an event core."""
        if any(PurePosixPath(member).name == _META for member in file.members):
            return Recognition(format=self.format)
        text = file.text_head
        if text is None:
            return None
        if file.name == _META and "rs.tdwg.org/dwc/text" in text:
            return Recognition(format=self.format, role="metadata")
        if file.name.endswith(".xml") and "eml" in text[:2000] and "<dataset" in text:
            return Recognition(format=self.format, role="metadata")
        near = tuple(other for other in around if other.folder == file.folder)
        meta = _beside(file, around, _META)
        if meta is not None and file.name in (meta.text_head or ""):
            return Recognition(format=self.format, beside=near)
        kind = _kind(file)
        if kind in {"event", "occurrence", "measurement"} and _partners(file, around):
            return Recognition(format=self.format, beside=near)
        return None

    def read(
        self, file: RawFile, recognition: Recognition, around: Sequence[RawFile], con: duckdb.DuckDBPyConnection
    ) -> Iterable[Staged]:
        """Staging tables of one file, or of every member of a zip."""
        if file.members:
            return _read_zip(file, con)
        meta = _beside(file, around, _META)
        if meta is not None and file.name in (meta.text_head or ""):
            return _read_described(file, meta, around, con)
        return _read_event_core(file, around, con)


def _beside(file: RawFile, around: Sequence[RawFile], name: str) -> RawFile | None:
    return next((other for other in around if other.folder == file.folder and other.name == name), None)


def _kind(file: RawFile) -> str | None:
    found = header(file.text_head or "")
    return kind_of(found[0]) if found else None


def _partners(file: RawFile, around: Sequence[RawFile]) -> list[RawFile]:
    """The other files of the event core a file is part of; empty where there is no event or no occurrence file."""
    own = _kind(file)
    candidates: dict[str, list[RawFile]] = {}
    for other in around:
        if other.folder == file.folder and other.path != file.path and (kind := _kind(other)) is not None:
            candidates.setdefault(kind, []).append(other)
    # In an event core, occurrences may repeat the date and position of their event.
    if "occurrence" not in candidates and "flat" in candidates:
        candidates["occurrence"] = candidates["flat"]
    if not {"event", "occurrence"} <= {own, *candidates}:
        return []
    kinds = [kind for kind in ("event", "occurrence", "measurement") if kind in candidates and kind != own]
    return [_nearest(file, candidates[kind]) for kind in kinds]


def _nearest(file: RawFile, candidates: Sequence[RawFile]) -> RawFile:
    """Of several files of one kind in a folder, the one that names the same events, else the one named most alike."""
    if len(candidates) == 1:
        return candidates[0]
    events = _event_ids(file)
    return max(
        candidates,
        key=lambda one: (len(events & _event_ids(one)), SequenceMatcher(None, file.name, one.name).ratio()),
    )


def _event_ids(file: RawFile) -> set[str]:
    """EventIDs at the beginning of a file."""
    text = file.text_head or ""
    found = header(text)
    column = columns_of(found[0]).by_term.get("eventID") if found else None
    if found is None or column is None:
        return set()
    index = found[0].index(column)
    rows = reader(text.splitlines()[1:-1], Dialect(delimiter=found[1]))
    return {row[index] for row in rows if len(row) > index}


# -- archives with a descriptor -------------------------------------------------------------------------------------


def _read_zip(file: RawFile, con: duckdb.DuckDBPyConnection) -> Iterator[Staged]:
    with tempfile.TemporaryDirectory() as folder:
        try:
            with zipfile.ZipFile(file.local) as archive:
                archive.extractall(folder)
        except (zipfile.BadZipFile, OSError, RuntimeError) as error:
            raise FileRefused(f"{file.name} cannot be unpacked: {error}.", hint="Download it again.") from error
        root = min(Path(folder).rglob(_META), key=lambda path: len(path.parts)).parent
        descriptor = parse_descriptor((root / _META).read_bytes(), file.name)
        metadata = Metadata()
        written = root / descriptor.metadata
        if written.is_file() and written.resolve().is_relative_to(Path(folder).resolve()):
            metadata = parse_metadata(written.read_bytes())
        parts = []
        for described in descriptor.readable:
            path = root / described.location
            if not path.is_file():
                raise FileRefused(
                    f"{file.name} lacks {described.location}, which its meta.xml names.",
                    hint="Export the archive again.",
                )
            parts.append(_load(con, path, described, member=described.location))
        yield from stage(con, _data_set(con, parts, metadata, file.name))


def _read_described(
    file: RawFile, meta: RawFile, around: Sequence[RawFile], con: duckdb.DuckDBPyConnection
) -> Iterator[Staged]:
    descriptor = parse_descriptor(meta.local.read_bytes(), meta.name)
    eml = _beside(file, around, descriptor.metadata)
    metadata = parse_metadata(eml.local.read_bytes()) if eml is not None else Metadata()
    parts, own = [], None
    for described in descriptor.readable:
        name = PurePosixPath(described.location).name
        found = file if name == file.name else _beside(file, around, name)
        if found is None:
            raise FileRefused(
                f"{file.name} cannot be read without {name}, which meta.xml names.", hint="Deliver the whole folder."
            )
        part = _load(con, found.local, described, file=found)
        parts.append(part)
        own = part if found is file else own
    if own is None:
        raise FileRefused(
            f"{file.name} holds neither events nor occurrences nor facts, by its meta.xml.",
            hint="It stays out of the lake; the other files of the archive are read.",
        )
    data = _data_set(con, parts, metadata, PurePosixPath(file.folder).name)
    yield from stage(con, data, wanted=[own.kind])


def _load(
    con: duckdb.DuckDBPyConnection,
    path: Path,
    described: DataFile,
    *,
    file: RawFile | None = None,
    member: str | None = None,
) -> Part:
    return load_part(con, path, _layout(path, described), described.kind or "", file=file, member=member)


def _layout(path: Path, described: DataFile) -> Layout:
    """Layout by the descriptor; a file wider than it says keeps the names of its own header for the rest."""
    try:
        with path.open(encoding=described.encoding, errors="replace", newline="") as text:
            first_line = text.readline().rstrip("\r\n").lstrip("\ufeff")
    except LookupError:
        raise FileRefused(f"meta.xml says {path.name} is in {described.encoding!r}, which is no encoding.") from None
    found = header(first_line)
    dialect = Dialect(
        # The guidelines' default is a comma; an archive that states nothing and is written otherwise is read as it is.
        delimiter=described.delimiter or (found[1] if found else ","),
        quote=described.quote,
        encoding=described.encoding,
        skip=described.skip,
    )
    first_fields = [name.strip() for name in next(reader([first_line], dialect), [])]
    width = max(len(first_fields), *(index + 1 for index in described.fields), (described.key or 0) + 1)
    columns: list[str] = []
    by_term: dict[str, str] = {}
    for index in range(width):
        own = first_fields[index] if dialect.skip and index < len(first_fields) else ""
        name = local_name(described.fields.get(index, "")) or own or f"column_{index + 1}"
        while name in columns:
            name += "_"
        columns.append(name)
        term = term_of(described.fields.get(index, ""))
        if term is not None:
            by_term.setdefault(term, name)
    defaults = {term: value for name, value in described.defaults.items() if (term := term_of(name)) is not None}
    return Layout(
        columns=tuple(columns),
        by_term=by_term,
        defaults=defaults,
        key=columns[described.key] if described.key is not None else None,
        dialect=dialect,
        misspelt=columns_of(described.fields.values()).misspelt,
    )


def _data_set(con: duckdb.DuckDBPyConnection, parts: Sequence[Part], metadata: Metadata, name: str) -> DataSet:
    return DataSet(
        dataset_id=metadata.dataset_id or dataset_id_of(con, parts) or from_file_name(name),
        parts=tuple(parts),
        licence=metadata.licence,
        citation=metadata.citation,
    )


# -- event cores without a descriptor -------------------------------------------------------------------------------


def _read_event_core(file: RawFile, around: Sequence[RawFile], con: duckdb.DuckDBPyConnection) -> Iterator[Staged]:
    group = [file, *_partners(file, around)]
    parts: list[Part] = []
    own_kind = None
    for one in group:
        kind = _kind(one)
        kind = "occurrence" if kind == "flat" else kind
        if kind is None or any(part.kind == kind for part in parts):
            continue
        parts.append(load_part(con, one.local, layout_of(one), kind, file=one))
        own_kind = kind if one is file else own_kind
    eml = _beside(file, around, "eml.xml")
    metadata = parse_metadata(eml.local.read_bytes()) if eml is not None else Metadata()
    records = sorted(parts, key=lambda part: part.kind != "occurrence")
    folder = slug(PurePosixPath(file.folder).name)
    dataset_id = dataset_id_of(con, records) or metadata.dataset_id or folder or from_file_name(file.name)
    data = DataSet(dataset_id=dataset_id, parts=tuple(parts), licence=metadata.licence, citation=metadata.citation)
    yield from stage(con, data, wanted=[own_kind] if own_kind else None)
