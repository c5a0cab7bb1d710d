"""Raw files in, nothing lost: the one way into the lake.

What belongs here: the order of things. Files are found, recognised, staged by their reader, checked, compared with what
is there, and committed one by one; each file is seen whole or not at all. What does not: formats (their readers), rules
for a row (`check.py`), what was done (`report.py`, `ledger.py`).

For every file read = accepted + quarantined + duplicates is checked in code before anything is committed.
"""

import logging
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import duckdb

from retention_pipelines.errors import ConservationError, FileRefused, RetentionError, SourceError
from retention_pipelines.sources.check import check, load_macros, tidy_rows
from retention_pipelines.sources.delimited import DelimitedReader, count_rows, draft_beside_state
from retention_pipelines.sources.discovery import CHANGED, Discovery, Unreadable, discover, siblings
from retention_pipelines.sources.erased import ErasedSubject, read_erased, refuse_erased, suppress
from retention_pipelines.sources.ledger import (
    identities_taken,
    identity_of,
    keep_aside,
    look_of,
    record,
    taken_by_look,
)
from retention_pipelines.sources.mapping import Mapping, Mappings
from retention_pipelines.sources.report import FileReport, IngestReport
from retention_pipelines.sources.rests import Ranges, keep_out, lost_rows, rests_of
from retention_pipelines.sources.staging import RawFile, Readers, Recognition, Staged, forget
from retention_pipelines.sources.versions import COME_ANEW, there_already
from retention_pipelines.warehouse.duck import bind, statement
from retention_pipelines.warehouse.faults import is_storage_full
from retention_pipelines.warehouse.lake import Lake
from retention_pipelines.warehouse.table import LakeFile

_SQL = "retention_pipelines.sources"
_log = logging.getLogger(__name__)
_AGAIN = "It came before; rows that were then duplicates of deliveries taken back since were looked at anew."
# A query for each month costs some milliseconds; with fewer rows than this in a month, one that parts them costs less.
_MANY_PER_MONTH = 3000
#: Called before each file (its path, files done, files in all) and once at the end.
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, kw_only=True)
class _Counts:
    read: int = 0
    accepted: int = 0
    quarantined: int = 0
    duplicates: int = 0
    values: int = 0


def ingest(
    paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    lake: Lake,
    *,
    now: datetime,
    mapping: str | Mapping | None = None,
    progress: Progress | None = None,
) -> IngestReport:
    """Read files, folders and globs into the lake.

    `mapping` is a packaged mapping's name, a YAML file or a `Mapping`, and wins over detection for the delimited files
    it fits. A file that cannot be read is refused, kept aside and does not stop the others.
    """
    lake.settings.require_full("Ingesting")
    given = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
    mappings = Mappings.packaged(first=mapping)
    load_macros(lake.con)
    with tempfile.TemporaryDirectory(prefix="retention-ingest-") as folder:
        found = discover(given, Path(folder))
        reports = [_refuse_unreadable(lake, one, now) for one in found.unreadable]
        readers = Readers(given={"delimited": DelimitedReader(mappings=mappings)})
        reports += _Call(lake, readers, found, Path(folder), now).run(progress)
        return IngestReport(files=tuple(reports), ignored=tuple(found.ignored))


