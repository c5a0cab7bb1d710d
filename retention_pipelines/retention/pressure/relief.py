"""Relief: how much must go when storage runs short, and what goes first.

Pure decisions over measured facts. Pressure never touches what is protected or what no policy lets go, and the newest
partition stays. What does not belong here: measuring (`state.py`), making the plan (`plan.py`).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """How short storage is; deleting is never stopped."""

    EASY = "easy"
    LOW = "low"
    HIGH = "high"
    FULL = "full"


@dataclass(frozen=True, kw_only=True, slots=True)
class Watermarks:
    """Shares of the disk in use: below `low` all is easy, from `high` on entries go, from `stop` on nobody writes."""

    low: float = 0.80
    high: float = 0.85
    stop: float = 0.92

    def __post_init__(self) -> None:
        if not 0 < self.low < self.high < self.stop <= 1:
            raise ValueError(f"watermarks must rise: {self.low}, {self.high}, {self.stop}")

    def level(self, *, used_bytes: int, total_bytes: int) -> Level:
        """How short a disk is."""
        used = used_bytes / total_bytes
        if used >= self.stop:
            return Level.FULL
        if used >= self.high:
            return Level.HIGH
        return Level.LOW if used >= self.low else Level.EASY

    def bytes_to_free(self, *, used_bytes: int, total_bytes: int) -> int:
        """What must go for the disk to be below `low` again; nothing while it is below `high`."""
        if used_bytes / total_bytes < self.high:
            return 0
        return max(0, used_bytes - int(self.low * total_bytes) + 1)

    @staticmethod
    def over_budget(*, used_bytes: int, budget_bytes: int) -> int:
        """What must go for a dataset to fit its size budget."""
        return max(0, used_bytes - budget_bytes)


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidate:
    """Something that may go early: governed by a policy that would let it go, not protected, not the newest.

    Attributes:
        target: partition or row.
        value_per_byte: what keeping it is worth; None where it was never measured.
        reads: by users; what decides where no value was measured.
        expires_in_seconds: until its policy lets it go, negative when it already does.
    """

    target: str
    size_bytes: int
    value_per_byte: float | None
    expires_in_seconds: float
    reads: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Relief:
    """What goes early, in order, and the bytes that still lack when all of it has gone."""

    targets: tuple[str, ...]
    freed_bytes: int
    lacking_bytes: int


def relieve(candidates: Iterable[Candidate], bytes_to_free: int) -> Relief:
    """Choose by lowest value per byte until enough goes; what has expired anyway goes first.

    An unknown value is not a low one: such candidates go last, those that were read least for their size before others.
    Equal values go in the order in which they expire.
    """
    ordered = sorted(
        (one for one in candidates if one.size_bytes > 0),
        key=lambda one: (
            one.expires_in_seconds >= 0,
            one.value_per_byte is None,
            one.value_per_byte or 0.0,
            one.reads / one.size_bytes if one.value_per_byte is None else 0.0,
            one.expires_in_seconds,
            one.target,
        ),
    )
    chosen: list[str] = []
    freed = 0
    for one in ordered:
        if freed >= bytes_to_free:
            break
        chosen.append(one.target)
        freed += one.size_bytes
    return Relief(targets=tuple(chosen), freed_bytes=freed, lacking_bytes=max(0, bytes_to_free - freed))
