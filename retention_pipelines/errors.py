"""Errors a person can act on.

One base class; every message says what went wrong and, in `hint`, what to do next. Nothing here knows
about HTTP or exit codes: the service and the command line map these classes in one table each.
"""


class RetentionError(Exception):
    """Base of every error this package raises on purpose."""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} {self.hint}" if self.hint else self.message


class SettingsError(RetentionError):
    """A setting is unknown, malformed or out of bounds."""


class CatalogError(RetentionError):
    """A dataset or column is not in the catalog."""


class LakeError(RetentionError):
    """Base of the errors of the lake."""


class ReadOnly(LakeError):
    """Something that writes was asked for in the mode read_only."""


class CommitConflict(LakeError):
    """Another writer changed the inputs; read again and redo the work."""


class PartitionValueError(LakeError):
    """A partition value has characters that not every reader can open."""


class SchemaError(LakeError):
    """Rows do not have the columns or types the catalog declares."""


class StorageFull(LakeError):
    """The file system has no space left; what was committed before stays readable."""


class WritesStopped(StorageFull):
    """The disk is so full that nobody writes any more; deleting goes on."""


class OutsideRestoreWindow(LakeError):
    """The files an undo or a time travel needs were vacuumed."""


class SourceError(RetentionError):
    """Base of the errors of reading raw files."""


class FileRefused(SourceError):
    """A raw file cannot be read at all; it is kept aside and the others go on."""


class MappingError(SourceError):
    """A mapping is malformed or does not fit the file."""


class ConservationError(SourceError):
    """read = accepted + quarantined + duplicates does not hold: a bug here, and nothing was committed."""


class FeatureError(RetentionError):
    """Features cannot be computed or joined as asked."""


class SeriesError(RetentionError):
    """A series cannot be computed as asked."""


class QueryError(RetentionError):
    """A query failed."""


class DatabaseError(RetentionError):
    """Postgres cannot be started, reached or migrated."""


class CacheError(RetentionError):
    """Base of the errors of the caches; a decorated function never raises one for its caller's arguments."""


class Unkeyable(CacheError):
    """An argument has a type no key can be made of; the call bypasses the cache."""


class Unstorable(CacheError):
    """A result cannot be stored and restored exactly; it is returned and not cached."""


class CorruptEntry(CacheError):
    """A stored entry is damaged, foreign or forged; it is a miss and an alert."""


class IntegrationError(RetentionError):
    """Existing code cannot be patched as asked; nothing was changed."""


class PolicyError(RetentionError):
    """A policy is malformed, unknown, or would not do what its reader expects."""


class FilterError(PolicyError):
    """A filter cannot be read; `at` is the place of the mistake, counted from 0."""

    def __init__(self, message: str, *, hint: str | None = None, at: int | None = None) -> None:
        super().__init__(message, hint=hint)
        self.at = at


class PlanError(RetentionError):
    """A plan is unknown, damaged, or cannot be executed or taken back as asked."""


class RunRefused(PlanError):
    """A guard refused to execute a plan; nothing was removed, and the refusal is recorded.

    `plan_sha256` is the plan's hash; `can_confirm` says whether a person who names it whole may overrule.
    """

    def __init__(
        self, message: str, *, hint: str | None = None, plan_sha256: str | None = None, can_confirm: bool = False
    ) -> None:
        super().__init__(message, hint=hint)
        self.plan_sha256 = plan_sha256
        self.can_confirm = can_confirm


class RunBusy(PlanError):
    """Another run has the dataset in hand; the message says whose."""


class PipelineError(RetentionError):
    """A run of the pipeline failed, or one of Dagster's programs cannot be started or kept running."""