class _Call:
    """One call of `ingest`: its files and what lies around them."""

    def __init__(self, lake: Lake, readers: Readers, found: Discovery, workspace: Path, now: datetime) -> None:
        self.lake = lake
        self.readers = readers
        self.found = found
        self.workspace = workspace
        self.now = now
        self._siblings: dict[str, list[RawFile]] = {}
        # After an order to erase, every file is read, as only its rows tell whether it may be taken.
        contents = [file.sha256 for file in found.files]
        self._taken = taken_by_look(lake, contents) if read_erased(lake) is None else {}

    def run(self, progress: Progress | None) -> list[FileReport]:
        reports: list[FileReport] = []
        known: list[tuple[RawFile, FileReport]] = []
        total = len(self.found.files)
        for done, file in enumerate(self.found.files):
            if progress is not None:
                progress(file.path, done, total)
            report = self._known(file)
            if report is not None:
                known.append((file, report))
                continue
            reports += self._skip(known)
            known = []
            reports.append(self._one(file))
        reports += self._skip(known)
        if progress is not None:
            progress("", total, total)
        return reports

    def _known(self, file: RawFile) -> FileReport | None:
        """The report of a file that was taken before, by its look: nothing of it is read."""
        if not self._taken:
            return None
        try:
            with _unforeseen_refused():
                recognition = self.readers.recognise(file, self._around(file))
        except SourceError:
            return None  # reading it will say so
        taken = self._taken.get(look_of(file, recognition)) if recognition else None
        if recognition is None or taken is None or any(one.changed() for one in (file, *recognition.beside)):
            return None
        return FileReport(
            path=file.path, sha256=file.sha256, bytes=file.size, format=recognition.format,
            mapping=recognition.mapping, role=recognition.role, dataset_id=taken.dataset_id, licence=taken.licence,
            bibliographic_citation=taken.bibliographic_citation, fingerprint=taken.fingerprint,
            ingested_at=self.now, status="duplicate", read=taken.read, duplicates=taken.read,
            notes=(taken.notes,) if taken.notes else (),
        )  # fmt: skip

    def _skip(self, known: Sequence[tuple[RawFile, FileReport]]) -> list[FileReport]:
        """Record known files together; those whose first delivery was taken back meanwhile are read."""
        if not known:
            return []
        identities = [str(report.fingerprint).partition(":")[0] for _, report in known]
        with self.lake.transaction(f"ingest:{identities[0]}") as op:
            taken = identities_taken(self.lake, identities) if read_erased(self.lake) is None else set()
            stand = [identity in taken for identity in identities]
            if any(stand):
                record(self.lake, [report for (_, report), kept in zip(known, stand, strict=True) if kept], op=op)
        return [report if kept else self._one(file) for (file, report), kept in zip(known, stand, strict=True)]

    def _around(self, file: RawFile) -> Sequence[RawFile]:
        if file.folder not in self._siblings:
            self._siblings[file.folder] = siblings(file, self.found.files, self.workspace)
        return [one for one in [*self.found.files, *self._siblings[file.folder]] if one.path != file.path]

    def _one(self, file: RawFile) -> FileReport:
        recognition: Recognition | None = None
        try:
            with _unforeseen_refused():
                around = self._around(file)
                recognition = self.readers.recognise(file, around)
            if recognition is None:
                raise FileRefused(draft_beside_state(file, self.lake.settings.state_dir / "drafts"))
            if recognition.role != "records":
                return self._lookup(file, recognition)
            return self._records(file, recognition, around)
        except ErasedSubject as refusal:
            return _refuse_erased(self.lake, file, str(refusal), self.now)
        except SourceError as refusal:
            return _refuse(self.lake, file, recognition, str(refusal), self.now)

    def _lookup(self, file: RawFile, recognition: Recognition) -> FileReport:
        """Count the rows of a file that others are joined to; a metadata document has none."""
        rows = 0
        notes: tuple[str, ...] = ()
        if recognition.role == "lookup":
            with _unforeseen_refused():
                rows, notes = count_rows(self.lake.con, file)
        identity = identity_of(file, recognition, ())
        report = FileReport(
            path=file.path, sha256=file.sha256, bytes=file.size, format=recognition.format,
            mapping=recognition.mapping, role=recognition.role,
            fingerprint=f"{identity}:{look_of(file, recognition)}",
            ingested_at=self.now, read=rows, accepted=rows, notes=notes,
        )  # fmt: skip
        with self.lake.transaction(f"ingest:{file.sha256}") as op:
            if identities_taken(self.lake, [identity]):
                report = replace(report, status="duplicate", accepted=0, duplicates=rows)
            record(self.lake, [report], op=op)
        return report

    def _records(self, file: RawFile, recognition: Recognition, around: Sequence[RawFile]) -> FileReport:
        reader = self.readers.of(recognition.format)
        con = self.lake.con
        # Every part is staged before the transaction: reading is slow, and a lake has one transaction at a time.
        with _unforeseen_refused():
            parts = list(reader.read(file, recognition, around, con))
        try:
            erased = read_erased(self.lake)
            for part in parts:
                refuse_erased(erased, part)
            if any(one.changed() for one in (file, *(lookup for part in parts for lookup in part.lookups))):
                raise FileRefused(CHANGED)
            if not parts or all(part.read == 0 for part in parts):
                raise FileRefused("The file has a header but no data rows.")
            identity = identity_of(file, recognition, parts)
            with self.lake.transaction(f"ingest:{identity}") as op:
                if identities_taken(self.lake, [identity]):
                    rows = sum(part.read for part in parts)
                    report = self._report(file, recognition, parts, identity, _Counts(read=rows, duplicates=rows))
                    report = replace(report, status="duplicate")
                else:
                    report = self._take(file, recognition, parts, identity, op)
                if report.read != report.accepted + report.quarantined + report.duplicates:
                    raise ConservationError(
                        f"{file.path}: {report.read} rows read, but {report.accepted} accepted, {report.quarantined} "
                        f"quarantined and {report.duplicates} duplicates. Nothing of it was kept.",
                        hint="This is a bug: report it with the file.",
                    )
                record(self.lake, [report], op=op)
            return report
        finally:
            staged = [name for part in parts for name in (part.relation, part.raw) if name is not None]
            forget(con, *staged, "tidy_rows", "checked_rows", "duplicate_rows", "known_rows")

    def _report(
        self, file: RawFile, recognition: Recognition, parts: Sequence[Staged], identity: str, counts: _Counts
    ) -> FileReport:
        return FileReport(
            path=file.path, sha256=file.sha256, bytes=file.size, format=recognition.format,
            mapping=recognition.mapping, dataset_id=parts[0].dataset_id, licence=parts[0].licence,
            bibliographic_citation=parts[0].citation, ingested_at=self.now,
            fingerprint=f"{identity}:{look_of(file, recognition)}",
            read=counts.read, accepted=counts.accepted, quarantined=counts.quarantined,
            duplicates=counts.duplicates, values=counts.values,
            notes=tuple(dict.fromkeys(note for part in parts for note in part.notes)),
        )  # fmt: skip

    def _take(
        self, file: RawFile, recognition: Recognition, parts: Sequence[Staged], identity: str, op: str
    ) -> FileReport:
        """Commit what is new of every part."""
        total = _Counts()
        reasons: dict[str, int] = {}
        months: dict[str, set[str]] = {}
        con = self.lake.con
        lost = lost_rows(con, identity)
        rests: list[str] = []
        notes: tuple[str, ...] = (_AGAIN,) if lost else ()
        for number, part in enumerate(parts):
            counts, part_reasons, touched = self._take_part(file, part, op, [one.get(number, ()) for one in lost])
            rests.append(rests_of(con, number, file.sha256) if counts.duplicates else "")
            notes += there_already(con, file.sha256) if recognition.format in COME_ANEW and counts.accepted else ()
            total = _Counts(**{name: getattr(total, name) + getattr(counts, name) for name in vars(total)})
            for reason, rows in part_reasons.items():
                reasons[reason] = reasons.get(reason, 0) + rows
            months.setdefault(part.dataset, set()).update(touched)
        report = self._report(file, recognition, parts, identity, total)
        report = replace(
            report,
            rests=",".join(filter(None, rests)),
            notes=report.notes + notes,
            erased=file.path if "erased" in reasons else None,
        )
        return replace(report, reasons=reasons, months={name: tuple(sorted(keys)) for name, keys in months.items()})

    def _take_part(
        self, file: RawFile, part: Staged, op: str, lost: Sequence[Ranges]
    ) -> tuple[_Counts, dict[str, int], set[str]]:
        con, target = self.lake.con, self.lake.table(part.dataset)
        # Within the transaction: an order that came meanwhile waits for it, or is on the list.
        erased = read_erased(self.lake)
        refuse_erased(erased, part)
        with _unforeseen_refused():
            check(con, part, now=self.now)
            suppress(con, erased, part)
        con.execute(statement(_SQL, "twins"))
        touched = {row[0] for row in con.execute(_MONTHS).fetchall()}
        bind(con, "lake_rows", target.scan(keep=_near(touched, part.dataset_id)))
        bind(con, "lake_quarantine", self.lake.table("quarantine").scan(keep=_of_dataset(part.dataset_id)))
        con.execute(statement(_SQL, "known"))
        for ranges in lost:
            keep_out(con, ranges)
        accepted, quarantined, duplicates, values = con.execute(statement(_SQL, f"count_{part.dataset}")).fetchall()[0]
        if duplicates:
            con.execute(statement(_SQL, "new_rows"))
            touched = {row[0] for row in con.execute(_MONTHS).fetchall()}
        place = f"{file.name}/{part.member}" if part.member else file.name
        tidy_rows(con, part, source_file=place, sha256=file.sha256, now=self.now)
        reasons = dict(con.execute(_REASONS).fetchall())
        written = stored = 0
        new_months: set[str] = set()
        if values:
            many = values >= _MANY_PER_MONTH * len(touched)
            select = statement(_SQL, f"accepted_{part.dataset}")
            commit = target.append(select, op=op, partitions=touched if many else None)
            written = commit.rows_added
            new_months = {partition[0] for partition in commit.partitions}
        if quarantined:
            self._bind_raw(part)
            stored = self.lake.table("quarantine").append(statement(_SQL, "quarantined"), op=op).rows_added
        if written != values or stored != quarantined:
            raise ConservationError(
                f"{file.path}: {values} values and {quarantined} quarantined rows to keep, "
                f"{written} and {stored} kept.",
                hint="This is a bug: report it with the file.",
            )
        counts = _Counts(
            read=part.read, accepted=accepted, quarantined=quarantined, duplicates=duplicates, values=values
        )
        return counts, reasons, new_months

    def _bind_raw(self, part: Staged) -> None:
        """The view `raw_rows`: raw rows as JSON, made only where they are needed."""
        if part.raw is None:
            self.lake.con.table(part.relation).select("source_row", "raw_record").create_view("raw_rows", replace=True)
            return
        relation = self.lake.con.table(part.raw)
        pairs: list[duckdb.Expression] = []
        for name in relation.columns:
            if name != "source_row":
                pairs += [duckdb.ConstantExpression(name), duckdb.ColumnExpression(name)]
        record_json = duckdb.FunctionExpression("json_object", *pairs).cast("VARCHAR").alias("raw_record")
        relation.select(duckdb.ColumnExpression("source_row"), record_json).create_view("raw_rows", replace=True)


