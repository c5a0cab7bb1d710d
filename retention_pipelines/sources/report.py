"""What one call of `ingest` did: a line per file and the totals."""

from dataclasses import dataclass, field
from datetime import datetime

from retention_pipelines.sources.discovery import Ignored


@dataclass(frozen=True, kw_only=True)
class FileReport:
    """A delivered file: the columns of `ingested_files`, and the months its accepted rows lie in, by dataset.

    `reasons` counts quarantined rows by reason, `notes` are sentences on what of the file is not used, `kept_aside` is
    the copy of a refused file, `erased` the file itself where it holds what was erased by order, `rests` what its
    duplicates rest on (`rests.py`). The rows of a lookup are accepted, and none of them becomes a value.
    """

    path: str
    sha256: str
    bytes: int
    format: str | None = None
    mapping: str | None = None
    dataset_id: str | None = None
    role: str = "records"
    status: str = "ingested"
    read: int = 0
    accepted: int = 0
    quarantined: int = 0
    duplicates: int = 0
    values: int = 0
    reasons: dict[str, int] = field(default_factory=dict)
    licence: str | None = None
    bibliographic_citation: str | None = None
    notes: tuple[str, ...] = ()
    error: str | None = None
    fingerprint: str | None = None
    ingested_at: datetime
    months: dict[str, tuple[str, ...]] = field(default_factory=dict)
    kept_aside: str | None = None
    erased: str | None = None
    rests: str = ""


@dataclass(frozen=True, kw_only=True)
class IngestReport:
    """All files of one call, in the order they were taken."""

    files: tuple[FileReport, ...] = ()
    ignored: tuple[Ignored, ...] = ()

    @property
    def read(self) -> int:
        """Data rows of all files."""
        return sum(file.read for file in self.files)

    @property
    def accepted(self) -> int:
        """Rows that became occurrences or observations, or that records are joined to."""
        return sum(file.accepted for file in self.files)

    @property
    def quarantined(self) -> int:
        """Rows put into quarantine."""
        return sum(file.quarantined for file in self.files)

    @property
    def duplicates(self) -> int:
        """Exact duplicates of earlier rows."""
        return sum(file.duplicates for file in self.files)

    @property
    def refused(self) -> tuple[FileReport, ...]:
        """Files that could not be read."""
        return tuple(file for file in self.files if file.status == "refused")

    @property
    def reasons(self) -> dict[str, int]:
        """Quarantined rows by reason, over all files."""
        totals: dict[str, int] = {}
        for file in self.files:
            for reason, rows in file.reasons.items():
                totals[reason] = totals.get(reason, 0) + rows
        return totals

    def touched_months(self, dataset: str) -> set[str]:
        """Months `YYYY-MM` of a dataset that got new rows."""
        return {month for file in self.files for month in file.months.get(dataset, ())}