@contextmanager
def _unforeseen_refused() -> Iterator[None]:
    """Refuse the file where a reader or a library fails in a way nobody foresaw: one file must not stop the others."""
    try:
        yield
    except (RetentionError, MemoryError):
        raise
    except Exception as error:
        if is_storage_full(error):
            raise
        _log.exception("Reading a file failed")
        raise FileRefused(
            f"It could not be read: {type(error).__name__}: {error}.",
            hint="If the file is sound, this is a bug: report it with the file.",
        ) from error


_MONTHS = "select distinct month from checked_rows where reason is null"
_REASONS = "select reason, count(*) from checked_rows where reason is not null group by all order by all"


def _near(months: set[str], dataset_id: str) -> Callable[[LakeFile], bool]:
    """Files that may hold equal rows: an equal row has the same date, so it lies in the same month."""

    def keep(file: LakeFile) -> bool:
        if file.partition["month"] not in months:
            return False
        low, high = file.minimum.get("dataset_id"), file.maximum.get("dataset_id")
        return low is None or high is None or low <= dataset_id <= high

    return keep


def _of_dataset(dataset_id: str) -> Callable[[LakeFile], bool]:
    return lambda file: file.partition["dataset_id"] == dataset_id


def _refuse_unreadable(lake: Lake, one: Unreadable, now: datetime) -> FileReport:
    report = FileReport(
        path=one.path, sha256=one.sha256, bytes=one.size, status="refused", error=one.why, ingested_at=now,
        kept_aside=keep_aside(
            one.local, one.sha256, one.why, lake.settings.refused_dir, name=os.path.basename(one.path)
        ),
    )  # fmt: skip
    with lake.transaction(f"refuse:{one.sha256}") as op:
        record(lake, [report], op=op)
    return report


def _refuse_erased(lake: Lake, file: RawFile, why: str, now: datetime) -> FileReport:
    """Refuse a file without keeping a copy, or its name, which may say what was erased."""
    report = FileReport(
        path=f"erased/{file.sha256[:12]}", sha256=file.sha256, bytes=file.size, status="refused", error=why,
        ingested_at=now, erased=file.path,
    )  # fmt: skip
    with lake.transaction(f"refuse:{file.sha256}") as op:
        record(lake, [report], op=op)
    return report


def _refuse(lake: Lake, file: RawFile, recognition: Recognition | None, why: str, now: datetime) -> FileReport:
    report = FileReport(
        path=file.path, sha256=file.sha256, bytes=file.size, format=recognition.format if recognition else None,
        mapping=recognition.mapping if recognition else None, status="refused", error=why, ingested_at=now,
        kept_aside=keep_aside(file.local, file.sha256, why, lake.settings.refused_dir, name=file.name),
    )  # fmt: skip
    with lake.transaction(f"refuse:{file.sha256}") as op:
        record(lake, [report], op=op)
    return report
